"""llama.cpp's quantizer: its plan is what it does, to the byte, and its log can be listened to."""

import gc
from pathlib import Path

import numpy as np
import pytest

from localllm.engines.llama_cpp.native import listening, load_model, recent_log
from localllm.engines.llama_cpp.quantizer.call import plan, write
from localllm.engines.llama_cpp.quantizer.file import file_bytes, read_pairs, written_pairs
from localllm.engines.llama_cpp.quantizer.layers import check_layers, new_names
from localllm.engines.llama_cpp.quantizer.log import PlannedTensor, QuantizerLog
from localllm.engines.llama_cpp.quantizer.order import Order, Override
from localllm.engines.llama_cpp.quantizer.patterns import check_patterns, is_matched
from localllm.errors import InvalidRequest, LoadFailed
from localllm.models.gguf.header import read_header
from localllm.models.gguf.quant import FILE_TYPES
from localllm.models.gguf.tensor_types import TENSOR_TYPES
from tests.marks import mostly_slow
from tests.quantize.wide import importance_values, write_wide_model

NUMBERS = {name: number for number, name in FILE_TYPES.items()}
TENSOR_NUMBERS = {kind.name: number for number, kind in TENSOR_TYPES.items()}
MADE = [name for name in NUMBERS if name not in ("MXFP4_MOE", "NVFP4")]
INFO, WARNING, ERROR, CONTINUED = 2, 3, 4, 5


def collect(_number: int, _name: str) -> None:
    gc.collect(0)


def ignore(_number: int, _name: str) -> None:
    pass


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_wide_model(tmp_path_factory.mktemp("wide") / "wide.gguf")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "out.gguf"


def types_in(path: Path) -> dict[str, str]:
    return {tensor.name: tensor.type_name for tensor in read_header(path).tensors}


def test_its_log_is_heard_and_kept(tmp_path: Path) -> None:
    heard: list[tuple[int, str]] = []
    missing = str(tmp_path / "none.gguf")
    with listening(lambda level, text: heard.append((level, text))), pytest.raises(LoadFailed):
        load_model([missing], lambda _: None)
    assert any(level == ERROR and missing in text for level, text in heard)
    assert "none.gguf" in recent_log()
    count = len(heard)
    with pytest.raises(LoadFailed):
        load_model([missing], lambda _: None)
    assert len(heard) == count


def test_what_a_listener_raises_is_raised_at_the_end_and_others_hear_on(wide: Path) -> None:
    heard: list[str] = []
    failures: list[str] = []

    def fail(_level: int, text: str) -> None:
        failures.append(text)
        raise KeyError("of the listener")

    with (
        pytest.raises(KeyError, match="of the listener"),
        listening(lambda _, text: heard.append(text)),
        listening(fail),
    ):
        plan(Order(source=wide, file_type=NUMBERS["Q8_0"]))
    assert len(failures) == 1
    assert any("quant size" in text for text in heard)


def test_the_log_tells_what_becomes_of_each_tensor() -> None:
    begun: list[tuple[int, str]] = []
    log = QuantizerLog(lambda number, name: begun.append((number, name)))
    for level, text in [
        (INFO, "llama_model_loader: - kv   0: general.name str = [   1/   9] x - [ 1], type = f16, \n"),
        (WARNING, f"warning: {'blk.0.a b.weight':36} - ncols    576 not divisible by 256 (required for type    q4_K) "),
        (WARNING, "-> falling back to    q5_0\n"),
        (WARNING, f"warning: {'odd.weight':36} - ncols     10 not divisible by  32 (required for type    q4_0) "),
        (WARNING, "(WARNING: must use F16 due to unusual shape) "),
        (WARNING, "-> falling back to     f16\n"),
        (INFO, f"[   1/   3] {'blk.0.a b.weight':36} - [  576,   192,     1,     1], type =   bf16, "),
        (INFO, "size =     0.21 MiB ->     0.07 MiB (q5_0)\n"),
        (INFO, f"[   2/   3] {'odd.weight':36} - [   10,     4,     1,     1], type =    f32, "),
        (INFO, "size =     0.00 MiB ->     0.00 MiB (f16)\n"),
        (INFO, f"[   3/   3] {'norm.weight':36} - [  576,     1,     1,     1], type =    f32, "),
        (INFO, "size =    0.002 MiB\n"),
    ]:
        log.hear(level, text)
    assert begun == [(1, "blk.0.a b.weight"), (2, "odd.weight"), (3, "norm.weight")]
    assert log.planned == (
        PlannedTensor(name="blk.0.a b.weight", source_type="BF16", type="Q5_0", fallback_from="Q4_K"),
        PlannedTensor(name="odd.weight", source_type="F32", type="F16", fallback_from="Q4_0"),
        PlannedTensor(name="norm.weight", source_type="F32", type="F32"),
    )


