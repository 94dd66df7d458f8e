"""A vocabulary as a GGUF file holds it (ggml docs/gguf.md, "Tokenizer")."""

from collections.abc import Mapping

from msgspec import Struct


class Vocabulary(Struct, frozen=True, kw_only=True):
    """Everything under `tokenizer.`; ids are places in `tokens`."""

    model: str  # tokenizer.ggml.model: gpt2 (byte pairs) or llama (sentencepiece)
    pre: str  # tokenizer.ggml.pre: how text is cut before byte pairs are merged
    tokens: tuple[bytes, ...]
    types: tuple[int, ...]  # gguf.TokenType of each
    scores: tuple[float, ...] = ()  # of each, for sentencepiece
    merges: tuple[str, ...] = ()  # for byte pairs, best first
    special: Mapping[str, int] = {}  # tokenizer.ggml.<name>_token_id: bos, eos, eot, eom, unknown, padding, seperator …
    flags: Mapping[str, bool] = {}  # tokenizer.ggml.<name>: add_bos_token, add_space_prefix …
    chat_template: str | None = None
    chat_templates: Mapping[str, str] = {}  # others by name
