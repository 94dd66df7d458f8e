"""What llama.cpp makes of a text, as exactly as it can."""

from pathlib import Path

import llama_cpp as lib
import numpy as np
from numpy.typing import NDArray

from localllm.engines.base import Batch
from localllm.engines.llama_cpp import native
from localllm.engines.llama_cpp.batch import LlamaBatch

_FLOAT32 = 0  # ggml_type


def native_scores(path: Path, tokens: list[int], context: int) -> NDArray[np.float32]:
    """Logits after each token, [tokens, vocabulary]; keys and values are kept as float32, which costs no digits."""
    model = native.load_model([str(path)], lambda fraction: None)
    try:
        handle = native.new_context(
            model,
            n_ctx=context,
            n_batch=512,
            n_ubatch=512,
            n_threads=1,
            n_threads_batch=1,
            type_k=_FLOAT32,
            type_v=_FLOAT32,
            flash_attn_type=0,
        )
        try:
            return _decoded(model, handle, tokens)
        finally:
            lib.llama_free(handle)
    finally:
        lib.llama_model_free(model)


def _decoded(model: native.Handle, handle: native.Handle, tokens: list[int]) -> NDArray[np.float32]:
    rows = Batch(len(tokens))
    rows.add(0, 0, tokens, logits=len(tokens))
    batch = LlamaBatch(len(tokens))
    batch.fill(rows)
    assert lib.llama_decode(handle, batch.struct) == 0
    width = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model))
    return np.array(np.ctypeslib.as_array(lib.llama_get_logits(handle), (len(tokens), width)))