def test_its_last_words_are_the_errors_alone() -> None:
    log = QuantizerLog()
    log.hear(WARNING, "a warning\n")
    log.hear(CONTINUED, "that goes on\n")
    log.hear(ERROR, "\n========\n ERROR: it is so\n")
    log.hear(ERROR, "llama_model_quantize: failed to quantize: that ")
    log.hear(CONTINUED, "is why\n")
    assert log.errors == "it is so; that is why"


@pytest.mark.parametrize("name", mostly_slow(MADE, "Q4_K_M"))
def test_the_plan_is_what_it_writes_and_llama_cpp_loads_it(name: str, wide: Path, target: Path) -> None:
    order = Order(source=wide, file_type=NUMBERS[name], importance=importance_values())
    planned = plan(order)
    begun: list[tuple[int, str]] = []
    write(order, target, lambda number, name: begun.append((number, name)))
    assert begun == [(number, tensor.name) for number, tensor in enumerate(planned, 1)]
    assert types_in(target) == {tensor.name: tensor.type for tensor in planned}
    assert not any(tensor.fallback_from for tensor in planned)
    shapes = {tensor.name: tensor.shape for tensor in read_header(wide).tensors}
    pairs = written_pairs(read_pairs(wide, read_header(wide)), file_type=NUMBERS[name], metadata={})
    assert file_bytes(pairs, ((tensor.name, shapes[tensor.name], tensor.type) for tensor in planned)) == (
        target.stat().st_size
    )
    assert read_pairs(target, read_header(target)) == pairs
    assert load_model([str(target)], lambda _: None)


@pytest.mark.parametrize("name", mostly_slow(["Q4_K_M", "IQ4_XS", "Q8_0", "F32"]))
def test_neither_threads_nor_the_size_of_a_piece_change_a_byte(name: str, wide: Path, tmp_path: Path) -> None:
    made = []
    for threads, piece in ((1, 2**30), (2, 2**30), (7, 2**30), (2, 1), (1, 3000)):
        target = tmp_path / f"{threads}-{piece}"
        write(Order(source=wide, file_type=NUMBERS[name], threads=threads, most_buffer_bytes=piece), target, ignore)
        made.append(target.read_bytes())
    assert made[0] == made[1] == made[2] == made[3] == made[4]


@pytest.mark.slow
def test_importance_is_heeded_though_only_the_call_holds_it(wide: Path, tmp_path: Path) -> None:
    def make(number: int, **more: object) -> bytes:
        target = tmp_path / str(number)
        order = Order(source=wide, file_type=NUMBERS["Q4_K_S"], **more)  # type: ignore[arg-type]
        write(order, target, collect)
        return target.read_bytes()

    strided = {name: np.repeat(values, 2)[::2] for name, values in importance_values().items()}
    weighted = make(1, importance=importance_values())
    assert weighted == make(2, importance=strided)
    assert weighted != make(3)
    assert weighted != make(4, importance=importance_values(seed=1))


def test_what_the_listener_raises_comes_when_all_is_written(wide: Path, target: Path) -> None:
    def fail(_number: int, name: str) -> None:
        raise ValueError(name)

    with pytest.raises(ValueError, match=r"output\.weight"):
        write(Order(source=wide, file_type=NUMBERS["Q8_0"]), target, fail)


