"""A program of ExecuTorch: what its file says it holds, checked before anything native reads it.

The file begins with a FlatBuffer (executorch schema/program.fbs), in whose head an extended header stands
(schema/extended_header.h and .cpp); segments of data follow it.
"""

import os
import struct
from collections.abc import Mapping
from io import BufferedReader
from pathlib import Path

import msgspec
from msgspec import Struct

from localllm.errors import LoadFailed, ModelNotFound
from localllm.models.files import NotRegular, open_regular
from localllm.models.gguf.cursor import Truncated
from localllm.models.pte.flatbuffer import Table, damaged, root_of
from localllm.models.reference import shown

MAGIC, MAGIC_OFFSET = b"ET12", 4  # `file_identifier` of program.fbs
MAX_PROGRAM_BYTES = 128 * 2**20  # without its segments, which hold the weights, one of 100 layers has 1 MB
FORWARD = "forward"
_HEAD_BYTES = 64  # extended_header.h, `kNumHeadBytes`
_EXTENDED_MAGIC, _EXTENDED_OFFSET = b"eh00", 8
_EXTENDED = struct.Struct("<4sIQQQ")  # magic, its length, program size, segment base offset, segment data size
_LEAST_EXTENDED_BYTES = _EXTENDED.size - 8  # before ExecuTorch 1.0 the last number was missing
# Far more than any program has, so that a hostile one is no work
_MOST_METHODS = 100
_MOST_RESULTS = 100  # and inputs, of a method
_MOST_DIMENSIONS = 16  # executorch runtime/core/exec_aten/util/tensor_dimension_limit.h, `kTensorDimensionLimit`
_MOST_OPERATORS = 10_000
_MOST_DELEGATES = 100_000
_MOST_SEGMENTS = 100_000
_MOST_BUFFERS = 1000

# Fields of the tables in program.fbs
_PROGRAM_PLANS, _PROGRAM_SEGMENTS = 1, 4
_PLAN_NAME, _PLAN_VALUES, _PLAN_INPUTS, _PLAN_OUTPUTS = 0, 2, 3, 4
_PLAN_OPERATORS, _PLAN_DELEGATES, _PLAN_BUFFERS = 6, 7, 8
_OPERATOR_NAME, _OPERATOR_OVERLOAD = 0, 1
_DELEGATE_ID = 0
_SEGMENT_OFFSET, _SEGMENT_SIZE = 0, 1
_VALUE_KIND, _VALUE = 0, 1
_INT, _BOOL, _TENSOR = 2, 3, 5  # members of the union `KernelTypes`
_TENSOR_SIZES, _TENSOR_DYNAMISM = 2, 8


class ProgramFacts(Struct, frozen=True, kw_only=True):
    """What a program says of itself; None where it does not say."""

    size_bytes: int  # of the file
    methods: tuple[str, ...]
    constants: Mapping[str, tuple[int, ...]]  # by the method that returns them, such as get_eos_ids
    context_tokens: int | None = None  # the most that the KV cache holds
    vocabulary: int | None = None
    layers: int | None = None
    most_tokens: int | None = None  # that one call of `forward` takes
    is_dynamic: bool = True  # False: a call takes exactly `most_tokens`
    backends: tuple[str, ...] = ()  # that `forward` hands work to, such as XnnpackBackend; each once
    delegates: int = 0  # parts of `forward` that they run
    operators: tuple[str, ...] = ()  # kernels that it needs beside, such as llama::custom_sdpa.out
    has_forward: bool = False
    planned_bytes: int = 0  # memory for the KV cache and activations of one context, beside the weights


class _Head(Struct, frozen=True, kw_only=True):
    """The extended header."""

    program_bytes: int  # from the beginning of the file
    segments_offset: int = 0  # 0: there are none
    segments_bytes: int = 0  # 0: not known


class _Method(Struct, frozen=True, kw_only=True):
    """What is known of a method from its plan."""

    inputs: tuple[Table, ...]
    outputs: tuple[Table, ...]
    plan: Table


