"""Importance matrices of the tiny llama of `tests/tiny.py`, made up."""

from pathlib import Path

import numpy as np

from localllm.engines.llama_cpp.square_sums import SquareSums
from localllm.quantize.calibration.importance_writer import write_importance
from tests.tiny import FEED_FORWARD, LAYERS, WIDTH

_COLUMNS = {"attn_q": WIDTH, "attn_k": WIDTH, "attn_v": WIDTH, "attn_output": WIDTH} | {
    "ffn_gate": WIDTH,
    "ffn_up": WIDTH,
    "ffn_down": FEED_FORWARD,
}


def write_matrix(path: Path, *, seed: int = 0, width: int = 1) -> Path:
    """Write one; with `width` it is of a model so many times as wide."""
    random = np.random.default_rng(seed)
    sums = {
        f"blk.{layer}.{name}.weight": SquareSums(
            squares=random.uniform(1, 9, (1, columns * width)), counts=np.array([512], np.int64)
        )
        for layer in range(LAYERS)
        for name, columns in _COLUMNS.items()
    }
    write_importance(path, sums, datasets=("made up",), chunks=1, chunk_tokens=512)
    return path
