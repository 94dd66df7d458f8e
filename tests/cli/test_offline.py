"""Offline means no connection at all: every process of a command dies at its first attempt to open one."""

import os
from pathlib import Path

import pytest

from localllm.models.storage.store import Store
from tests import processes
from tests.cli.shell import Shell
from tests.models.child import clean_environment
from tests.models.hub import Hub
from tests.processes import Done

REPOSITORY = "some-org/Tiny-GGUF"
CAUGHT = 99
GUARD = f"""
import os, sys

INTERNET = (2, 10, 30)  # AF_INET, and AF_INET6 of Linux and macOS

def watch(event, arguments):  # CPython, "Audit events table"
    asks = event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")
    dials = event == "socket.connect" and isinstance(arguments[1], tuple)
    if asks or dials or (event == "socket.__new__" and arguments[1] in INTERNET):
        os.write(2, f"caught {{event}}\\n".encode())
        os._exit({CAUGHT})

sys.addaudithook(watch)
"""
pytestmark = pytest.mark.skipif(os.name == "nt", reason="an event loop there has a socket of its own")


@pytest.fixture(scope="module")
def guard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that every Python process of ours looks into when it starts (`site`: sitecustomize)."""
    folder = tmp_path_factory.mktemp("guard")
    (folder / "sitecustomize.py").write_text(GUARD)
    return folder


@pytest.fixture
def home(online: Shell, hub: Hub, models: list[bytes], clean_environment: Path) -> Path:
    """Where a model is with two versions, of which the newer one is in use; the hub has a third."""
    for data in models:
        hub.commit(REPOSITORY, {"tiny.Q4_0.gguf": data})
        if data is not models[-1]:
            assert online("update" if data is not models[0] else "pull", REPOSITORY).code == 0
    hub.log.clear()
    return clean_environment


def run(*arguments: str, guard: Path, home: Path, hub: Hub, **more: str) -> Done:
    """A command under guard."""
    whole = clean_environment(home, LOCALLLM_HOME=str(home), HF_ENDPOINT=hub.url, PYTHONPATH=str(guard), **more)
    done = processes.localllm(*arguments, environment=os.environ | whole)
    assert "Traceback" not in done.stdout + done.stderr
    return done


def test_the_guard_is_awake(guard: Path, home: Path, hub: Hub) -> None:
    done = run("update", "--check", guard=guard, home=home, hub=hub)
    assert done.returncode == CAUGHT
    assert "caught socket." in done.stderr
    assert hub.log == []


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (("list",), 0, f"{REPOSITORY}:Q4_0"),
        (("show", REPOSITORY), 0, "107 thousand"),
        (("plan", REPOSITORY), 0, "instant"),
        (("verify",), 0, "every file is right"),
        (("rollback", REPOSITORY), 0, "is at version"),
        (("run", "--model", REPOSITORY, "--max-tokens", "3", "Hi"), 0, ""),
        (("run", "--model", "qwen3:0.6b", "Hi"), 4, "offline"),
        (("pull", REPOSITORY), 0, "already on this disk"),
        (("pull", f"{REPOSITORY}:Q8_0"), 4, "offline mode forbids asking the hub"),
        (("pull", "smollm2:135m"), 4, "offline mode forbids fetching it"),
        (("plan", "qwen3:0.6b"), 4, "offline mode forbids asking the hub"),
        (("update",), 4, "offline mode forbids asking the hub"),
    ],
    ids=lambda given: " ".join(given[:2]) if isinstance(given, tuple) else "",
)
@pytest.mark.slow
def test_no_connection_is_made(
    guard: Path, home: Path, hub: Hub, arguments: tuple[str, ...], code: int, word: str
) -> None:
    done = run(*arguments, guard=guard, home=home, hub=hub, LOCALLLM_OFFLINE="1")
    assert done.returncode == code, done.stderr
    assert word in done.stdout + done.stderr
    assert hub.log == []


@pytest.mark.slow
def test_offline_by_the_option(guard: Path, home: Path, hub: Hub) -> None:
    done = run("update", "--offline", guard=guard, home=home, hub=hub)
    assert (done.returncode, done.stdout) == (4, "")
    assert "offline mode forbids asking the hub" in done.stderr


@pytest.mark.slow
def test_nothing_is_left_behind_by_a_refused_pull(guard: Path, home: Path, hub: Hub) -> None:
    before = sorted(Store(home).root.rglob("*.part"))
    run("pull", "smollm2:135m", "--offline", guard=guard, home=home, hub=hub)
    assert sorted(Store(home).root.rglob("*.part")) == before
