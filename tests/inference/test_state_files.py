"""States on disk: found again, counted, evicted in turn, and never trusted."""

import hashlib
import os
import subprocess
import sys
import time
from array import array
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from localllm.inference.state_files import LOCK, PART_SECONDS, StateFiles, StateMatch
from localllm.inference.state_header import MAGIC, StateHeader
from tests.marks import slow

ROOT = Path(__file__).parent.parent.parent
KEY = "model-7 f16"
STATE_BYTES = 4000
FILE_BYTES = STATE_BYTES + 200  # a header of a few tokens is smaller
SECONDS = 60  # after which a child is taken to hang


def ids(*tokens: int) -> "array[int]":
    return array("i", tokens)


def state_of(number: int) -> bytes:
    return bytes((number * 7 + place) % 256 for place in range(STATE_BYTES))


def opened(folder: Path, files: int = 100, key: str = KEY) -> StateFiles:
    """Room for so many files."""
    return StateFiles(folder, files * FILE_BYTES, key)


def add(store: StateFiles, number: int, scope: str = "") -> bool:
    return store.put(ids(number, number, number), scope, state_of(number), can_trim=True)


def has(store: StateFiles, number: int, scope: str = "") -> bool:
    """Looks without using."""
    return store.find(ids(number, number, number), scope) is not None


def loaded(store: StateFiles, number: int, scope: str = "") -> bytes | None:
    match = store.find(ids(number, number, number), scope)
    return store.load(match) if match else None


