"""Reading a header from its beginning on, never beyond the file, also where only a part of the file is here."""

import struct
from collections.abc import Callable
from typing import BinaryIO, TypeVar

from localllm.errors import LoadFailed

MAX_HEADER_BYTES = 128 * 2**20  # real ones, with the largest vocabularies, stay below 40 MiB

Data = bytes | bytearray | memoryview
Parsed = TypeVar("Parsed")

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")


class Truncated(Exception):  # noqa: N818 - the reader brings more and asks again
    """The header goes on beyond the bytes given; `wanted_bytes` of the file are needed at least. No user sees this."""

    def __init__(self, wanted_bytes: int) -> None:
        super().__init__(f"at least {wanted_bytes} bytes are needed")
        self.wanted_bytes = wanted_bytes


def damaged(what: str) -> LoadFailed:
    """The error for a header that is wrong, with what to do about it."""
    return LoadFailed(f"this GGUF file is damaged or made wrongly: {what}; get the file again, or another one")


def read_until_whole(file: BinaryIO, first: bytes, parse: Callable[[bytearray], Parsed]) -> Parsed:
    """What `parse` makes of the beginning of a file: of `first`, which was read, and of more where it raises Truncated.

    Raises LoadFailed where the file ends before that, and what `parse` raises.
    """
    data = bytearray(first)
    while True:
        try:
            return parse(data)
        except Truncated as truncated:
            more = file.read(max(truncated.wanted_bytes - len(data), 3 * len(data)))
            if not more:
                raise damaged("it became shorter while it was read") from truncated
            data += more


class Cursor:
    """A place in a header. Every read raises Truncated, or LoadFailed where the file itself ends."""

    def __init__(self, data: Data, file_bytes: int) -> None:
        self.position = 0
        self.file_bytes = file_bytes
        self._data = data
        self._here = min(len(data), file_bytes)
        self._limit = min(file_bytes, MAX_HEADER_BYTES)

    @property
    def left_bytes(self) -> int:
        """How long the rest of the header may be."""
        return self._limit - self.position

    def u32(self) -> int:
        """The next four bytes, little-endian."""
        return int(_U32.unpack(self.take(4))[0])

    def u64(self) -> int:
        """The next eight bytes, little-endian."""
        return int(_U64.unpack(self.take(8))[0])

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        start = self.position
        self.skip(count)
        if self.position > self._here:
            raise Truncated(self.position)
        return bytes(self._data[start : self.position])

    def skip(self, count: int) -> None:
        """Go on by `count` bytes, which may be beyond those given but not beyond the header's limit."""
        if count > self.left_bytes:
            if self._limit < self.file_bytes:
                raise damaged(f"its header is longer than {MAX_HEADER_BYTES >> 20} MiB")
            raise damaged("it ends inside its header")
        self.position += count

    def skip_strings(self, count: int) -> None:
        """Go on by `count` strings, each behind its length in eight bytes."""
        data, here, unpack = self._data, self._here, _U64.unpack_from
        place = self.position
        for index in range(count):
            if place + 8 > here:
                self.skip(place + 8 * (count - index) - self.position)
                raise Truncated(self.position)
            place += 8 + unpack(data, place)[0]
        self.skip(place - self.position)
