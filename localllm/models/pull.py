"""Pull: bring a version of a model into the store, whole and verified."""

import shutil
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from localllm.errors import DownloadFailed, IntegrityError, LoadFailed
from localllm.models.card import HubSource, Source
from localllm.models.digest import Digest
from localllm.models.disk_space import check_room
from localllm.models.fetch import fetch_file, words_of
from localllm.models.files import bytes_on_disk, disk_errors
from localllm.models.gguf.facts import facts_of
from localllm.models.gguf.header import read_header
from localllm.models.known import KnownFiles
from localllm.models.manifest import Manifest, StoredFile, version_of
from localllm.models.names import ModelName
from localllm.models.on_disk import require_forward
from localllm.models.progress import ELSEWHERE, OnProgress, Progress, WholeProgress
from localllm.models.signing.policy import SignaturePolicy, check_signature
from localllm.models.signing.trusted_key import MAX_SIGNATURE_BYTES
from localllm.models.small_file import read_small_file
from localllm.models.storage.store import Store
from localllm.models.transfer.options import FetchOptions
from localllm.models.transfer.part import PartFile
from localllm.models.wanted import Wanted, WantedFile

HERE = "a file that was already here"


class PullOptions(Struct, frozen=True, kw_only=True):
    """How to pull."""

    fetch: FetchOptions = FetchOptions()
    offline: bool = False  # what is not here is an error
    signatures: SignaturePolicy = "off"
    signing_key: Path | None = None


class _Arrival(Struct, frozen=True, kw_only=True):
    """A file whose bytes are here and right: a blob, or a part that will become one."""

    file: WantedFile
    digest: Digest
    source: str  # in words
    origin: Source  # the one that delivered it, or the first that could
    part: Path | None

    def path(self, store: Store) -> Path:
        """Where the bytes are."""
        return self.part or store.blobs.path(self.digest)

    def discard(self) -> None:
        """Drop what was fetched."""
        if self.part is not None:
            PartFile.discard(self.part)

    @property
    def stored(self) -> StoredFile:
        """As a manifest names it."""
        return StoredFile(
            filename=str(self.file.filename),
            size_bytes=self.file.expected.size_bytes,
            sha256=str(self.digest),
            git_sha1=self.file.expected.git_sha1 or "",
            origin=self.origin,
        )


def pull(
    wanted: Wanted,
    store: Store,
    options: PullOptions,
    on_progress: OnProgress,
    warn: Callable[[str], None],
    distrust: Collection[Digest] = (),
) -> Manifest:
    """Bring a version of a model into the store and put it into use.

    Each file comes from the first of its sources that delivers the right bytes; a file that is here already is not
    fetched, unless it is among those that `distrust` says are damaged. While another process brings the same, its
    progress is reported. Nothing is published before everything is here and checked; what has arrived when something
    fails is taken up next time.

    Raises DownloadFailed with every source's reason, LoadFailed for a GGUF or .pte file that is none, IntegrityError
    for a signature that does not fit, NoRoom, or ModelError when the disk cannot be written.
    """
    keys = [file.expected.key for file in wanted.files]
    with (
        disk_errors(f"write to {store.root}"),
        store.locks.hold(keys, lambda _: on_progress(_seen(wanted, store))),
    ):
        known = KnownFiles(store, wanted.name, distrust)
        here = _current(wanted, known, store)
        if here is not None:
            return here
        signature = _signature(wanted, options)
        stated = [file.expected.sha256 for file in wanted.files]
        _check_signature(wanted, stated, signature, options)  # before they are fetched, as far as can be told
        arrivals = _collect(wanted, known, store, options, on_progress)
        digests = [arrival.digest for arrival in arrivals]
        try:
            _check_headers(wanted, arrivals, store)
            doubt = _check_signature(wanted, digests, signature, options)
        except (LoadFailed, IntegrityError) as error:
            if not isinstance(error.__cause__, OSError):  # the disk's fault, not theirs
                for arrival in arrivals:
                    arrival.discard()
            raise
        if doubt:
            warn(doubt)
        unstated = [arrival.digest for arrival in arrivals if arrival.file.expected.sha256 is None]
        with store.locks.hold(unstated, lambda _: None):  # as the others are: no clean-up removes them meanwhile
            return _publish(wanted, arrivals, store)


def _current(wanted: Wanted, known: KnownFiles, store: Store) -> Manifest | None:
    """The version in use, if it is the wanted one and whole; what is said of it now is kept."""
    try:
        manifest = store.find(wanted.name)
    except IntegrityError:  # damaged: it is replaced
        return None
    if manifest is None:
        return None
    have = {file.filename: file for file in manifest.files}
    want = {file.filename: (file, known.find(file.expected)) for file in wanted.files}
    if {name: file.digest for name, file in have.items()} != {name: digest for name, (_, digest) in want.items()}:
        return None
    files = tuple(_with_origin(have[name], file) for name, (file, _) in want.items())
    return store.commit(_manifest(wanted, files, manifest.source))


def _with_origin(stored: StoredFile, wanted: WantedFile) -> StoredFile:
    """A stored file that now counts as coming from the commit that is wanted, if it did not already."""
    is_known = stored.origin in wanted.sources
    return stored if is_known else msgspec.structs.replace(stored, origin=wanted.sources[0])


