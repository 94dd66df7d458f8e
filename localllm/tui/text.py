"""Text of models and clipboards made safe to show: no escape sequences, no control characters."""

import re

MOST_STRING = 256  # characters of an OSC or DCS string; one that is longer is shown as text instead of waited for

_STRING = rf"\x1b[\]PX^_][^\x07\x1b\n]{{0,{MOST_STRING}}}"
_SEQUENCE = re.compile(rf"\x1b\[[0-?]{{0,64}}[ -/]{{0,16}}[@-~]|{_STRING}(?:\x07|\x1b\\)|\x1b[ -/]{{0,16}}[0-~]")
_UNFINISHED = re.compile(rf"(?:\x1b\[[0-?]{{0,64}}[ -/]{{0,16}}|{_STRING}\x1b?|\x1b[ -/]{{0,16}}|\r)\Z")

# Python's splitlines, which Textual uses, breaks lines at more characters than Markdown does.
_LINE_BREAKS = "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
_SURROGATES = range(0xD800, 0xE000)  # cannot be written to a terminal
_BIDI_CONTROLS = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))  # can reorder what stands around the text
_CONTROLS = (*range(0x20), *range(0x7F, 0xA0), 0xFEFF)

_TABLE: dict[int, str | None] = {
    **dict.fromkeys((*_CONTROLS, *_BIDI_CONTROLS)),
    **dict.fromkeys(_SURROGATES, "\ufffd"),
    **dict.fromkeys(map(ord, _LINE_BREAKS), "\n"),
    ord("\t"): "\t",
    ord("\n"): "\n",
}


class Cleaner:
    """Cleans a text that comes in parts: an escape sequence may begin in one and end in the next."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> str:
        """The next part, without what must not reach the terminal."""
        text = self._held + text
        unfinished = _UNFINISHED.search(text)
        cut = unfinished.start() if unfinished else len(text)
        self._held = text[cut:]
        return _SEQUENCE.sub("", text[:cut].replace("\r\n", "\n")).translate(_TABLE)

    def finish(self) -> str:
        """What was held back; no more will come."""
        held, self._held = self._held, ""
        return held.translate(_TABLE)


def clean(text: str) -> str:
    """The whole of a text, made safe."""
    cleaner = Cleaner()
    return cleaner.feed(text) + cleaner.finish()
