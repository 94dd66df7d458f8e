"""Token pieces to text, whole characters only."""

import codecs

from localllm.engines.base import Tokenizer


class Detokenizer:
    """Holds back the bytes of an unfinished UTF-8 character until the rest arrives."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, token: int) -> str:
        """The text that this token completes; invalid bytes become U+FFFD."""
        return self._decoder.decode(self._tokenizer.piece(token))

    def flush(self) -> str:
        """What is left at the end: U+FFFD for a character that never came whole."""
        return self._decoder.decode(b"", final=True)
