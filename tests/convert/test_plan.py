"""From a layout and a checkpoint's tensors to a plan."""

from pathlib import Path

import pytest

from localllm.convert.checkpoint import Checkpoint, PlacedTensor
from localllm.convert.config import Config
from localllm.convert.families.base import Layout, TensorRule
from localllm.convert.numbers import BF16, F16, F32, FloatFormat
from localllm.convert.plan import common_format, format_in_file, plan_tensors
from localllm.convert.safetensors import StoredTensor, WeightFile
from localllm.errors import LoadFailed

RULE = TensorRule(source="model.up.weight", target="up.weight", shape=(4, 2))


def checkpoint(*names: str, dtype: str = "F32", shape: tuple[int, ...] = (4, 2)) -> Checkpoint:
    stored = StoredTensor(dtype=dtype, shape=shape, offset=0, size_bytes=32)
    file = WeightFile(name="model.safetensors", path=Path("none"), state=(0, 0, 0), tensors={})
    placed = PlacedTensor(file=file, stored=stored)
    return Checkpoint(config=Config({}), tensors=dict.fromkeys(names, placed))


def layout(*rules: TensorRule, dropped: tuple[str, ...] = (), renamed: dict[str, str] | None = None) -> Layout:
    return Layout(metadata={}, tensors=rules, vocabulary=4, dropped=dropped, renamed=renamed or {})


def test_other_names_of_the_same_tensors_are_known() -> None:
    found = plan_tensors(
        layout(RULE, renamed={"language_model.model.": "model."}), checkpoint("language_model.model.up.weight")
    )
    assert [(tensor.name, tensor.rule) for tensor in found] == [("language_model.model.up.weight", RULE)]


def test_a_tensor_by_both_of_its_names_is_refused() -> None:
    with pytest.raises(LoadFailed, match=r"the same tensor as 'model\.up\.weight' and 'old\.up\.weight'"):
        plan_tensors(layout(RULE, renamed={"old.": "model."}), checkpoint("model.up.weight", "old.up.weight"))


def test_what_is_dropped_may_be_of_any_kind() -> None:
    """By the names that the checkpoint has."""
    tensors = {**checkpoint("model.up.weight").tensors, **checkpoint("vision.ids", dtype="I64", shape=()).tensors}
    both = Checkpoint(config=Config({}), tensors=tensors)
    assert len(plan_tensors(layout(RULE, dropped=("vision.",)), both)) == 1
    with pytest.raises(LoadFailed, match=r"'vision\.ids' is of the type I64"):
        plan_tensors(layout(RULE, renamed={"vision.": "other."}, dropped=("other.",)), both)


def test_what_may_be_missing_may_be_there() -> None:
    extra = TensorRule(source="extra.weight", target="extra.weight", shape=(4, 2), is_optional=True)
    assert len(plan_tensors(layout(RULE, extra), checkpoint("model.up.weight"))) == 1
    assert len(plan_tensors(layout(RULE, extra), checkpoint("model.up.weight", "extra.weight"))) == 2


def test_the_plan_is_in_the_order_of_the_layout() -> None:
    rules = [TensorRule(source=name, target=name, shape=(4, 2)) for name in "cab"]
    assert [tensor.name for tensor in plan_tensors(layout(*rules), checkpoint("a", "b", "c"))] == ["c", "a", "b"]


def test_rows_that_make_no_pairs_are_refused() -> None:
    rule = TensorRule(source="q", target="q", shape=(6, 2), paired_heads=2)
    with pytest.raises(LoadFailed, match=r"'q' has the shape .* no pairs for each of 2 heads"):
        plan_tensors(layout(rule), checkpoint("q", shape=(6, 2)))


def test_many_missing_are_named_and_counted() -> None:
    rules = [TensorRule(source=name, target=name, shape=(1,)) for name in "abcd"]
    with pytest.raises(LoadFailed, match="lacks the tensor 'a' and 3 more"):
        plan_tensors(layout(*rules), checkpoint())
    with pytest.raises(LoadFailed, match=r"has the tensor 'a' and 2 more, which .* do not have"):
        plan_tensors(layout(), checkpoint("b", "c", "a"))


@pytest.mark.parametrize(
    ("target", "shape", "form"),
    [
        ("blk.0.attn_q.weight", (4, 4), BF16),
        ("token_embd.weight", (4, 4), BF16),
        ("output_norm.weight", (4,), F32),
        ("blk.0.attn_k_norm.weight", (4, 4), F32),
        ("blk.0.attn_q.bias", (4,), F32),
        ("scale", (4, 4), F32),
    ],
)
def test_small_ones_stay_float32(target: str, shape: tuple[int, ...], form: FloatFormat) -> None:
    assert format_in_file(target, shape, BF16) is form


def test_the_common_format_is_of_what_is_planned() -> None:
    planned = [
        plan_tensors(layout(RULE), checkpoint("model.up.weight", dtype=name))[0] for name in ("F32", "F16", "BF16")
    ]
    assert common_format(planned[:1]) is F32
    assert common_format(planned[:2]) is F16
    assert common_format(planned) is BF16