def states(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.state"))


def age(path: Path, seconds: float) -> None:
    os.utime(path, (time.time() - seconds, time.time() - seconds))


def child(code: str, *arguments: object) -> "subprocess.Popen[str]":
    """A Python process in which `store` is the StateFiles of the folder named first."""
    start = (
        "import sys; from array import array; from pathlib import Path\n"
        "from localllm.inference.state_files import StateFiles\n"
        f"store = StateFiles(Path(sys.argv[1]), int(sys.argv[2]), {KEY!r})\n"
    )
    command = [sys.executable, "-c", start + code, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


# Kept and found again


def test_a_state_comes_back_whole_also_after_a_restart(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "states"
    store = opened(folder)
    assert add(store, 1)
    for reader in (store, opened(folder)):
        match = reader.find(ids(1, 1, 1, 5, 6), "")
        assert match is not None
        assert (match.tokens, match.held) == (3, 3)
        assert reader.load(match) == state_of(1)


def test_the_longest_beginning_is_found(tmp_path: Path) -> None:
    store = opened(tmp_path)
    for tokens in (ids(1, 2, 9, 9), ids(1, 2, 3, 4, 5), ids(1, 2, 3, 8), ids(7)):
        store.put(tokens, "", bytes(tokens), can_trim=True)
    for reader in (store, opened(tmp_path)):
        match = reader.find(ids(1, 2, 3, 6), "")
        assert match is not None
        assert (match.tokens, match.held) == (3, 4)  # the smaller of two that share three tokens
        assert reader.load(match) == bytes(ids(1, 2, 3, 8))
        assert reader.find(ids(2, 3), "") is None
        assert reader.find(ids(), "") is None


def test_what_cannot_be_trimmed_is_found_only_for_prompts_that_hold_all_of_it(tmp_path: Path) -> None:
    store = opened(tmp_path)
    for tokens in (ids(1, 2, 3, 4), ids(1, 2), ids(1)):
        assert store.put(tokens, "", bytes(tokens), can_trim=False)
    assert store.put(ids(1, 2), "", b"not written", can_trim=False)
    assert len(states(tmp_path)) == 3  # none serves for another's tokens
    match = store.find(ids(1, 2, 3), "", can_trim=False)
    assert match is not None
    assert (match.tokens, match.held) == (2, 2)
    assert store.load(match) == bytes(ids(1, 2))


@pytest.mark.parametrize("is_reopened", [False, True])
def test_a_longer_state_takes_the_place_of_those_it_contains(tmp_path: Path, is_reopened: bool) -> None:
    store = opened(tmp_path)
    for tokens in (ids(1, 2), ids(1, 3), ids(1)):  # the last is contained already
        assert store.put(tokens, "", bytes(tokens), can_trim=True)
    assert store.put(ids(1, 2), "other", b"other's", can_trim=True)
    store = opened(tmp_path) if is_reopened else store
    assert store.put(ids(1, 2, 3), "", b"longer", can_trim=True)
    assert len(states(tmp_path)) == 3
    match = store.find(ids(1, 2), "")
    assert match is not None
    assert (match.tokens, match.held, store.load(match)) == (2, 3, b"longer")


def test_what_a_file_already_serves_for_is_not_written_again(tmp_path: Path) -> None:
    store = opened(tmp_path)
    assert store.put(ids(1, 2, 3), "", b"longer", can_trim=True)
    (path,) = states(tmp_path)
    age(path, 100)
    before = path.stat()
    assert store.put(ids(1, 2), "", b"shorter", can_trim=True)
    assert states(tmp_path) == [path]
    assert path.stat().st_ino == before.st_ino
    assert path.stat().st_mtime > before.st_mtime  # but it was used
    path.unlink()
    assert store.put(ids(1, 2), "", b"shorter", can_trim=True)
    match = store.find(ids(1, 2), "")
    assert match is not None
    assert store.load(match) == b"shorter"


def test_scopes_and_keys_are_apart(tmp_path: Path) -> None:
    store, other_key = opened(tmp_path), opened(tmp_path, key="model-8 f16")
    assert add(store, 1, "secret\udcff token of Ann")
    assert not has(store, 1, "Bob")
    assert not has(store, 1)
    for reader in (other_key, opened(tmp_path, key="model-8 f16")):
        match = store.find(ids(1), "secret\udcff token of Ann")
        assert match is not None
        assert reader.find(ids(1), "secret\udcff token of Ann") is None
    assert loaded(opened(tmp_path), 1, "secret\udcff token of Ann") == state_of(1)
    assert b"secret" not in states(tmp_path)[0].read_bytes()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_only_this_user_may_read(tmp_path: Path) -> None:
    folder = tmp_path / "states"
    assert add(opened(folder), 1)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


# The budget


def test_the_least_recently_used_go_first_also_after_a_restart(tmp_path: Path) -> None:
    store = opened(tmp_path, files=4)
    assert all(add(store, number) for number in (1, 2, 3, 4))
    assert loaded(store, 1) == state_of(1)
    store = opened(tmp_path, files=4)
    assert loaded(store, 3) == state_of(3)
    assert add(store, 5)
    assert add(store, 6)
    assert [number for number in range(1, 7) if has(store, number)] == [1, 3, 5, 6]
    assert [number for number in range(1, 7) if has(opened(tmp_path), number)] == [1, 3, 5, 6]


def test_one_budget_for_all_keys(tmp_path: Path) -> None:
    for number, key in enumerate(("a", "b", "c")):
        assert add(opened(tmp_path, files=2, key=key), number)
    assert [key for number, key in enumerate(("a", "b", "c")) if has(opened(tmp_path, key=key), number)] == ["b", "c"]


def test_a_smaller_budget_holds_from_the_start(tmp_path: Path) -> None:
    store = opened(tmp_path)
    for number in range(6):
        assert add(store, number)
    store = opened(tmp_path, files=2)
    assert [number for number in range(6) if has(store, number)] == [4, 5]
    assert len(states(tmp_path)) == 2


def test_what_is_larger_than_the_budget_costs_nobody_a_place(tmp_path: Path) -> None:
    store = opened(tmp_path, files=2)
    assert add(store, 1)
    assert not store.put(ids(2), "", bytes(2 * FILE_BYTES), can_trim=True)
    assert not store.put(ids(1, 1, 1, 1), "", bytes(2 * FILE_BYTES), can_trim=True)
    assert loaded(store, 1) == state_of(1)


def test_the_header_counts_too(tmp_path: Path) -> None:
    header = StateHeader.of(KEY, "", ids(1), state_of(1)).encode()
    assert not StateFiles(tmp_path, len(header) + STATE_BYTES - 1, KEY).put(ids(1), "", state_of(1), can_trim=True)
    assert StateFiles(tmp_path, len(header) + STATE_BYTES, KEY).put(ids(1), "", state_of(1), can_trim=True)


def test_a_longer_state_needs_no_room_beside_those_it_replaces(tmp_path: Path) -> None:
    store = opened(tmp_path, files=2)
    assert add(store, 2)
    assert add(store, 1)
    assert store.put(ids(1, 1, 1, 1), "", state_of(3), can_trim=True)
    assert has(store, 2)
    assert len(states(tmp_path)) == 2


def test_files_that_are_not_ours_are_neither_counted_nor_touched(tmp_path: Path) -> None:
    name = StateHeader.of(KEY, "", ids(1), b"").name
    (tmp_path / name).mkdir()
    strangers = ["notes.txt", "my.state", f"{name}.bak", f"{name}.part", f"{name}.{10**30}.abc.part", name.upper()]
    for stranger in strangers:
        (tmp_path / stranger).write_bytes(bytes(FILE_BYTES))
        age(tmp_path / stranger, 5)
    target = tmp_path / "target.bin"
    target.write_bytes(b"not a state")
    (tmp_path / StateHeader.of(KEY, "", ids(2), b"").name).symlink_to(target)
    store = opened(tmp_path, files=2)
    assert add(store, 3)
    assert add(store, 4)
    assert has(store, 3)
    assert {path.name for path in tmp_path.iterdir()} >= {*strangers, name, "target.bin"}
    assert target.read_bytes() == b"not a state"


def test_a_budget_of_nothing_leaves_the_disk_alone(tmp_path: Path) -> None:
    assert add(opened(tmp_path / "full"), 1)
    match = opened(tmp_path / "full").find(ids(1), "")
    assert match is not None
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "full").iterdir()}
    for folder in (tmp_path / "full", tmp_path / "none"):
        store = StateFiles(folder, 0, KEY)
        assert not add(store, 2)
        assert not has(store, 1)
        assert store.load(match) is None
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "full").iterdir()} == before
    assert not (tmp_path / "none").exists()


