"""The check that this build of llama.cpp lays out tensors as the view reads them: it passes, and can fail."""

import ctypes
from collections.abc import Iterator

import numpy as np
import pytest

from localllm.engines.llama_cpp import ggml, tensor_view
from localllm.engines.llama_cpp.ggml import F16, I32, TensorFields, bind_functions
from localllm.engines.llama_cpp.tensor_view import LayoutDiffers, checked_view, open_tensor_view
from localllm.errors import EngineUnavailable

Field = tuple[str, type]
FIELDS: list[Field] = list(TensorFields._fields_)
SIZE = ctypes.sizeof(TensorFields)


@pytest.fixture(autouse=True)
def unopened() -> Iterator[None]:
    open_tensor_view.cache_clear()
    yield
    open_tensor_view.cache_clear()


def swapped(one: str, other: str) -> list[Field]:
    """Two fields have changed places."""
    fields = dict(FIELDS)
    order = {one: other, other: one}
    return [(order.get(name, name), fields[order.get(name, name)]) for name, _ in FIELDS]


def changed(name: str, kind: type) -> list[Field]:
    """A field has another type."""
    return [(field, kind if field == name else old) for field, old in FIELDS]


def grown(before: str) -> list[Field]:
    """A new field stands before another, where there was padding at the end."""
    fields = [field for name, kind in FIELDS for field in ([("_new", ctypes.c_int64)] if name == before else [])]
    at = next(index for index, (name, _) in enumerate(FIELDS) if name == before)
    return [*FIELDS[:at], *fields, *FIELDS[at:-1]]


OTHER_LAYOUTS = {
    "no buffer": [field for field in FIELDS if field[0] != "_buffer"],
    "type after buffer": swapped("type", "_buffer"),
    "strides first": swapped("ne", "nb"),
    "op and flags": swapped("op", "_flags"),
    "op and its parameters": swapped("op", "_op_params"),
    "sources and name": swapped("src", "name"),
    "data and view": swapped("_data", "_view_src"),
    "short strides": changed("nb", ctypes.c_uint32 * 4),
    "long op": changed("op", ctypes.c_int64),
    "short names": changed("name", ctypes.c_char * 48),
    "fewer sources": changed("src", ctypes.c_void_p * 6),
    "fewer parameters": changed("_op_params", ctypes.c_int32 * 8),
    "new before ne": grown("ne"),
    "new before op": grown("op"),
    "new before src": grown("src"),
    "new before name": grown("name"),
}
HARMLESS = {"data and view"}  # fields that nobody reads


def test_this_build_is_laid_out_as_the_view_reads_it() -> None:
    view = open_tensor_view()
    functions = bind_functions()
    assert functions["ggml_op_name"](view.mul_mat) == b"MUL_MAT"
    assert functions["ggml_op_name"](view.mul_mat_id) == b"MUL_MAT_ID"
    assert open_tensor_view() is view


@pytest.mark.parametrize("name", OTHER_LAYOUTS)
@pytest.mark.parametrize("same_size", [True, False], ids=["same size", "own size"])
def test_another_layout_is_noticed(name: str, same_size: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the size of the real one, so that the fields themselves are noticed; and with its own."""

    class Other(ctypes.Structure):
        _fields_ = OTHER_LAYOUTS[name]

    class Padded(ctypes.Structure):
        _anonymous_ = ("other",)
        _fields_ = (("other", Other), ("_more", ctypes.c_char * max(0, SIZE - ctypes.sizeof(Other))))

    monkeypatch.setattr(tensor_view, "TensorFields", Padded if same_size else Other)
    if name in HARMLESS:
        checked_view(bind_functions())
    else:
        with pytest.raises(LayoutDiffers):
            checked_view(bind_functions())


def test_what_differs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(ctypes.Structure):
        _fields_ = swapped("ne", "nb")

    monkeypatch.setattr(tensor_view, "TensorFields", Other)
    with pytest.raises(EngineUnavailable, match=r"not known here \(ne: .*; use --calibrate none"):
        open_tensor_view()


def test_a_missing_function_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ggml._SIGNATURES, "ggml_no_such", (None, []))
    with pytest.raises(EngineUnavailable, match="ggml_no_such is missing"):
        open_tensor_view()


@pytest.mark.parametrize(
    ("function", "answer"),
    [
        ("ggml_tensor_overhead", 376),
        ("ggml_type_name", b"f64"),
        ("ggml_op_name", b"ADD"),
        ("ggml_op_desc", b"ADD"),
        ("ggml_init", None),
        ("ggml_backend_init_by_type", None),
        ("ggml_backend_graph_compute", 1),
    ],
)
def test_other_answers_of_the_library_are_noticed(function: str, answer: object) -> None:
    functions = {**bind_functions(), function: lambda *_: answer}
    with pytest.raises(LayoutDiffers):
        checked_view(functions)


def test_values_that_do_not_come_back_are_noticed() -> None:
    """A build whose tensor_get has another order of arguments, say."""

    def other(_tensor: int, target: int, _offset: int, size: int) -> None:
        ctypes.memset(target, 0, size)

    with pytest.raises(LayoutDiffers, match="do not come back"):
        checked_view({**bind_functions(), "ggml_backend_tensor_get": other})


def test_strides_that_lead_beyond_the_tensor_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    view = open_tensor_view()
    fields = TensorFields(type=0, ne=(4, 2, 1, 1), nb=(4, 32, 64, 64))
    monkeypatch.setattr(view, "_nbytes", lambda _address: 32)
    monkeypatch.setattr(view, "_get", lambda *_: None)
    with pytest.raises((ValueError, TypeError)):
        view.floats(ctypes.addressof(fields))


@pytest.mark.parametrize("kind", [F16, I32])
def test_only_floats_are_read_as_floats(kind: int) -> None:
    view = open_tensor_view()
    fields = TensorFields(type=kind, ne=(4, 1, 1, 1), nb=(4, 16, 16, 16))
    with pytest.raises(ValueError, match=f"type {kind}, not 0"):
        view.floats(ctypes.addressof(fields))


def test_a_turned_tensor_is_read_in_its_own_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """ggml names the length of a row first, numpy last."""
    view = open_tensor_view()
    memory = np.arange(6, dtype=np.int32)
    monkeypatch.setattr(view, "_nbytes", lambda _address: memory.nbytes)
    monkeypatch.setattr(
        view, "_get", lambda _tensor, target, _offset, size: ctypes.memmove(target, memory.ctypes.data, size)
    )
    fields = TensorFields(type=I32, ne=(2, 3, 1, 1), nb=(12, 4, 24, 24))
    assert view.integers(ctypes.addressof(fields)).tolist() == [[[[0, 3], [1, 4], [2, 5]]]]