@pytest.mark.parametrize(
    ("number", "words"), [(NUMBERS["NVFP4"], "invalid output file type 39"), (6, "invalid output file type 6")]
)
def test_it_refuses_in_its_own_words(number: int, words: str, wide: Path) -> None:
    with pytest.raises(LoadFailed, match=words) as refused:
        plan(Order(source=wide, file_type=number))
    assert str(wide) in refused.value.message


@pytest.mark.parametrize(
    ("number", "overrides", "words"),
    [(NUMBERS["Q1_0"], (), "Q1_0"), (NUMBERS["Q8_0"], (Override("ffn_up", TENSOR_NUMBERS["NVFP4"]),), "NVFP4")],
)
def test_types_without_smaller_kin_need_rows_that_fit(
    number: int, overrides: tuple[Override, ...], words: str, tmp_path: Path
) -> None:
    narrow = write_wide_model(tmp_path / "narrow.gguf", width=96)
    with pytest.raises(InvalidRequest, match=f"rows in .* that do not fit {words}") as refused:
        plan(Order(source=narrow, file_type=number, overrides=overrides))
    assert refused.value.param == "type"


@pytest.mark.parametrize(
    "pattern",
    [
        "ffn_down",
        r"^blk\.[01]\.ffn_(up|gate)\.weight$",
        r"blk\.\d+\.attn_[^vq]\b",
        r"(?:attn|ffn)_(?!norm)(?=[a-k])",
        r"_.{1,5}?\.",
        r"[\d.]+w\w*t",
        "blk.*0.*norm|output",
        r"^(?:[^.]*\.){3}w",
    ],
)
def test_patterns_match_what_the_library_finds(pattern: str, wide: Path) -> None:
    overrides = (Override(pattern, TENSOR_NUMBERS["Q5_1"]),)
    check_patterns(overrides)
    quantized = {tensor.name for tensor in plan(Order(source=wide, file_type=0)) if "norm" not in tensor.name}
    planned = plan(Order(source=wide, file_type=NUMBERS["Q8_0"], overrides=overrides))
    taken = {tensor.name for tensor in planned if tensor.type == "Q5_1"}
    assert taken == {name for name in quantized if is_matched(overrides, name)}
    assert taken


@pytest.mark.parametrize(
    "pattern",
    [
        *("", "(", "[", "a)", "*", "a**", "[z-a]", "a{2,1}", "a{", "x" * 257, "\\"),  # no regular expressions
        *(
            "(?P<a>x)",
            "(?i)x",
            "(?<=a)b",
            "a++",
            "(?>a)",
            r"\Ax",
            r"x\Z",
            "[[:alpha:]]",
            r"\1",
            "^*",
            "ü",
            "a\n",
            "[a--]",
        ),
    ],
)
def test_patterns_that_the_two_might_read_differently_are_refused(pattern: str) -> None:
    with pytest.raises(InvalidRequest, match="the pattern"):
        check_patterns([Override("x", 8), Override(pattern, 8)])


def test_layers_are_numbered_anew() -> None:
    names = ["token_embd.weight", "blk.0.a", "blk.2.a", "blk.10.a", "blk.10.b", "blk.3.a"]
    assert new_names(names, ()) == {name: name for name in names}
    assert new_names(names, (2,)) == {
        "token_embd.weight": "token_embd.weight",
        "blk.0.a": "blk.0.a",
        "blk.10.a": "blk.2.a",
        "blk.10.b": "blk.2.b",
        "blk.3.a": "blk.1.a",
    }


@pytest.mark.parametrize("pruned", [(0,), (1, 3), (2, 2, 0), (9, 10, 11), tuple(range(1, 12))])
def test_new_names_are_those_of_the_library(pruned: tuple[int, ...], tmp_path: Path) -> None:
    many = write_wide_model(tmp_path / "many.gguf", width=32, feed_forward=32, layers=12)
    header = read_header(many)
    old = [tensor.name for tensor in header.tensors]
    check_layers(pruned, 12, "llama", header.metadata, old)
    planned = plan(Order(source=many, file_type=NUMBERS["Q8_0"], prune_layers=pruned))
    assert sorted(tensor.name for tensor in planned) == sorted(new_names(old, pruned).values())
