"""Frames: how messages cross a pipe. A frame is a 4-byte big-endian length and that many bytes of one message."""

import os
import struct
import sys
import threading
from collections.abc import Iterator
from typing import BinaryIO, TypeVar

import msgspec
from msgspec import Struct
from msgspec.msgpack import Decoder

LENGTH = struct.Struct(">I")
MAX_FRAME_BYTES = 64 * 2**20
READ_BYTES = 1 << 16

Message = TypeVar("Message")

_encoder = msgspec.msgpack.Encoder()


def frame(message: Struct) -> bytes:
    """A message as it goes over the pipe, in msgpack."""
    body = _encoder.encode(message)
    return LENGTH.pack(len(body)) + body


class FrameBuffer:
    """Cuts a stream of bytes back into frames."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The bodies of all frames that are complete now. Raises ValueError on an impossible length."""
        self._bytes += data
        while len(self._bytes) >= LENGTH.size:
            (size,) = LENGTH.unpack_from(self._bytes)
            if size > MAX_FRAME_BYTES:
                raise ValueError(f"a frame of {size} bytes")
            end = LENGTH.size + size
            if len(self._bytes) < end:
                return
            body = bytes(self._bytes[LENGTH.size : end])
            del self._bytes[:end]
            yield body


def messages(descriptor: int, decoder: "Decoder[Message]") -> Iterator[Message]:
    """All messages that come over a pipe, until it ends. Raises ValueError or MsgspecError for what is none."""
    buffer = FrameBuffer()
    while data := os.read(descriptor, READ_BYTES):
        for body in buffer.feed(data):
            yield decoder.decode(body)


class Outlet:
    """A child's stdout, for frames to its parent, from any thread."""

    def __init__(self) -> None:
        """Takes stdout for frames alone: whatever a library prints goes to stderr from now on."""
        ours = os.dup(1)
        os.dup2(2, 1)
        sys.stdout = sys.stderr
        self._file: BinaryIO = os.fdopen(ours, "wb")
        self._lock = threading.Lock()

    def send(self, message: Struct) -> None:
        """Write one frame; when the parent no longer reads, the process ends."""
        data = frame(message)
        try:
            with self._lock:
                self._file.write(data)
                self._file.flush()
        except OSError:
            os._exit(0)