def test_no_tokens_no_file(tmp_path: Path) -> None:
    assert not opened(tmp_path).put(ids(), "", b"state", can_trim=True)
    assert states(tmp_path) == []


# Damage

HEADER_BYTES = len(StateHeader.of(KEY, "", ids(1, 1, 1), state_of(1)).encode())
REGIONS = {  # first byte and the one after the last
    "magic": (0, 8),
    "version": (8, 10),
    "length": (10, 14),
    "header checksum": (14, 18),
    "header": (18, HEADER_BYTES),
    "state": (HEADER_BYTES, HEADER_BYTES + STATE_BYTES),
}
BY_REGION = [slow(region) if region == "header" else region for region in REGIONS]  # of which it has the most bytes
SOME_STATE_BYTES = {HEADER_BYTES, HEADER_BYTES + STATE_BYTES // 2, HEADER_BYTES + STATE_BYTES - 1}


def places(region: str) -> list[int]:
    return sorted(SOME_STATE_BYTES) if region == "state" else list(range(*REGIONS[region]))


def flipped(place: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :]


def cut(place: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:place]


def assert_never_served(folder: Path, damage: Callable[[bytes], bytes]) -> None:
    """Damaged before a start and while it is known, the file is dropped, and its neighbour lives."""
    for is_known in (False, True):
        store = opened(folder)
        assert add(store, 1)
        assert add(store, 2)
        path = folder / StateHeader.of(KEY, "", ids(1, 1, 1), b"").name
        path.write_bytes(damage(path.read_bytes()))
        store = store if is_known else opened(folder)
        assert loaded(store, 1) is None
        assert not has(store, 1)
        assert not path.exists()
        assert loaded(store, 2) == state_of(2)


@pytest.mark.parametrize("region", BY_REGION)
def test_a_flipped_bit_is_noticed(tmp_path: Path, region: str) -> None:
    for place in places(region):
        assert_never_served(tmp_path, flipped(place))


@pytest.mark.parametrize("region", BY_REGION)
def test_a_file_cut_short_is_noticed(tmp_path: Path, region: str) -> None:
    for place in places(region):
        assert_never_served(tmp_path, cut(place))


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data + b"\0",
        lambda data: data * 2,
        lambda data: bytes(len(data)),
        lambda data: MAGIC,
        lambda data: data[:10] + b"\xff\xff\xff\xff" + data[14:],
        lambda data: StateHeader.of(KEY, "", ids(1, 1), state_of(1)).encode() + state_of(1),  # of other tokens
        lambda data: StateHeader.of(KEY, "Bob", ids(1, 1, 1), state_of(1)).encode() + state_of(1),
        lambda data: StateHeader.of("model-8", "", ids(1, 1, 1), state_of(1)).encode() + state_of(1),
    ],
)
def test_other_damage_is_noticed(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    assert_never_served(tmp_path, damage)


def test_damaged_files_of_other_keys_are_left_to_those(tmp_path: Path) -> None:
    assert add(opened(tmp_path, key="other"), 1)
    (path,) = states(tmp_path)
    path.write_bytes(b"damaged")
    assert not has(opened(tmp_path), 1)
    assert path.exists()
    assert not has(opened(tmp_path, key="other"), 1)
    assert not path.exists()


def test_only_headers_are_read_at_the_start(tmp_path: Path) -> None:
    assert add(opened(tmp_path), 1)
    (path,) = states(tmp_path)
    path.write_bytes(flipped(HEADER_BYTES + 5)(path.read_bytes()))
    store = opened(tmp_path)
    assert has(store, 1)
    assert loaded(store, 1) is None


# Other processes, and disks that refuse


def test_files_may_vanish(tmp_path: Path) -> None:
    store = opened(tmp_path)
    assert store.put(ids(1, 2, 3), "", b"longest", can_trim=True)
    assert store.put(ids(1, 2, 9), "", b"shorter", can_trim=True)
    longest = store.find(ids(1, 2, 3), "")
    assert longest is not None
    (tmp_path / longest.name).unlink()
    assert store.load(longest) is None
    match = store.find(ids(1, 2, 3), "")
    assert match is not None
    assert match.tokens == 2
    (tmp_path / match.name).unlink()
    assert store.find(ids(1, 2, 3), "") is None
    assert add(store, 1)


def test_each_learns_what_the_other_added(tmp_path: Path) -> None:
    left, right = opened(tmp_path), opened(tmp_path)
    assert add(left, 1)
    assert not has(right, 1)
    assert add(right, 2)
    assert loaded(right, 1) == state_of(1)


def test_what_was_evicted_is_forgotten(tmp_path: Path) -> None:
    store = opened(tmp_path, files=2)
    for number in range(50):
        assert add(store, number, scope=str(number))
    assert len(store._trees) == len(store._scopes) == len(states(tmp_path)) == 2


@pytest.mark.slow
def test_two_processes_share_a_folder_and_its_budget(tmp_path: Path) -> None:
    code = (
        "first = int(sys.argv[3])\n"
        "for number in range(first, first + 40):\n"
        f"    state = bytes((number * 7 + place) % 256 for place in range({STATE_BYTES}))\n"
        "    assert store.put(array('i', [number] * 3), '', state, can_trim=True)\n"
    )
    children = [child(code, tmp_path, 20 * FILE_BYTES, first) for first in (1000, 2000)]
    for process in children:
        _, said = process.communicate(timeout=SECONDS)
        assert (process.returncode, said) == (0, "")
    paths = states(tmp_path)
    assert sum(path.stat().st_size for path in paths) <= 20 * FILE_BYTES
    assert len(paths) >= 20
    assert {path.suffix for path in tmp_path.iterdir()} <= {".state", ".lock"}
    store = opened(tmp_path)
    found = [number for first in (1000, 2000) for number in range(first, first + 40) if has(store, number)]
    assert len(found) == len(paths)
    assert all(loaded(store, number) == state_of(number) for number in found)


def test_nothing_is_published_without_the_lock(tmp_path: Path) -> None:
    assert add(opened(tmp_path), 1)
    code = (
        "from localllm.inference import state_files\n"
        "state_files.LOCK_SECONDS = 0.0\n"
        "print(store.put(array('i', [2]), '', b'state', can_trim=True))\n"
    )
    with FileLock(tmp_path / LOCK), child(code, tmp_path, FILE_BYTES) as process:
        assert process.communicate(timeout=SECONDS) == ("False\n", "")
    assert {path.suffix for path in tmp_path.iterdir()} == {".state", ".lock"}
    assert loaded(opened(tmp_path), 1) == state_of(1)
    assert not has(opened(tmp_path), 2)


def test_a_writer_killed_before_it_published_leaves_nothing_that_counts(tmp_path: Path) -> None:
    assert add(opened(tmp_path), 1)
    code = f"store.put(array('i', [2, 2, 2]), '', bytes({STATE_BYTES}), can_trim=True)"
    with FileLock(tmp_path / LOCK), child(code, tmp_path, 100 * FILE_BYTES) as process:
        while not (parts := list(tmp_path.glob("*.part"))) or parts[0].stat().st_size < STATE_BYTES:
            assert process.poll() is None, process.communicate()
        other = opened(tmp_path)  # somebody starts while it still writes
        assert parts[0].exists()
        process.kill()
    assert not has(other, 2)
    store = opened(tmp_path)
    assert not parts[0].exists()
    assert not has(store, 2)
    assert loaded(store, 1) == state_of(1)
    assert add(store, 2)


@pytest.mark.skipif(sys.platform == "win32", reason="needs the limits of POSIX")
def test_a_writer_that_ends_in_the_middle_of_the_bytes_leaves_nothing_that_counts(tmp_path: Path) -> None:
    code = (
        "import resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # the kernel ends the process within the write\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        f"store.put(array('i', [2, 2, 2]), '', bytes({STATE_BYTES}), can_trim=True)"
    )
    process = child(code, tmp_path, 100 * FILE_BYTES)
    process.communicate(timeout=SECONDS)
    assert process.returncode < 0
    (part,) = tmp_path.glob("*.part")
    assert part.stat().st_size == 2000
    store = opened(tmp_path)
    assert not part.exists()
    assert not has(store, 2)


def test_an_old_part_goes_whoever_has_its_number_now(tmp_path: Path) -> None:
    name = StateHeader.of(KEY, "", ids(1), b"").name
    young, old = (tmp_path / f"{name}.{os.getpid()}.{word}.part" for word in ("young", "old"))
    for part in (young, old):
        part.write_bytes(b"begun")
    age(old, PART_SECONDS + 10)
    opened(tmp_path)
    assert young.exists()
    assert not old.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="needs the limits of POSIX")
