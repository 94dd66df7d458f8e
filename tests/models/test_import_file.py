"""Importing: copies and files used in place, interrupted, on failing disks, and from files that change."""

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from localllm.errors import InvalidRequest, LoadFailed, ModelError, NoRoom
from localllm.models import import_file
from localllm.models.candidate import candidate_of
from localllm.models.catalog import Catalog
from localllm.models.digest import Digest
from localllm.models.local import LocalModel
from localllm.models.manifest import FileSource, Manifest
from localllm.models.resolve import resolve
from localllm.models.storage.garbage import collect_garbage, find_garbage
from localllm.models.storage.store import Store
from localllm.models.verify import verify
from tests.marks import slow
from tests.models.cards import stored_model
from tests.models.child import Child, clean_environment
from tests.models.gguf.headers import ARCHITECTURE, U16, gguf, pair, tensor

MIB = 2**20
Take = Callable[..., Manifest]


def copy(
    path: Path, store: Store, name: str | None = None, on_progress: import_file.OnProgress = lambda *_: None
) -> Manifest:
    return import_file.copy(candidate_of(path, name), store, on_progress)


def link(
    path: Path, store: Store, name: str | None = None, on_progress: import_file.OnProgress = lambda *_: None
) -> Manifest:
    return import_file.link(candidate_of(path, name), store, on_progress)


both = pytest.mark.parametrize("take", [copy, link])


@pytest.fixture
def draft(tmp_path: Path) -> Path:
    """A model of somewhat more than three chunks."""
    path = tmp_path / "given" / "mine.gguf"
    path.parent.mkdir()
    path.write_bytes(gguf(data_bytes=3 * MIB + 1))
    return path


@pytest.fixture
def path(draft: Path) -> Iterator[Path]:
    """The same; whatever happens to the store, it must stay as it is."""

    def state() -> tuple[bytes, int, int, int]:
        status = draft.stat()
        return draft.read_bytes(), status.st_mtime_ns, status.st_mode, status.st_nlink

    before = state()
    yield draft
    assert state() == before


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    """A model in two parts."""
    paths = [tmp_path / f"big-0000{number}-of-00002.gguf" for number in (1, 2)]
    for number, path in enumerate(paths):
        pairs = [pair("split.no", U16, number), pair("split.count", U16, 2)]
        path.write_bytes(gguf([ARCHITECTURE, *pairs] if number == 0 else pairs, [tensor(f"{number}.weight")]))
    return paths


def blobs(store: Store) -> set[str]:
    return set(store.blobs.digests())


def leftovers(store: Store) -> list[Path]:
    return [path for path in store.root.rglob("*") if path.is_file() and path.suffix in {".part", ".map"}]


def is_whole(store: Store, manifest: Manifest) -> bool:
    return store.find(manifest.name) == manifest and not verify(manifest, store, lambda *_: None).broken


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# What comes of it


def test_a_copy_belongs_to_the_store(store: Store, path: Path) -> None:
    manifest = copy(path, store)
    (file,) = manifest.files
    assert (manifest.name, manifest.format, manifest.license) == ("mine:f32", "gguf", "unknown")
    assert (file.filename, file.sha256, file.size_bytes) == ("mine.gguf", sha256(path), path.stat().st_size)
    assert (file.origin, file.is_linked) == (FileSource(path=str(path)), False)
    assert store.path(file).read_bytes() == path.read_bytes()
    assert not os.path.samefile(store.path(file), path)
    assert is_whole(store, manifest)
    assert leftovers(store) == []
    assert store.remove(manifest.name) == path.stat().st_size


def test_a_link_is_not_copied_and_not_owned(store: Store, path: Path) -> None:
    manifest = link(path, store)
    (file,) = manifest.files
    assert (file.path, file.modified_ns, file.sha256) == (str(path), path.stat().st_mtime_ns, sha256(path))
    assert store.path(file) == path
    assert is_whole(store, manifest)
    assert blobs(store) == set()
    assert store.remove(manifest.name) == 0
    assert collect_garbage(store, find_garbage(store, old_versions=True)) == 0
    assert path.exists()


@both
def test_all_parts_are_taken(store: Store, parts: list[Path], take: Take) -> None:
    manifest = take(parts[1], store)
    assert [file.sha256 for file in manifest.weights] == [sha256(path) for path in parts]
    assert is_whole(store, manifest)
    found = resolve(manifest.name, store, Catalog([]))
    assert isinstance(found, LocalModel)
    assert [Path(part).read_bytes() for part in found.parts] == [path.read_bytes() for path in parts]


