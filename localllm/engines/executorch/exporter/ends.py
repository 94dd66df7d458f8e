"""The tokens that begin and end texts, which a program carries for those who run it without more than its tokenizer."""

from pathlib import Path

import gguf
import numpy as np
from msgspec import Struct

from localllm.models.control_tokens import ends_among
from localllm.models.files import disk_errors
from localllm.models.gguf.cursor import Cursor
from localllm.models.gguf.fields import Fields
from localllm.models.gguf.header import GgufHeader
from localllm.models.gguf.vocabulary import TOKENS

_BEFORE_PAIRS = 4 + 4 + 8 + 8  # magic, version, numbers of tensors and of pairs
_END_KINDS = ("eos", "eot", "eom")


class Ends(Struct, frozen=True, kw_only=True):
    """Ids."""

    begin: int  # 0 where there is none, as ExecuTorch has it
    ends: tuple[int, ...]  # sorted; any of them ends an answer


def ends_of(header: GgufHeader, path: Path) -> Ends:
    """Those that the header names, and those whose text is that of an end. `path` is the model's first file."""
    fields = Fields(header.metadata)
    places = _places(header, path)
    named = {fields.count(f"tokenizer.ggml.{kind}_token_id") for kind in _END_KINDS}
    by_text = {places[text] for text in ends_among(places)}
    return Ends(
        begin=fields.count("tokenizer.ggml.bos_token_id") or 0,
        ends=tuple(sorted({place for place in named if place is not None and place < len(places)} | by_text)),
    )


def _places(header: GgufHeader, path: Path) -> dict[str, int]:
    """Ids by text. gguf's own reader takes seconds: it keeps every string and its length as an array of numpy."""
    with disk_errors(f"read {path}"), open(path, "rb") as file:
        data = file.read(header.data_offset)
    cursor = Cursor(data, len(data))
    cursor.skip(_BEFORE_PAIRS)
    for _ in range(len(header.metadata)):
        key, kind = cursor.take(cursor.u64()).decode(), cursor.u32()
        if key == TOKENS:
            cursor.u32()  # strings: `read_header` has checked it
            return {cursor.take(cursor.u64()).decode("utf-8", "replace"): place for place in range(cursor.u64())}
        _skip_value(cursor, kind)
    return {}


def _skip_value(cursor: Cursor, kind: int) -> None:
    if kind == gguf.GGUFValueType.STRING:
        cursor.skip(cursor.u64())
    elif kind == gguf.GGUFValueType.ARRAY:
        kind, count = cursor.u32(), cursor.u64()
        if kind == gguf.GGUFValueType.STRING:
            cursor.skip_strings(count)
        else:
            cursor.skip(count * _size_of(kind))
    else:
        cursor.skip(_size_of(kind))


def _size_of(kind: int) -> int:
    return int(np.dtype(gguf.GGUFReader.gguf_scalar_to_np[gguf.GGUFValueType(kind)]).itemsize)
