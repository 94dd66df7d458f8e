"""The tokenizer inside a GGUF, through llama.cpp."""

import ctypes

import llama_cpp as lib

from localllm.engines.llama_cpp.native import Handle, metadata

_PIECE_BYTES = 256


class LlamaTokenizer:
    """Vocabulary of a loaded model; the model must outlive it."""

    def __init__(self, model: Handle) -> None:
        self._vocab = lib.llama_model_get_vocab(model)
        self._pieces: dict[int, bytes] = {}
        self.vocab_size = int(lib.llama_vocab_n_tokens(self._vocab))
        self.end_tokens = frozenset(t for t in range(self.vocab_size) if lib.llama_vocab_is_eog(self._vocab, t))
        self.bos = self._special(lib.llama_vocab_bos(self._vocab))
        self.eos = self._special(lib.llama_vocab_eos(self._vocab))
        self.chat_template = metadata(model, "tokenizer.chat_template")

    def encode(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """Token ids of `text`; see Tokenizer."""
        raw = text.encode("utf-8", "replace")
        room = len(raw) + 8
        out = (ctypes.c_int32 * room)()
        count = lib.llama_tokenize(self._vocab, raw, len(raw), out, room, add_special, parse_special)
        if count < 0:  # minus the room it wants
            out = (ctypes.c_int32 * -count)()
            count = lib.llama_tokenize(self._vocab, raw, len(raw), out, -count, add_special, parse_special)
        return list(out[:count])

    def piece(self, token: int) -> bytes:
        """The bytes of a token, remembered."""
        piece = self._pieces.get(token)
        if piece is None:
            piece = self._pieces[token] = self._read_piece(token)
        return piece

    def _read_piece(self, token: int) -> bytes:
        buffer = ctypes.create_string_buffer(_PIECE_BYTES)  # of its own: other threads read pieces too
        size = lib.llama_token_to_piece(self._vocab, token, buffer, _PIECE_BYTES, 0, False)
        if size >= 0:
            return buffer.raw[:size]
        buffer = ctypes.create_string_buffer(-size)
        lib.llama_token_to_piece(self._vocab, token, buffer, -size, 0, False)
        return buffer.raw[:-size]

    def _special(self, token: int) -> str:
        text = lib.llama_vocab_get_text(self._vocab, token) if token >= 0 else None
        return text.decode("utf-8", "replace") if text else ""