def read_program(path: Path) -> ProgramFacts:
    """What the program in a file says of itself.

    It is read, not mapped: a mapped file that becomes shorter meanwhile would end the process. Raises ModelNotFound
    where there is no such file, LoadFailed, naming the file, where it cannot be read or is not right.
    """
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            return _read_whole(file)
    except LoadFailed as error:
        raise LoadFailed(f"{shown(path)}: {error.message}") from error
    except NotRegular as error:
        raise LoadFailed(f"{shown(path)} is no regular file; name a .pte file") from error
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ModelNotFound(f"there is no file {shown(path)}", param="model") from error
    except (OSError, ValueError) as error:  # ValueError: NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise LoadFailed(f"cannot read {shown(path)}: {shown(reason)}; check the path and its permissions") from error


def parse_program(data: bytes, file_bytes: int) -> ProgramFacts:
    """What the program at the beginning of a file of `file_bytes` says, of which `data` is the first part.

    Raises Truncated where the program goes on beyond `data`, LoadFailed where it is not right.
    """
    if len(data) < min(_HEAD_BYTES, file_bytes):
        raise Truncated(min(_HEAD_BYTES, file_bytes))
    head = _head_of(data, file_bytes)
    if len(data) < head.program_bytes:
        raise Truncated(head.program_bytes)
    program = root_of(data[: head.program_bytes])
    _check_segments(program, head, file_bytes)
    methods = _methods_of(program)
    constants = {name: found for name, method in methods.items() if (found := _constants_of(method))}
    return _facts_of(methods, constants, file_bytes)


def _read_whole(file: BufferedReader) -> ProgramFacts:
    file_bytes = os.fstat(file.fileno()).st_size
    data = file.read(_HEAD_BYTES)
    try:
        return parse_program(data, file_bytes)
    except Truncated as truncated:
        data += file.read(truncated.wanted_bytes - len(data))
    try:
        return parse_program(data, file_bytes)
    except Truncated as truncated:
        raise damaged("it became shorter while it was read") from truncated


def _head_of(data: bytes, file_bytes: int) -> _Head:
    """Checked against the size of the file (runtime/executor/program.cpp, `Program::load`)."""
    if data[MAGIC_OFFSET : MAGIC_OFFSET + len(MAGIC)] != MAGIC:
        raise LoadFailed(f"this is no ExecuTorch program: it begins with {data[:8]!r}; name a .pte file")
    head = _extended(data) or _Head(program_bytes=file_bytes)
    end = head.segments_offset + head.segments_bytes if head.segments_offset else head.program_bytes
    if max(end, head.program_bytes) > file_bytes:
        raise damaged(f"it ends early: {file_bytes} bytes are here, and {max(end, head.program_bytes)} belong to it")
    if 0 < head.segments_offset < head.program_bytes:
        raise damaged("its parts overlap")
    if head.program_bytes > MAX_PROGRAM_BYTES:
        raise LoadFailed("this ExecuTorch program has its weights among its code; export it anew, by ExecuTorch 1.0 on")
    return head


def _extended(data: bytes) -> _Head | None:
    """None where there is none: then the program is the whole file."""
    if len(data) < _EXTENDED_OFFSET + _EXTENDED.size or not data[_EXTENDED_OFFSET:].startswith(_EXTENDED_MAGIC):
        return None
    _, length, program_bytes, offset, segments_bytes = _EXTENDED.unpack_from(data, _EXTENDED_OFFSET)
    if length < _LEAST_EXTENDED_BYTES or program_bytes < _EXTENDED_OFFSET + length:
        raise damaged("its header is too short")
    return _Head(
        program_bytes=program_bytes,
        segments_offset=offset,
        segments_bytes=segments_bytes if length >= _EXTENDED.size else 0,
    )


def _check_segments(program: Table, head: _Head, file_bytes: int) -> None:
    room_bytes = file_bytes - head.segments_offset if head.segments_offset else 0
    for segment in program.tables(_PROGRAM_SEGMENTS, _MOST_SEGMENTS):
        if segment.u64(_SEGMENT_OFFSET) + segment.u64(_SEGMENT_SIZE) > room_bytes:
            raise damaged("a segment of it lies beyond its end")


