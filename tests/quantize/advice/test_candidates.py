"""Which types `--type auto` tries: what fits, and what differs."""

import pytest

from localllm.errors import InvalidRequest, NoRoom
from localllm.models.gguf.quant import FILE_TYPES
from localllm.models.quant import needed_bytes
from localllm.quantize.advice.candidates import AUTO_TYPES, worth_trying
from localllm.quantize.steps import Quantized, TensorPlan

MB = 1_000_000
ROOM = 64_000 * MB


def plan(size_bytes: int, *types: str, fallback_from: str = "") -> Quantized:
    """A dry run: a tensor of each of `types`, the first a fallback if so wanted."""
    tensors = tuple(
        TensorPlan(name=f"blk.{place}.w", source_type="F16", type=kind, fallback_from="" if place else fallback_from)
        for place, kind in enumerate(types)
    )
    return Quantized(size_bytes=size_bytes, weights_bytes=size_bytes, parameters=size_bytes, tensors=tensors)


PLANS = {
    "IQ4_XS": plan(91 * MB, "IQ4_NL", "Q8_0", fallback_from="IQ4_XS"),
    "IQ4_NL": plan(91 * MB, "IQ4_NL", "Q8_0"),
    "Q4_K_M": plan(105 * MB, "Q5_0", "Q8_0", fallback_from="Q4_K"),
    "Q8_0": plan(145 * MB, "Q8_0", "Q8_0"),
}


def test_every_type_to_try_is_known_and_there_once() -> None:
    assert set(AUTO_TYPES) <= set(FILE_TYPES.values())
    assert len(set(AUTO_TYPES)) == len(AUTO_TYPES)


def test_types_come_best_first() -> None:
    assert worth_trying(PLANS, ROOM).types == ("Q8_0", "Q4_K_M", "IQ4_NL")


def test_of_two_that_come_out_the_same_the_honest_name_stays() -> None:
    trial = worth_trying(PLANS, ROOM)
    assert [(kind.type, kind.reason) for kind in trial.left_out] == [("IQ4_XS", "every tensor comes out as in IQ4_NL")]


def test_a_better_name_that_falls_back_gives_way() -> None:
    plans = {"Q4_K_M": plan(90 * MB, "Q4_0", "Q8_0", fallback_from="Q4_K"), "Q4_0": plan(90 * MB, "Q4_0", "Q8_0")}
    trial = worth_trying(plans, ROOM)
    assert trial.types == ("Q4_0",)
    assert trial.left_out[0].reason == "every tensor comes out as in Q4_0"


def test_of_two_equals_without_fallbacks_the_better_by_name_stays() -> None:
    same = plan(100 * MB, "Q8_0", "F32")
    assert worth_trying({"Q6_K": same, "Q8_0": same}, ROOM).types == ("Q8_0",)


def test_the_same_types_of_other_tensors_are_no_equals() -> None:
    plans = {"Q6_K": plan(100 * MB, "Q8_0", "F32"), "Q8_0": plan(100 * MB, "F32", "Q8_0")}
    assert worth_trying(plans, ROOM).types == ("Q8_0", "Q6_K")


def test_what_does_not_fit_memory_is_left_out_and_says_so() -> None:
    trial = worth_trying(PLANS, needed_bytes(105 * MB))
    assert trial.types == ("Q4_K_M", "IQ4_NL")
    assert trial.left_out[0].type == "Q8_0"
    assert trial.left_out[0].reason == "needs 711 MB of memory, 663 MB are free"


def test_one_that_does_not_fit_does_not_stand_for_its_equal() -> None:
    plans = {"IQ4_NL": PLANS["IQ4_NL"], "IQ4_XS": PLANS["IQ4_XS"]}
    with pytest.raises(NoRoom):
        worth_trying(plans, 1)
    larger = plan(900 * MB, "IQ4_NL", "Q8_0")
    assert worth_trying({"IQ4_NL": larger, "IQ4_XS": PLANS["IQ4_XS"]}, needed_bytes(100 * MB)).types == ("IQ4_XS",)


def test_what_is_no_smaller_than_the_source_is_left_out() -> None:
    trial = worth_trying(PLANS, ROOM, source_bytes=105 * MB)
    assert trial.types == ("IQ4_NL",)
    assert [kind.reason for kind in trial.left_out[:2]] == [
        "145 MB, no smaller than the source",
        "105 MB, no smaller than the source",
    ]


def test_without_room_the_smallest_is_named() -> None:
    with pytest.raises(NoRoom, match="IQ4_NL, needs 646 MB of memory and 600 MB are free"):
        worth_trying(PLANS, 600 * MB)


def test_a_source_that_is_small_already_is_told_apart_from_a_lack_of_memory() -> None:
    with pytest.raises(InvalidRequest, match="no less than the source's 80 MB") as caught:
        worth_trying(PLANS, ROOM, source_bytes=80 * MB)
    assert caught.value.param == "type"


def test_nothing_to_try_is_an_error() -> None:
    with pytest.raises(InvalidRequest, match="--type"):
        worth_trying({}, ROOM)


def test_the_order_of_the_plans_does_not_matter() -> None:
    turned = dict(reversed(PLANS.items()))
    assert worth_trying(turned, ROOM) == worth_trying(PLANS, ROOM)
