"""The tokenizer beside a model of OpenVINO's own, openvino_tokenizer.xml."""

from collections.abc import Iterable

import numpy as np
import openvino_genai as genai

from localllm.engines.openvino.native import line
from localllm.errors import EngineError

_ROWS = 4096  # of tokens that are turned into text at once


class IrTokenizer:
    """OpenVINO's tokenizer; see Tokenizer. It has no way of reading the names of control tokens as plain text, so
    `parse_special` is always true."""

    def __init__(self, native: genai.Tokenizer, more_ends: Iterable[int] = ()) -> None:
        """`more_ends`: of generation_config.json, which may name several."""
        self._native = native
        vocabulary: dict[bytes, int] = native.get_vocab()
        self.vocab_size = max(vocabulary.values(), default=-1) + 1
        self._pieces = [b""] * self.vocab_size
        for piece, token in vocabulary.items():
            self._pieces[token] = piece
        for token in self._control_tokens():
            self._pieces[token] = b""
        eos = int(native.get_eos_token_id())
        self.end_tokens = frozenset(token for token in (eos, *more_ends) if 0 <= token < self.vocab_size)
        self.bos = str(native.get_bos_token())
        self.eos = str(native.get_eos_token())
        self.chat_template = str(native.get_original_chat_template()) or None

    def encode(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:  # noqa: ARG002
        """Token ids of `text`; see the class for `parse_special`. Raises EngineError."""
        if not text and not add_special:
            return []
        whole = text.encode("utf-8", "replace").decode("utf-8")  # without halves of surrogate pairs
        try:
            ids = self._native.encode(whole, add_special_tokens=add_special).input_ids
        except RuntimeError as error:
            raise EngineError(f"the tokenizer failed at a text of {len(text)} letters: {line(error)}") from error
        return [int(token) for token in np.asarray(ids.data).reshape(-1)]

    def piece(self, token: int) -> bytes:
        """The bytes of a token."""
        return self._pieces[token] if 0 <= token < self.vocab_size else b""

    def _control_tokens(self) -> list[int]:
        """Those that are left out of a text without control tokens."""
        found: list[int] = []
        for start in range(0, self.vocab_size, _ROWS):
            rows = [[token] for token in range(start, min(start + _ROWS, self.vocab_size))]
            plain = self._native.decode(rows, skip_special_tokens=True)
            whole = self._native.decode(rows, skip_special_tokens=False)
            found += [row[0] for row, shown, kept in zip(rows, plain, whole, strict=True) if kept and not shown]
        return found
