"""How a tensor is cut into pieces that fit memory, whatever its size."""

from collections.abc import Iterator

import numpy as np
from msgspec import Struct

from localllm.convert.numbers import Bits

SLAB_VALUES = 4 * 2**20  # at most, but always a row, or a pair of rows: 16 MiB of float32


class Slab(Struct, frozen=True, kw_only=True):
    """A piece: so many values from each of these places in the flat tensor. Two places: their rows alternate."""

    starts: tuple[int, ...]
    values: int
    row_values: int

    def arranged(self, bits: Bits) -> Bits:
        """`bits` [starts, values] in the order that they are written in."""
        return np.ascontiguousarray(bits.reshape(len(self.starts), -1, self.row_values).swapaxes(0, 1))


def slabs_of(shape: tuple[int, ...], paired_heads: int) -> Iterator[Slab]:
    """The pieces of a tensor, in the order in which a GGUF file has them.

    With `paired_heads` the rows of each head go from halves, as transformers rotates them (`rotate_half`), to
    neighbours, as ggml does (`ggml_rope`, mode NORM): row i of the one half, row i of the other, and so on.
    """
    values = int(np.prod(shape, dtype=np.int64))
    if paired_heads:
        yield from _paired(values, shape[0] // paired_heads // 2, values // shape[0])
    else:
        for start in range(0, values, SLAB_VALUES):
            yield Slab(starts=(start,), values=min(SLAB_VALUES, values - start), row_values=1)


def _paired(values: int, half_rows: int, row_values: int) -> Iterator[Slab]:
    half_values = half_rows * row_values
    step = max(1, SLAB_VALUES // (2 * row_values)) * row_values
    for head in range(0, values, 2 * half_values):
        for start in range(head, head + half_values, step):
            count = min(step, head + half_values - start)
            yield Slab(starts=(start, start + half_values), values=count, row_values=row_values)
