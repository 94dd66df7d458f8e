"""The tokens that begin and end texts, which a program carries for those who run it without more than its tokenizer."""

from pathlib import Path

from msgspec import Struct

from localllm.models.control_tokens import ends_among
from localllm.models.gguf.arrays import read_arrays
from localllm.models.gguf.fields import Fields
from localllm.models.gguf.header import GgufHeader
from localllm.models.gguf.vocabulary import TOKENS

_END_KINDS = ("eos", "eot", "eom")


class Ends(Struct, frozen=True, kw_only=True):
    """Ids."""

    begin: int  # 0 where there is none, as ExecuTorch has it
    ends: tuple[int, ...]  # sorted; any of them ends an answer


def ends_of(header: GgufHeader, path: Path) -> Ends:
    """Those that the header names, and those whose text is that of an end. `path` is the model's first file.

    Raises LoadFailed.
    """
    fields = Fields(header.metadata)
    places = _places(header, path)
    named = {fields.count(f"tokenizer.ggml.{kind}_token_id") for kind in _END_KINDS}
    by_text = {places[text] for text in ends_among(places)}
    return Ends(
        begin=fields.count("tokenizer.ggml.bos_token_id") or 0,
        ends=tuple(sorted({place for place in named if place is not None and place < len(places)} | by_text)),
    )


def _places(header: GgufHeader, path: Path) -> dict[str, int]:
    """Ids by text."""
    texts = read_arrays(path, header, {TOKENS}).texts.get(TOKENS, [])
    return {text.decode("utf-8", "replace"): place for place, text in enumerate(texts)}
