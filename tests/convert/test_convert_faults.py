"""What can go wrong while a GGUF file is written: one error, no file, nothing left open."""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from localllm.convert.checkpoint import files_of
from localllm.convert.convert import convert
from localllm.errors import LoadFailed, ModelError, NoRoom
from localllm.models.gguf.header import read_header
from tests.convert.checkpoints import write_checkpoint

ROOT = Path(__file__).parent.parent.parent
POSIX = pytest.mark.skipif(os.name == "nt", reason="needs POSIX files")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "checkpoint")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "out" / "model.gguf"


@pytest.fixture(autouse=True)
def nothing_left(folder: Path, target: Path) -> Iterator[None]:
    """No file, and no descriptor."""
    target.parent.mkdir()
    before = open_files()
    yield
    assert not os.path.lexists(target)
    assert open_files() == before


def open_files() -> set[str]:
    """What this process has open of files that tests write; empty where the system does not say."""
    found = set()
    for descriptor in Path("/proc/self/fd").glob("*"):
        try:
            found.add(os.readlink(descriptor))
        except OSError:  # the one that the list itself was read by
            continue
    return {path for path in found if path.endswith((".gguf", ".safetensors", ".json"))}


def run(folder: Path, target: Path, on_tensor: Callable[[int], object] = lambda _: None) -> None:
    def hear(done: int, total: int, name: str) -> None:
        on_tensor(done)

    convert(files_of(folder), target, on_tensor=hear)


INTERRUPTED = """
import os, signal, sys
from pathlib import Path
from localllm.convert.checkpoint import files_of
from localllm.convert.convert import convert
from tests.convert.test_convert_faults import open_files

folder, target, when = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
signal.signal(signal.SIGINT, signal.default_int_handler)

def hear(done, total, name):
    assert target.exists()
    if done == when:
        signal.raise_signal(signal.SIGINT)

try:
    convert(files_of(folder), target, on_tensor=hear)
except KeyboardInterrupt:
    print("interrupted", target.exists(), open_files())
"""


@pytest.mark.parametrize("when", [1, 10, 21])
def test_ctrl_c_leaves_nothing(folder: Path, target: Path, when: int) -> None:
    """In a process of its own: in that of the tests, others may have had their way with signals."""
    command = [sys.executable, "-c", INTERRUPTED, str(folder), str(target), str(when)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stdout) == (0, "interrupted False set()\n"), done.stderr


def test_a_listener_that_fails_leaves_nothing(folder: Path, target: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        run(folder, target, lambda done: 1 // (done - 5))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is full")
def test_a_full_disk_is_no_room(folder: Path, target: Path) -> None:
    target.symlink_to("/dev/full")
    with pytest.raises(NoRoom, match=r"cannot write .*model\.gguf: .*No space left"):
        run(folder, target)


@POSIX
@pytest.mark.parametrize("most_bytes", [100, 20_000, 100_000])
def test_a_disk_that_takes_no_more_is_an_error(folder: Path, target: Path, most_bytes: int) -> None:
    """By the system's own limit for files: in the header, in a tensor."""
    import resource

    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, old[1]))
    try:
        with pytest.raises(ModelError, match=r"cannot write .*model\.gguf: .*File too large") as caught:
            run(folder, target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO], ids=errno.errorcode.get)
def test_a_sync_that_fails_is_an_error(folder: Path, target: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def fail(_: int) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as context:
        context.setattr(os, "fsync", fail)
        with pytest.raises(ModelError, match=r"cannot write .*model\.gguf") as caught:
            run(folder, target)
    assert isinstance(caught.value, NoRoom) == (code != errno.EIO)


def test_a_disk_without_room_is_not_begun_on(folder: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(target.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2**20))
    with pytest.raises(NoRoom, match="are needed"):
        run(folder, target, lambda _: pytest.fail("it was begun"))


def test_a_folder_that_is_missing_is_an_error(folder: Path, target: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot write .*No such file"):
        run(folder, target.parent / "none" / "model.gguf")


def test_a_folder_is_not_written_over(folder: Path, target: Path) -> None:
    with pytest.raises(ModelError, match="cannot write"):
        run(folder, target.parent)
    assert target.parent.is_dir()


def test_the_file_is_synced_when_it_is_whole(folder: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    real = os.fsync

    def note(descriptor: int) -> None:
        sizes.append(os.fstat(descriptor).st_size)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    run(folder, target)
    assert sizes == [target.stat().st_size]
    assert len(read_header(target).tensors) == 21
    target.unlink()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda path: os.truncate(path, 50_000), "changed while it was read"),
        (lambda path: os.truncate(path, path.stat().st_size + 1), "changed while it was read"),
        (lambda path: os.utime(path, ns=(1, 1)), "changed while it was read"),
        (lambda path: path.unlink(), "cannot read"),
    ],
    ids=["shorter", "longer", "another", "gone"],
)
def test_a_checkpoint_that_changes_meanwhile_is_refused(
    folder: Path, target: Path, change: Callable[[Path], object], words: str
) -> None:
    weights = folder / "model.safetensors"
    with pytest.raises(LoadFailed, match=rf"model\.safetensors.*{words}|{words} model\.safetensors"):
        run(folder, target, lambda done: change(weights) if done == 3 else None)


def test_a_text_that_is_no_unicode_is_refused(folder: Path, target: Path) -> None:
    with pytest.raises(LoadFailed, match="no Unicode"):
        convert(files_of(folder), target, name="\udc80", on_tensor=lambda *_: None)
