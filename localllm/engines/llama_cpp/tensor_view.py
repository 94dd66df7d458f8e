"""A look into ggml's tensors, whose layout is checked against the library before anything is read through it.

`struct ggml_tensor` has changed before and will again. So probes of known shapes are made and computed first, and
every field that is used is compared with what it must be.
"""

import ctypes
import functools
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from localllm.engines.llama_cpp.ggml import (
    CPU,
    F16,
    F32,
    I32,
    NAME_BYTES,
    SOURCES,
    FunctionMissing,
    Functions,
    InitParams,
    TensorFields,
    bind_functions,
)
from localllm.engines.llama_cpp.native import COMMIT
from localllm.errors import EngineUnavailable

_OBJECT_BYTES = 32  # struct ggml_object (ggml.c), which stands before each tensor of a context
_LEAST_OPERATIONS = 64  # ggml has more: names of lower numbers can be asked for without reading beyond its table
_PROBE_BYTES = 2**20  # of a context without data: the probes and their graph take a tenth
_TYPE_NAMES = {F32: b"f32", F16: b"f16", I32: b"i32"}

_NAME = b"probe.weight"
_LONGEST_NAME = b"probe." + b"x" * (NAME_BYTES - 7)

Number = TypeVar("Number", np.float32, np.int32)
Shape = tuple[int, int, int, int]


class LayoutDiffers(Exception):  # noqa: N818 - told to the user as EngineUnavailable
    """What was found in a probe is not what must be there."""


class TensorView:
    """Tensors by their addresses. `mul_mat` and `mul_mat_id` are the numbers of these operations in this build."""

    def __init__(self, functions: Functions, *, mul_mat: int, mul_mat_id: int) -> None:
        self.mul_mat = mul_mat
        self.mul_mat_id = mul_mat_id
        self._nbytes = functions["ggml_nbytes"]
        self._get = functions["ggml_backend_tensor_get"]

    @staticmethod
    def fields(address: int) -> TensorFields:
        """The fields of the tensor at `address`, not copied: valid as long as the tensor is."""
        return TensorFields.from_address(address)

    def floats(self, address: int) -> NDArray[np.float32]:
        """A copy of a computed tensor of type F32, on whatever device it is: [ne3, ne2, ne1, ne0].

        Raises ValueError for another type, and for strides that lead beyond the tensor's bytes.
        """
        return self._read(address, F32, np.float32)

    def integers(self, address: int) -> NDArray[np.int32]:
        """The same for the type I32."""
        return self._read(address, I32, np.int32)

    def _read(self, address: int, kind: int, number: type[Number]) -> NDArray[Number]:
        fields = self.fields(address)
        if fields.type != kind:
            raise ValueError(f"a tensor is of type {fields.type}, not {kind}")
        raw = np.empty(self._nbytes(address), np.uint8)
        self._get(address, raw.ctypes.data, 0, raw.nbytes)
        return np.ndarray(tuple(fields.ne)[::-1], number, raw.data, strides=tuple(fields.nb)[::-1])


@functools.cache
def open_tensor_view() -> TensorView:
    """The view, once the library is found to be laid out as it says. Raises EngineUnavailable."""
    try:
        return checked_view(bind_functions())
    except (FunctionMissing, LayoutDiffers) as error:
        raise EngineUnavailable(
            f"this build of llama.cpp ({COMMIT}) lays out tensors in a way not known here ({error}); "
            "use --calibrate none, or an importance matrix that was made elsewhere"
        ) from error


def checked_view(functions: Functions) -> TensorView:
    """Make probes, compute them, and compare all that a collector reads. Raises LayoutDiffers."""
    _expect("the size of a tensor", functions["ggml_tensor_overhead"](), _OBJECT_BYTES + ctypes.sizeof(TensorFields))
    for number, name in _TYPE_NAMES.items():
        _expect("the numbers of types", functions["ggml_type_name"](number), name)
    with _context(functions) as context:
        probes = _Probes.make(functions, context)
        for expected in probes.expected():
            _check_fields(expected)
        view = TensorView(
            functions,
            mul_mat=_operation(functions, probes.product, b"MUL_MAT"),
            mul_mat_id=_operation(functions, probes.expert_product, b"MUL_MAT_ID"),
        )
        _check_values(functions, context, probes, view)
    return view


class _Expected(Struct, frozen=True, kw_only=True):
    """What the fields of one probe must be; strides in bytes."""

    address: int
    type: int
    shape: Shape
    strides: Shape
    sources: tuple[int, ...] = ()
    name: bytes = b""


