"""What a quantized model is worth, on a terminal: before and after, and candidates side by side.

Everything fits 60 columns, and says the same without colour.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from localllm.cli.words import printable
from localllm.quantize.advice.candidates import LeftOut
from localllm.quantize.advice.frontier import NOISE, Advice, Ranked, memory_bytes
from localllm.quantize.evaluation import NOT_MEASURED, Evaluation, percent, rows, short, unmeasured
from localllm.units import size_words

MARKS = {"recommended": "*", "frontier": "o", "beaten": "x", "too large": "!"}
_WIDE = 80  # columns from which the table shows everything
_LEAST_COLUMNS, _MOST_COLUMNS = 40, 100  # of the chart
_ROWS = 12
_AXIS_COLUMNS = 7
_LEAST_DIVERGENCE = 1e-6  # what a logarithmic axis can show
_LEAST_DECADES = 0.5  # of that axis: between 2 and 5 there are 0.4
_LEGEND = (
    "KL is the mean divergence from the source in nats, SAME how often both have the same first choice. READ and WRITE "
    f"are tokens a second; rates within {100 * NOISE:.0f} % count as equal."
)
_TICKS = tuple(digit * 10.0**power for power in range(-6, 4) for digit in (1, 2, 5))


def print_evaluation(evaluation: Evaluation, console: Console) -> None:
    """A model before and after, and what was measured where."""
    console.print(evaluation_table(evaluation))
    for note in _notes(evaluation):
        console.print(_plain(note))


def print_advice(advice: Advice, left_out: Iterable[LeftOut], console: Console) -> None:
    """The candidates as a table and a chart, what was left out, and what to take and why."""
    console.print(candidates_table(advice, console.width))
    console.print(_plain(_LEGEND))
    beaten = [f"{each.candidate.type} by {each.beaten_by}" for each in advice.ranked if each.state == "beaten"]
    if beaten:
        console.print(_plain(f"Beaten: {', '.join(beaten)}."))
    for kind in left_out:
        console.print(_plain(f"Not tried: {kind.type}: {kind.reason}."))
    console.print()
    console.print(Chart(advice))
    console.print()
    console.print(_plain(advice.reason))


def evaluation_table(evaluation: Evaluation) -> Table:
    """A figure a row."""
    table = _table(("", "left"), ("BEFORE", "right"), ("AFTER", "right"), ("RATIO", "right"))
    for row in rows(evaluation):
        table.add_row(*map(_plain, row))
    return table


def candidates_table(advice: Advice, width: int) -> Table:
    """A candidate a row, smallest first, marked as in the chart. Narrow terminals get fewer columns, none cut."""
    columns = [column for column in _COLUMNS if column.is_vital or width >= _WIDE]
    table = _table(*((column.heading, column.side) for column in columns))
    for ranked in advice.ranked:
        style = "bold" if ranked.state == "recommended" else ""
        table.add_row(*(_plain(column.words(ranked)) for column in columns), style=style)
    return table


class Chart:
    """Divergence over size, both of the same candidates: down is closer to the source, left is smaller."""

    def __init__(self, advice: Advice) -> None:
        self._advice = advice

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Lines of plain text, as wide as there is room for."""
        columns = max(_LEAST_COLUMNS, min(options.max_width, _MOST_COLUMNS)) - 1
        for line in chart_lines(self._advice, columns, is_ascii=options.ascii_only):
            yield _plain(line)


class _Column(NamedTuple):
    """A column of the table of candidates."""

    heading: str
    side: str
    words: Callable[[Ranked], str]
    is_vital: bool = True


def _rate(name: str) -> Callable[[Ranked], str]:
    def words(ranked: Ranked) -> str:
        rates = ranked.candidate.rates
        return short(getattr(rates, name)) if rates else NOT_MEASURED

    return words


_COLUMNS = (
    _Column("", "left", lambda ranked: MARKS[ranked.state]),
    _Column("TYPE", "left", lambda ranked: ranked.candidate.type),
    _Column("SIZE", "right", lambda ranked: size_words(ranked.candidate.size_bytes)),
    _Column("BITS", "right", lambda ranked: f"{ranked.candidate.bits_per_weight:.2f}", is_vital=False),
    _Column("KL", "right", lambda ranked: short(ranked.candidate.divergence.mean)),
    _Column("KL P99", "right", lambda ranked: short(ranked.candidate.divergence.p99)),
    _Column("SAME", "right", lambda ranked: percent(ranked.candidate.divergence.same_top)),
    _Column("READ", "right", _rate("prefill_rate")),
    _Column("WRITE", "right", _rate("decode_rate")),
    _Column("MEMORY", "right", lambda ranked: size_words(memory_bytes(ranked.candidate)), is_vital=False),
)


