"""Ctrl-C while a model is fetched: what has come is kept, nothing is broken, and the next pull asks for the rest."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from localllm.models.storage.store import Store
from localllm.models.transfer.part import PartFile
from tests import processes
from tests.models.child import clean_environment
from tests.models.hub import Hub
from tests.models.hub_contents import sha256
from tests.models.leftovers import assert_nothing_published
from tests.processes import LOCALLLM

REPOSITORY = "some-org/Tiny-GGUF"
MIB = 2**20
POSIX = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as hub:
        yield hub


def until(condition: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "nothing came"
        time.sleep(0.01)


@pytest.mark.slow
@POSIX
def test_ctrl_c_keeps_what_has_come_and_the_next_pull_asks_for_the_rest(
    hub: Hub, tiny_model: Path, tmp_path: Path
) -> None:
    data = tiny_model.read_bytes() + bytes(3 * MIB)  # a file below 8 MiB comes over one connection, in order
    hub.commit(REPOSITORY, {"tiny.Q4_0.gguf": data})
    hub.faults.hold_after = 2 * MIB
    store = Store(tmp_path / "home")
    part = store.part_path(sha256(data))
    environment = clean_environment(tmp_path, LOCALLLM_HOME=str(tmp_path / "home"), HF_ENDPOINT=hub.url)
    command = [*LOCALLLM, "pull", REPOSITORY]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as first:
        until(lambda: PartFile.done_bytes(part) >= MIB, first)
        first.send_signal(signal.SIGINT)
        output, said = first.communicate(timeout=60)
    assert (first.returncode, output) == (130, "")
    assert "Traceback" not in said
    assert said.splitlines()[-1] == "Interrupted. What has arrived is kept: the same command goes on from there."
    assert_nothing_published(store)
    left = PartFile.done_bytes(part)  # nobody writes to it any more
    assert MIB <= left < len(data)

    hub.release()
    hub.faults.hold_after = None
    done = processes.localllm("pull", REPOSITORY, environment=environment)
    assert done.returncode == 0, done.stderr
    assert "of it here already" in done.stderr
    starts = [(asked.range or "bytes=0-").removeprefix("bytes=").partition("-")[0] for asked in hub.gets()]
    assert starts == ["0", str(left)]
    assert [path.read_bytes() for path in store.root.glob("blobs/*")] == [data]
    assert store.find(f"{REPOSITORY}:Q4_0") is not None
