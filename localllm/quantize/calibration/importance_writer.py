"""Writing an importance matrix; what is in the file says `importance.py`."""

import errno
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import gguf
import numpy as np

from localllm.engines.llama_cpp.square_sums import SquareSums
from localllm.errors import EngineError
from localllm.models.files import disk_errors, move_durably
from localllm.quantize.calibration.importance import CHUNK_COUNT, CHUNK_SIZE, COUNTS, DATASETS, SUMS, TYPE


def write_importance(
    path: Path, sums: Mapping[str, SquareSums], *, datasets: tuple[str, ...], chunks: int, chunk_tokens: int
) -> int:
    """Write the file whole or not at all; returns its size in bytes. What was at `path` before is replaced.

    Raises NoRoom, ModelError where it cannot be written, EngineError for sums that are too large for float32.
    """
    for name, tensor in sums.items():
        if not tensor.are_finite:
            raise EngineError(f"the sums of {name} are too large for a file; calibrate with less text")
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with disk_errors(f"write {path}"):
        try:
            _write(_filled(part, sums, datasets, chunks, chunk_tokens))
            with part.open("rb+") as file:
                os.fsync(file.fileno())
                size_bytes = os.fstat(file.fileno()).st_size
            move_durably(part, path)
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)
    return size_bytes


def _filled(
    part: Path, sums: Mapping[str, SquareSums], datasets: tuple[str, ...], chunks: int, chunk_tokens: int
) -> gguf.GGUFWriter:
    """By names, as upstream has them. Upstream names no architecture; the writer always does, and nobody minds."""
    writer = gguf.GGUFWriter(part, TYPE)
    writer.add_type(TYPE)
    writer.add_array(DATASETS, list(datasets))
    writer.add_uint32(CHUNK_COUNT, chunks)
    writer.add_uint32(CHUNK_SIZE, chunk_tokens)
    for name in sorted(sums):
        squares, counts = sums[name].squares.astype(np.float32), sums[name].counts.astype(np.float32)
        is_single = counts.size == 1
        writer.add_tensor(f"{name}{SUMS}", squares[0] if is_single else squares)
        writer.add_tensor(f"{name}{COUNTS}", counts if is_single else counts[:, np.newaxis])
    return writer


def _write(writer: gguf.GGUFWriter) -> None:
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    except OSError as error:
        if error.errno is None:  # numpy tells a short write in words
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        raise
    finally:
        writer.close()
