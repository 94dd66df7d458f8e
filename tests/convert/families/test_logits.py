"""The logits that llama.cpp finds are those of transformers, for every family."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.convert.families.checkpoints import CASES, Case, config_of, model_of, save, scores, shake
from tests.convert.families.native_scores import native_scores
from tests.convert.families.written import write

pytestmark = pytest.mark.slow  # torch alone takes seconds to import

MOST_DIFFERENCE = 0.0005
# Gemma's activation goes through a table of float16 in ggml (ggml-cpu/vec.h, GGML_GELU_FP16).
MOST_TABLE_DIFFERENCE = 0.01
MOST_SHORT_DIFFERENCE = 0.2


Scores = NDArray[np.float32]


@pytest.fixture(autouse=True)
def other_opinion() -> None:
    """transformers, on one thread; without it there is nothing to compare with."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("transformers", reason="transformers is not installed")
    torch.set_num_threads(1)


def both_scores(model: Any, folder: Path, case: Case, *, is_short: bool = False) -> tuple[Scores, Scores]:
    """Of `model`, and of llama.cpp for the checkpoint in `folder`."""
    path = write(folder, folder / "model.gguf", is_short=is_short)
    tokens = [int(token) for token in np.random.default_rng(3).integers(3, 259, case.tokens)]
    return scores(model, tokens), native_scores(path, tokens, case.context)


def check_same(model: Any, folder: Path, case: Case) -> None:
    expected, found = both_scores(model, folder, case)
    difference = np.abs(found - expected).max()
    assert 0.5 < expected.std() < 4
    assert difference <= (MOST_TABLE_DIFFERENCE if case.model.startswith("Gemma") else MOST_DIFFERENCE)
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).all()


@pytest.mark.parametrize("name", CASES)
def test_logits_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    model = model_of(CASES[name])
    check_same(model, save(model, tmp_path), CASES[name])


def test_a_file_in_a_short_format_says_nearly_the_same(tmp_path: Path) -> None:
    """ggml rounds what it multiplies with BF16 weights to BF16 too."""
    case = CASES["qwen3"]
    model = model_of(case)
    for parameter in model.parameters():
        parameter.data = parameter.data.bfloat16().float()
    expected, found = both_scores(model, save(model, tmp_path), case, is_short=True)
    assert np.abs(found - expected).max() <= MOST_SHORT_DIFFERENCE
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).mean() > 0.9


@pytest.mark.parametrize("prefix", ["language_model.model.", "model.language_model."])
def test_a_model_that_sees_loses_its_eyes_alone(prefix: str, tmp_path: Path) -> None:
    """transformers has named the parts in two ways; Google's own checkpoints have the first."""
    import transformers
    from safetensors.torch import load_file, save_file

    case = CASES["gemma3"]
    text = config_of(case)
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"image_size": 28, "patch_size": 14}
    config = transformers.Gemma3Config(text_config=text.to_dict(), vision_config=vision, mm_tokens_per_image=4)
    model = transformers.Gemma3ForConditionalGeneration(config)
    shake(model, 5)
    save(model, tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    if not any(name.startswith(prefix) for name in weights):
        save_file({_respelled(name, prefix): weights[name] for name in weights}, tmp_path / "model.safetensors")
    assert any(name.startswith(prefix) for name in load_file(tmp_path / "model.safetensors"))
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["Gemma3ForConditionalGeneration"]
    check_same(model, tmp_path, case)


def _respelled(name: str, prefix: str) -> str:
    for other in ("language_model.model.", "model.language_model."):
        if name.startswith(other):
            return prefix + name.removeprefix(other)
    return name
