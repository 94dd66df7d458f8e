"""Pieces of tensors: all of it, in the order of the file, none too large."""

import numpy as np
import pytest

from localllm.convert import slabs
from localllm.convert.slabs import slabs_of


def through_slabs(values: np.ndarray[tuple[int, ...], np.dtype[np.uint32]], heads: int) -> list[int]:
    flat = values.ravel()
    out: list[int] = []
    for slab in slabs_of(values.shape, heads):
        parts = np.stack([flat[start : start + slab.values] for start in slab.starts])
        arranged = slab.arranged(parts)
        assert arranged.flags.c_contiguous
        out += arranged.ravel().tolist()
    return out


@pytest.mark.parametrize("shape", [(1,), (7,), (12, 5), (3, 4, 5)])
def test_a_plain_tensor_stays_in_order(monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...]) -> None:
    values = np.arange(np.prod(shape), dtype=np.uint32).reshape(shape)
    for most in (1, 2, 3, 7, 64, 1000, 10**9):
        monkeypatch.setattr(slabs, "SLAB_VALUES", most)
        assert through_slabs(values, 0) == values.ravel().tolist()
        assert max(slab.values for slab in slabs_of(shape, 0)) <= most


@pytest.mark.parametrize(("heads", "width"), [(1, 2), (1, 12), (3, 4), (5, 6), (2, 2)])
@pytest.mark.parametrize("columns", [(), (1,), (5,)])
def test_rows_of_heads_go_to_pairs(
    monkeypatch: pytest.MonkeyPatch, heads: int, width: int, columns: tuple[int, ...]
) -> None:
    """Row 2 i of a head is row i of its first half, row 2 i + 1 row i of its second."""
    values = np.arange(heads * width * int(np.prod(columns)), dtype=np.uint32).reshape(heads * width, *columns)
    expected = [
        values[head * width + (place % 2) * (width // 2) + place // 2].tolist()
        for head in range(heads)
        for place in range(width)
    ]
    row = int(np.prod(columns))
    for most in (1, 2, 9, 10, 11, 25, 64, 10**9):
        monkeypatch.setattr(slabs, "SLAB_VALUES", most)
        assert through_slabs(values, heads) == np.array(expected).ravel().tolist()
        assert max(slab.values * len(slab.starts) for slab in slabs_of(values.shape, heads)) <= max(most, 2 * row)
