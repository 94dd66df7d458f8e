"""What stands in a state's file before the state: of which model, for whom, of which tokens, and its checksum.

magic (8 bytes), version (uint16), length of the header (uint32), CRC-32 of the header (uint32), all little-endian;
the header in MessagePack; the state. A file's name follows from its header, so a name promises what is inside.
"""

import hashlib
import io
import os
import re
import struct
import zlib
from typing import Self

import msgspec
import numpy as np
from msgspec import Struct

from localllm.inference.prefix_tree import Tokens

MAGIC = b"\x89llmkv\r\n"  # as in PNG: a file that went through a text conversion shows it
VERSION = 1
SUFFIX = ".state"
NAME = re.compile(r"[0-9a-f]{16}-[0-9a-f]{32}\.state")
_PREAMBLE = struct.Struct("<8sHII")


class DamagedState(Exception):  # noqa: N818 - as in localllm.errors
    """A file is not what its name promises. Never leaves the prompt cache."""


class StateHeader(Struct, frozen=True, array_like=True):
    """`scope` is a SHA-256, `tokens` int32 little-endian, `checksum` the state's CRC-32.

    CRC-32 takes a third of SHA-256's time. It finds accidents, which is all it is for: whoever may write into the
    folder may write a right checksum too.
    """

    key: str
    scope: bytes
    tokens: bytes
    state_bytes: int
    checksum: int

    @classmethod
    def of(cls, key: str, scope: str, tokens: Tokens, state: bytes) -> Self:
        """The header of a state of `tokens`, int32 [n]."""
        return cls(key, scope_digest(scope), np.asarray(tokens, "<i4").tobytes(), len(state), zlib.crc32(state))

    @property
    def name(self) -> str:
        """Of the file: the same key, scope and tokens have the same name."""
        return f"{key_name(self.key)}-{hashlib.sha256(self.scope + self.tokens).hexdigest()[:32]}{SUFFIX}"

    @property
    def ids(self) -> Tokens:
        """The tokens, int32 [n]."""
        return np.frombuffer(self.tokens, "<i4").astype(np.int32)

    def encode(self) -> bytes:
        """What stands before the state."""
        body = msgspec.msgpack.encode(self)
        return _PREAMBLE.pack(MAGIC, VERSION, len(body), zlib.crc32(body)) + body


def key_name(key: str) -> str:
    """How the names of a key's files begin. Another version of the format is another key."""
    return hashlib.sha256(f"{VERSION} {key}".encode()).hexdigest()[:16]


def scope_digest(scope: str) -> bytes:
    """What is written of a scope, which may be a secret."""
    return hashlib.sha256(scope.encode(errors="surrogatepass")).digest()


def read_header(file: io.FileIO, name: str) -> StateHeader:
    """The header of an open file called `name`, which is left at the state. Raises DamagedState and OSError."""
    size = os.fstat(file.fileno()).st_size
    try:
        magic, version, length, checksum = _PREAMBLE.unpack(file.read(_PREAMBLE.size))
        if (magic, version) != (MAGIC, VERSION) or length > size:
            raise DamagedState(name)
        body = file.read(length)
        if zlib.crc32(body) != checksum:
            raise DamagedState(name)
        header = msgspec.msgpack.decode(body, type=StateHeader)
    except (struct.error, msgspec.MsgspecError) as error:
        raise DamagedState(name) from error
    is_whole = _PREAMBLE.size + length + header.state_bytes == size and len(header.tokens) % 4 == 0
    if header.name != name or not is_whole:
        raise DamagedState(name)
    return header


def read_state(file: io.FileIO, header: StateHeader) -> bytes:
    """The state behind a header just read. Raises DamagedState and OSError."""
    state = file.readall()
    if len(state) != header.state_bytes or zlib.crc32(state) != header.checksum:
        raise DamagedState(header.name)
    return state
