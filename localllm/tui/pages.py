"""Cuts streaming Markdown into pages, so that a delta redraws one page and not the whole answer.

Textual draws the last top-level block anew for every delta. A list is one block, and one of 50 items cost half a
second of CPU a delta, taken from the model. So every item of an outermost list is a page of its own.
"""

import re
from typing import Literal, NamedTuple

Kind = Literal["prose", "item", "plain"]

MOST_PROSE_LINES = 40
MOST_MARKDOWN_LINES = 1000  # what follows is plain text: a runaway answer must not freeze the terminal
MOST_PLAIN_LINES = 200

_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_ITEM = re.compile(r"(?:[-*+]|(?P<number>\d{1,9})[.)])[ \t]+\S")
_FENCE = re.compile(r"\s*(?P<marks>`{3,}|~{3,})(?P<rest>.*)")
# The start of a line that may still become any of the above; a fence is known by its whole line.
_UNDECIDED = re.compile(r"\s*(?:(?:[-*+]|\d{1,9}[.)]?)?[ \t]*|`{1,2}|~{1,2}|`{3}.*|~{3}.*)")


class Piece(NamedTuple):
    """Text for the last page, or for a new one."""

    kind: Kind
    is_new: bool
    text: str


class Paginator:
    """Feed it clean text as it comes."""

    def __init__(self) -> None:
        self._kind: Kind = "prose"
        self._held = ""  # the start of a line that could still be anything
        self._fence = ""  # the marks that opened the code fence we are in
        self._number = 0  # of the list item that the last page holds
        self._lines = 0  # of the whole answer
        self._page_lines = 0
        self._is_line_start = True
        self._is_after_blank = True
        self._is_empty = True

    def feed(self, text: str) -> list[Piece]:
        """Where the next part belongs."""
        pieces: list[Piece] = []
        for part in _LINE.findall(self._held + text):
            if self._is_line_start and not part.endswith("\n") and _UNDECIDED.fullmatch(part):
                self._held = part
                return pieces
            pieces.append(self._place(part))
        self._held = ""
        return pieces

    def finish(self) -> list[Piece]:
        """What was held back; no more will come."""
        held, self._held = self._held, ""
        return [self._place(held)] if held else []

    def _place(self, part: str) -> Piece:
        is_new = False
        if self._is_line_start:
            kind = self._turn_page(part)
            is_new = kind is not None or self._is_empty
            self._kind = kind or self._kind
            if is_new:
                self._page_lines = 0
            part = self._renumber(part, is_new)
            self._follow_fence(part)
            self._is_after_blank = not part.strip()
        self._is_empty = False
        self._is_line_start = part.endswith("\n")
        self._lines += self._is_line_start
        self._page_lines += self._is_line_start
        return Piece(self._kind, is_new, part)

    def _turn_page(self, line: str) -> Kind | None:
        """The kind of page that this line begins, if it begins one."""
        if self._lines >= MOST_MARKDOWN_LINES:
            return "plain" if self._kind != "plain" or self._page_lines >= MOST_PLAIN_LINES else None
        if self._fence:
            return None
        if self._begins_item(line):
            return "item"
        is_block = self._is_after_blank and not line[0].isspace()
        if is_block and (self._kind == "item" or self._page_lines >= MOST_PROSE_LINES):
            return "prose"
        return None

    def _begins_item(self, line: str) -> bool:
        item = _ITEM.match(line)
        if item is None:
            return False
        is_first = item["number"] in (None, "1")  # Markdown: no other number begins a list inside a paragraph
        return is_first or self._is_after_blank or self._kind == "item"

    def _renumber(self, line: str, is_new: bool) -> str:
        """Markdown counts a list's items by itself, whatever numbers they carry; so must we, across pages."""
        item = _ITEM.match(line) if is_new and self._kind == "item" else None
        if item is None or item["number"] is None:
            self._number = 0 if is_new else self._number
            return line
        self._number = self._number + 1 if self._number else int(item["number"])
        return f"{self._number}{line[item.end('number') :]}"

    def _follow_fence(self, line: str) -> None:
        fence = _FENCE.match(line)
        if fence is None:
            return
        marks = fence["marks"]
        if not self._fence:
            is_inline = marks[0] == "`" and "`" in fence["rest"]  # ```so```
            self._fence = "" if is_inline else marks
        elif marks.startswith(self._fence) and not fence["rest"].strip():
            self._fence = ""
