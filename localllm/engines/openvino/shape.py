"""What the graph of a model is built from, told from its GGUF header; what is not known here is refused by name."""

import re
from pathlib import Path

from msgspec import Struct

from localllm.engines.openvino.blocks import PLAIN, QUANTIZED
from localllm.engines.openvino.memory import KvShape
from localllm.errors import LoadFailed
from localllm.models.gguf.facts import ModelFacts, facts_of
from localllm.models.gguf.header import GgufHeader, read_header

ARCHITECTURES = ("llama", "qwen2", "qwen3")
INTERLEAVED = frozenset({"llama"})  # rotation pairs neighbours in the file, halves in the graph
ELSE = "use --engine llama_cpp"
ROPE_FACTORS = "rope_freqs.weight"
_TENSOR = re.compile(
    r"token_embd\.weight|output_norm\.weight|output\.weight|rope_freqs\.weight|blk\.\d+\.(attn_norm|ffn_norm)\.weight"
    r"|blk\.\d+\.(attn_q|attn_k|attn_v|attn_output|ffn_gate|ffn_up|ffn_down)\.(weight|bias)"
    r"|blk\.\d+\.(attn_q_norm|attn_k_norm)\.weight"
)
_KEYS = frozenset(
    {
        "attention.head_count",
        "attention.head_count_kv",
        "attention.key_length",
        "attention.layer_norm_rms_epsilon",
        "attention.sliding_window",
        "attention.value_length",
        "block_count",
        "context_length",
        "embedding_length",
        "feed_forward_length",
        "rope.dimension_count",
        "rope.freq_base",
        "rope.scaling.factor",
        "rope.scaling.type",
        "vocab_size",
    }
)


class Shape(Struct, frozen=True, kw_only=True):
    """A decoder of transformers with rotary positions and gated feed-forward layers."""

    architecture: str
    layers: int
    heads: int
    kv_heads: int
    head_width: int
    width: int
    vocabulary: int  # rows of the embedding
    context_tokens: int
    epsilon: float
    rope_base: float
    rope_scale: float  # positions are divided by this

    @property
    def kv(self) -> KvShape:
        """What its keys and values take."""
        return KvShape(
            layers=self.layers,
            kv_heads=self.kv_heads,
            head_width=self.head_width,
            context_tokens=self.context_tokens,
        )

    @property
    def is_interleaved(self) -> bool:
        """Whether the rows of queries and keys are in the order of neighbours."""
        return self.architecture in INTERLEAVED


class GgufModel(Struct, frozen=True, kw_only=True):
    """A file that can be built from."""

    path: Path
    header: GgufHeader
    facts: ModelFacts
    shape: Shape


def read_model(path: Path) -> GgufModel:
    """Look at a file before anything native does. Raises LoadFailed with what to do instead."""
    header = read_header(path)
    facts = facts_of([header])
    if facts.split_count > 1:
        raise LoadFailed(f"{path} is split into {facts.split_count} files, which OpenVINO does not take; {ELSE}")
    if facts.architecture not in ARCHITECTURES:
        raise LoadFailed(
            f"{path} is of the architecture {facts.architecture}; OpenVINO runs {', '.join(ARCHITECTURES)} here; {ELSE}"
        )
    _check_keys(header, facts.architecture, path)
    _check_tensors(header, path)
    return GgufModel(path=path, header=header, facts=facts, shape=_shape(header, facts, path))


def _check_keys(header: GgufHeader, architecture: str, path: Path) -> None:
    prefix = f"{architecture}."
    unknown = sorted(key for key in header.metadata if key.startswith(prefix) and key.removeprefix(prefix) not in _KEYS)
    if unknown:
        raise LoadFailed(f"{path} says {unknown[0]}, which is not known for OpenVINO here; {ELSE}")


def _check_tensors(header: GgufHeader, path: Path) -> None:
    for tensor in header.tensors:
        if not _TENSOR.fullmatch(tensor.name):
            raise LoadFailed(f"{path} has a tensor {tensor.name}, which is not known for OpenVINO here; {ELSE}")
        is_matrix = len(tensor.shape) == 2
        if tensor.type_name not in PLAIN and not (is_matrix and tensor.type_name in QUANTIZED):
            known = ", ".join((*PLAIN, *QUANTIZED))
            raise LoadFailed(
                f"{path}: {tensor.name} is in {tensor.type_name}; for OpenVINO a GGUF may be in {known}; {ELSE}"
            )


def _shape(header: GgufHeader, facts: ModelFacts, path: Path) -> Shape:
    attention = facts.attention
    of_layers = set(attention.kv_heads)
    if not facts.layers or not attention.heads or len(of_layers) != 1:
        raise LoadFailed(f"{path} does not have the same heads in all of its layers; {ELSE}")
    width, kv_heads = attention.key_length, of_layers.pop()
    if not kv_heads or attention.heads % kv_heads or width != attention.value_length or not width or width % 2:
        raise LoadFailed(f"{path} has heads of a kind that is not known for OpenVINO here; {ELSE}")
    prefix = facts.architecture
    if _number(header, f"{prefix}.rope.dimension_count", width) != width:
        raise LoadFailed(f"{path} rotates only a part of each head, which is not known for OpenVINO here; {ELSE}")
    window = attention.sliding_window
    trained = facts.context_tokens
    return Shape(
        architecture=facts.architecture,
        layers=facts.layers,
        heads=attention.heads,
        kv_heads=kv_heads,
        head_width=width,
        width=facts.embedding_width,
        vocabulary=_rows(header, path),
        context_tokens=min(trained, window) if window else trained,
        epsilon=_number(header, f"{prefix}.attention.layer_norm_rms_epsilon", 1e-5),
        rope_base=_number(header, f"{prefix}.rope.freq_base", 10_000.0),
        rope_scale=_rope_scale(header, prefix, path),
    )


def _rope_scale(header: GgufHeader, prefix: str, path: Path) -> float:
    kind = header.metadata.get(f"{prefix}.rope.scaling.type", "none")
    if kind == "none":
        return 1.0
    if kind != "linear":
        raise LoadFailed(f"{path} scales its rotation by {str(kind)[:20]!r}, not known for OpenVINO here; {ELSE}")
    return _number(header, f"{prefix}.rope.scaling.factor", 1.0)


def _rows(header: GgufHeader, path: Path) -> int:
    for tensor in header.tensors:
        if tensor.name == "token_embd.weight" and len(tensor.shape) == 2:
            return tensor.shape[1]
    raise LoadFailed(f"{path} has no token_embd.weight; get a whole GGUF of this model")


def _number(header: GgufHeader, key: str, default: float) -> float:
    """Raises LoadFailed for what is no positive number."""
    value = header.metadata.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise LoadFailed(f"the value of {key} is no positive number; get another GGUF of this model")
    return value
