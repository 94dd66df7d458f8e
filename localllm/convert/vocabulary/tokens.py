"""The tokens of a vocabulary while it is put together: text, type and score by id."""

from collections.abc import Iterable

import gguf

from localllm.convert.json_object import AGAIN
from localllm.errors import LoadFailed
from localllm.models.gguf.metadata import quoted

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = (
    int(kind)
    for kind in (
        gguf.TokenType.NORMAL,
        gguf.TokenType.UNKNOWN,
        gguf.TokenType.CONTROL,
        gguf.TokenType.USER_DEFINED,
        gguf.TokenType.UNUSED,
        gguf.TokenType.BYTE,
    )
)

_HOLE_SCORE = -10000.0  # as llama.cpp's converter writes it (conversion/base.py, _create_vocab_sentencepiece)


class Tokens:
    """Places for `size` tokens, at first all holes."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._texts: list[bytes | None] = [None] * size
        self._types = [UNUSED] * size
        self._scores = [_HOLE_SCORE] * size

    def add(self, place: int, text: str, kind: int, score: float = 0.0, *, file: str) -> None:
        """Fill a hole. Raises LoadFailed, naming `file`: no such row in the embedding, or two tokens for it."""
        if place >= self.size:
            raise LoadFailed(
                f"{file}: token {quoted(text)} has id {place}, and the embedding has {self.size} rows; {AGAIN}"
            )
        if (other := self._texts[place]) is not None:
            both = f"{quoted(other.decode())} and {quoted(text)}"
            raise LoadFailed(f"{file}: {both} both have id {place}; {AGAIN}")
        self.put(place, text, kind, score)

    def put(self, place: int, text: str, kind: int, score: float = 0.0) -> None:
        """Put a token in a place of its own, whatever was there."""
        self._texts[place] = text.encode()
        self._types[place] = kind
        self._scores[place] = score

    def texts(self) -> tuple[bytes, ...]:
        """The tokens by id, holes as [PAD<id>] like llama.cpp's converter. Raises LoadFailed for two alike.

        llama.cpp ends the process over these (llama_vocab::impl::load); it reads a text up to a NUL.
        """
        named = {text for text in self._texts if text is not None}
        texts = [self._hole(place, named) if text is None else text for place, text in enumerate(self._texts)]
        places: dict[bytes, int] = {}
        for place, text in enumerate(texts):
            read = text.partition(b"\0")[0] or f"[EMPTY_{place}]".encode()
            if (other := places.setdefault(read, place)) != place:
                shown = quoted(text.decode())
                raise LoadFailed(f"the tokenizer has {shown} twice, with ids {other} and {place}; {AGAIN}")
        return tuple(texts)

    def types(self) -> tuple[int, ...]:
        """The types by id."""
        return tuple(self._types)

    def scores(self) -> tuple[float, ...]:
        """The scores by id."""
        return tuple(self._scores)

    def _hole(self, place: int, named: Iterable[bytes]) -> bytes:
        text = f"[PAD{place}]"
        while text.encode() in named:
            text = f"[{text}]"
        return text.encode()
