"""The step from a GGUF file to a smaller one: told to the byte beforehand, and refused in time."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator, Mapping
from pathlib import Path

import gguf
import msgspec
import numpy as np
import pytest

from localllm.engines.plan import LoadPlan
from localllm.engines.registry import load_runner
from localllm.errors import EngineError, InvalidRequest, LoadFailed, ModelError, ModelNotFound, NoRoom
from localllm.inference.batcher import Batcher
from localllm.models.gguf.header import read_header
from localllm.models.local import LocalModel
from localllm.quantize.quantizing import quantize
from localllm.quantize.steps import Progress, Quantize, Quantized, TypeOverride
from localllm.quantize.types import QUANT_TYPES
from tests.engines.contract import Answer, ask
from tests.marks import mostly_slow, slow
from tests.quantize.wide import importance_values, shapes, write_importance_file, write_wide_model
from tests.tiny import LAYERS, write_tiny_model

ROOT = Path(__file__).parent.parent.parent


def ignore(_: Progress) -> None:
    pass


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_wide_model(tmp_path_factory.mktemp("wide") / "wide.gguf")


@pytest.fixture(scope="module")
def importance(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_importance_file(tmp_path_factory.mktemp("importance") / "wide.imatrix", importance_values())


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "out.gguf.part"


def step_for(source: Path, target: Path | None, kind: str = "Q4_K_M", **more: object) -> Quantize:
    fields = {
        "source": str(source),
        "target": str(target or ""),
        "type": kind,
        "threads": 1,
        "is_dry": target is None,
        **more,
    }
    return msgspec.convert(fields, Quantize)


def dry(source: Path, kind: str = "Q4_K_M", **more: object) -> Quantized:
    return quantize(step_for(source, None, kind, **more), ignore)


def made(source: Path, target: Path, kind: str = "Q4_K_M", **more: object) -> Quantized:
    """What came of it, after checking that a dry run says the same, and that it is so."""
    step = step_for(source, target, kind, **more)
    said = quantize(msgspec.structs.replace(step, is_dry=True, target=""), ignore)
    result = quantize(step, ignore)
    assert result == said
    header = read_header(target)
    assert result.size_bytes == target.stat().st_size
    assert result.weights_bytes == sum(tensor.size_bytes for tensor in header.tensors)
    assert result.parameters == sum(tensor.elements for tensor in header.tensors)
    assert {tensor.name: tensor.type for tensor in result.tensors} == types_in(target)
    return result


def types_in(path: Path) -> dict[str, str]:
    return {tensor.name: tensor.type_name for tensor in read_header(path).tensors}


def type_of_tensor(result: Quantized, name: str) -> str:
    return next(tensor.type for tensor in result.tensors if tensor.name == name)


def answer_of(path: Path) -> Answer:
    engine = Batcher(
        load_runner(LoadPlan(engine="llama_cpp", path=str(path), threads=1, context_tokens=128), ignore_load)
    )
    try:
        return ask(engine, "The river", max_tokens=8, ignore_eos=True)
    finally:
        engine.close()


def ignore_load(_: float) -> None:
    pass


def test_rows_that_fit_get_the_type_and_rows_that_do_not_get_another(
    wide: Path, tiny_model: Path, target: Path
) -> None:
    fitting = made(wide, target)
    assert fitting.fallbacks == 0
    assert {tensor.type for tensor in fitting.tensors} == {"F32", "Q4_K", "Q6_K"}
    assert 4.5 < fitting.bits_per_weight < 6
    narrow = made(tiny_model, target)
    by_name = {tensor.name: tensor for tensor in narrow.tensors}
    assert (by_name["blk.0.attn_q.weight"].fallback_from, by_name["blk.0.attn_q.weight"].type) == ("Q4_K", "Q5_0")
    assert (by_name["output.weight"].fallback_from, by_name["output.weight"].type) == ("Q6_K", "Q8_0")
    assert by_name["blk.0.attn_q.weight"].source_type == "F32"
    assert narrow.fallbacks == 7 * LAYERS + 2  # all matrices of the layers, the embedding and the output
    assert narrow.bits_per_weight > 6
    assert answer_of(target).usage is not None


def test_rows_of_32_fit_small_blocks_and_odd_rows_fit_none(tmp_path: Path, target: Path) -> None:
    narrow = write_wide_model(tmp_path / "narrow.gguf", width=32, feed_forward=40)
    result = made(narrow, target, "IQ4_NL")
    by_name = {tensor.name: (tensor.fallback_from, tensor.type) for tensor in result.tensors}
    assert by_name["blk.1.attn_q.weight"] == ("", "IQ4_NL")
    assert by_name["blk.1.ffn_down.weight"] == ("IQ4_NL", "F16")
    assert by_name["output.weight"] == ("Q6_K", "Q8_0")


@pytest.mark.parametrize("is_tied", [False, True])
@pytest.mark.parametrize("kind", ["Q4_K_M", "IQ4_NL", "IQ2_XS"])
def test_the_output_too_says_what_it_would_have_been(kind: str, is_tied: bool, tmp_path: Path) -> None:
    results = []
    for width in (256, 96):
        model = write_wide_model(tmp_path / f"{width}.gguf", width=width, feed_forward=width, is_tied=is_tied)
        matrix = write_importance_file(tmp_path / f"{width}.imatrix", importance_values(width, width))
        results.append(dry(model, kind, importance=str(matrix)))
    name = "token_embd.weight" if is_tied else "output.weight"
    (narrow,) = (tensor for tensor in results[1].tensors if tensor.name == name)
    assert narrow.type == "Q8_0"
    assert narrow.fallback_from == type_of_tensor(results[0], name)


def test_all_parts_of_a_split_model_become_one_file(tmp_path: Path, tiny_model: Path, target: Path) -> None:
    write_tiny_model(tmp_path / "tiny.gguf", tensors_each=9)
    (first, *others) = sorted(tmp_path.glob("tiny-*.gguf"))
    assert len(others) == 2
    split = made(first, target, "Q8_0")
    from_parts = target.read_bytes()
    assert split == made(tiny_model, target, "Q8_0")
    assert from_parts == target.read_bytes()
    assert "split.count" not in read_header(target).metadata
    others[1].rename(tmp_path / "elsewhere.gguf")
    with pytest.raises(ModelNotFound, match="00003-of-00003"):
        dry(first)
    shutil.copy(first, tmp_path / "renamed.gguf")
    with pytest.raises(LoadFailed, match="one of 3 files"):
        dry(tmp_path / "renamed.gguf")


def test_a_part_whose_number_would_end_the_process_is_refused(tmp_path: Path) -> None:
    """llama.cpp asserts that the number is a uint16."""
    for number, name in enumerate(("weight", "other")):
        write_wide_model(
            tmp_path / f"m-0000{number + 1}-of-00002.gguf",
            metadata={"split.no": number, "split.count": 2},
            renamed=("weight", name),
        )
    with pytest.raises(LoadFailed, match=r"m-00002-of-00002.gguf .* its split\.no is not a uint16"):
        dry(tmp_path / "m-00001-of-00002.gguf")


def test_progress_counts_tensors(wide: Path, target: Path) -> None:
    heard: list[Progress] = []
    result = quantize(step_for(wide, target, "Q8_0"), heard.append)
    total = len(result.tensors)
    assert heard == [
        *(Progress(done, total, tensor.name) for done, tensor in enumerate(result.tensors)),
        Progress(total, total),
    ]


def test_what_the_report_raises_leaves_no_file(wide: Path, target: Path) -> None:
    def fail(progress: Progress) -> None:
        if progress.done == 3:
            raise BrokenPipeError("the parent has gone")

    with pytest.raises(BrokenPipeError, match="the parent has gone"):
        quantize(step_for(wide, target), fail)
    assert not target.exists()


def test_threads_change_no_byte(wide: Path, target: Path, importance: Path) -> None:
    files = []
    for threads in (1, 2):
        made(wide, target, "Q4_K_M", threads=threads, importance=str(importance))
        files.append(target.read_bytes())
    assert files[0] == files[1]


def test_importance_is_heeded(wide: Path, target: Path, importance: Path) -> None:
    assert made(wide, target, "Q4_K_S", importance=str(importance)).warnings == ()
    weighted = target.read_bytes()
    made(wide, target, "Q4_K_S")
    assert weighted != target.read_bytes()


NEEDY = [name for name, kind in QUANT_TYPES.items() if kind.needs_calibration]


@pytest.mark.parametrize("kind", mostly_slow(NEEDY, "IQ2_XS", "Q2_K_S"))
def test_types_that_need_calibration_ask_for_it_first(kind: str, wide: Path, target: Path) -> None:
    with pytest.raises(InvalidRequest, match="add --calibrate default") as refused:
        quantize(step_for(wide, target, kind), ignore)
    assert refused.value.param == "importance"
    assert not target.exists()


def test_a_matrix_that_lacks_what_is_needed_is_refused(wide: Path, tmp_path: Path) -> None:
    values = importance_values()
    del values["blk.1.attn_q.weight"]
    matrix = str(write_importance_file(tmp_path / "short.imatrix", values))
    with pytest.raises(InvalidRequest, match=r"says nothing of blk\.1\.attn_q\.weight, which cannot be IQ2_XS without"):
        dry(wide, "IQ2_XS", importance=matrix)
    (warning,) = dry(wide, "Q4_K_M", importance=matrix).warnings
    assert warning == "the importance matrix says nothing of 1 tensors, such as blk.1.attn_q.weight"


@pytest.mark.parametrize("field", ["embedding_type", "output_type"])
@pytest.mark.parametrize("kind", ["IQ2_XXS", "IQ2_XS", "IQ1_S"])
def test_types_that_would_end_the_process_without_importance(
    field: str, kind: str, wide: Path, importance: Path
) -> None:
    """The library asks for importance in the layers alone, and ggml asserts it everywhere."""
    for matrix in ("", str(importance)):
        with pytest.raises(InvalidRequest, match=f"cannot be {kind} without"):
            dry(wide, importance=matrix, **{field: kind})


def test_a_matrix_of_another_model_is_refused(wide: Path, tmp_path: Path) -> None:
    values = importance_values()
    other = write_importance_file(tmp_path / "a", {name.replace("blk.", "layer."): v for name, v in values.items()})
    with pytest.raises(InvalidRequest, match="of another model: it says nothing of any tensor"):
        dry(wide, importance=str(other))
    longer = write_importance_file(tmp_path / "b", {name: np.repeat(v, 2) for name, v in values.items()})
    with pytest.raises(InvalidRequest, match=r"of another model: it has 512 values for .*, which has 256 columns"):
        dry(wide, importance=str(longer))
    embedding = {**values, "token_embd.weight": np.ones(3, np.float32)}  # which the library leaves alone
    assert dry(wide, importance=str(write_importance_file(tmp_path / "c", embedding))).warnings == ()
    with pytest.raises(LoadFailed):
        dry(wide, importance=str(wide))


def test_overrides_are_heeded_the_first_before_the_next(wide: Path, target: Path) -> None:
    result = made(
        wide,
        target,
        overrides=[TypeOverride("blk.0.*ffn_down", "q8_0"), TypeOverride("ffn_(up|down)", "BF16")],
    )
    types = {tensor.name: tensor.type for tensor in result.tensors}
    assert types["blk.0.ffn_down.weight"] == "Q8_0"
    assert [types[f"blk.{name}.weight"] for name in ("1.ffn_down", "0.ffn_up", "1.ffn_up")] == ["BF16"] * 3
    assert types["blk.0.ffn_gate.weight"] == "Q4_K"


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ([("nothing", "Q8_0")], "the pattern 'nothing' matches no tensor"),
        ([("ffn_down", "Q8_0"), ("blk.*ffn_down", "Q5_0")], "'blk.*ffn_down' matches only what those before it match"),
        ([("attn_norm", "Q8_0")], "changes nothing: blk.0.attn_norm.weight is F32 whatever is asked"),
        ([("ffn[", "Q8_0")], "is more than letters"),
        ([("(ffn", "Q8_0")], "is no regular expression"),
        ([("ffn", "Q4_K_M")], "there is no type Q4_K_M for a tensor; perhaps Q4_K"),
        ([("ffn", "Q8_K")], "there is no type Q8_K for a tensor"),
        ([("^*", "Q8_0")], "is more than letters"),
    ],
)
def test_overrides_without_effect_are_refused(overrides: list[tuple[str, str]], words: str, wide: Path) -> None:
    with pytest.raises(InvalidRequest) as refused:
        dry(wide, overrides=[TypeOverride(*override) for override in overrides])
    assert words in refused.value.message
    assert refused.value.param == "overrides"


def test_overrides_that_the_library_would_ignore_are_refused(wide: Path) -> None:
    with pytest.raises(InvalidRequest, match="in a file of BF16 no tensor can have another type"):
        dry(wide, "BF16", overrides=[TypeOverride("ffn", "Q8_0")])
    with pytest.raises(InvalidRequest, match=r"output.weight is Q8_0 whatever is asked"):
        dry(wide, output_type="Q8_0", overrides=[TypeOverride("^output.weight", "Q5_0")])


def test_output_and_embedding_have_types_of_their_own(wide: Path, tmp_path: Path, target: Path) -> None:
    result = made(wide, target, output_type="q8_0", embedding_type="q4_0")
    assert type_of_tensor(result, "output.weight") == "Q8_0"
    assert type_of_tensor(result, "token_embd.weight") == "Q4_0"
    tied = write_wide_model(tmp_path / "tied.gguf", is_tied=True)
    for kind, pure in (("Q4_K_M", False), ("Q4_K_M", True), ("F16", False)):
        result = made(tied, target, kind, output_type="Q5_K", is_pure=pure)
        assert type_of_tensor(result, "token_embd.weight") == "Q5_K"
    made(tied, target, output_type="Q5_K", embedding_type="Q5_K")
    with pytest.raises(InvalidRequest, match="the embedding of this model is its output too"):
        dry(tied, output_type="Q8_0", embedding_type="Q4_0")


@pytest.mark.parametrize("field", ["embedding_type", "output_type"])
def test_blocks_that_rows_do_not_fill_would_end_the_process(field: str, tiny_model: Path) -> None:
    with pytest.raises(InvalidRequest, match="its rows have 64 elements, Q6_K needs multiples of 256") as refused:
        dry(tiny_model, **{field: "Q6_K"})
    assert refused.value.param == field


def test_a_pure_file_has_one_type(wide: Path, target: Path) -> None:
    result = made(wide, target, is_pure=True)
    assert {tensor.type for tensor in result.tensors if len(shapes()[tensor.name]) == 2} == {"Q4_K"}


@pytest.mark.parametrize("pruned", [[1], [0, 2], [3, 3]])
def test_a_model_with_fewer_layers_runs(pruned: list[int], tmp_path: Path, target: Path) -> None:
    model = write_wide_model(tmp_path / "four.gguf", layers=4)
    left = 4 - len(set(pruned))
    matrix = write_importance_file(tmp_path / "two.imatrix", importance_values())  # of layers 0 and 1
    result = made(model, target, "Q8_0", prune_layers=pruned, importance=str(matrix))
    header = read_header(target)
    assert header.metadata["llama.block_count"] == left
    assert types_in(target).keys() == shapes(layers=left).keys()
    assert result.parameters < dry(model).parameters
    assert answer_of(target).usage is not None


def test_the_layers_that_stay_are_the_right_ones_with_their_importance(tmp_path: Path, target: Path) -> None:
    model, weights = tmp_path / "three.gguf", {}
    for layer in range(3):
        weights[f"blk.{layer}.ffn_up.weight"] = np.full((256, 256), layer + 1, np.float32)
    write_wide_model(model, layers=3, changed=weights)
    made(model, target, "F32", prune_layers=[1])
    kept = {tensor.name: tensor.data for tensor in gguf.GGUFReader(target).tensors}
    assert [kept[f"blk.{layer}.ffn_up.weight"].flat[0] for layer in range(2)] == [1, 3]
    short = {name: v for name, v in importance_values().items() if name.startswith("blk.0.")}
    of_two = {name.replace("blk.0.", f"blk.{layer}."): v for name, v in short.items() for layer in (0, 2)}
    matrix = str(write_importance_file(tmp_path / "matrix", of_two))
    made(model, target, "Q4_K_S", prune_layers=[1], importance=matrix)
    assert dry(model, "Q4_K_S", prune_layers=[1], importance=matrix).warnings == ()
    assert dry(model, "Q4_K_S", prune_layers=[2], importance=matrix).warnings != ()


@pytest.mark.parametrize(
    ("pruned", "metadata", "words"),
    [
        ([2], {}, "there is no layer 2; this model has 2"),
        ([-1], {}, "there is no layer -1"),
        ([0, 1], {}, "all 2 layers are to be left out"),
        ([1], {"llama.some.lengths": [4, 4]}, "its llama.some.lengths is of each layer"),
        ([1], {"llama.leading_dense_block_count": 1}, "its llama.leading_dense_block_count is of each layer"),
    ],
)
def test_layers_that_cannot_be_left_out(
    pruned: list[int], metadata: Mapping[str, int | list[int]], words: str, tmp_path: Path
) -> None:
    model = write_wide_model(tmp_path / "model.gguf", metadata=metadata)
    with pytest.raises(InvalidRequest) as refused:
        dry(model, "Q8_0", prune_layers=pruned)
    assert words in refused.value.message


def test_layers_in_several_rows_cannot_be_left_out(tmp_path: Path) -> None:
    model = write_wide_model(tmp_path / "model.gguf", renamed=("blk.0.", "enc.blk.0."))
    with pytest.raises(InvalidRequest, match="it has several rows of layers"):
        dry(model, "Q8_0", prune_layers=[1])


def test_metadata_is_written_over_that_of_the_source(wide: Path, target: Path) -> None:
    said: dict[str, str | int] = {
        "general.name": "other",
        "general.url": "ü" * 63,
        "quantize.imatrix.chunks_count": 2**32 - 1,
        "quantize.imatrix.dataset": "",
    }
    made(wide, target, metadata=said)
    source, written = read_header(wide).metadata, read_header(target).metadata
    assert written == source | said | {"general.quantization_version": 2, "general.file_type": 15}


@pytest.mark.parametrize(
    "said",
    [
        {"general.url": "x" * 128},
        {"general.url": "ü" * 64},
        {"general.url": "a\0b"},
        {"x" * 128: "y"},
        {"": "y"},
        {"a b": "y"},
        {"a.b": -1},
        {"a.b": 2**32},
        {"general.alignment": 64},
        {"general.architecture": "qwen2"},
        {"llama.block_count": 1},
        {"tokenizer.ggml.model": "x"},
        {"split.count": 2},
    ],
)
def test_metadata_that_cannot_be_kept_is_refused(said: dict[str, str | int], wide: Path) -> None:
    with pytest.raises(InvalidRequest) as refused:
        dry(wide, metadata=said)
    assert refused.value.param == "metadata"


def test_another_alignment_becomes_the_usual_one(tmp_path: Path, target: Path) -> None:
    """The library aligns to 32 whatever the source says, and would write that it was otherwise."""
    made(write_wide_model(tmp_path / "apart.gguf", alignment=256), target)
    assert read_header(target).alignment == 32
    assert answer_of(target).usage is not None


def test_requantizing_is_to_be_allowed(wide: Path, tmp_path: Path, target: Path) -> None:
    smaller = tmp_path / "q8.gguf"
    made(wide, smaller, "Q8_0")
    with pytest.raises(InvalidRequest, match=r"is quantized already: .* is Q8_0; .*--allow-requantize") as refused:
        quantize(step_for(smaller, target), ignore)
    assert refused.value.param == "allow_requantize"
    assert not target.exists()
    made(smaller, target, allow_requantize=True)
    made(smaller, target, "Q8_0")  # which changes nothing
    assert target.read_bytes() == smaller.read_bytes()


def test_mixtures_of_experts(wide: Path, tmp_path: Path, target: Path) -> None:
    mixture = write_wide_model(tmp_path / "mixture.gguf", experts=4)
    result = made(mixture, target, "MXFP4_MOE")
    assert type_of_tensor(result, "blk.0.ffn_up_exps.weight") == "MXFP4"
    assert answer_of(target).usage is not None
    with pytest.raises(InvalidRequest, match="MXFP4_MOE is for mixtures of experts"):
        dry(wide, "MXFP4_MOE")
    name = "blk.0.ffn_up_exps.weight"
    matrix = str(write_importance_file(tmp_path / "matrix", {name: np.ones(4 * 256, np.float32)}))
    assert len(dry(mixture, importance=matrix).warnings) == 1
    matrix = str(write_importance_file(tmp_path / "matrix", {name: np.ones(256, np.float32)}))
    with pytest.raises(InvalidRequest, match=r"it has 256 values for .*, which has 1024 columns"):
        dry(mixture, importance=matrix)


def test_what_is_no_model_is_refused(tmp_path: Path, wide: Path) -> None:
    with pytest.raises(ModelNotFound):
        dry(tmp_path / "none.gguf")
    other = tmp_path / "other.gguf"
    other.write_bytes(b"PK\3\4" + bytes(1000))
    with pytest.raises(LoadFailed, match="no GGUF file"):
        dry(other)
    other.write_bytes(wide.read_bytes()[:-1000])
    with pytest.raises(LoadFailed, match="ends before its tensors do"):
        dry(other)
    other.write_bytes(wide.read_bytes().replace(b"llama", b"lxama"))
    with pytest.raises(LoadFailed, match="unknown model architecture: 'lxama'"):
        dry(other)


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"llama.rope.scaling.type": "odd"}, "a rope scaling that llama.cpp does not know, odd"),
        ({"llama.expert_count": 8}, "claims 0 experts of 8"),
        ({"llama.expert_used_count": 8}, "claims 8 experts of 0"),
        ({"llama.expert_count": 600, "llama.expert_used_count": 8}, "claims 8 experts of 600"),
    ],
)
def test_headers_that_would_end_the_process_are_refused(
    metadata: Mapping[str, str | int], words: str, tmp_path: Path
) -> None:
    with pytest.raises(LoadFailed, match=words):
        dry(write_wide_model(tmp_path / "model.gguf", metadata=metadata))


@pytest.mark.parametrize("kind", ["Q4_K_M", "IQ3_S"])
@pytest.mark.parametrize("value", [1e20, np.inf])
def test_weights_that_no_type_can_hold_leave_no_file(kind: str, value: float, tmp_path: Path, target: Path) -> None:
    """Over the larger ones, the search of IQ3_S would end the process."""
    weights = np.random.default_rng(0).normal(0, 0.05, (256, 256)).astype(np.float32)
    weights[7, ::3] = value
    model = write_wide_model(tmp_path / "model.gguf", changed={"blk.0.ffn_up.weight": weights})
    with pytest.raises(LoadFailed, match=r"validation failed|invalid data|its weights reach"):
        quantize(step_for(model, target, kind), ignore)
    assert not target.exists()


def test_a_tensor_of_four_dimensions_would_end_the_process(tmp_path: Path) -> None:
    model = write_wide_model(tmp_path / "m.gguf", added={"v.conv.weight": np.zeros((2, 2, 2, 256), np.float16)})
    with pytest.raises(LoadFailed, match=r"v\.conv\.weight has four dimensions"):
        dry(model)


@pytest.mark.parametrize("threads", [0, -1, 513])
def test_threads_are_limited(threads: int, wide: Path) -> None:
    with pytest.raises(InvalidRequest, match="take 1 to 512"):
        dry(wide, threads=threads)


def test_the_source_is_never_the_target(wide: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.gguf"
    shutil.copy(wide, copy)
    link = tmp_path / "link.gguf"
    link.hardlink_to(copy)
    for target in (copy, link):
        with pytest.raises(InvalidRequest, match="is what is to be quantized"):
            quantize(step_for(copy, target), ignore)
    assert copy.read_bytes() == wide.read_bytes()
    with pytest.raises(InvalidRequest, match="no target"):
        quantize(msgspec.structs.replace(step_for(copy, None), is_dry=False), ignore)


def test_what_was_there_stays_where_nothing_was_begun(wide: Path, target: Path) -> None:
    target.write_bytes(b"mine")
    with pytest.raises(InvalidRequest):
        quantize(step_for(wide, target, "IQ2_XS"), ignore)
    assert target.read_bytes() == b"mine"
    made(wide, target)


def test_a_folder_that_is_not_there_is_said(wide: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="No such file or directory"):
        quantize(step_for(wide, tmp_path / "none" / "out.gguf"), ignore)


LIMITED = """
import resource, signal, sys
from localllm.errors import LocalLLMError
from localllm.quantize.quantizing import quantize
from localllm.quantize.steps import Quantize
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
try:
    quantize(Quantize(source=sys.argv[1], target=sys.argv[2], type="Q8_0", threads=1), lambda _: None)
