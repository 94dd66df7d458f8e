"""Sequence breakers: strings across which a repetition does not count."""

from collections.abc import Sequence

from localllm.engines.base import Tokenizer

FIRST_LOOK_TOKENS = 256


class SequenceBreakers:
    """Follows a text token by token and sees where a breaker ends, also one that several tokens spell.

    A breaker that is the name of a control token stands for that token. `reach` is how many tokens stand after the
    last breaker, or in the whole text.
    """

    def __init__(self, breakers: Sequence[str], tokenizer: Tokenizer, text: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._breakers = [breaker.encode("utf-8", "replace") for breaker in breakers if breaker]
        self._tail_bytes = max(map(len, self._breakers), default=1) - 1
        self._tail = b""
        self._known: dict[int, bool] = {}
        for breaker in breakers:
            tokens = tokenizer.encode(breaker, add_special=False, parse_special=True)
            if len(tokens) == 1:
                self._known[tokens[0]] = True
        self.reach = 0
        self._read(text)

    def holds(self, token: int) -> bool:
        """Whether the token alone contains a breaker."""
        known = self._known.get(token)
        if known is None:
            piece = self._tokenizer.piece(token)
            known = self._known[token] = any(breaker in piece for breaker in self._breakers)
        return known

    def accept(self, token: int) -> None:
        """Move past a token."""
        self.reach = 0 if self._ends_in(token) else self.reach + 1

    def _read(self, text: Sequence[int]) -> None:
        """Move past a text. Only its end is looked at, from the last breaker on."""
        size = FIRST_LOOK_TOKENS
        while True:
            end = text[max(len(text) - size, 0) :]
            self.reach, self._tail = 0, b""
            for token in end:
                self.accept(token)
            if self.reach < len(end) or len(end) == len(text):
                return
            size *= 4

    def _ends_in(self, token: int) -> bool:
        piece = self._tokenizer.piece(token)
        before, text = len(self._tail), self._tail + piece
        # A control token has no text and parts what stands before it from what comes.
        self._tail = text[-self._tail_bytes :] if self._tail_bytes and piece else b""
        if self.holds(token):
            return True
        return any(text.find(breaker, max(before - len(breaker) + 1, 0)) >= 0 for breaker in self._breakers)
