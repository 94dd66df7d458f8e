"""Locks between processes: who waits is told, and a process that is killed holds nothing up."""

import os
import threading
from pathlib import Path

import pytest

from localllm.errors import ModelError
from localllm.models.storage.locks import Locks
from tests.models.child import Child, clean_environment

HOLD = """
import sys
from pathlib import Path
from localllm.models.storage.locks import Locks
with Locks(Path(sys.argv[1])).hold(sys.argv[2:], print):
    print("held", flush=True)
    import time
    time.sleep(60)
"""


def holder(locks: Path, *keys: str) -> Child:
    """A child that holds locks until it is killed."""
    child = Child("-c", HOLD, str(locks), *keys, environment=clean_environment(locks.parent))
    assert child.line() == "held"
    return child


@pytest.fixture
def locks(tmp_path: Path) -> Locks:
    return Locks(tmp_path / "locks")


def test_who_waits_is_told_for_what_and_goes_on_when_the_holder_is_killed(locks: Locks, tmp_path: Path) -> None:
    told = []
    with holder(tmp_path / "locks", "b") as child:

        def waiting(key: str) -> None:
            told.append(key)
            if len(told) == 3:
                child.kill()

        with locks.hold(["c", "b", "a", "b"], waiting):
            assert set(told) == {"b"}
            assert len(told) >= 3
            assert [locks.is_held(key) for key in "abcd"] == [True, True, True, False]
    assert not any(locks.is_held(key) for key in "abcd")


def test_what_another_process_holds_is_not_had_by_trying(locks: Locks, tmp_path: Path) -> None:
    with holder(tmp_path / "locks", "a") as child:
        with locks.trying("a") as is_mine:
            assert not is_mine
        assert locks.is_held("a")
        with locks.trying("b") as is_mine:
            assert is_mine
            assert locks.is_held("b")
        child.kill()
        with locks.trying("a") as is_mine:
            assert is_mine


def test_asking_creates_nothing(locks: Locks, tmp_path: Path) -> None:
    assert not locks.is_held("a")
    assert not list(tmp_path.iterdir())


def test_an_error_while_waiting_gives_up_what_is_held(locks: Locks, tmp_path: Path) -> None:
    def give_up(key: str) -> None:
        raise KeyboardInterrupt

    with holder(tmp_path / "locks", "b"):
        with pytest.raises(KeyboardInterrupt):
            locks.hold(["a", "b"], give_up)
        assert not locks.is_held("a")


def test_threads_exclude_each_other_as_processes_do(locks: Locks) -> None:
    inside: list[int] = []

    def work() -> None:
        for _ in range(20):
            with locks.take("a"):
                inside.append(1)
                assert len(inside) == 1
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert inside == []


def test_a_folder_that_cannot_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "locks").write_text("x")
    locks = Locks(tmp_path / "locks")
    for ask in (
        lambda: locks.take("a").__enter__(),
        lambda: locks.hold("a", print),
        lambda: locks.trying("a").__enter__(),
    ):
        with pytest.raises(ModelError, match="cannot"):
            ask()
    assert not locks.is_held("a")
    assert os.listdir(tmp_path) == ["locks"]
