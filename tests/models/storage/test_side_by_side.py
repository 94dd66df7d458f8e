"""Several processes at work on one store: nothing that a model uses is ever lost, and nobody sees half a model."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from localllm.models.storage.store import Store
from tests.marks import slow
from tests.models.child import Child, clean_environment
from tests.models.storage.steps import clean_up, seen_as_garbage, unexplained


@pytest.mark.parametrize(("processes", "rounds"), [(2, 5), slow(8, 40)])
def test_processes_that_bring_remove_and_clean_up_at_once(
    store: Store, tmp_path: Path, processes: int, rounds: int
) -> None:
    environment = clean_environment(tmp_path)
    with ExitStack() as stack:
        children = [
            stack.enter_context(
                Child(
                    *("-m", "tests.models.storage.busy", str(store.root.parent), str(seed), str(rounds)),
                    environment=environment,
                )
            )
            for seed in range(processes)
        ]
        ends = [child.process.communicate() for child in children]
    assert [end for end in ends if end != ("done\n", "")] == []
    survey = store.survey()
    assert survey.damages == []
    assert all(store.is_whole(manifest) for manifest in survey.manifests)
    assert seen_as_garbage(store) == unexplained(store)
    clean_up(store)
    assert unexplained(store) == set()
    assert {store.blobs.path(digest).exists() for digest in store.references()} <= {True}