except LocalLLMError as error:
    print(error.code, error.message)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="this system has no limits on the size of a file")
@pytest.mark.parametrize("part", [0.5, slow(0.001), slow(0.999999)])
def test_a_file_that_cannot_grow_is_removed(part: float, wide: Path, target: Path) -> None:
    limit = int(dry(wide, "Q8_0").size_bytes * part)
    command = [sys.executable, "-c", LIMITED, str(wide), str(target), str(limit)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.startswith(f"model_error cannot write {target}: [Errno 27]"), done.stdout + done.stderr
    assert not target.exists()


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Generator[Path, None, None]:
    """A file system of 512 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount, unmount = shutil.which("mount"), shutil.which("umount")
    if sys.platform != "linux" or not mount or not unmount or os.geteuid() != 0:
        pytest.skip("only root of Linux can mount a tiny file system")
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(place)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("a tiny file system cannot be mounted here")
    yield place
    subprocess.run([unmount, str(place)], check=True)


def test_a_full_disk_is_said_beforehand(wide: Path, tiny_disk: Path) -> None:
    with pytest.raises(NoRoom, match="free"):
        quantize(step_for(wide, tiny_disk / "out.gguf"), ignore)
    assert list(tiny_disk.iterdir()) == []


def test_a_disk_that_fills_meanwhile_is_said(wide: Path, tiny_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localllm.quantize.quantizing.check_room", lambda *_: None)
    with pytest.raises(NoRoom, match="No space left on device"):
        quantize(step_for(wide, tiny_disk / "out.gguf"), ignore)
    assert list(tiny_disk.iterdir()) == []


def test_metadata_that_is_cut_is_warned_of(tmp_path: Path, target: Path) -> None:
    model = write_wide_model(tmp_path / "model.gguf", metadata={"general.url": "a\0b"})
    (warning,) = quantize(step_for(model, target, "Q8_0"), ignore).warnings
    assert "other metadata than its source: general.url" in warning


def test_another_file_than_the_planned_one_is_not_kept(
    wide: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_other(*_: object) -> None:
        write_wide_model(target)

    monkeypatch.setattr("localllm.quantize.quantizing.write", write_other)
    with pytest.raises(EngineError, match="wrote other tensors"):
        quantize(step_for(wide, target, "Q8_0"), ignore)
    assert not target.exists()


@pytest.mark.slow
@pytest.mark.real_model
@pytest.mark.parametrize("kind", ["Q4_K_M", "Q4_0"])
def test_the_starter_model(kind: str, starter_model: LocalModel, target: Path) -> None:
    """Its rows have 576 elements: Q4_K_M is far more than 4 bits there."""
    with pytest.raises(InvalidRequest, match="Q4_1"):
        dry(Path(starter_model.path), kind)
    result = made(Path(starter_model.path), target, kind, threads=2, allow_requantize=True)
    assert result.fallbacks == {"Q4_K_M": 181, "Q4_0": 1}[kind]
    assert result.bits_per_weight == pytest.approx({"Q4_K_M": 6.165, "Q4_0": 5.349}[kind], abs=0.001)
    assert answer_of(target).usage is not None
