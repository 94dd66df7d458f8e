"""Fetch one file from one address into a part file, by several connections, and check it."""

from collections.abc import Callable

from localllm.errors import ConfigError, IntegrityError
from localllm.models.transfer.address import Location
from localllm.models.transfer.answer import RangeIgnored
from localllm.models.transfer.crew import run_crew
from localllm.models.transfer.lane import Lane, Works
from localllm.models.transfer.options import FetchOptions
from localllm.models.transfer.part import PartFile
from localllm.models.transfer.route import Source

_ALONE_BYTES = 8 * 2**20  # a smaller file takes one connection
_MOST_CONNECTIONS = 16


def fetch(
    locate: Callable[[], Location], part: PartFile, options: FetchOptions, on_bytes: Callable[[int], None]
) -> None:
    """Complete `part` from where `locate` says, and finish it.

    `locate` is asked first in this thread; again, perhaps in another, when its address is refused: signed ones
    expire. `on_bytes` is told in this thread how many bytes are there; it never goes back. Raises DownloadFailed,
    IntegrityError (the source's file is another one, or its bytes were wrong: those are dropped), NoRoom or
    ModelError. What has arrived is kept, also when an exception such as KeyboardInterrupt ends it.
    """
    _check(options)
    progress = _Progress(part, on_bytes)
    has_leftover = part.size_bytes > 0
    while True:
        if not part.is_full:
            _fetch_bytes(locate, part, options, progress)
        try:
            part.finish()
            return
        except IntegrityError:
            if not has_leftover:
                raise
            has_leftover = False  # an earlier attempt's bytes may be to blame: they are gone now, so once more


class _Progress:
    """Tells of bytes that are there, though a transfer may have to start over."""

    def __init__(self, part: PartFile, on_bytes: Callable[[int], None]) -> None:
        self._part = part
        self._on_bytes = on_bytes
        self._told = -1

    def __call__(self) -> None:
        done_bytes = self._part.size_bytes
        if done_bytes > self._told:
            self._told = done_bytes
            self._on_bytes(done_bytes)


def _fetch_bytes(
    locate: Callable[[], Location], part: PartFile, options: FetchOptions, on_look: Callable[[], None]
) -> None:
    source = Source(locate)
    part.reserve()
    on_look()
    connections = options.connections if part.expected.size_bytes >= _ALONE_BYTES else 1
    try:
        run_crew(Works(part, source, options), Lane.fill_segments, connections, on_look)
    except RangeIgnored:
        run_crew(Works(part, source, options), Lane.fill_whole, 1, on_look)
    finally:
        if not part.size_bytes:  # refused, say: its room is not kept for nothing
            part.drop()


def _check(options: FetchOptions) -> None:
    if not 1 <= options.connections <= _MOST_CONNECTIONS:
        raise ConfigError(f"connections: 1 to {_MOST_CONNECTIONS}, not {options.connections}")
    if options.bytes_per_second is not None and options.bytes_per_second < 1024:
        raise ConfigError(f"bytes a second: 1024 or more, not {options.bytes_per_second}")
    if options.stall_seconds <= 0 or options.retry.attempts < 1:
        raise ConfigError("the time to stall and the number of attempts must be above 0")
