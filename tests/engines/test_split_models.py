"""A model in several files, pulled by its quant: it runs from the store, where no file is called what it was."""

from pathlib import Path

import pytest

from localllm.engines.plan import LoadPlan
from localllm.engines.registry import load_runner
from localllm.errors import LoadFailed
from localllm.inference.batcher import Batcher
from localllm.models.local import LocalModel
from localllm.models.on_disk import from_manifest
from localllm.models.storage.store import Store
from tests.engines.contract import Answer, ask
from tests.models.hub import Hub
from tests.models.repositories import NAME, bring_from, split_model

PARTS = 3


@pytest.fixture
def model(hub: Hub, here: None, store: Store) -> LocalModel:
    hub.commit(NAME, split_model())
    return from_manifest(bring_from(store, f"{NAME}:F32"), store)


def answer_of(plan: LoadPlan) -> Answer:
    engine = Batcher(load_runner(plan, lambda _: None))
    try:
        return ask(engine, "The river carried small boats", max_tokens=12)
    finally:
        engine.close()


def test_it_answers_as_the_model_in_one_file_does(model: LocalModel, tiny_model: Path) -> None:
    assert len(model.parts) == PARTS
    assert all(Path(part).name.startswith("sha256-") for part in model.parts)
    whole = LoadPlan(engine="llama_cpp", path=str(tiny_model), threads=1, context_tokens=256)
    split = LoadPlan(engine=model.engine, path=model.path, parts=model.parts, threads=1, context_tokens=256)
    answer = answer_of(split)
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 12
    assert answer.text == answer_of(whole).text


@pytest.mark.parametrize("parts", [(0, 1), (1, 0, 2), (0, 1, 1)])
def test_other_than_all_parts_in_order_is_refused(model: LocalModel, parts: tuple[int, ...]) -> None:
    paths = tuple(model.parts[number] for number in parts)
    with pytest.raises(LoadFailed):
        answer_of(LoadPlan(engine=model.engine, path=paths[0], parts=paths, threads=1, context_tokens=256))