@both
def test_progress_counts_every_byte_once(store: Store, path: Path, take: Take) -> None:
    seen: list[tuple[int, int]] = []
    take(path, store, on_progress=lambda done, total: seen.append((done, total)))
    size_bytes = path.stat().st_size
    assert {total for _, total in seen} == {size_bytes}
    done = [done for done, _ in seen]
    assert done == sorted(done)
    assert done[0] == MIB
    assert done[-1] == size_bytes


@both
def test_progress_goes_on_from_part_to_part(store: Store, parts: list[Path], take: Take) -> None:
    seen: list[int] = []
    take(parts[0], store, on_progress=lambda done, _: seen.append(done))
    sizes = [path.stat().st_size for path in parts]
    assert set(seen) == {sizes[0], sum(sizes)}


@pytest.mark.parametrize("name", ["model.bin", "sha256-" + "0" * 64, ".hidden.gguf", "größe 1.gguf", "a:b?.gguf"])
@both
def test_a_file_of_any_name_can_be_loaded(store: Store, path: Path, tmp_path: Path, name: str, take: Take) -> None:
    shutil.copy(path, tmp_path / name)
    found = resolve(take(tmp_path / name, store, "other:v1").name, store, Catalog([]))
    assert isinstance(found, LocalModel)
    assert Path(found.path).read_bytes() == path.read_bytes()


# Twice