def _table(*columns: tuple[str, str]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading, side in columns:
        table.add_column(heading, justify="right" if side == "right" else "left", no_wrap=True)
    return table


def _plain(text: str) -> Text:
    """A text that is no markup and drives no terminal."""
    return Text(printable(text))


def _notes(evaluation: Evaluation) -> list[str]:
    notes = []
    if evaluation.text is not None:
        text = evaluation.text
        notes.append(
            f"Quality on {text.positions} tokens of the text {text.name}; ± is the standard error, and other texts "
            "give other figures. Divergence is in nats, 0 being the same model."
        )
    if evaluation.bench is not None:
        bench = evaluation.bench
        notes.append(
            f"Speed of one stream on {bench.processor or 'this machine'}, {bench.threads} threads: "
            f"{bench.prompt_tokens} tokens read, {bench.answer_tokens} written, medians of {bench.repeats}."
        )
    if missing := unmeasured(evaluation):
        notes.append(f"Not measured: {', '.join(missing)}.")
    return notes


class _Scale(NamedTuple):
    """An axis: values from `least` to `most` on so many cells, none of them at the very ends."""

    least: float
    most: float
    cells: int

    def at(self, value: float) -> int:
        """The cell of a value."""
        if self.most <= self.least:
            return self.cells // 2
        return 1 + round((value - self.least) / (self.most - self.least) * (self.cells - 3))

    def row(self, value: float) -> int:
        """The same counted from above."""
        return self.cells - 1 - self.at(value)


class _Point(NamedTuple):
    """A candidate's place on the grid."""

    mark: str
    label: str
    row: int
    column: int


def chart_lines(advice: Advice, columns: int, *, is_ascii: bool) -> list[str]:
    """The chart in so many columns. Candidates without a finite divergence are left to the table."""
    shown = [each for each in advice.ranked if math.isfinite(each.candidate.divergence.mean)]
    if not shown:
        return ["There is no divergence to draw."]
    sizes = [each.candidate.size_bytes for each in shown]
    across = _Scale(min(sizes), max(sizes), columns - _AXIS_COLUMNS - 1)
    up = _divergence_scale([_level(each.candidate.divergence.mean) for each in shown], _level(advice.most_divergence))
    order = sorted(shown, key=lambda each: list(MARKS).index(each.state))
    points = [_point(each, across, up, advice.most_divergence) for each in order]
    grid, unnamed = _drawn(points, across.cells, up.row(_level(advice.most_divergence)))
    vertical, corner, horizontal = ("|", "+", "-") if is_ascii else ("│", "└", "─")
    ticks = _tick_rows(up)
    lines = ["mean divergence"]
    lines += [f"{ticks.get(row, ''):>{_AXIS_COLUMNS - 1}} {vertical}{line}".rstrip() for row, line in enumerate(grid)]
    lines.append(" " * _AXIS_COLUMNS + corner + horizontal * across.cells)
    lines.append(" " * (_AXIS_COLUMNS + 1) + _size_labels(across))
    lines.append("* recommended  o unbeaten  x beaten  - - hardly worse below")
    if unnamed:
        lines.append(f"without room for a name: {', '.join(unnamed)}")
    return lines


def _point(ranked: Ranked, across: _Scale, up: _Scale, bound: float) -> _Point:
    """Where a candidate stands; never on the line of the bound, so that one sees on which side it is."""
    mean = ranked.candidate.divergence.mean
    row = up.row(_level(mean))
    if row == up.row(_level(bound)):
        row += 1 if mean <= bound else -1
    return _Point(MARKS[ranked.state], ranked.candidate.type, row, across.at(ranked.candidate.size_bytes))


def _level(divergence: float) -> float:
    return math.log10(max(divergence, _LEAST_DIVERGENCE))


def _divergence_scale(levels: Sequence[float], bound: float) -> _Scale:
    """With the bound, where it is less than a decade away."""
    least, most = min(levels), max(levels)
    if least - 1 < bound < most + 1:
        least, most = min(least, bound), max(most, bound)
    missing = max(0.0, _LEAST_DECADES - (most - least)) / 2
    return _Scale(least - missing, most + missing, _ROWS)


def _tick_rows(up: _Scale) -> dict[int, str]:
    """Round values by row, with a row between any two."""
    rows_: dict[int, str] = {}
    for tick in _TICKS:
        row = up.row(math.log10(tick))
        if up.least <= math.log10(tick) <= up.most and not {row - 1, row, row + 1} & rows_.keys():
            rows_[row] = f"{tick:g}"
    return rows_


def _size_labels(across: _Scale) -> str:
    """The sizes at both ends, and in the middle."""
    line = [" "] * across.cells
    for place in (0.0, 1.0, 0.5) if across.most > across.least else (0.5,):
        words = size_words(int(across.least + place * (across.most - across.least)))
        start = round(place * (across.cells - len(words)))
        if not "".join(line[max(0, start - 1) : start + len(words) + 1]).strip():
            line[start : start + len(words)] = words
    return "".join(line).rstrip()


def _drawn(points: Sequence[_Point], columns: int, bound: int) -> tuple[list[str], list[str]]:
    """The rows of the grid, and the labels that there was no room for."""
    grid = [[""] * columns for _ in range(_ROWS)]
    for point in reversed(points):  # the first of two in one place is seen
        grid[point.row][point.column] = point.mark
    unnamed = [point.label for point in points if not _label(grid, point)]
    background = {bound: "- "} if 0 <= bound < _ROWS else {}
    lines = []
    for row, cells in enumerate(grid):
        pattern = background.get(row, "  ")
        lines.append("".join(cell or pattern[column % 2] for column, cell in enumerate(cells)).rstrip())
    return lines, unnamed


def _label(grid: list[list[str]], point: _Point) -> bool:
    """Write a point's name beside it, or above or below, where there is room. False if there is none."""
    length, columns = len(point.label), len(grid[0])
    beside = (point.column + 2, point.column - 1 - length)
    places = [(point.row, start) for start in beside]
    places += [(point.row + by, start) for by in (-1, 1) for start in (point.column - length // 2, *beside)]
    for row, start in places:
        if not (0 <= row < len(grid) and start >= 0 and start + length <= columns):
            continue
        around = range(max(0, start - 1), min(columns, start + length + 1))
        if not any(grid[row][column] for column in around if (row, column) != (point.row, point.column)):
            grid[row][start : start + length] = point.label
            return True
    return False
