"""What a GGUF file says of a model before its tensors (ggml docs/gguf.md, "Standardized key-value pairs")."""

import math
import re
from collections.abc import Mapping

import gguf

from localllm.convert.families.base import MetadataValue
from localllm.convert.vocabulary.vocabulary import Vocabulary
from localllm.errors import InvalidRequest, LoadFailed
from localllm.models.gguf.metadata import quoted
from localllm.models.gguf.quant import FILE_TYPES

_FILE_TYPE_NUMBERS = {label: number for number, label in FILE_TYPES.items()}
_KEY = re.compile(r"[a-z0-9_]+(?:\.[a-z0-9_]+)*")
_OWN = {"architecture", "type", "name", "file_type", "quantization_version", "alignment", "base_model.count"}
_BASE_MODEL = re.compile(r"base_model\.([0-9]{1,3})\..+")
_MOST_U32 = 2**32 - 1
_LARGEST_F32 = 3.4028234663852886e38
_PHI3_NAME = re.compile(r"(phi)-?(?=3)", re.IGNORECASE)
_PHI3_TOKENS = {b"</s>", b"<s>", b"<unk>", b"<|endoftext|>"}


def add_general(writer: gguf.GGUFWriter, *, name: str, more: Mapping[str, str], type_name: str) -> None:
    """Write `general.`: `more` by keys without that, `type_name` of most weights.

    Raises InvalidRequest for a key of `more` that is none, or that says what the file itself decides.
    """
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_string("general.name", name)
    for key, value in sorted(more.items()):
        if not _KEY.fullmatch(key) or key in _OWN:
            raise InvalidRequest(f"general.{quoted(key)[1:-1]} cannot be given; leave it out", param="metadata")
        writer.add_string(f"general.{key}", value)
    bases = [int(found[1]) for key in more if (found := _BASE_MODEL.fullmatch(key))]
    if bases:
        writer.add_uint32("general.base_model.count", max(bases) + 1)
    writer.add_file_type(_FILE_TYPE_NUMBERS[type_name])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def add_architecture_values(writer: gguf.GGUFWriter, values: Mapping[str, MetadataValue]) -> None:
    """Write a layout's metadata. Raises LoadFailed, naming the key, for a number that its type cannot hold."""
    for key, value in values.items():
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            _check(0 <= value <= _MOST_U32, key, value)
            writer.add_uint32(key, value)
        elif isinstance(value, float):
            _check(math.isfinite(value) and abs(value) <= _LARGEST_F32, key, value)
            writer.add_float32(key, float(value))
        else:
            writer.add_string(key, value)


def check_vocabulary(vocabulary: Vocabulary, size: int) -> None:
    """Raises LoadFailed unless there are `size` tokens, and types, scores and ids of these alone."""
    found = {"tokens": vocabulary.tokens, "types": vocabulary.types, "scores": vocabulary.scores or vocabulary.tokens}
    for what, values in found.items():
        if len(values) != size:
            raise LoadFailed(
                f"the vocabulary has {len(values)} {what}, the model {size} tokens; get the tokenizer's files again"
            )
    for name, token in vocabulary.special.items():
        if not 0 <= token < size:
            raise LoadFailed(f"the {name} token is number {token}, there are {size}; get the tokenizer's files again")


def safe_name(name: str, vocabulary: Vocabulary) -> str:
    """The name, without what llama.cpp would take for a Phi-3 where the tokens of that are missing: loading would fail.

    llama-vocab.cpp (`llama_vocab::impl::load`) looks for "phi-3" and "phi3" in general.name, then asks for four tokens.
    """
    return name if _PHI3_TOKENS.issubset(vocabulary.tokens) else _PHI3_NAME.sub(r"\1 ", name)


def _check(is_right: bool, key: str, value: MetadataValue) -> None:
    if not is_right:
        raise LoadFailed(
            f"config.json makes {quoted(key)} {value}, which a GGUF file cannot hold; take another checkpoint"
        )