def _collect(
    wanted: Wanted, known: KnownFiles, store: Store, options: PullOptions, on_progress: OnProgress
) -> list[_Arrival]:
    """All files, each as a blob or as a complete part."""
    found = [known.find(file.expected) for file in wanted.files]
    missing = [file for file, digest in zip(wanted.files, found, strict=True) if digest is None]
    if missing and options.offline:
        words = "not whole" if store.versions.has(ModelName(wanted.name)) else "not"
        raise DownloadFailed(f"{wanted.name} is {words} on this disk, and offline mode forbids fetching it")
    check_room(store.root, sum(_missing_bytes(file, store) for file in missing))
    here_bytes = wanted.size_bytes - sum(file.expected.size_bytes for file in missing)
    whole = WholeProgress(wanted.size_bytes, here_bytes, on_progress)
    arrivals = []
    for file, digest in zip(wanted.files, found, strict=True):
        if digest is not None:
            source = words_of(file.sources[0]) if known.is_own(digest) else HERE
            arrivals.append(_Arrival(file=file, digest=digest, source=source, origin=file.sources[0], part=None))
        else:
            arrivals.append(_fetch(file, store, options, on_progress if len(wanted.files) == 1 else whole))
            whole.add(file.expected.size_bytes)
    return arrivals


def _fetch(file: WantedFile, store: Store, options: PullOptions, on_progress: OnProgress) -> _Arrival:
    key = file.expected.key
    part, scratch = store.part_path(key), store.scratch_path(key)
    shutil.rmtree(scratch, ignore_errors=True)  # of a process that was killed
    origin, digest = fetch_file(file, part, scratch, options.fetch, on_progress)
    return _Arrival(file=file, digest=digest, source=words_of(origin), origin=origin, part=part)


def _missing_bytes(file: WantedFile, store: Store) -> int:
    """The room that its download still has to take."""
    return max(file.expected.size_bytes - bytes_on_disk(store.part_path(file.expected.key)), 0)


def _check_headers(wanted: Wanted, arrivals: Sequence[_Arrival], store: Store) -> None:
    """Before a native library sees a file, we have. Raises LoadFailed."""
    if wanted.format == "pte":
        require_forward(arrivals[0].path(store))
    if wanted.format != "gguf":
        return
    facts = facts_of([read_header(arrival.path(store)) for arrival in arrivals])
    if facts.split_count != len(arrivals):
        raise LoadFailed(
            f"{wanted.name} is {len(arrivals)} of the {facts.split_count} parts of a model; "
            "pull it by its quant, or name its first part"
        )


def _signature(wanted: Wanted, options: PullOptions) -> bytes | None:
    """The repository's signature file, if it is asked for. Raises DownloadFailed, IntegrityError."""
    file = wanted.signature
    if file is None or options.signatures == "off" or wanted.is_pinned:
        return None
    if file.expected.size_bytes > MAX_SIGNATURE_BYTES:
        raise IntegrityError(f"the signature of {wanted.name} has {file.expected.size_bytes} bytes; that is none")
    return read_small_file(file, offline=options.offline)


def _check_signature(
    wanted: Wanted, digests: Sequence[Digest | None], signature: bytes | None, options: PullOptions
) -> str | None:
    """Compare those files whose digest is known; returns the words of a warning. Raises IntegrityError."""
    files = {
        source.filename: digest
        for file, digest in zip(wanted.files, digests, strict=True)
        for source in file.sources[:1]
        if digest is not None and isinstance(source, HubSource)
    }
    if options.signatures == "off" or wanted.is_pinned or (not files and None in digests):
        return None
    return check_signature(
        options.signatures,
        signature=signature,
        files=files,
        public_key=options.signing_key,
        model=wanted.name,
    )


def _publish(wanted: Wanted, arrivals: Sequence[_Arrival], store: Store) -> Manifest:
    """First the bytes, then the manifest, then the head that puts it into use."""
    for part, digest in dict.fromkeys((arrival.part, arrival.digest) for arrival in arrivals):  # some may be alike
        if part is not None:
            store.blobs.publish(part, digest)
            PartFile.discard(part)  # what is left of it: its journal
    files = tuple(arrival.stored for arrival in arrivals)
    sources = dict.fromkeys(arrival.source for arrival in arrivals)
    return store.commit(_manifest(wanted, files, "; ".join(sources)))


def _manifest(wanted: Wanted, files: tuple[StoredFile, ...], source: str) -> Manifest:
    return Manifest(
        name=str(wanted.name),
        version=version_of(files),
        created=int(time.time()),
        format=wanted.format,
        quant=wanted.quant,
        license=wanted.license,
        source=source,
        follows=wanted.follows,
        defaults=wanted.defaults,
        files=files,
    )


def _seen(wanted: Wanted, store: Store) -> Progress:
    """How far another process is that brings the same."""
    done_bytes = 0
    for file in wanted.files:
        digest = file.expected.sha256
        is_here = digest is not None and store.blobs.size(digest) == file.expected.size_bytes
        part = store.part_path(file.expected.key)
        done_bytes += file.expected.size_bytes if is_here else PartFile.done_bytes(part)
    return Progress(source=ELSEWHERE, done_bytes=done_bytes, total_bytes=wanted.size_bytes)
