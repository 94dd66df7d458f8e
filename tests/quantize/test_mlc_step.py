"""The step to a model of MLC, with a fake of its commands: what is read of what they write."""

import json
from pathlib import Path

import pytest

from localllm.engines.mlc.quantizations import QUANTIZATIONS, quantization_of
from localllm.errors import EngineError, InvalidRequest
from localllm.quantize.mlc import MlcWish
from localllm.quantize.mlc_step import make_mlc
from localllm.quantize.order import Options
from localllm.quantize.provenance.recipe import MlcChoices, Recipe, check_recipe
from localllm.quantize.steps import MakeMlc, Progress
from tests.convert.checkpoints import write_checkpoint
from tests.engines.mlc_fake.install import fake_mlc  # noqa: F401  # a fixture


def step_of(folder: Path) -> MakeMlc:
    source = write_checkpoint(folder / "a checkpoint")
    blobs = folder / "blobs"
    blobs.mkdir()
    files = {}
    for at, path in enumerate(sorted(source.iterdir())):  # as in the store, where no file is called what it is
        files[path.name] = str(path.rename(blobs / f"blob-{at}"))
    return MakeMlc(files=files, target=str(folder / "model"), quantization="q0f16", device="cpu")


@pytest.mark.usefixtures("fake_mlc")
def test_what_was_made(tmp_path: Path) -> None:
    told: list[Progress] = []
    made = make_mlc(step_of(tmp_path), told.append)
    assert (made.device, made.build) == ("cpu:0", "mlc_llm 0.1.fake")
    shard = (tmp_path / "model" / "params_shard_0.bin").stat().st_size
    assert (made.model.weights_bytes, made.model.parameters) == (shard, shard // 2)
    assert made.model.bits_per_weight == 16
    assert made.model.size_bytes == sum(path.stat().st_size for path in (tmp_path / "model").iterdir())
    assert [(progress.done, progress.total) for progress in told] == [(0, 3), (1, 3), (2, 3)]


@pytest.mark.usefixtures("fake_mlc")
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "MLC has written no tensor-cache.json"),
        ([], "the tensor-cache.json that MLC has written is not as it should be"),
        ({"metadata": {"ParamBytes": 4, "BitsPerParam": 0}, "records": []}, "BitsPerParam"),
    ],
)
def test_what_mlc_would_not_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: object, words: str) -> None:
    def spoil(order: object) -> object:
        listed = tmp_path / "model" / "tensor-cache.json"
        if content is None:
            listed.unlink()
        else:
            listed.write_text(json.dumps(content), "utf-8")
        return Found()

    class Found:
        device, build = "cpu:0", ""

    monkeypatch.setattr("localllm.quantize.mlc_step.find_library", spoil)
    with pytest.raises(EngineError, match=words):
        make_mlc(step_of(tmp_path), lambda _: None)


def test_orders() -> None:
    order = Options(format="mlc", context=300, device="CUDA:1").order(name=None, threads=2)
    assert (order.type, order.label, order.takes_long, order.is_auto) == ("q4f16_1", "mlc", True, False)
    assert order.program == MlcWish(context_tokens=300, device="cuda:1")
    order.check_quant("", "a checkpoint")
    for quant in ("F16", "Q4_K_M"):
        with pytest.raises(InvalidRequest, match=rf"MLC reads checkpoints, and tiny \({quant}\) is a GGUF"):
            order.check_quant(quant, "tiny")


def test_quantizations() -> None:
    assert quantization_of(" Q4F16_1 ").name == "q4f16_1"
    assert all(2 < quantization.bits <= 32 and quantization.words for quantization in QUANTIZATIONS.values())


@pytest.mark.parametrize(
    ("recipe", "param"),
    [
        (Recipe(type="Q4_K_M", format="mlc", mlc=MlcChoices()), "type"),
        (Recipe(type="q4f16_1", format="mlc"), "mlc"),
        (Recipe(type="Q4_K_M", mlc=MlcChoices()), "mlc"),
    ],
)
def test_recipes_that_are_none(recipe: Recipe, param: str) -> None:
    check_recipe(Recipe(type="q4f16_1", format="mlc", mlc=MlcChoices()))
    with pytest.raises(InvalidRequest) as caught:
        check_recipe(recipe)
    assert caught.value.param == param
