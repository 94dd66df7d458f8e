"""Small files of the hub that are looked at and not kept: a shard index, a signature."""

from localllm.errors import IntegrityError, LoadFailed
from localllm.models.card import HubSource
from localllm.models.hub.address import locate
from localllm.models.hub.peek import MOST_BYTES, read_beginning
from localllm.models.transfer.expected import Fingerprint
from localllm.models.wanted import WantedFile


def read_small_file(file: WantedFile, *, offline: bool) -> bytes:
    """The whole file, from its first source, checked against its digest.

    Raises IntegrityError for other bytes and for a file of more than 32 MiB, DownloadFailed, also where offline.
    """
    source, size_bytes = file.sources[0], file.expected.size_bytes
    if not isinstance(source, HubSource):
        raise LoadFailed(f"{file.filename} is not on the hub")
    if size_bytes > MOST_BYTES:
        raise IntegrityError(
            f"{source.repository}: {file.filename} has {size_bytes} bytes; at most {MOST_BYTES} are read"
        )
    location = locate(source, file.expected, offline=offline)
    data = read_beginning(location, max(size_bytes, 1), offline=offline)
    fingerprint = Fingerprint(file.expected)
    fingerprint.update(memoryview(data))
    try:
        fingerprint.check()
    except IntegrityError as error:
        raise IntegrityError(f"{source.repository}: {file.filename}: {error.message}") from error
    return data
