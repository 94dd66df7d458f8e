"""A GGUF file, written piece by piece: whole and on the disk, or not there at all."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BufferedWriter
from math import prod
from pathlib import Path

import gguf
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from localllm.convert.numbers import Bits, FloatFormat
from localllm.errors import LoadFailed
from localllm.models.disk_space import check_room
from localllm.models.files import disk_errors
from localllm.models.gguf.header import DEFAULT_ALIGNMENT, read_header
from localllm.models.gguf.tensors import padded

Pieces = Iterable[Bits | NDArray[np.float32]]


class OutputTensor(Struct, frozen=True, kw_only=True):
    """A tensor of the file, and a way to its values in the order of the file."""

    name: str
    shape: tuple[int, ...]  # rows first
    form: FloatFormat
    pieces: Callable[[], Pieces]

    @property
    def size_bytes(self) -> int:
        """Without what aligns the next one."""
        return prod(self.shape) * self.form.size_bytes


def write_gguf(
    target: Path,
    architecture: str,
    add_metadata: Callable[[gguf.GGUFWriter], None],
    tensors: Sequence[OutputTensor],
    on_tensor: Callable[[int, int, str], None],
) -> int:
    """Write the file and sync it; returns its bytes. `on_tensor` hears how many tensors of how many are written.

    Raises NoRoom where the disk has too little, before anything is written if it can be known, ModelError where it
    cannot be written, and whatever the pieces raise. Nothing stays at `target` when anything is raised.
    """
    writer = gguf.GGUFWriter(target, architecture)
    add_metadata(writer)
    for tensor in tensors:
        kind = gguf.GGMLQuantizationType[tensor.form.name]
        writer.add_tensor_info(tensor.name, tensor.shape, tensor.form.bits, tensor.size_bytes, raw_dtype=kind)
    check_room(target.parent, sum(padded(tensor.size_bytes, DEFAULT_ALIGNMENT) for tensor in tensors))
    with _removed_on_failure(target), disk_errors(f"write {target}"):
        with _closed(writer):
            _write_header(writer)
            for done, tensor in enumerate(tensors, 1):
                writer.write_tensor_data(_Stream(tensor), tensor_endianess=gguf.GGUFEndian.LITTLE)
                on_tensor(done, len(tensors), tensor.name)
            writer.flush()
            for file in writer.fout:
                os.fsync(file.fileno())
        _check_written(target)
        return target.stat().st_size


class _Stream:
    """What GGUFWriter takes for an array: it asks for the size, then has it write itself."""

    def __init__(self, tensor: OutputTensor) -> None:
        self.nbytes = tensor.size_bytes
        self._tensor = tensor

    def tofile(self, file: BufferedWriter) -> None:
        """Not by the array's own tofile, whose errors do not say that the disk is full."""
        for piece in self._tensor.pieces():
            file.write(piece.reshape(-1).view(np.uint8).data)


def _write_header(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    try:
        writer.write_kv_data_to_file()
    except UnicodeEncodeError as error:
        raise LoadFailed(f"a text of the checkpoint is no Unicode: {error}; get its files again, or others") from error
    writer.write_ti_data_to_file()


def _check_written(target: Path) -> None:
    try:
        read_header(target)
    except LoadFailed as error:
        raise LoadFailed(f"what was made of the checkpoint cannot be used: {error.message}") from error


@contextmanager
def _removed_on_failure(target: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with suppress(OSError):
            target.unlink()
        raise


@contextmanager
def _closed(writer: gguf.GGUFWriter) -> Iterator[None]:
    """Close it. After a failure, closing writes what is left and fails again, which is no news."""
    try:
        yield
    except BaseException:
        with suppress(OSError):
            writer.close()
        raise
    writer.close()
