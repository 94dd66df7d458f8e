"""The step from a GGUF file to a smaller one.

The library is asked for its plan first: what it would refuse in the middle of its work, do otherwise than asked, or
end the process over is refused before a byte is written.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from localllm.devices.cpu import available_memory_bytes
from localllm.engines.llama_cpp.quantizer.call import plan, write
from localllm.engines.llama_cpp.quantizer.file import Pairs, file_bytes, read_pairs, tensor_bytes, written_pairs
from localllm.engines.llama_cpp.quantizer.importance import check_importance
from localllm.engines.llama_cpp.quantizer.layers import check_layers, new_names
from localllm.engines.llama_cpp.quantizer.limits import check_order, check_plan
from localllm.engines.llama_cpp.quantizer.log import PlannedTensor
from localllm.engines.llama_cpp.quantizer.order import EMBEDDING, OUTPUT, Importance, Order, Override
from localllm.engines.llama_cpp.quantizer.patterns import check_effect, check_patterns, is_matched
from localllm.engines.llama_cpp.quantizer.source import Source, read_source
from localllm.engines.llama_cpp.quantizer.weights import check_weights
from localllm.errors import EngineError, InvalidRequest
from localllm.models.disk_space import check_room
from localllm.models.files import disk_errors
from localllm.models.gguf.header import DEFAULT_ALIGNMENT, read_header
from localllm.models.gguf.tensors import TensorInfo
from localllm.models.reference import shown
from localllm.quantize.calibration.importance import read_importance
from localllm.quantize.steps import Progress, Quantize, Quantized, TensorPlan
from localllm.quantize.types import QuantType, tensor_type_number, type_of

_MOST_BUFFER_BYTES = 8 * 2**30  # llama.cpp's own
_LEAST_BUFFER_BYTES = 64 * 2**20
_MEMORY_SHARE = 4  # a buffer takes no more than one part in so many of the free memory
_PROBE_BYTES = 2**16


def quantize(step: Quantize, report: Callable[[Progress], None]) -> Quantized:
    """Write the file, synced, or only say what it would be, to the byte.

    The same order makes the same bytes, with however many threads. Where `report` raises, the library works on to the
    end: it can only be stopped by ending its process.

    Raises InvalidRequest for what cannot be done as asked, ModelNotFound and LoadFailed for a source that is not
    usable, NoRoom and ModelError where the file cannot be written, EngineError, and what `report` raises. When it
    raises after the writing began, the target is removed.
    """
    kind = type_of(step.type)
    source = read_source(Path(step.source))
    order = _order(step, kind, source)
    renamed = new_names(source.tensors, step.prune_layers)
    tensors = {new: source.tensors[old] for old, new in renamed.items()}
    planned = plan(order)
    if {tensor.name for tensor in planned} != set(tensors):
        raise EngineError("llama.cpp planned other tensors than the source has; is it another version?")
    _check_types(step, kind, order, planned)
    check_plan(order, planned, tensors)
    warnings = check_importance(order, planned, tensors)
    pairs = _pairs(order, source)
    result = Quantized(
        size_bytes=file_bytes(pairs, ((tensor.name, tensors[tensor.name].shape, tensor.type) for tensor in planned)),
        weights_bytes=sum(tensor_bytes(tensors[tensor.name].shape, tensor.type) for tensor in planned),
        parameters=sum(tensor.elements for tensor in tensors.values()),
        tensors=tuple(_told(tensor, tensors[tensor.name], order, kind, is_tied=source.is_tied) for tensor in planned),
        warnings=warnings,
    )
    if step.is_dry:
        return result
    check_weights(planned, tensors, order.importance, source)
    return _written(step, order, source, pairs, result, report)


def _order(step: Quantize, kind: QuantType, source: Source) -> Order:
    """The step in the terms of the library. Raises InvalidRequest for what it must not be asked, LoadFailed."""
    output, embedding = (
        tensor_type_number(text, param) if text else None
        for text, param in ((step.output_type, "output_type"), (step.embedding_type, "embedding_type"))
    )
    if source.is_tied and output is not None:  # alone, the library heeds it sometimes
        if embedding not in (None, output):
            raise InvalidRequest(
                f"the embedding of this model is its output too: {step.embedding_type} and {step.output_type} are "
                "asked for; name one",
                param="embedding_type",
            )
        output, embedding = None, output
    order = Order(
        source=source.parts[0],
        file_type=kind.number,
        threads=step.threads,
        importance=_importance(step),
        overrides=tuple(Override(each.pattern, tensor_type_number(each.type, "overrides")) for each in step.overrides),
        output_type=output,
        embedding_type=embedding,
        is_pure=step.is_pure,
        prune_layers=step.prune_layers,
        allow_requantize=step.allow_requantize,
        metadata=step.metadata,
        most_buffer_bytes=_buffer_bytes(),
    )
    architecture = source.facts.architecture
    check_order(order, source.tensors, architecture)
    check_patterns(order.overrides)
    check_layers(step.prune_layers, source.facts.layers, architecture, source.header.metadata, source.tensors)
    if source.header.alignment == DEFAULT_ALIGNMENT:
        return order
    aligned = {**step.metadata, "general.alignment": DEFAULT_ALIGNMENT}  # it aligns so, whatever the source says
    return msgspec.structs.replace(order, metadata=aligned)


def _importance(step: Quantize) -> Importance:
    return read_importance(Path(step.importance)).values if step.importance else {}


def _buffer_bytes() -> int:
    share = available_memory_bytes() // _MEMORY_SHARE
    return min(_MOST_BUFFER_BYTES, max(_LEAST_BUFFER_BYTES, share))


def _check_types(step: Quantize, kind: QuantType, order: Order, planned: Sequence[PlannedTensor]) -> None:
    """Raises InvalidRequest where the library would leave out what is asked, and not say so."""
    if order.overrides and not kind.is_quantized:
        raise InvalidRequest(
            f"in a file of {kind.name} no tensor can have another type; leave out the patterns", param="overrides"
        )
    check_effect(order.overrides, planned)
    if kind.name == "MXFP4_MOE" and not any(tensor.type == "MXFP4" for tensor in planned):
        raise InvalidRequest(
            f"MXFP4_MOE is for mixtures of experts; {shown(step.source)} is none, and all of it would become Q8_0; "
            "take Q4_K_M or IQ4_NL",
            param="type",
        )


def _pairs(order: Order, source: Source) -> Pairs:
    """The metadata of the new file."""
    said: dict[str, str | int] = dict(order.metadata)
    if order.prune_layers:
        said[f"{source.facts.architecture}.block_count"] = source.facts.layers - len(set(order.prune_layers))
    return written_pairs(read_pairs(source.parts[0], source.header), file_type=order.file_type, metadata=said)


def _told(tensor: PlannedTensor, source: TensorInfo, order: Order, kind: QuantType, *, is_tied: bool) -> TensorPlan:
    """What becomes of a tensor. Of the output the library does not say that its rows do not fit."""
    fallback = tensor.fallback_from
    if (
        not fallback
        and tensor.name == (EMBEDDING if is_tied else OUTPUT)
        and tensor.type == "Q8_0"
        and source.shape[0] % kind.block_elements
        and not order.is_pure
        and order.embedding_type is order.output_type is None
        and not is_matched(order.overrides, tensor.name)
    ):
        fallback = kind.output_type
    return TensorPlan(name=tensor.name, source_type=tensor.source_type, type=tensor.type, fallback_from=fallback)


def _written(
    step: Quantize, order: Order, source: Source, pairs: Pairs, result: Quantized, report: Callable[[Progress], None]
) -> Quantized:
    """The result, after the file has been written to the target and checked."""
    target = _checked_target(step, source)
    check_room(target.parent, result.size_bytes)
    with disk_errors(f"write {target}"):
        target.touch()  # the library does not say why a file cannot be made
    total = len(result.tensors)
    try:
        try:
            write(order, target, lambda number, name: report(Progress(number - 1, total, name)))
        except Exception:
            _probe(target)
            raise
        _sync(target)
        warnings = _check_written(target, pairs, result)
        report(Progress(total, total))
    except BaseException:
        with suppress(OSError):  # what went wrong before says more
            target.unlink()
        raise
    return msgspec.structs.replace(result, size_bytes=target.stat().st_size, warnings=(*result.warnings, *warnings))


def _checked_target(step: Quantize, source: Source) -> Path:
    if not step.target:
        raise InvalidRequest("there is no target to write to; name one", param="target")
    target = Path(step.target)
    with disk_errors(f"write {target}"):
        if target.exists() and any(target.samefile(part) for part in source.parts):
            raise InvalidRequest(f"{target} is what is to be quantized; name another target", param="target")
    return target


def _probe(target: Path) -> None:
    """Raises NoRoom or ModelError where no more can be written, which the library calls an iostream error."""
    with disk_errors(f"write {target}"), target.open("ab") as file:
        file.write(bytes(_PROBE_BYTES))
        file.flush()
        os.fsync(file.fileno())


def _sync(target: Path) -> None:
    with disk_errors(f"write {target}"), target.open("r+b") as file:
        os.fsync(file.fileno())


def _check_written(target: Path, pairs: Pairs, result: Quantized) -> tuple[str, ...]:
    """Warnings about metadata. Raises LoadFailed or EngineError where the file is not what was planned."""
    header = read_header(target)
    found: Mapping[str, str] = {tensor.name: tensor.type_name for tensor in header.tensors}
    if found != {tensor.name: tensor.type for tensor in result.tensors}:
        raise EngineError(f"llama.cpp wrote other tensors to {target} than it had planned")
    there = read_pairs(target, header)
    other = sorted(key for key in pairs.keys() | there.keys() if pairs.get(key) != there.get(key))
    if not other:
        return ()
    return (f"the file has other metadata than its source: {shown(', '.join(other))}; NUL in a text ends it",)
