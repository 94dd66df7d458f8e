"""Programs of ExecuTorch as their schema says (program.fbs), small and without code; no native library loads them."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# A table by the numbers of its fields; bytes stand in it, all else behind it
Fields = Mapping[int, "bytes | str | Numbers | Sequence[Fields] | Fields"]

HEADER_BYTES = 32
CONSTANTS: dict[str, int | tuple[int, ...]] = {
    "get_max_seq_len": 65,
    "get_max_context_len": 512,
    "get_n_layers": 2,
    "get_vocab_size": 256,
    "use_kv_cache": 1,
    "get_eos_ids": (2, 7),
}
TOKENIZER = b'{"version": "1.0"}'


@dataclass(frozen=True)
class Numbers:
    """A vector of numbers; `code` as struct has it."""

    code: str
    values: Sequence[int]


@dataclass(frozen=True, kw_only=True)
class Forward:
    """What `forward` is given and gives."""

    tokens: Sequence[int] = (1, 64)
    logits: Sequence[int] = (1, 256)
    is_dynamic: bool = True
    backends: Sequence[str] = ("XnnpackBackend", "XnnpackBackend")
    planned: Sequence[int] = (0, 70_000)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where things are said to be; None: where they are."""

    has_header: bool = True
    header_bytes: int = HEADER_BYTES
    program_bytes: int | None = None
    segments_offset: int | None = None
    segments_bytes: int | None = None
    segment: tuple[int, int] | None = None  # offset and size


def program(
    constants: Mapping[str, int | tuple[int, ...]] | None = None,
    forward: Forward | None = Forward(),
    layout: Layout = Layout(),
    weights: bytes = b"weights" * 100,
) -> bytes:
    """The bytes of a .pte file."""
    plans = [] if forward is None else [_forward(forward)]
    said = CONSTANTS if constants is None else constants
    plans += [_constant(name, (value,) if isinstance(value, int) else value) for name, value in said.items()]
    offset, size = layout.segment or (0, len(weights))
    segment = {0: struct.pack("<Q", offset), 1: struct.pack("<Q", size)}
    room = 8 + (HEADER_BYTES if layout.has_header else 0)
    body = bytes(_Buffer({1: plans, 4: [segment] if layout.has_header else []}).data)
    header = struct.pack(
        "<4sIQQQ",
        b"eh00",
        layout.header_bytes,
        room + len(body) if layout.program_bytes is None else layout.program_bytes,
        room + len(body) if layout.segments_offset is None else layout.segments_offset,
        len(weights) if layout.segments_bytes is None else layout.segments_bytes,
    )
    begin = struct.pack("<I4s", room, b"ET12") + (header if layout.has_header else b"")
    return begin + body + (weights if layout.has_header else b"")


def changed(constants: Mapping[str, int | tuple[int, ...] | None]) -> dict[str, int | tuple[int, ...]]:
    """The usual constants but for these; None leaves one out."""
    return {name: value for name, value in (CONSTANTS | dict(constants)).items() if value is not None}


def _forward(forward: Forward) -> Fields:
    return {
        0: "forward",
        2: [_tensor(forward.tokens, is_dynamic=forward.is_dynamic), _tensor((1,)), _tensor(forward.logits)],
        3: Numbers("i", (0, 1)),
        4: Numbers("i", (2,)),
        7: [{0: name} for name in forward.backends],
        8: Numbers("q", forward.planned),
    }


def _tensor(sizes: Sequence[int], *, is_dynamic: bool = False) -> Fields:
    return {0: b"\5", 1: {2: Numbers("i", sizes), 8: bytes([is_dynamic])}}


def _constant(name: str, values: Sequence[int]) -> Fields:
    return {
        0: name,
        2: [{0: b"\2", 1: {0: struct.pack("<q", value)}} for value in values],
        4: Numbers("i", range(len(values))),
    }


class _Buffer:
    """Tables, each with its layout and then with what it points to behind it; the first is the root."""

    def __init__(self, root: Fields) -> None:
        self.data = bytearray()
        self._table(root)

    def _table(self, fields: Fields) -> int:
        place = len(self.data)
        self.data += bytes(4)
        at = {}
        for number, value in fields.items():
            at[number] = len(self.data) - place
            self.data += value if isinstance(value, bytes) else bytes(4)
        layout = len(self.data)
        offsets = [at.get(number, 0) for number in range(max(fields, default=-1) + 1)]
        self.data += struct.pack(f"<HH{len(offsets)}H", 4 + 2 * len(offsets), layout - place, *offsets)
        struct.pack_into("<i", self.data, place, place - layout)
        for number, value in fields.items():
            if not isinstance(value, bytes):
                self._point(place + at[number], self._target(value))
        return place

    def _target(self, value: "str | Numbers | Sequence[Fields] | Fields") -> int:
        place = len(self.data)
        if isinstance(value, Mapping):
            return self._table(value)
        if isinstance(value, str):
            self.data += struct.pack("<I", len(value.encode())) + value.encode() + b"\0"
        elif isinstance(value, Numbers):
            self.data += struct.pack(f"<I{len(value.values)}{value.code}", len(value.values), *value.values)
        else:
            self.data += struct.pack("<I", len(value)) + bytes(4 * len(value))
            for index, item in enumerate(value):
                self._point(place + 4 + 4 * index, self._table(item))
        return place

    def _point(self, place: int, target: int) -> None:
        struct.pack_into("<I", self.data, place, target - place)
