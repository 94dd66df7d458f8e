"""What llama.cpp makes of a vocabulary: a model without meaning around it, loaded."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gguf
import llama_cpp
import numpy as np

from localllm.convert.config import Config
from localllm.convert.vocabulary.read import read_vocabulary
from localllm.convert.vocabulary.vocabulary import Vocabulary
from localllm.convert.vocabulary.write import add_vocabulary
from localllm.engines.llama_cpp.native import load_model
from localllm.engines.llama_cpp.tokenizer import LlamaTokenizer

WIDTH = 8


def read_folder(folder: Path, size: int, **config: object) -> Vocabulary:
    """The vocabulary of the tokenizer files in a folder."""
    return read_vocabulary({path.name: path for path in folder.iterdir()}, size, Config(config))


@contextmanager
def tokenizing(vocabulary: Vocabulary, folder: Path) -> Iterator[LlamaTokenizer]:
    """llama.cpp's tokenizer for it."""
    path = write_model(vocabulary, folder / "vocabulary.gguf")
    model = load_model([str(path)], lambda _: None)
    try:
        yield LlamaTokenizer(model)
    finally:
        llama_cpp.llama_model_free(model)


def write_model(vocabulary: Vocabulary, path: Path) -> Path:
    """A llama of one layer, all zeros, with this vocabulary."""
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(WIDTH)
    writer.add_head_count(1)
    writer.add_layer_norm_rms_eps(1e-5)
    add_vocabulary(writer, vocabulary)
    shapes = {"token_embd.weight": (len(vocabulary.tokens), WIDTH), "output_norm.weight": (WIDTH,)}
    shapes |= {f"blk.0.{name}.weight": (WIDTH,) for name in ("attn_norm", "ffn_norm")}
    square = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    for name, shape in (shapes | {f"blk.0.{name}.weight": (WIDTH, WIDTH) for name in square}).items():
        writer.add_tensor(name, np.zeros(shape, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def decoded(tokenizer: LlamaTokenizer, ids: list[int]) -> str:
    """The text of ids."""
    return b"".join(map(tokenizer.piece, ids)).decode("utf-8", "replace")
