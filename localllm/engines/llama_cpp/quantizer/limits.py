"""What llama.cpp's quantizer must not be asked: it would end the process, or not do it and not say so.

Sources: the assertions in llama.cpp's src/llama-quant.cpp, and in `load_hparams` of src/llama-model.cpp.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from localllm.engines.llama_cpp.quantizer.log import PlannedTensor
from localllm.engines.llama_cpp.quantizer.order import EMBEDDING, EMBEDDINGS, OUTPUT, Order
from localllm.errors import InvalidRequest, LoadFailed
from localllm.models.gguf.facts import ModelFacts
from localllm.models.gguf.tensor_types import TENSOR_TYPES
from localllm.models.gguf.tensors import TensorInfo
from localllm.models.reference import shown

MOST_THREADS = 512  # a thread that cannot be started ends the process
MOST_TEXT_BYTES = 127  # of a key and of a text: char[128] in llama_model_kv_override
_MOST_EXPERTS = 512  # LLAMA_MAX_EXPERTS
_MOST_DIMENSIONS = 3
_KEY = re.compile(r"[A-Za-z0-9_.-]+")
_RESERVED = re.compile(r"general\.(?:architecture|alignment|file_type|quantization_version)|(?:split|tokenizer)\..*")
_ROPE_SCALING = {"", "none", "linear", "yarn", "longrope"}
_UNQUANTIZED = {"F32", "F16", "BF16"}

Tensors = Mapping[str, TensorInfo]


def check_model(facts: ModelFacts, rope_scaling: str) -> None:
    """Raises LoadFailed for numbers that llama.cpp asserts not to be. `rope_scaling`: rope.scaling.type, or ""."""
    if facts.architecture == "clip":  # of which only tensors are read
        return
    if not facts.layers:
        raise LoadFailed(f"{facts.architecture}.block_count is missing or 0; this file holds no model")
    if not facts.experts_used <= facts.experts <= _MOST_EXPERTS or bool(facts.experts) != bool(facts.experts_used):
        raise LoadFailed(f"this file claims {facts.experts_used} experts of {facts.experts}, which cannot be")
    if rope_scaling not in _ROPE_SCALING:
        raise LoadFailed(f"this file has a rope scaling that llama.cpp does not know, {shown(rope_scaling, 40)}")


def check_order(order: Order, tensors: Tensors, architecture: str) -> None:
    """Raises InvalidRequest, naming the field, for what would end the process in any run, dry ones too."""
    if not 1 <= order.threads <= MOST_THREADS:
        raise InvalidRequest(f"{order.threads} threads are asked for; take 1 to {MOST_THREADS}", param="threads")
    for key, value in order.metadata.items():
        _check_metadata(key, value, architecture)
    _check_rows("embedding_type", order.embedding_type, EMBEDDINGS, tensors)
    _check_rows("output_type", order.output_type, (OUTPUT,), tensors)


def check_plan(order: Order, planned: Sequence[PlannedTensor], sources: Tensors) -> None:
    """`sources` are the tensors by their new names.

    Raises InvalidRequest where the source is quantized already, or another type than the asked one would be given,
    LoadFailed for tensors that cannot be quantized.
    """
    for tensor in planned:
        if tensor.type == tensor.source_type:
            continue
        if any(length > 1 for length in sources[tensor.name].shape[_MOST_DIMENSIONS:]):
            raise LoadFailed(f"the tensor {shown(tensor.name)} has four dimensions; llama.cpp quantizes three at most")
        if tensor.source_type not in _UNQUANTIZED and not order.allow_requantize:
            raise InvalidRequest(
                f"{order.source} is quantized already: {shown(tensor.name)} is {tensor.source_type}; take the original "
                "weights, or add --allow-requantize, which loses quality twice",
                param="allow_requantize",
            )
    _check_given("embedding_type", order.embedding_type, EMBEDDING, planned)
    _check_given("output_type", order.output_type, OUTPUT, planned)


def _check_rows(param: str, kind: int | None, names: Iterable[str], tensors: Tensors) -> None:
    """These types are taken without a look at the rows."""
    if kind is None:
        return
    asked = TENSOR_TYPES[kind]
    for name in names:
        row = tensors[name].shape[0] if name in tensors and tensors[name].shape else 0
        if row % asked.block_elements:
            raise InvalidRequest(
                f"{name} cannot be {asked.name}: its rows have {row} elements, {asked.name} needs multiples of "
                f"{asked.block_elements}; take a type that needs multiples of 32, such as Q8_0 or Q4_0",
                param=param,
            )


def _check_given(param: str, kind: int | None, name: str, planned: Sequence[PlannedTensor]) -> None:
    if kind is None:
        return
    asked = TENSOR_TYPES[kind].name
    given = next((tensor.type for tensor in planned if tensor.name == name), None)
    if given != asked:
        what = f"there is no {name}" if given is None else f"{name} is {given} whatever is asked"
        raise InvalidRequest(f"nothing becomes {asked} by {param}: {what}; leave it out", param=param)


def _check_metadata(key: str, value: str | int, architecture: str) -> None:
    if not _KEY.fullmatch(key) or len(key) > MOST_TEXT_BYTES:
        raise _wrong(key, f"is no key of letters, digits, _ . - and {MOST_TEXT_BYTES} characters at most")
    if _RESERVED.fullmatch(key) or key.startswith(f"{architecture}."):
        raise _wrong(key, "follows from the model itself and is not set")
    if isinstance(value, int):
        if not 0 <= value < 2**32:
            raise _wrong(key, f"is {value}; a number from 0 to {2**32 - 1} can be kept")
    elif "\0" in value or len(value.encode(errors="surrogateescape")) > MOST_TEXT_BYTES:
        raise _wrong(key, f"has a longer text than the {MOST_TEXT_BYTES} bytes that can be kept, or NUL in it")


def _wrong(key: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"metadata {shown(repr(key), 80)} {why}", param="metadata")
