"""A stored model once more: from where it came, as it was or as it is there now."""

import msgspec

from localllm.errors import InvalidRequest, LoadFailed
from localllm.models.card import HubSource, Source, WheelSource
from localllm.models.catalog import Catalog
from localllm.models.choose import Hub, choose_again, signature_of, wanted_files
from localllm.models.hub.repository import UNKNOWN_LICENSE, HubRepository
from localllm.models.manifest import MadeSource, Manifest, StoredFile
from localllm.models.transfer.expected import Expected
from localllm.models.wanted import Wanted, WantedFile, pinned


def as_it_was(manifest: Manifest, catalog: Catalog) -> Wanted:
    """The same files from where they came. Raises LoadFailed where that was this machine."""
    own = next((file for file in manifest.files if not isinstance(file.origin, HubSource | WheelSource)), None)
    if own is not None and isinstance(own.origin, MadeSource):
        raise LoadFailed(
            f"{manifest.name} was made here from {own.origin.of} and cannot be fetched; make it again: "
            f"localllm quantize --from-card {manifest.name}"
        )
    if own is not None:
        place = own.path or getattr(own.origin, "path", "")
        raise LoadFailed(
            f"{manifest.name} came from {place} on this machine and cannot be fetched; bring that file back, "
            f"then: localllm import --name {manifest.name} {place}"
        )
    return Wanted(
        name=manifest.name,
        format=manifest.format,
        quant=manifest.quant,
        license=manifest.license,
        follows=manifest.follows,
        defaults=manifest.defaults,
        files=tuple(_same(file, catalog, manifest.name) for file in manifest.files),
        is_pinned=True,
    )


def as_it_is_now(manifest: Manifest, catalog: Catalog, hub: Hub) -> Wanted | None:
    """The version that its branch or its card has now; None where that is the one in use.

    Raises InvalidRequest for a model that follows nothing, ModelNotFound where its files are gone, DownloadFailed,
    IntegrityError.
    """
    found = _of_branch(manifest, catalog, hub) if manifest.follows else _of_card(manifest, catalog)
    return None if _is_same(found, manifest) else found


def _of_card(manifest: Manifest, catalog: Catalog) -> Wanted:
    match = catalog.find(manifest.name)
    whole = pinned(match.card) if match is not None else None
    if match is None or whole is None or match.quant not in {None, whole.quant}:
        raise InvalidRequest(f"{manifest.name} follows nothing: it is {manifest.source}")
    return msgspec.structs.replace(whole, name=manifest.name)


def _of_branch(manifest: Manifest, catalog: Catalog, hub: Hub) -> Wanted:
    first = manifest.files[0].origin
    if not isinstance(first, HubSource):
        raise InvalidRequest(f"{manifest.name} follows nothing: it is {manifest.source}")
    repository = hub.read_repository(first.repository, manifest.follows)
    files = choose_again(manifest.format, first.filename, manifest.quant, repository, hub.read_file)
    match = catalog.find(manifest.name)
    return Wanted(
        name=manifest.name,
        format=manifest.format,
        quant=manifest.quant,
        license=match.card.license if match is not None else _license(repository, manifest),
        follows=manifest.follows,
        defaults=match.card.localllm.defaults if match is not None else manifest.defaults,
        files=wanted_files(files, repository),
        signature=signature_of(repository),
    )


def _license(repository: HubRepository, manifest: Manifest) -> str:
    return manifest.license if repository.license == UNKNOWN_LICENSE else repository.license


def _same(file: StoredFile, catalog: Catalog, name: str) -> WantedFile:
    sources: list[Source] = [file.origin] if isinstance(file.origin, HubSource | WheelSource) else []
    match = catalog.find(name)
    artifact = match.card.artifact if match is not None else None
    if artifact is not None and artifact.sha256 == file.sha256:  # the card knows other places too
        sources += [source for source in artifact.sources if source not in sources]
    expected = Expected(size_bytes=file.size_bytes, sha256=file.digest, git_sha1=file.git_sha1 or None)
    return WantedFile(filename=file.filename, expected=expected, sources=tuple(sources))


def _is_same(wanted: Wanted, manifest: Manifest) -> bool:
    """Whether the files are those of the version in use; of files outside LFS the hub tells only git's digest."""
    stored = {file.filename: file for file in manifest.files}
    return len(wanted.files) == len(stored) and all(
        new.filename in stored
        and new.expected.key in {stored[new.filename].sha256, f"git-{stored[new.filename].git_sha1}"}
        for new in wanted.files
    )