class _Probes(Struct, frozen=True, kw_only=True):
    """Addresses of tensors whose sizes all differ: weights, what enters them, and their products."""

    weights: int
    inputs: int
    product: int
    turned: int  # the inputs with their dimensions permuted: strides that are not in order
    experts: int
    routed: int
    choices: int
    expert_product: int

    @classmethod
    def make(cls, functions: Functions, context: int) -> "_Probes":
        """New tensors, without data."""

        def new(kind: int, shape: Shape, name: bytes) -> int:
            return named(functions["ggml_new_tensor_4d"](context, kind, *shape), name)

        def named(address: int, name: bytes) -> int:
            return int(functions["ggml_set_name"](address, name))

        weights, inputs = new(F16, (96, 33, 5, 2), _NAME), new(F32, (96, 7, 5, 2), _LONGEST_NAME)
        experts, routed = new(F32, (48, 11, 3, 1), _NAME), new(F32, (48, 1, 6, 1), _LONGEST_NAME)
        choices = new(I32, (2, 6, 1, 1), b"")
        return cls(
            weights=weights,
            inputs=inputs,
            product=int(functions["ggml_mul_mat"](context, weights, inputs)),
            turned=named(functions["ggml_permute"](context, inputs, 1, 0, 3, 2), _NAME),
            experts=experts,
            routed=routed,
            choices=choices,
            expert_product=int(functions["ggml_mul_mat_id"](context, experts, routed, choices)),
        )

    def expected(self) -> Iterator[_Expected]:
        """Shapes by the rules of ggml_mul_mat, ggml_mul_mat_id and ggml_permute (ggml.c)."""
        yield _packed(self.weights, F16, (96, 33, 5, 2), name=_NAME)
        yield _packed(self.inputs, F32, (96, 7, 5, 2), name=_LONGEST_NAME)
        yield _packed(self.product, F32, (33, 7, 5, 2), sources=(self.weights, self.inputs))
        inputs, shape, strides = (self.inputs,), (7, 96, 2, 5), (384, 4, 13440, 2688)
        yield _Expected(address=self.turned, type=F32, shape=shape, strides=strides, sources=inputs, name=_NAME)
        yield _packed(self.experts, F32, (48, 11, 3, 1), name=_NAME)
        yield _packed(self.routed, F32, (48, 1, 6, 1), name=_LONGEST_NAME)
        yield _packed(self.choices, I32, (2, 6, 1, 1))
        sources = (self.experts, self.routed, self.choices)
        yield _packed(self.expert_product, F32, (11, 2, 6, 1), sources=sources)


def _packed(address: int, kind: int, shape: Shape, *, sources: tuple[int, ...] = (), name: bytes = b"") -> _Expected:
    """A tensor without gaps."""
    item = 2 if kind == F16 else 4
    row = item * shape[0]
    strides = (item, row, row * shape[1], row * shape[1] * shape[2])
    return _Expected(address=address, type=kind, shape=shape, strides=strides, sources=sources, name=name)


def _check_fields(expected: _Expected) -> None:
    fields = TensorView.fields(expected.address)
    _expect("type", fields.type, expected.type)
    _expect("ne", tuple(fields.ne), expected.shape)
    _expect("nb", tuple(fields.nb), expected.strides)
    _expect("src", tuple(fields.src), expected.sources + (None,) * (SOURCES - len(expected.sources)))
    _expect("name", fields.name, expected.name)
    _expect("whether there is an op", fields.op != 0, bool(expected.sources))


def _operation(functions: Functions, address: int, name: bytes) -> int:
    """The number of an operation, which both the library and the view must find in the tensor at `address`."""
    number = int(TensorView.fields(address).op)
    if not 0 < number < _LEAST_OPERATIONS:
        raise LayoutDiffers(f"op: {number} is the number of no product")
    _expect("op", functions["ggml_op_name"](number), name)
    _expect("op", functions["ggml_op_desc"](address), name)
    return number


def _check_values(functions: Functions, context: int, probes: _Probes, view: TensorView) -> None:
    """Compute a product of experts, and read all that went into it and what came out."""
    random = np.random.default_rng(0)
    experts = random.random((1, 3, 11, 48), np.float32)
    inputs = random.random((1, 6, 1, 48), np.float32)
    choices = np.array([[0, 2], [1, 0], [2, 1], [0, 1], [1, 2], [2, 0]], np.int32).reshape(1, 1, 6, 2)
    given = {probes.experts: experts, probes.routed: inputs}
    with _computed(functions, context, {**given, probes.choices: choices}, probes.expert_product):
        read = {address: view.floats(address) for address in (*given, probes.expert_product)}
        same = [np.array_equal(read[address], values) for address, values in given.items()]
        if not all(same) or not np.array_equal(view.integers(probes.choices), choices):
            raise LayoutDiffers("values: they do not come back as they were written")
    product = np.einsum("tkor,tr->tko", experts[0][choices[0, 0]], inputs[0, :, 0])
    if not np.allclose(read[probes.expert_product][0], product, rtol=1e-2):
        raise LayoutDiffers("values: a product is not what it must be")


@contextmanager
def _context(functions: Functions) -> Generator[int, None, None]:
    """Room for tensors without data."""
    context = functions["ggml_init"](InitParams(_PROBE_BYTES, None, True))
    if not context:
        raise LayoutDiffers("no probe could be made")
    try:
        yield int(context)
    finally:
        functions["ggml_free"](context)


@contextmanager
def _computed(
    functions: Functions, context: int, given: Mapping[int, NDArray[np.generic]], result: int
) -> Generator[None, None, None]:
    """All tensors of the context get data on the CPU; `result` is computed from those that are `given`."""
    graph = functions["ggml_new_graph"](context)
    functions["ggml_build_forward_expand"](graph, result)
    backend = functions["ggml_backend_init_by_type"](CPU, None)
    buffer = functions["ggml_backend_alloc_ctx_tensors"](context, backend) if backend else None
    try:
        if not buffer:
            raise LayoutDiffers("no probe could be computed")
        for address, values in given.items():
            _expect("the size of values", functions["ggml_nbytes"](address), values.nbytes)
            functions["ggml_backend_tensor_set"](address, values.ctypes.data, 0, values.nbytes)
        _expect("the status of a computation", functions["ggml_backend_graph_compute"](backend, graph), 0)
        yield
    finally:
        if buffer:
            functions["ggml_backend_buffer_free"](buffer)
        if backend:
            functions["ggml_backend_free"](backend)


def _expect(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise LayoutDiffers(f"{what}: {found!r} instead of {expected!r}")
