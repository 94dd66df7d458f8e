"""Import: files that the user has already become a model of the store, copied or used in place."""

import hashlib
import os
import re
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from localllm.errors import InvalidRequest
from localllm.models.digest import Digest, is_plain
from localllm.models.disk_space import check_room
from localllm.models.files import PRIVATE_FILE, disk_errors
from localllm.models.given_file import GivenFile
from localllm.models.manifest import FileSource, Format, Manifest, StoredFile, version_of
from localllm.models.names import ModelName
from localllm.models.on_disk import unreadable
from localllm.models.reference import shown
from localllm.models.storage.blobs import OnBytes, hash_file
from localllm.models.storage.store import Store

_UNFIT = re.compile(r"[^A-Za-z0-9._-]+")
_MOST_NAME_CHARACTERS = 100

OnProgress = Callable[[int, int], None]  # bytes done, bytes in all


class Candidate(Struct, frozen=True, kw_only=True):
    """Files that make up a model, checked to be one."""

    name: ModelName
    format: Format
    quant: str
    license: str
    source: str  # in words
    paths: tuple[Path, ...]  # absolute; weights first, in order
    digests: Mapping[Path, Digest] = {}  # of files whose SHA-256 is known already

    @property
    def filenames(self) -> tuple[str, ...]:
        """What the store calls the files: as they are called, if that is safe, and weights by their format.

        Other programs keep files that are called by their digest.
        """
        weights = {"gguf": len(self.paths), "pte": 1}.get(self.format, 0)
        return tuple(
            _plain_name(path.name, f".{self.format}" if at < weights else "") for at, path in enumerate(self.paths)
        )


def link(candidate: Candidate, store: Store, on_progress: OnProgress) -> Manifest:
    """Use the files where they lie: they are never copied, changed or removed, and hashed unless their SHA-256 is
    known.

    Raises LoadFailed where one cannot be read or changes meanwhile, InvalidRequest for the store's own files,
    ModelError.
    """
    given = [GivenFile.at(path) for path in candidate.paths]
    files = [
        _linked(file, filename, candidate.digests.get(file.path), store, report)
        for file, filename, report in zip(given, candidate.filenames, _reports(given, on_progress), strict=True)
    ]
    return store.commit(_manifest(candidate, files))


def copy(candidate: Candidate, store: Store, on_progress: OnProgress) -> Manifest:
    """Copy the files into the store, but for those whose bytes it has.

    Nothing is published before everything is copied and synced. Raises LoadFailed where a file cannot be read or
    changes meanwhile, NoRoom, IntegrityError for bytes that were removed meanwhile, ModelError.
    """
    given = [GivenFile.at(path) for path in candidate.paths]
    key = f"import-{hashlib.sha256(str(candidate.paths[0]).encode()).hexdigest()[:32]}"  # one lock for each model
    attempt = f"{key}-{uuid.uuid4().hex}"  # where locks do nothing, two must not write into one file
    with disk_errors(f"write to {store.root}"), store.locks.hold([key], lambda _: None):
        parts = [store.part_path(f"{attempt}-{index}") for index in range(len(given))]
        try:
            digests = _collect(given, parts, store, _reports(given, on_progress))
            with store.locks.hold(digests, lambda _: None):
                for part, digest in zip(parts, digests, strict=True):
                    if part.exists():
                        store.blobs.publish(part, digest)
                return store.commit(_manifest(candidate, _stored(candidate, given, digests)))
        finally:
            for part in parts:
                with suppress(OSError):  # gc finds it; what went wrong before says more
                    part.unlink(missing_ok=True)


def _linked(file: GivenFile, filename: str, known: Digest | None, store: Store, on_bytes: OnBytes) -> StoredFile:
    try:
        place = Path(os.path.realpath(file.path, strict=True))  # a link in a cache may come to point elsewhere
        if place.is_relative_to(os.path.realpath(store.root)):
            raise InvalidRequest(f"{shown(file.path)} is in the store already; see: localllm cp --help")
        digest = known or file.digest(on_bytes)
        file.check_same(place.stat())
    except OSError as error:
        raise unreadable(file.path, error) from error
    on_bytes(file.size_bytes)
    return StoredFile(
        filename=filename,
        size_bytes=file.size_bytes,
        sha256=str(digest),
        origin=FileSource(path=str(file.path)),
        path=str(place),
        modified_ns=file.modified_ns,
    )


def _collect(
    given: Sequence[GivenFile], parts: Sequence[Path], store: Store, reports: Sequence[OnBytes]
) -> list[Digest]:
    """The digest of each file, which is now a blob or copied to its part."""
    here = [_digest_here(file, store, report) for file, report in zip(given, reports, strict=True)]
    needed = [file.size_bytes for file, digest in zip(given, here, strict=True) if digest is None]
    if needed:
        check_room(store.root, sum(needed))
    return [
        digest or _copy(file, part, report)
        for file, part, digest, report in zip(given, parts, here, reports, strict=True)
    ]


def _digest_here(file: GivenFile, store: Store, on_bytes: OnBytes) -> Digest | None:
    """The digest of a file whose bytes are in the store. Only what has the size of a blob is read to find out."""
    if not any(store.blobs.size(digest) == file.size_bytes for digest in store.blobs.digests()):
        return None
    digest = file.digest(on_bytes)
    return digest if _is_right(file, digest, store) else None


def _copy(file: GivenFile, part: Path, on_bytes: OnBytes) -> Digest:
    """Copy it to `part`, synced; returns the digest of what was written."""
    found = hashlib.sha256()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(part, flags, PRIVATE_FILE), "wb") as target:
        for chunk in file.chunks(on_bytes):
            target.write(chunk)
            found.update(chunk)
        target.flush()
        os.fsync(target.fileno())
    return Digest(found.hexdigest())


def _is_right(file: GivenFile, digest: Digest, store: Store) -> bool:
    """Whether the blob is there and undamaged."""
    try:
        blob = store.blobs.path(digest)
        return store.blobs.size(digest) == file.size_bytes and hash_file(blob, lambda _: None) == digest
    except OSError:  # of a disk that fails
        return False


def _stored(candidate: Candidate, given: Sequence[GivenFile], digests: Sequence[Digest]) -> list[StoredFile]:
    return [
        StoredFile(
            filename=filename,
            size_bytes=file.size_bytes,
            sha256=str(digest),
            origin=FileSource(path=str(file.path)),
        )
        for filename, file, digest in zip(candidate.filenames, given, digests, strict=True)
    ]


def _reports(given: Sequence[GivenFile], on_progress: OnProgress) -> list[OnBytes]:
    """For each file, who is told how much of it is done."""
    sizes = [file.size_bytes for file in given]

    def report(before_bytes: int) -> OnBytes:
        return lambda done_bytes: on_progress(before_bytes + done_bytes, sum(sizes))

    return [report(sum(sizes[:index])) for index in range(len(sizes))]


def _plain_name(name: str, suffix: str) -> str:
    whole = name if name.lower().endswith(suffix) else f"{name}{suffix}"
    return whole if is_plain(whole) else f"model-{_UNFIT.sub('-', whole)[-_MOST_NAME_CHARACTERS:]}"


def _manifest(candidate: Candidate, files: Sequence[StoredFile]) -> Manifest:
    return Manifest(
        name=str(candidate.name),
        version=version_of(files),
        created=int(time.time()),
        format=candidate.format,
        quant=candidate.quant,
        license=candidate.license,
        source=candidate.source,
        files=tuple(files),
    )
