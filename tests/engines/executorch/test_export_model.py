"""The model that is exported says what transformers says, for every architecture that is."""

from pathlib import Path

import numpy as np
import pytest

from localllm.engines.executorch.exporter.angles import angles_of
from localllm.engines.executorch.exporter.delegates.xnnpack import Xnnpack
from localllm.engines.executorch.exporter.layout import ROPE_FACTORS, layout_of
from localllm.engines.executorch.exporter.model import build_model
from localllm.engines.executorch.exporter.quiet import quiet
from localllm.engines.executorch.exporter.shape import shape_of
from localllm.engines.executorch.exporter.weights import StoredWeights, state_of
from localllm.errors import LoadFailed
from localllm.models.gguf.header import read_header
from tests.convert.families.checkpoints import CASES, model_of, save, scores
from tests.convert.families.written import write
from tests.exports import skip_without_executorch

pytestmark = pytest.mark.slow  # torch alone takes seconds to import

CONTEXT, TOKENS, CUT = 128, 100, 37
MOST_DIFFERENCE = 0.0005  # of logits that spread over 1 to 2
EXPORTED = (
    "llama",
    "llama, all heads of their own",
    "llama, tied",
    "llama, wide heads",
    "llama, llama3",
    "llama, linear",
    "mistral",
    "smollm3",
    "qwen2",
    "qwen2, tied",
    "qwen3",
    "qwen3, tied, linear",
    "granite",
)
REFUSED = ("llama, biases", "llama, yarn", "llama, longrope, short", "gemma3", "phi3", "granite, biases, llama3")


@pytest.fixture(autouse=True, scope="module")
def libraries() -> None:
    skip_without_executorch()
    pytest.importorskip("transformers", reason="transformers is not installed")


@pytest.mark.parametrize("name", EXPORTED)
def test_logits_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    """Read in two pieces, and then token by token: keys and values are where they belong."""
    import torch

    original = model_of(CASES[name])
    path = write(save(original, tmp_path), tmp_path / "model.gguf")
    headers = [read_header(path)]
    shape, weights = shape_of(headers), StoredWeights(headers, [path])
    divisors = weights.read(ROPE_FACTORS) if shape.has_rope_factors else None
    tokens = [int(token) for token in np.random.default_rng(3).integers(3, 259, TOKENS)]
    pieces = [(0, CUT), (CUT, TOKENS - 4), *((place, place + 1) for place in range(TOKENS - 4, TOKENS))]
    with quiet(), torch.no_grad():
        angles = angles_of(shape, divisors, CONTEXT)
        model = Xnnpack().prepare(build_model(shape, state_of(weights, layout_of(shape)), angles, CONTEXT))
        found = [
            model(torch.tensor([tokens[begin:end]]), {"input_pos": torch.tensor([begin])})[0].numpy()
            for begin, end in pieces
        ]
    expected = scores(original, tokens)[[end - 1 for _, end in pieces]]
    assert 0.5 < expected.std() < 4
    assert np.abs(np.stack(found) - expected).max() <= MOST_DIFFERENCE


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_graph_cannot_do_is_refused(name: str, tmp_path: Path) -> None:
    from localllm.engines.executorch.exporter.check import check_order
    from localllm.engines.executorch.exporter.order import ExportOrder

    path = write(save(model_of(CASES[name]), tmp_path), tmp_path / "model.gguf")
    order = ExportOrder(sources=(path,), target=tmp_path / "model.pte", scheme="fp32", context_tokens=CONTEXT)
    with pytest.raises(
        LoadFailed, match=r"cannot be exported for ExecuTorch: it (has|rotates) .*; quantize it to a GGUF"
    ):
        check_order([read_header(path)], order)