def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    store = opened(tmp_path, files=2)
    assert add(store, 1)
    assert add(store, 2)
    before = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in tmp_path.iterdir()}
    code = (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))  # writing fails beyond, as on a full disk\n"
        f"for tokens in ([3], [1, 1, 1, 1]):\n"
        f"    print(store.put(array('i', tokens), '', bytes({STATE_BYTES}), can_trim=True))\n"
        "print(store.find(array('i', [1, 1, 1]), '').tokens)\n"
    )
    process = child(code, tmp_path, 2 * FILE_BYTES)
    assert process.communicate(timeout=SECONDS) == ("False\nFalse\n3\n", "")
    assert {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("below", [(), ("states",)])
def test_where_no_folder_can_be_nothing_is_kept(tmp_path: Path, below: tuple[str, ...]) -> None:
    (tmp_path / "file").write_bytes(b"in the way")
    store = opened(tmp_path.joinpath("file", *below))
    assert not add(store, 1)
    assert not has(store, 1)
    assert store.load(StateMatch(StateHeader.of(KEY, "", ids(1), b"").name, 1, 1)) is None


@pytest.mark.skipif(not Path("/proc/self/fdinfo").is_dir(), reason="needs a folder that nobody can write to")
def test_a_folder_that_cannot_be_written_to_is_no_error() -> None:
    store = opened(Path("/proc/self/fdinfo"))
    assert not add(store, 1)
    assert not has(store, 1)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is forbidden here")
def test_a_folder_that_may_only_be_read_serves_what_it_has(tmp_path: Path) -> None:
    assert add(opened(tmp_path), 1)
    tmp_path.chmod(0o500)
    try:
        store = opened(tmp_path)
        assert not add(store, 2)
        assert loaded(store, 1) == state_of(1)
    finally:
        tmp_path.chmod(0o700)
