"""The journal of a part file: how much of each segment is there, in a small file beside it.

`<part>.map`, little-endian: 8 bytes magic, the file's size, the segments' size (u64 each), 32 bytes SHA-256 of the
expected file's key; then for each segment how many bytes from its beginning on are there (u64). The bytes are
written before they are noted, so whatever kills the process, what is noted is there. (A power cut may undo that:
the digest then shows it.)
"""

import hashlib
import struct
from pathlib import Path

from localllm.models.transfer.disk import PlainFile
from localllm.models.transfer.expected import Expected

_MAGIC = b"llmpart1"
_HEADER = struct.Struct("<8sQQ32s")
_COUNT = struct.Struct("<Q")
_MOST_SEGMENTS = 2**20
_MIB = 2**20
_MOST_SEGMENT_BYTES = 64 * _MIB
_LEAST_SEGMENT_BYTES = 8 * _MIB
_USUAL_SEGMENTS = 16


def map_path(part: Path) -> Path:
    """Where the journal of the part file `part` is."""
    return part.with_name(part.name + ".map")


def usual_segment_bytes(size_bytes: int) -> int:
    """Segments large enough that requests cost nothing, and enough of them that connections end together."""
    wanted = -(-size_bytes // _USUAL_SEGMENTS // _MIB) * _MIB
    return min(max(wanted, _LEAST_SEGMENT_BYTES), _MOST_SEGMENT_BYTES)


class Journal:
    """Bytes there by segment. Opening raises ModelError or OSError; a damaged or foreign journal counts as none."""

    def __init__(self, part: Path, expected: Expected, segment_bytes: int | None) -> None:
        self._expected = expected
        self._file = PlainFile(map_path(part))
        self.segment_bytes = segment_bytes or usual_segment_bytes(expected.size_bytes)
        self.done: list[int] = []
        try:
            self._load()
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """Close the file; `done` can still be read."""
        self._file.close()

    def length_of(self, segment: int) -> int:
        """How many bytes belong into that segment."""
        return min(self.segment_bytes, self._expected.size_bytes - segment * self.segment_bytes)

    def note(self, segment: int, done_bytes: int) -> None:
        """So many bytes of the segment are in the file."""
        self._file.write_at(_COUNT.pack(done_bytes), _HEADER.size + segment * _COUNT.size)
        self.done[segment] = done_bytes

    def reset(self) -> None:
        """Nothing is there. Room for all counts is taken now, so that noting them needs none."""
        count = -(-self._expected.size_bytes // self.segment_bytes)
        self.done = [0] * count
        header = _HEADER.pack(_MAGIC, self._expected.size_bytes, self.segment_bytes, _name(self._expected))
        data = header + bytes(count * _COUNT.size)
        self._file.truncate(len(data))
        self._file.write_at(data, 0)

    def _load(self) -> None:
        length = min(self._file.size_bytes, _HEADER.size + _MOST_SEGMENTS * _COUNT.size + 1)
        data = memoryview(bytearray(length))
        data = data[: self._file.read_at(data, 0)]
        found = _decode(data)
        if found is None or found[0] != self._expected.size_bytes or found[1] != _name(self._expected):
            self.reset()
        else:  # also with segments of another size: they may have been chosen by another version
            _, _, self.segment_bytes, self.done = found


def read_done_bytes(part: Path) -> int:
    """How many bytes of the part file `part` are there, as another process sees it; 0 where that is not known."""
    try:
        found = _decode(memoryview(map_path(part).read_bytes()))
    except OSError:
        return 0
    return sum(found[3]) if found else 0


def _name(expected: Expected) -> bytes:
    return hashlib.sha256(expected.key.encode()).digest()


def _decode(data: memoryview) -> tuple[int, bytes, int, list[int]] | None:
    """Size, name, segment size and counts of a journal, or None if it is damaged."""
    if len(data) < _HEADER.size:
        return None
    magic, size_bytes, segment_bytes, name = _HEADER.unpack_from(data)
    if magic != _MAGIC or not segment_bytes or -(-size_bytes // segment_bytes) > _MOST_SEGMENTS:
        return None
    if len(data) != _HEADER.size + -(-size_bytes // segment_bytes) * _COUNT.size:
        return None
    done = [count for (count,) in _COUNT.iter_unpack(data[_HEADER.size :])]
    lengths = (min(segment_bytes, size_bytes - start) for start in range(0, size_bytes, segment_bytes))
    if any(count > length for count, length in zip(done, lengths, strict=True)):
        return None
    return size_bytes, name, segment_bytes, done
