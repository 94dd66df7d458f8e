"""Reading tables of a FlatBuffer, never beyond its end (flatbuffers.dev, "FlatBuffer Internals").

A place in the buffer is the count of bytes from its beginning. All numbers are little-endian.
"""

import struct
from collections.abc import Iterator

from localllm.errors import LoadFailed

_U16, _U32, _I32, _U64, _I64 = (struct.Struct(f"<{code}") for code in "HIiQq")
_U8 = struct.Struct("<B")
_VTABLE_HEAD_BYTES = 4  # its own size, and that of the table, in two bytes each
_MOST_VECTOR_ITEMS = 2**20  # programs of language models have some thousands of values
_MOST_TEXT_BYTES = 2**8  # of a name


def damaged(what: str) -> LoadFailed:
    """The error for a program that is wrong, with what to do about it."""
    return LoadFailed(f"this ExecuTorch program is damaged or made wrongly: {what}; get the file again, or another one")


class Table:
    """A table of a buffer; its fields go by their number in the schema. Every read raises LoadFailed where the buffer
    does not hold what it says."""

    def __init__(self, data: bytes, place: int) -> None:
        self._data = data
        self._place = place
        self._vtable = place - self._number(_I32, place)
        self._vtable_bytes = self._number(_U16, self._vtable)
        if self._vtable_bytes < _VTABLE_HEAD_BYTES:
            raise damaged("a table of it has no layout")

    def byte(self, field: int) -> int:
        """An enumeration or truth value of one byte; 0 where it is left out."""
        return self._scalar(_U8, field)

    def u64(self, field: int) -> int:
        """An unsigned number of eight bytes; 0 where it is left out."""
        return self._scalar(_U64, field)

    def i64(self, field: int) -> int:
        """A number of eight bytes; 0 where it is left out."""
        return self._scalar(_I64, field)

    def text(self, field: int) -> str:
        """A string; empty where it is left out."""
        place = self._target(field)
        if place is None:
            return ""
        count = self._number(_U32, place)
        if count > _MOST_TEXT_BYTES or place + 4 + count > len(self._data):
            raise damaged("a string in it is too long")
        return self._data[place + 4 : place + 4 + count].decode("utf-8", "replace")

    def table(self, field: int) -> "Table | None":
        """Another table; None where it is left out."""
        place = self._target(field)
        return None if place is None else Table(self._data, place)

    def tables(self, field: int, most: int) -> "Iterator[Table]":
        """At most so many tables in a vector; none where it is left out."""
        for place in self._few(self._items(field, 4), most):
            yield Table(self._data, place + self._number(_U32, place))

    def table_at(self, field: int, index: int) -> "Table":
        """One table of those in a vector."""
        places = self._items(field, 4)
        if not 0 <= index < len(places):
            raise damaged("it names a value that it does not have")
        return Table(self._data, places[index] + self._number(_U32, places[index]))

    def i32s(self, field: int, most: int) -> list[int]:
        """At most so many numbers of four bytes in a vector."""
        return [self._number(_I32, place) for place in self._few(self._items(field, 4), most)]

    def i64s(self, field: int, most: int) -> list[int]:
        """At most so many numbers of eight bytes in a vector."""
        return [self._number(_I64, place) for place in self._few(self._items(field, 8), most)]

    @staticmethod
    def _few(places: range, most: int) -> range:
        if len(places) > most:
            raise damaged(f"it has a list of {len(places)} where {most} are the most")
        return places

    def _items(self, field: int, item_bytes: int) -> range:
        """The place of each item of a vector."""
        place = self._target(field)
        if place is None:
            return range(0)
        count = self._number(_U32, place)
        first, end = place + 4, place + 4 + count * item_bytes
        if count > _MOST_VECTOR_ITEMS or end > len(self._data):
            raise damaged("a list in it is longer than the program")
        return range(first, end, item_bytes)

    def _scalar(self, kind: struct.Struct, field: int) -> int:
        place = self._field(field)
        return 0 if place is None else self._number(kind, place)

    def _target(self, field: int) -> int | None:
        """Where that lies which a field points to."""
        place = self._field(field)
        return None if place is None else place + self._number(_U32, place)

    def _field(self, field: int) -> int | None:
        at = _VTABLE_HEAD_BYTES + 2 * field
        if at + 2 > self._vtable_bytes:
            return None
        offset = self._number(_U16, self._vtable + at)
        return self._place + offset if offset else None

    def _number(self, kind: struct.Struct, place: int) -> int:
        if not 0 <= place <= len(self._data) - kind.size:
            raise damaged("it points beyond its end")
        return int(kind.unpack_from(self._data, place)[0])


def root_of(data: bytes) -> Table:
    """The table that a buffer is about. Raises LoadFailed."""
    if len(data) < _U32.size:
        raise damaged("it is empty")
    return Table(data, int(_U32.unpack_from(data)[0]))
