"""Long texts in lines that fit a terminal: a heading in a column, the text beside it and below."""

import shutil
import textwrap

from localllm.cli.words import printable

LEAST_COLUMNS, USUAL_COLUMNS, MOST_COLUMNS = 80, 100, 120


def line_columns() -> int:
    """As wide as the terminal, within what is good to read; without a terminal, or COLUMNS, the usual."""
    return max(LEAST_COLUMNS, min(MOST_COLUMNS, shutil.get_terminal_size((USUAL_COLUMNS, 24)).columns))


def fold(heading: str, text: str, *, indent: int, columns: int) -> list[str]:
    """Lines with `text` from column `indent` on, and `heading` before the first. No word is cut, nor an address."""
    lead = f"{printable(heading):{indent - 1}} "
    return textwrap.wrap(
        printable(text),
        columns,
        initial_indent=lead,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [lead.rstrip()]