def _methods_of(program: Table) -> dict[str, _Method]:
    methods: dict[str, _Method] = {}
    for plan in program.tables(_PROGRAM_PLANS, _MOST_METHODS):
        inputs, outputs = (
            tuple(plan.table_at(_PLAN_VALUES, index) for index in plan.i32s(field, _MOST_RESULTS))
            for field in (_PLAN_INPUTS, _PLAN_OUTPUTS)
        )
        methods.setdefault(plan.text(_PLAN_NAME), _Method(inputs=inputs, outputs=outputs, plan=plan))
    return methods


def _constants_of(method: _Method) -> tuple[int, ...]:
    """What a method returns that computes nothing; nothing where it does, or returns other than whole numbers."""
    if method.inputs:
        return ()
    found = []
    for output in method.outputs:
        kind, value = output.byte(_VALUE_KIND), output.table(_VALUE)
        if value is None or kind not in {_INT, _BOOL}:
            return ()
        found.append(value.i64(0) if kind == _INT else value.byte(0))
    return tuple(found)


def _facts_of(
    methods: Mapping[str, _Method], constants: Mapping[str, tuple[int, ...]], size_bytes: int
) -> ProgramFacts:
    said = _count(constants, "get_max_seq_len")
    facts = ProgramFacts(
        size_bytes=size_bytes,
        methods=tuple(methods),
        constants=constants,
        context_tokens=_count(constants, "get_max_context_len") or said,
        vocabulary=_count(constants, "get_vocab_size"),
        layers=_count(constants, "get_n_layers"),
        most_tokens=max(said - 1, 1) if said is not None else None,  # what ExecuTorch's own export makes of it
    )
    forward = methods.get(FORWARD)
    return facts if forward is None else _with_forward(facts, forward)


def _with_forward(facts: ProgramFacts, forward: _Method) -> ProgramFacts:
    """`forward` itself says more, and more truly, than the methods that tell of it."""
    tokens = _shape(forward.inputs[0]) if forward.inputs else None
    delegates = [part.text(_DELEGATE_ID) for part in forward.plan.tables(_PLAN_DELEGATES, _MOST_DELEGATES)]
    return msgspec.structs.replace(
        facts,
        has_forward=True,
        vocabulary=_vocabulary(facts.vocabulary, _shape(forward.outputs[0]) if forward.outputs else None),
        most_tokens=facts.most_tokens if tokens is None else max(tokens.sizes[-1], 1),
        is_dynamic=tokens is None or tokens.is_dynamic,
        backends=tuple(dict.fromkeys(delegates)),
        delegates=len(delegates),
        operators=tuple(_operator_name(each) for each in forward.plan.tables(_PLAN_OPERATORS, _MOST_OPERATORS)),
        planned_bytes=sum(max(size, 0) for size in forward.plan.i64s(_PLAN_BUFFERS, _MOST_BUFFERS)),
    )


def _operator_name(operator: Table) -> str:
    """As the runtime registers it: name.overload, or the name alone."""
    name, overload = operator.text(_OPERATOR_NAME), operator.text(_OPERATOR_OVERLOAD)
    return f"{name}.{overload}" if overload else name


class _Shape(Struct, frozen=True, kw_only=True):
    """The most that each dimension of a tensor may have; there is one at least."""

    sizes: tuple[int, ...]
    is_dynamic: bool


def _shape(value: Table) -> _Shape | None:
    tensor = value.table(_VALUE) if value.byte(_VALUE_KIND) == _TENSOR else None
    sizes = tensor.i32s(_TENSOR_SIZES, _MOST_DIMENSIONS) if tensor is not None else []
    if tensor is None or not sizes:
        return None
    return _Shape(sizes=tuple(sizes), is_dynamic=tensor.byte(_TENSOR_DYNAMISM) != 0)


def _count(constants: Mapping[str, tuple[int, ...]], method: str) -> int | None:
    """A positive number that a method returns."""
    values = constants.get(method, ())
    if len(values) != 1:
        return None
    if values[0] < 1:
        raise damaged(f"its {method} is {values[0]}")
    return values[0]


def _vocabulary(said: int | None, logits: _Shape | None) -> int | None:
    """None where the two contradict each other: the engine, which knows what `forward` is for, says why it refuses."""
    if logits is None:
        return said
    width = logits.sizes[-1]
    return width if width >= 1 and said in {None, width} else None
