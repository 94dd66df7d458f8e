"""kill -9 before every step of a change: what is read afterwards is the old or the new, and the rest is garbage."""

import os
from pathlib import Path

import pytest

from localllm.models.storage.store import Store
from tests.marks import mostly_slow
from tests.models.child import Child, clean_environment
from tests.models.storage.steps import (
    AFTER,
    CHANGES_OF_A_STORE,
    assert_reads_as,
    clean_up,
    seen_as_garbage,
    unexplained,
    without_sync,
)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
LEAST_STEPS = {"first version": 20, "second version": 20, "rollback": 6, "remove": 8, "gc": 15, "pin": 6, "alias": 6}


@pytest.mark.parametrize(
    "change",
    mostly_slow(CHANGES_OF_A_STORE, "rollback"),
)
def test_a_killed_change_leaves_the_old_or_the_new(change: str, tmp_path: Path) -> None:
    with Child(
        "-m", "tests.models.storage.doomed", change, str(tmp_path), environment=clean_environment(tmp_path)
    ) as child:
        exit_code, lines = child.finish()
    assert exit_code == 0
    steps = int(lines[0])
    assert steps >= LEAST_STEPS[change]
    _, do, allowed = CHANGES_OF_A_STORE[change]
    left_something = 0
    with without_sync():
        for step in range(steps):
            store = Store(tmp_path / str(step))
            assert_reads_as(store, {*allowed, AFTER[change]})
            assert seen_as_garbage(store) == unexplained(store)
            left_something += bool(unexplained(store))
            do(store)
            assert_reads_as(store, {AFTER[change]})
            clean_up(store)
            assert unexplained(store) == set()
            assert_reads_as(store, {AFTER[change]})
    assert left_something
