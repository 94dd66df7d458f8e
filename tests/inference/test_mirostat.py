"""Mirostat 2 against llama.cpp's, step by step, and what it is for."""

import llama_cpp as lib
import numpy as np
import pytest

from localllm.engines.base import Logits
from localllm.inference.draw import draw_index
from localllm.inference.mirostat import Mirostat
from tests.inference.native_samplers import apply, owned


@pytest.mark.parametrize(("target_bits", "rate"), [(5.0, 0.1), (2.0, 0.5), (0.5, 1.0)])
def test_the_same_tokens_are_left_as_by_llama_cpp_over_many_steps(target_bits: float, rate: float) -> None:
    random = np.random.default_rng(0)
    ours = Mirostat(target_bits, rate)
    sizes = set()
    with owned(lib.llama_sampler_init_mirostat_v2(3, target_bits, rate)) as native:
        for _ in range(40):
            logits = random.normal(0, 3.0, 300).astype(np.float32)
            logits -= logits.max()
            expected = apply(native, logits)
            kept = ours.keep(logits)
            assert set(kept.tolist()) == expected.kept
            assert expected.chosen is not None
            ours.observe(logits[kept], kept.tolist().index(expected.chosen))  # learn from what the other one drew
            sizes.add(len(kept))
    assert len(sizes) > 3


def surprise_bits(logits: Logits, at: int) -> float:
    return float(np.log2(np.exp(logits.astype(np.float64)).sum()) - logits[at] / np.log(2))


@pytest.mark.parametrize("target_bits", [1.5, 3.0])
def test_the_surprise_of_the_answer_comes_near_the_target(target_bits: float) -> None:
    random = np.random.default_rng(1)
    mirostat, surprises = Mirostat(target_bits, 0.1), []
    for _ in range(1500):
        logits = random.normal(0, 2.0, 200).astype(np.float32)
        logits -= logits.max()
        kept = mirostat.keep(logits)
        at = draw_index(logits[kept], random)
        surprises.append(surprise_bits(logits[kept], at))
        mirostat.observe(logits[kept], at)
    assert np.mean(surprises[200:]) == pytest.approx(target_bits, abs=0.15)


def test_the_likeliest_token_is_always_left() -> None:
    assert Mirostat(0.0, 0.1).keep(np.array([-1.0, 0.0, -0.5], np.float32)).tolist() == [1]
