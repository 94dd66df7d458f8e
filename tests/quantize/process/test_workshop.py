"""Steps in processes of their own: what comes back, and that nothing stays, however a step ends."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from localllm.errors import EngineError, InvalidRequest, LoadFailed
from localllm.quantize.process import child
from localllm.quantize.process.workshop import run_step
from localllm.quantize.steps import AskBuild, Build, Calibrate, Calibrated, Convert, Converted, Progress
from localllm.worker.frames import frame
from tests.convert.checkpoints import write_checkpoint

POSIX = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
PYTHON = sys.executable
LONG_CHUNKS = 4000  # a minute of work, of which no test waits for more than a moment


def calibration(model: Path, folder: Path, *, chunks: int) -> Calibrate:
    """A step of so many chunks."""
    text = folder / "text.txt"
    text.write_text("The quick brown fox. " * 25 * chunks, "utf-8")
    return Calibrate(
        model=str(model),
        text=str(text),
        target=str(folder / "matrix.gguf"),
        dataset="text.txt",
        chunks=chunks,
        threads=1,
    )


def the_child() -> psutil.Process:
    """The process of the step that runs."""
    (child,) = psutil.Process().children()
    return child


def test_a_result_comes_back_and_progress_before_it(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    step = Convert(files={path.name: str(path) for path in checkpoint.iterdir()}, target=str(tmp_path / "model.gguf"))
    told: list[Progress] = []
    made = run_step(step, Converted, told.append)
    assert (made.architecture, made.type, made.tensors) == ("llama", "BF16", 21)
    assert made.size_bytes == (tmp_path / "model.gguf").stat().st_size
    assert (told[-1].done, told[-1].total) == (21, 21)
    assert [progress.done for progress in told] == sorted({progress.done for progress in told})
    assert psutil.Process().children() == []


def test_an_error_is_raised_as_what_it_was_in_the_child(tmp_path: Path, tiny_model: Path) -> None:
    with pytest.raises(LoadFailed, match=r"no config\.json"):
        run_step(Convert(files={}, target=str(tmp_path / "model.gguf")), Converted, lambda _: None)
    (tmp_path / "short.txt").write_text("hello", "utf-8")
    step = Calibrate(
        model=str(tiny_model),
        text=str(tmp_path / "short.txt"),
        target=str(tmp_path / "matrix.gguf"),
        dataset="short.txt",
        chunks=2,
        threads=1,
    )
    with pytest.raises(InvalidRequest, match="5 tokens") as caught:
        run_step(step, Calibrated, lambda _: None)
    assert caught.value.param == "calibrate"
    assert psutil.Process().children() == []


@POSIX
@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGKILL, "was killed, perhaps because memory ran out"),
        (signal.SIGABRT, r"ended \(signal 6\)"),
        (signal.SIGSEGV, r"ended \(signal 11\)"),
    ],
)
def test_a_child_that_dies_costs_its_step_alone(
    tmp_path: Path, tiny_model: Path, number: signal.Signals, words: str
) -> None:
    def kill(progress: Progress) -> None:
        if progress.done:
            the_child().send_signal(number)

    with pytest.raises(EngineError, match=f"the process of the step 'calibrate' {words}"):
        run_step(calibration(tiny_model, tmp_path, chunks=LONG_CHUNKS), Calibrated, kill)
    assert psutil.Process().children() == []
    assert run_step(AskBuild(), Build, lambda _: None).commit  # the next one works


@pytest.mark.slow
def test_ctrl_c_ends_the_child_first(tmp_path: Path, tiny_model: Path) -> None:
    children: list[psutil.Process] = []

    def interrupt(progress: Progress) -> None:
        if progress.done:
            children.append(the_child())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_step(calibration(tiny_model, tmp_path, chunks=LONG_CHUNKS), Calibrated, interrupt)
    assert [child.is_running() for child in children] == [False]
    assert not (tmp_path / "matrix.gguf").exists()


PARENT = """
import os
from pathlib import Path
from localllm.quantize.steps import Calibrated
from localllm.quantize.process.workshop import run_step
from tests.quantize.process.test_workshop import LONG_CHUNKS, calibration, the_child