def test_importing_twice_copies_nothing_new(store: Store, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = copy(path, store)
    blob = store.path(first.files[0])
    inode = blob.stat().st_ino
    monkeypatch.setattr(import_file, "_copy", lambda *_: pytest.fail("it was copied"))
    monkeypatch.setattr(import_file, "check_room", lambda *_: pytest.fail("it needs no room"))
    assert copy(path, store) == first
    other = copy(path, store, "other:v1")
    assert (blob.stat().st_ino, len(blobs(store))) == (inode, 1)
    assert is_whole(store, other)


def test_a_file_that_is_no_larger_than_one_that_is_here_is_read_first(store: Store, path: Path, tmp_path: Path) -> None:
    copy(path, store)
    other = tmp_path / "other.gguf"
    other.write_bytes(path.read_bytes()[:-1] + b"x")
    manifest = copy(other, store)
    assert is_whole(store, manifest)
    assert len(blobs(store)) == 2


def test_an_import_mends_a_damaged_blob(store: Store, path: Path) -> None:
    manifest = copy(path, store)
    blob = store.path(manifest.files[0])
    blob.chmod(0o600)
    blob.write_bytes(bytes(path.stat().st_size))
    assert not is_whole(store, manifest)
    assert is_whole(store, copy(path, store))


def test_a_file_with_other_bytes_is_a_new_version(store: Store, path: Path, tmp_path: Path) -> None:
    first = copy(path, store)
    other = tmp_path / "mine.gguf"
    other.write_bytes(path.read_bytes() + b"x")
    second = copy(other, store)
    assert (second.name, is_whole(store, second)) == (first.name, True)
    assert store.require("mine:f32").trail == (first.version, second.version)
    assert store.rollback("mine:f32") == first


def test_a_copy_after_a_link_belongs_to_the_store_and_back(store: Store, path: Path) -> None:
    linked = link(path, store)
    copied = copy(path, store)
    assert linked.version == copied.version
    assert store.current("mine:f32") == copied
    assert not copied.files[0].is_linked
    link(path, store)
    assert [item.kind for item in find_garbage(store, old_versions=False)] == ["blob"]


def test_what_is_in_the_store_is_not_used_in_place(store: Store, path: Path, tmp_path: Path) -> None:
    """Removing the model that owns it would take it from the other."""
    blob = store.path(copy(path, store).files[0])
    (tmp_path / "way").symlink_to(blob)
    for place in (blob, tmp_path / "way"):
        with pytest.raises(InvalidRequest, match="in the store already; see: localllm cp"):
            link(place, store, "other:v1")
    assert is_whole(store, copy(blob, store, "other:v1"))


# Known digests


def test_a_digest_that_is_known_is_not_taken_again(store: Store, path: Path) -> None:
    known = Digest("0" * 64)
    candidate = candidate_of(path, None)
    digests = {candidate.paths[0]: known}
    seen: list[int] = []
    manifest = import_file.link(
        import_file.Candidate(
            **{name: getattr(candidate, name) for name in candidate.__struct_fields__} | {"digests": digests}
        ),
        store,
        lambda done, _: seen.append(done),
    )
    assert manifest.files[0].digest == known
    assert seen == [path.stat().st_size]


# Files that change


@pytest.mark.parametrize("change", ["grow", "shrink", "rewrite", "touch"])
@both
def test_a_file_that_changes_while_it_is_read_is_refused(store: Store, draft: Path, take: Take, change: str) -> None:
    def alter(done_bytes: int, _: int) -> None:
        if done_bytes == MIB:
            with draft.open("r+b") as file:
                if change == "shrink":
                    file.truncate(2 * MIB)
                elif change != "touch":
                    file.seek(0, os.SEEK_END if change == "grow" else os.SEEK_SET)
                    file.write(b"GGUF")
            os.utime(draft, ns=(0, 12345))

    with pytest.raises(LoadFailed, match=r"mine\.gguf changed while it was read; import it again when it is complete"):
        take(draft, store, on_progress=alter)
    assert (store.survey().manifests, blobs(store), leftovers(store)) == ([], set(), [])


def test_a_file_that_is_exchanged_while_it_is_read_is_not_linked(store: Store, draft: Path, tmp_path: Path) -> None:
    """The bytes that were hashed are no longer those at the path."""
    other = tmp_path / "other"
    other.write_bytes(gguf())
    with pytest.raises(LoadFailed, match="changed while it was read"):
        link(draft, store, on_progress=lambda done, _: os.replace(other, draft) if other.exists() else None)
    assert store.survey().manifests == []


@both
def test_a_file_that_vanishes_before_it_is_read(store: Store, draft: Path, take: Take) -> None:
    candidate = candidate_of(draft, None)
    draft.unlink()
    with pytest.raises(LoadFailed, match="cannot read"):
        {copy: import_file.copy, link: import_file.link}[take](candidate, store, lambda *_: None)
    assert (store.survey().manifests, leftovers(store)) == ([], [])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a named pipe")
@both
def test_a_pipe_in_the_place_of_the_file_is_not_waited_for(store: Store, draft: Path, take: Take) -> None:
    candidate = candidate_of(draft, None)
    draft.unlink()
    os.mkfifo(draft)
    with pytest.raises(LoadFailed, match="no regular file"):
        {copy: import_file.copy, link: import_file.link}[take](candidate, store, lambda *_: None)


@both
def test_an_interrupt_leaves_nothing(store: Store, path: Path, take: Take) -> None:
    def interrupt(*_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take(path, store, on_progress=interrupt)
    assert (store.survey().manifests, blobs(store), leftovers(store)) == ([], set(), [])
    assert is_whole(store, take(path, store))


# Killed


@pytest.mark.parametrize("stage", [slow("copy"), slow("sync"), "publish", slow("commit")])
def test_an_import_that_is_killed_leaves_only_garbage(store: Store, path: Path, tmp_path: Path, stage: str) -> None:
    other = stored_model(store, data=gguf())
    home = store.root.parent
    with Child(
        "-m", "tests.models.importer", str(path), str(home), stage, environment=clean_environment(tmp_path)
    ) as child:
        assert child.line() == "start"
        assert child.line() == f"at {stage}"
        garbage = find_garbage(store, old_versions=False)
        assert collect_garbage(store, garbage) == 0  # what is at work is left alone
        child.kill()
    assert store.survey().manifests == [other]
    garbage = find_garbage(store, old_versions=False)
    assert [item.kind for item in garbage] == ["blob" if stage == "commit" else "part"]
    if stage in {"publish", "commit"}:  # of the others, the bytes may not have reached the disk
        assert garbage[0].size_bytes >= path.stat().st_size
    collect_garbage(store, garbage)
    assert (leftovers(store), blobs(store)) == ([], {other.files[0].digest})
    assert is_whole(store, copy(path, store))
    assert is_whole(store, other)


@pytest.mark.slow
def test_a_killed_import_is_done_again_without_collecting(store: Store, path: Path, tmp_path: Path) -> None:
    for stage in ("copy", "publish", "commit"):
        arguments = ("-m", "tests.models.importer", str(path), str(store.root.parent), stage)
        with Child(*arguments, environment=clean_environment(tmp_path)) as child:
            assert child.line() == "start"
            assert child.line() == f"at {stage}"
    assert is_whole(store, copy(path, store))


def test_two_who_import_the_same_file_wait_for_each_other(store: Store, path: Path, tmp_path: Path) -> None:
    home = str(store.root.parent)
    environment = clean_environment(tmp_path)
    with Child("-m", "tests.models.importer", str(path), home, "publish", environment=environment) as first:
        assert first.line() == "start"
        assert first.line() == "at publish"
        with Child("-m", "tests.models.importer", str(path), home, "none", environment=environment) as second:
            assert second.line() == "start"
            assert len(leftovers(store)) == 1
            first.kill()
            assert second.line() == "done"
    assert [manifest.name for manifest in store.survey().manifests] == ["mine:f32"]
    assert is_whole(store, store.survey().manifests[0])


# Disks that fail


def error_of(action: Callable[[], object]) -> ModelError | None:
    """What goes wrong. Anything but an error of ours is a failure."""
    try:
        action()
    except ModelError as error:
        return error
    return None


class Disk:
    """Lets one call of a system function fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, function: str, failing: int, code: int, root: Path) -> None:
        self.calls = 0
        self._failing, self._code, self._root = failing, code, root
        self._real = getattr(os, function)
        monkeypatch.setattr(os, function, self._call)

    def _call(self, *arguments: object, **options: object) -> object:
        place = arguments[0]
        if isinstance(place, str | Path) and not Path(place).is_relative_to(self._root):
            return self._real(*arguments, **options)
        self.calls += 1
        if self.calls == self._failing:
            raise OSError(self._code, os.strerror(self._code), str(place))
        return self._real(*arguments, **options)


@pytest.mark.parametrize(
    ("function", "code"),
    [
        *(slow("open", code) for code in (errno.ENOSPC, errno.EACCES, errno.EROFS)),
        *(slow("fsync", code) for code in (errno.ENOSPC, errno.EIO)),
        ("replace", errno.ENOSPC),
        *(slow("replace", code) for code in (errno.EIO, errno.EROFS)),
        *(slow("mkdir", code) for code in (errno.ENOSPC, errno.EACCES)),
        ("chmod", errno.EPERM),
    ],
)
def test_whichever_call_fails_the_error_is_ours_and_nothing_is_lost(
    tmp_path: Path, draft: Path, monkeypatch: pytest.MonkeyPatch, function: str, code: int
) -> None:
    """Each call in turn, until one import makes fewer of them."""
    draft.write_bytes(gguf(data_bytes=5000))
    for failing in range(1, 100):
        store = Store(tmp_path / f"home{failing}")
        other = stored_model(store, data=gguf())
        shutil.rmtree(store.root / "parts")
        with monkeypatch.context() as context:
            disk = Disk(context, function, failing, code, store.root)
            error = error_of(partial(copy, draft, store))
        assert error is None or isinstance(error, NoRoom) == (code == errno.ENOSPC)
        assert error is None or "\n" not in error.message
        if disk.calls < failing:
            break
        assert is_whole(store, other)
        manifests = store.survey().manifests
        assert all(is_whole(store, manifest) for manifest in manifests)
        assert is_whole(store, copy(draft, store))
        collect_garbage(store, find_garbage(store, old_versions=False))
        assert leftovers(store) == []
        shutil.rmtree(store.root)
    assert 1 < failing < 99


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT], ids=errno.errorcode.get)
def test_a_write_that_fails_is_the_fault_of_the_store(
    store: Store, path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    candidate = candidate_of(path, None)
    with monkeypatch.context() as context:
        context.setattr(os, "fdopen", lambda descriptor, *_: FailingFile(descriptor, code))
        with pytest.raises(ModelError, match=r"cannot write to .*home") as caught:
            import_file.copy(candidate, store, lambda *_: None)
    assert isinstance(caught.value, NoRoom) == (code != errno.EIO)
    assert not isinstance(caught.value, LoadFailed)
    assert (store.survey().manifests, blobs(store), leftovers(store)) == ([], set(), [])
    assert is_whole(store, copy(path, store))


class FailingFile:
    """A file that cannot be written."""

    def __init__(self, descriptor: int, code: int) -> None:
        self._descriptor, self._code = descriptor, code

    def __enter__(self) -> "FailingFile":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def write(self, _data: bytes) -> int:
        raise OSError(self._code, os.strerror(self._code))


@both
def test_a_read_that_fails_is_the_fault_of_the_file(
    store: Store, path: Path, monkeypatch: pytest.MonkeyPatch, take: Take
) -> None:
    candidate = candidate_of(path, None)
    real = Path.open

    def failing(self: Path, *arguments: object, **options: object) -> object:
        if self == path:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(self))
        return real(self, *arguments, **options)  # type: ignore[call-overload]

    with monkeypatch.context() as context:
        context.setattr(Path, "open", failing)
        with pytest.raises(LoadFailed, match=r"cannot read .*mine\.gguf: Input/output error; check"):
            {copy: import_file.copy, link: import_file.link}[take](candidate, store, lambda *_: None)
    assert (store.survey().manifests, leftovers(store)) == ([], [])


def test_a_disk_without_room_is_not_begun_on(store: Store, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=path.stat().st_size))
    monkeypatch.setattr(import_file, "_copy", lambda *_: pytest.fail("it was begun"))
    with pytest.raises(NoRoom, match="localllm gc"):
        copy(path, store)
    assert is_whole(store, link(path, store))
