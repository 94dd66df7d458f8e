"""Tables and fact sheets on stdout: the same lines for a person and for a pipe, none of them cut."""

from collections.abc import Collection, Iterable, Sequence

from rich.cells import cell_len

from localllm.cli.words import printable

GAP = "  "
FIELD_COLUMNS = 14  # for the headings of a fact sheet


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Collection[str] = ()) -> None:
    """Columns under headings, those of `numbers` to the right; a column without any text is left out.

    No cell is cut or folded, since names and paths are copied from here.
    """
    lines = [[printable(cell) for cell in row] for row in rows]
    kept = [place for place in range(len(headings)) if any(line[place] for line in lines)]
    widths = {place: max(map(cell_len, [headings[place], *(line[place] for line in lines)])) for place in kept}
    for line in [list(headings), *lines]:
        cells = []
        for place in kept:
            blank = " " * (widths[place] - cell_len(line[place]))
            cells.append(blank + line[place] if headings[place] in numbers else line[place] + blank)
        print(GAP.join(cells).rstrip())


def print_fields(fields: Iterable[tuple[str, str]]) -> None:
    """A line for each heading with its text; without a text none, without a heading below the one before."""
    for heading, text in fields:
        if text:
            print(f"{heading:{FIELD_COLUMNS}}{printable(text)}")
