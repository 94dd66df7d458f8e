"""An order to llama.cpp's quantizer."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Importance = Mapping[str, NDArray[np.float32]]
"""By tensor [matrices * row length]: how large the squares of what a column is multiplied with are, on average."""

EMBEDDING, OUTPUT = "token_embd.weight", "output.weight"
EMBEDDINGS = (EMBEDDING, "per_layer_token_embd.weight")  # those that `Order.embedding_type` is of


class Override(Struct, frozen=True):
    """Tensors in whose names `pattern` is found get a type of their own. The first that matches counts."""

    pattern: str  # std::regex, ECMAScript; see `quantizer_patterns.py`
    type: int  # ggml_type


class Order(Struct, frozen=True, kw_only=True):
    """What to make of a file. All but `source` has to do with one field of llama_model_quantize_params."""

    source: Path  # or the first part; the others are then beside it, under their names
    file_type: int  # llama_ftype
    threads: int = 1
    importance: Importance = {}
    overrides: tuple[Override, ...] = ()
    output_type: int | None = None  # ggml_type; None: as the file type has it
    embedding_type: int | None = None
    is_pure: bool = False  # every tensor in the one type
    prune_layers: tuple[int, ...] = ()
    allow_requantize: bool = False
    metadata: Mapping[str, str | int] = {}  # written into the file, over what the source has: strings and uint32
    most_buffer_bytes: int = 8 * 2**30  # rows are done in pieces that take no more than this, but at least one
