"""Quantizing that is cut off, killed, or has no room: no model, no file and no process stays behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from localllm.models import disk_space
from localllm.models.storage.store import Store
from tests import processes
from tests.cli.shell import Shell
from tests.convert.checkpoints import write_checkpoint
from tests.models.child import clean_environment
from tests.processes import LOCALLLM

POSIX = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
SENTENCE = "The quick brown fox jumps over the lazy dog. "
LONG = 3000  # chunks: minutes of work, of which no test waits for more than a moment


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """The store of the processes' home."""
    return Store(tmp_path / "home")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """That of the processes; the folder has a checkpoint and texts in it."""
    write_checkpoint(tmp_path / "tiny")
    (tmp_path / "short.txt").write_text(SENTENCE * 60, "utf-8")
    (tmp_path / "long.txt").write_text(SENTENCE * 12 * LONG, "utf-8")
    return clean_environment(tmp_path, LOCALLLM_HOME=str(tmp_path / "home"))


@contextmanager
def quantizing(environment: Mapping[str, str], folder: Path, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """The command at work; killed at the end if it still is."""
    command = [*LOCALLLM, "quantize", "tiny/", "--threads", "1", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=folder
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(process: "subprocess.Popen[str]", stage: str) -> psutil.Process:
    """Until the process is at this stage; its child, which does the work."""
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if line.startswith(stage):
            break
    else:
        raise AssertionError(said)
    return until(lambda: next(iter(psutil.Process(process.pid).children()), None), process)


def until(found: Callable[[], psutil.Process | None], process: "subprocess.Popen[str]") -> psutil.Process:
    """What is found at last."""
    deadline = time.monotonic() + 60
    while (child := found()) is None:
        assert process.poll() is None
        assert time.monotonic() < deadline, "there was none"
        time.sleep(0.005)
    return child


def is_gone(child: psutil.Process) -> bool:
    """Whether it ends; one that its parent did not know of yet when it was interrupted is left for the system."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if not child.is_running() or child.status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.01)
    return False


def what_is_left(store: Store) -> list[str]:
    """Every file and folder of the store, but locks and folders that are always there."""
    paths = (path for path in store.root.rglob("*") if path.parent.name != "locks")
    return sorted(path.name for path in paths if path.name not in {"blobs", "parts", "locks", "manifests"})


STAGES = {
    "Converting": (),
    "Checking": (),
    "Calibrating": ("--calibrate", "long.txt", "--calibration-chunks", str(LONG)),
    "Reading": ("--evaluate", "--text", "long.txt", "--evaluation-chunks", "200"),
    "Quantizing": ("--calibrate", "none"),
    "Timing": ("--calibrate", "none", "--evaluate", "--text", "short.txt", "--evaluation-chunks", "1"),
}


@POSIX
@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_ctrl_c_leaves_nothing(environment: dict[str, str], store: Store, tmp_path: Path, stage: str) -> None:
    with quantizing(environment, tmp_path, *STAGES[stage]) as process:
        child = wait_for(process, stage)
        process.send_signal(signal.SIGINT)
        output, said = process.communicate(timeout=60)
    assert (process.returncode, output) == (130, "")
    assert said.splitlines()[-1] == "Interrupted. Nothing was kept."
    assert "Traceback" not in said
    assert is_gone(child)
    assert what_is_left(store) == []


@POSIX
@pytest.mark.slow
def test_ctrl_c_of_a_terminal_goes_to_the_child_too(environment: dict[str, str], store: Store, tmp_path: Path) -> None:
    with quantizing(environment, tmp_path, *STAGES["Calibrating"]) as process:
        child = wait_for(process, "Calibrating")
        child.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said.splitlines()[-1]) == (130, "Interrupted. Nothing was kept.")
    assert is_gone(child)
    assert what_is_left(store) == []


@POSIX
@pytest.mark.slow
def test_a_kill_ends_the_child_and_what_it_leaves_goes_next_time(
    environment: dict[str, str], store: Store, tmp_path: Path
) -> None:
    for clear in ("gc", "quantize"):
        with quantizing(environment, tmp_path, *STAGES["Calibrating"]) as process:
            child = wait_for(process, "Calibrating")
            process.kill()
            process.wait(timeout=60)
        gone, _ = psutil.wait_procs([child], timeout=60)
        assert gone == [child]
        (left,) = (store.root / "parts").iterdir()
        assert (left / "converted-auto.gguf").exists()
        if clear == "gc":
            done = processes.localllm("gc", "--dry-run", environment=environment)
            assert left.name in done.stdout
            done = processes.localllm("gc", environment=environment)
            assert done.stderr.endswith(" freed.\n")
            assert what_is_left(store) == []
    assert (
        processes.localllm("quantize", str(tmp_path / "tiny"), "--type", "q8_0", environment=environment).returncode
        == 0
    )
    assert list((store.root / "parts").iterdir()) == []
    assert (
        processes.localllm("run", "--model", "tiny:q8_0", "--max-tokens", "2", "Hi", environment=environment).returncode
        == 0
    )


@POSIX
@pytest.mark.slow
def test_the_death_of_a_child_is_an_error_in_a_line(environment: dict[str, str], store: Store, tmp_path: Path) -> None:
    with quantizing(environment, tmp_path, *STAGES["Calibrating"]) as process:
        wait_for(process, "Calibrating").kill()
        output, said = process.communicate(timeout=60)
    assert (process.returncode, output, len(said.splitlines())) == (5, "", 1)
    assert "the process of the step 'calibrate' was killed, perhaps because memory ran out" in said
    assert what_is_left(store) == []


LIMITED = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
sys.argv = ["localllm", *sys.argv[1:]]
runpy.run_module("localllm", run_name="__main__")
"""


@POSIX
@pytest.mark.slow
@pytest.mark.parametrize("limit", [150_000, 230_000])  # what is converted has 223 kB, F32 435 kB
def test_files_that_cannot_be_written_to_the_end(
    environment: dict[str, str], store: Store, tmp_path: Path, limit: int
) -> None:
    arguments = ["quantize", "tiny/", "--type", "f32", "--pure"]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED.format(limit=limit), *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env=environment,
        cwd=tmp_path,
    )
    assert done.returncode == 1, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("localllm: cannot write ")
    assert "File too large" in last
    assert "Traceback" not in done.stderr
    assert what_is_left(store) == []


def test_a_full_disk_is_told_of_before_it_is_full(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = write_checkpoint(tmp_path / "tiny")
    monkeypatch.setattr(disk_space, "SPARE_BYTES", 2**70)
    told = shell("quantize", str(checkpoint), "--calibrate", "default")
    assert (told.code, told.out) == (6, "")
    assert " free, " in told.err
    assert "localllm gc --dry-run" in told.err


def test_a_store_that_cannot_be_written(shell: Shell, clean_environment: Path, tmp_path: Path) -> None:
    (clean_environment / "models").write_text("a file in its place", "utf-8")
    told = shell("quantize", str(write_checkpoint(tmp_path / "tiny")))
    assert (told.code, told.out, len(told.err.splitlines())) == (1, "", 1)
    assert str(clean_environment / "models") in told.err


@pytest.mark.slow
def test_two_who_make_the_same_at_once(environment: dict[str, str], store: Store, tmp_path: Path) -> None:
    arguments = ("--type", "q4_0", "--calibrate", "short.txt", "--calibration-chunks", "2")
    with (
        quantizing(environment, tmp_path, *arguments) as first,
        quantizing(environment, tmp_path, *arguments) as second,
    ):
        said = [process.communicate(timeout=100)[1] for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], said
    assert all(text.splitlines()[-1].startswith("tiny:q4_0 is here now") for text in said)
    head = store.require("tiny:q4_0")
    assert head.trail == (head.version,)
    assert list((store.root / "parts").iterdir()) == []


@POSIX
@pytest.mark.slow
def test_a_source_that_goes_away_meanwhile(environment: dict[str, str], store: Store, tmp_path: Path) -> None:
    with quantizing(environment, tmp_path, "--calibrate", "short.txt", "--calibration-chunks", "2") as process:
        wait_for(process, "Calibrating")
        (tmp_path / "tiny" / "model.safetensors").unlink()
        _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said.splitlines()[-1].startswith("localllm: cannot read ")
    assert "Traceback" not in said
    assert what_is_left(store) == []
