"""A model's vocabulary as llguidance wants it."""

import numpy as np
from llguidance import LLTokenizer
from numpy.typing import NDArray

from localllm.engines.base import Tokenizer

SPECIAL = 0xFF  # llguidance's mark in front of special tokens; no UTF-8 text holds this byte

Words = NDArray[np.uint32]


class Vocabulary:
    """The pieces of a tokenizer, in llguidance's prefix tree. Takes a fraction of a second to build."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.size = tokenizer.vocab_size
        self.end_tokens = tokenizer.end_tokens
        pieces = [tokenizer.piece(token) for token in range(self.size)]
        self._pieces = pieces
        hidden = [t for t, piece in enumerate(pieces) if not piece or piece[0] == SPECIAL or t in self.end_tokens]
        self.tree = LLTokenizer(_Pieces(self, pieces, hidden), eos_token=sorted(self.end_tokens))  # type: ignore[arg-type]
        self.text_tokens = _bits(self.size, hidden)
        self.ends = _bits(self.size, [token for token in range(self.size) if token not in self.end_tokens])

    def encode(self, text: str) -> list[int]:
        """Tokens whose pieces are exactly the UTF-8 bytes of `text`.

        Tokenizers that put a space before a text (SentencePiece) get the longest piece at each point instead:
        llguidance forces these tokens, so one byte too many would make it force what the grammar forbids.
        """
        tokens = self._tokenizer.encode(text, add_special=False, parse_special=False)
        raw = text.encode("utf-8")
        return tokens if b"".join(self._pieces[t] for t in tokens) == raw else self.tree.greedy_tokenize(text)


class _Pieces:
    """What LLTokenizer reads of a tokenizer (llguidance.TokenizerWrapper, without its search for methods)."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, vocabulary: Vocabulary, pieces: list[bytes], hidden: list[int]) -> None:
        self._vocabulary = vocabulary
        names = set(hidden)
        self.tokens = [b"<|%d|>" % t if t in names else piece for t, piece in enumerate(pieces)]
        self.special_token_ids = hidden
        self.eos_token_id = min(vocabulary.end_tokens)

    def __call__(self, text: str) -> list[int]:
        return self._vocabulary.encode(text)


def _bits(size: int, cleared: list[int]) -> Words:
    """A bit for each token, 32 to a word, lowest first: uint32 [ceil(size / 32)]; 0 where `cleared`."""
    bits = np.zeros((size + 31) // 32 * 32, np.uint8)
    bits[:size] = 1
    bits[cleared] = 0
    return np.packbits(bits, bitorder="little").view(np.uint32)