def tell(progress):
    if progress.done:
        print(the_child().pid, flush=True)

run_step(calibration(Path({model!r}), Path({folder!r}), chunks=LONG_CHUNKS), Calibrated, tell)
"""


@POSIX
@pytest.mark.slow
def test_a_parent_that_is_killed_leaves_no_child(tmp_path: Path, tiny_model: Path) -> None:
    program = PARENT.format(model=str(tiny_model), folder=str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        assert child.is_running()
        parent.kill()
        parent.wait()
    gone, _ = psutil.wait_procs([child], timeout=60)
    assert gone == [child]


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A shell script that runs in the place of the child."""
    script = tmp_path / "child.sh"
    script.touch(mode=0o700)
    monkeypatch.setattr(sys, "executable", str(script))
    return script


def python(script: Path, body: str) -> None:
    """Have the stand-in run Python."""
    program = script.with_suffix(".py")
    program.write_text(textwrap.dedent(body), "utf-8")
    script.write_text(f"#!/bin/sh\nexec '{PYTHON}' '{program}'\n", "utf-8")


@POSIX
@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("printf '\\377\\377\\377\\377junk'", "sent garbage: a frame of 4294967295 bytes"),
        ("printf '\\0\\0\\0\\1x'", "sent garbage"),
        ("echo 'first' >&2; echo 'no library' >&2; exit 3", r"\(status 3\); its last words: first | no library"),
        ("exec <&-; exit 0", r"ended \(status 0\)$"),
    ],
)
def test_a_child_that_is_not_ours(stand_in: Path, body: str, words: str) -> None:
    stand_in.write_text(f"#!/bin/sh\n{body}\n", "utf-8")
    with pytest.raises(EngineError, match=words):
        run_step(AskBuild(), Build, lambda _: None)
    assert psutil.Process().children() == []


@POSIX
def test_a_step_without_memory_says_so(stand_in: Path) -> None:
    python(
        stand_in,
        """
        from localllm.quantize.process import child
        def perform(step, report):
            raise MemoryError
        child.perform = perform
        child.main()
        """,
    )
    with pytest.raises(EngineError, match="not enough memory for this; close other programs"):
        run_step(AskBuild(), Build, lambda _: None)


@POSIX
def test_what_a_library_prints_is_no_frame(stand_in: Path) -> None:
    python(
        stand_in,
        """
        import os
        from localllm.quantize.process import child
        from localllm.quantize.steps import Build
        def perform(step, report):
            print("chatter")
            os.write(1, b"more of it")
            return Build(commit="abc", system_info="")
        child.perform = perform
        child.main()
        """,
    )
    assert run_step(AskBuild(), Build, lambda _: None) == Build(commit="abc", system_info="")


@POSIX
def test_an_error_that_nobody_thought_of_ends_in_one_line(stand_in: Path) -> None:
    python(
        stand_in,
        """
        from localllm.quantize.process import child
        def perform(step, report):
            raise ZeroDivisionError("by zero")
        child.perform = perform
        child.main()
        """,
    )
    with pytest.raises(EngineError, match=r"ended \(status 1\); .*ZeroDivisionError: by zero") as caught:
        run_step(AskBuild(), Build, lambda _: None)
    assert "\n" not in caught.value.message


def test_modules_of_the_current_folder_are_not_taken_for_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("msgspec", "numpy", "gguf", "queue"):
        (tmp_path / f"{name}.py").write_text("open('ran', 'w'); raise SystemExit(7)", "utf-8")
    monkeypatch.chdir(tmp_path)
    assert run_step(AskBuild(), Build, lambda _: None).commit
    assert not (tmp_path / "ran").exists()


def test_progress_is_told_now_and_then_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    class Outlet:
        sent: list[Progress] = []  # noqa: RUF012

        def send(self, progress: Progress) -> None:
            self.sent.append(progress)

    clock = iter([100.0, 100.01, 100.2, 100.21])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    report = child._sparing(Outlet())  # type: ignore[arg-type]
    for done in (1, 2, 3, 4):
        report(Progress(done, 4))
    assert [progress.done for progress in Outlet.sent] == [1, 3, 4]
    assert len(frame(Progress(1, 4))) < 64
