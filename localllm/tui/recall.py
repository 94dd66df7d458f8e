"""Messages sent earlier, to be brought back into the prompt."""


class Recall:
    """Walks from the draft to older messages and back; the draft is kept."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._draft = ""
        self._place = 0  # counted from the end; 0 is the draft

    def add(self, text: str) -> None:
        """Remember a message that was sent; the next walk begins anew."""
        if not self._texts or self._texts[-1] != text:
            self._texts.append(text)
        self._place = 0

    def move(self, step: int, shown: str) -> str | None:
        """The text one step older (-1) or newer (1) than the one shown, if there is one."""
        place = self._place - step
        if not 0 <= place <= len(self._texts):
            return None
        if self._place == 0:
            self._draft = shown
        self._place = place
        return self._texts[-place] if place else self._draft
