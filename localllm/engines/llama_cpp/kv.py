"""The KV of all slots: trimmed, copied, saved and put back."""

import ctypes
import struct
import zlib

import llama_cpp as lib
import numpy as np
from numpy.typing import NDArray

from localllm.engines.llama_cpp.native import Handle

# A stream copy moves n_ctx_seq tokens whatever they hold, a copy through host memory only those that are held, but
# more than once and through fresh pages. Measured with 22.5 KiB a token (SmolLM2-135M, f16), 8192 tokens a slot,
# 2 cores: stream copy 20-30 ms, at the next decode; through the host 1 / 10 / 50 ms for 200 / 1000 / 4000 tokens.
HOST_COPY_SHARE = 0.25  # of the slot's context may be held for the copy through the host to be the cheaper one

_TRAILER = struct.Struct("<4sIQI")  # magic, tokens, bytes of the state, CRC-32 of what `_checksum` covers
_MAGIC = b"llkv"
_HEAD_BYTES = 2048  # covers the counts before the cells of up to 256 streams,
_CELL_BYTES = 32  # and this the positions and sequence ids of each cell

State = bytes | NDArray[np.uint8]


class SlotMemory:
    """What the slots of one context hold. `fingerprint` names all that the layout of a state depends on; `is_on_host`:
    all of it lies in the machine's memory, none on a GPU."""

    def __init__(self, model: Handle, context: Handle, fingerprint: str, *, is_on_host: bool) -> None:
        self._context = context
        self._memory = lib.llama_get_memory(context)
        self._fingerprint = fingerprint.encode()
        self._is_on_host = is_on_host
        self._slot_tokens = int(lib.llama_n_ctx_seq(context))
        self._window_tokens = int(lib.llama_model_n_swa(model))
        self._copying: set[int] = set()  # slots in stream copies, which the library makes at the next decode
        self.can_rewind = not (lib.llama_model_is_recurrent(model) or lib.llama_model_is_hybrid(model))
        self.exists = bool(self._memory)  # encoders (BERT) have none

    def held(self, slot: int) -> int:
        """How many tokens a slot holds."""
        return int(lib.llama_memory_seq_pos_max(self._memory, slot)) + 1

    def clear(self, slot: int) -> None:
        """Empty a slot."""
        lib.llama_memory_seq_rm(self._memory, slot, -1, -1)

    def decoded(self) -> None:
        """A decode has succeeded, and so have the stream copies before it."""
        self._copying.clear()

    def trim(self, slot: int, tokens: int) -> int:
        """Keep the first `tokens`; returns how many were kept. What cannot go back is cleared: a recurrent state, and
        sliding-window attention whose window before the new end is no longer there (after `restore`)."""
        held = self.held(slot)
        if tokens >= held:
            return held
        if tokens > 0 and lib.llama_memory_seq_rm(self._memory, slot, tokens, -1) and self._has_window(slot, tokens):
            return tokens
        self.clear(slot)
        return 0

    def copy_prefix(self, source: int, target: int, tokens: int) -> int:
        """Copy a slot, by the cheaper way, and trim the copy; returns how many tokens it holds."""
        if source == target:
            return self.trim(target, tokens)
        if self._is_host_cheaper(source, target):
            self._write(target, self._read(source))
        else:
            self.clear(target)
            lib.llama_memory_seq_cp(self._memory, source, target, -1, -1)  # streams cannot be copied in part
            self._copying |= {source, target}
        return self.trim(target, tokens)

    def save(self, slot: int) -> bytes | None:
        """The library's state of a sequence and a trailer that `restore` checks; None for an empty slot, and for one
        whose copy is still to be made."""
        tokens = self.held(slot)
        if tokens <= 0 or slot in self._copying:
            return None
        size = int(lib.llama_state_seq_get_size(self._context, slot))
        state = _new_bytes(size + _TRAILER.size)
        address = _address(state)
        if lib.llama_state_seq_get_data(self._context, address, size, slot) != size:
            return None
        trailer = _TRAILER.pack(_MAGIC, tokens, size, self._checksum(memoryview(state)[:size], tokens))
        ctypes.memmove(ctypes.addressof(address.contents) + size, trailer, len(trailer))
        return state

    def restore(self, slot: int, state: bytes) -> int:
        """Put a state back; returns how many tokens the slot now holds: 0 for a state that is not from a `save` of
        the same fingerprint, is cut short, or has lost its head. Flipped bits within K and V are not noticed."""
        self.clear(slot)
        if len(state) <= _TRAILER.size or slot in self._copying:
            return 0
        magic, tokens, size, checksum = _TRAILER.unpack_from(state, len(state) - _TRAILER.size)
        if magic != _MAGIC or size != len(state) - _TRAILER.size or tokens > self._slot_tokens:
            return 0
        if checksum != self._checksum(memoryview(state)[:size], tokens):
            return 0
        if self._write(slot, state, size) and self.held(slot) == tokens:
            return int(tokens)
        self.clear(slot)
        return 0

    def _has_window(self, slot: int, tokens: int) -> bool:
        first = int(lib.llama_memory_seq_pos_min(self._memory, slot))
        return not self._window_tokens or first <= max(0, tokens - self._window_tokens)

    def _is_host_cheaper(self, source: int, target: int) -> bool:
        """A state leaves out what a sliding window has passed, so those are copied as streams; and so is whatever a
        copy still to be made has to do with, because the library makes stream copies in order."""
        if self._window_tokens or not self._is_on_host or self._copying & {source, target}:
            return False
        return self.held(source) < HOST_COPY_SHARE * self._slot_tokens

    def _read(self, slot: int) -> NDArray[np.uint8]:
        size = int(lib.llama_state_seq_get_size(self._context, slot))
        buffer = np.empty(size, np.uint8)
        written = int(lib.llama_state_seq_get_data(self._context, _address(buffer), size, slot))
        return buffer[:written]

    def _write(self, slot: int, state: State, size: int | None = None) -> bool:
        """Make the slot hold a state; it is empty when the library refuses."""
        size = len(state) if size is None else size
        self.clear(slot)
        if lib.llama_state_seq_set_data(self._context, _address(state), size, slot):
            return True
        self.clear(slot)
        return False

    def _checksum(self, state: memoryview, tokens: int) -> int:
        """CRC-32 of what could harm: the library takes positions as they come. They all stand in the head, unless the
        model keeps more than one kind of memory."""
        is_plain = self.can_rewind and not self._window_tokens
        covered = state[: _HEAD_BYTES + _CELL_BYTES * tokens] if is_plain else state
        return zlib.crc32(covered, zlib.crc32(struct.pack("<IQ", tokens, len(state)), zlib.crc32(self._fingerprint)))


def _new_bytes(size: int) -> bytes:
    """Bytes to be filled in place before anybody else sees them: CPython's documented way to spare a copy."""
    make = ctypes.pythonapi.PyBytes_FromStringAndSize
    make.restype, make.argtypes = ctypes.py_object, [ctypes.c_char_p, ctypes.c_ssize_t]
    new: bytes = make(None, size)
    return new


def _address(state: State) -> Handle:
    pointer = ctypes.POINTER(ctypes.c_uint8)
    if isinstance(state, bytes):
        return ctypes.cast(ctypes.c_char_p(state), pointer)
    return state.ctypes.data_as(pointer)
