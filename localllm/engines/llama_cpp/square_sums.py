"""Sums of squares of what enters weights, for the two kinds of products that ggml has."""

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from localllm.errors import EngineError

Inputs = NDArray[np.float32]
Choices = NDArray[np.int32]


class SquareSums(Struct, frozen=True, kw_only=True):
    """Of what entered one tensor of weights: sums of squares, and how many rows they are the sums of.

    Experts have sums and a count each: float64 [experts, row length] and int64 [experts]. Other weights have one
    count; where they are several matrices, their sums stand side by side: [1, matrices * row length] and [1].
    """

    squares: NDArray[np.float64]
    counts: NDArray[np.int64]

    def plus(self, other: "SquareSums") -> "SquareSums":
        """Both together."""
        return SquareSums(squares=self.squares + other.squares, counts=self.counts + other.counts)

    @property
    def are_finite(self) -> bool:
        """Whether float32, which is how they are kept in files, can hold them."""
        return bool((self.squares <= np.finfo(np.float32).max).all())  # false for NaN as well


def product_sums(inputs: Inputs, matrices: tuple[int, int]) -> SquareSums:
    """For ggml_mul_mat: `inputs` [n3, n2, rows, row length]; what is at [i3, i2] enters the matrix
    [i3 % matrices[0], i2 % matrices[1]]."""
    outer, inner = matrices
    n3, n2, rows, length = inputs.shape
    groups = inputs.reshape(n3 // outer, outer, n2 // inner, inner, rows, length)
    squares = np.einsum("aibjrl,aibjrl->ijl", groups, groups, dtype=np.float64)
    count = n3 * n2 * rows // (outer * inner)
    return SquareSums(squares=squares.reshape(1, -1), counts=np.array([count], np.int64))


def expert_sums(inputs: Inputs, choices: Choices, experts: int) -> SquareSums:
    """For ggml_mul_mat_id: `inputs` [1, tokens, rows, row length], `choices` [1, 1, tokens, chosen experts]; the expert
    of choices[0, 0, t, k] reads inputs[0, t, k % rows]. Raises EngineError for a choice of no expert."""
    chosen = choices[0, 0]
    rows, length = inputs.shape[2:]
    if chosen.min() < 0 or chosen.max() >= experts:
        raise EngineError(f"llama.cpp chose an expert that is not among the {experts} there are")
    squares = np.zeros((experts, length), np.float64)
    for expert in np.unique(chosen):
        token, choice = np.nonzero(chosen == expert)
        read = inputs[0, token, choice % rows]
        squares[expert] = np.einsum("rl,rl->l", read, read, dtype=np.float64)
    return SquareSums(squares=squares, counts=np.bincount(chosen.ravel(), minlength=experts))
