"""A model of OpenVINO's own: openvino_model.xml with its weights, and config.json, which says what it is."""

from pathlib import Path

from msgspec import Struct

from localllm.engines.openvino.memory import KvShape
from localllm.errors import LoadFailed
from localllm.models.model_files import ModelFiles, parse

MODEL, WEIGHTS, CONFIG = "openvino_model.xml", "openvino_model.bin", "config.json"
TOKENIZER, DETOKENIZER = "openvino_tokenizer.xml", "openvino_detokenizer.xml"
_AGAIN = "export it again with optimum-intel (optimum-cli export openvino)"


class Folder(Struct, frozen=True, kw_only=True):
    """What its files say."""

    kv: KvShape
    vocabulary: int
    weights_bytes: int

    @property
    def parameters(self) -> int:
        """About so many: most of such models have 4 or 8 bits a weight."""
        return self.weights_bytes


class _Config(Struct, frozen=True):
    """The part of a transformers config that matters here."""

    num_hidden_layers: int
    num_attention_heads: int
    hidden_size: int
    vocab_size: int
    max_position_embeddings: int
    num_key_value_heads: int | None = None
    head_dim: int | None = None


def read_folder(folder: Path) -> Folder:
    """Raises LoadFailed, naming the file that is missing or wrong."""
    for name in (MODEL, WEIGHTS, CONFIG, TOKENIZER, DETOKENIZER):
        if not (folder / name).is_file():
            raise LoadFailed(f"{folder} has no {name}; {_AGAIN}")
    config = parse(ModelFiles({CONFIG: folder / CONFIG}, again=_AGAIN).data(CONFIG), _Config, CONFIG, again=_AGAIN)
    heads = config.num_key_value_heads or config.num_attention_heads
    width = config.head_dim or config.hidden_size // max(1, config.num_attention_heads)
    if min(config.num_hidden_layers, heads, width, config.vocab_size, config.max_position_embeddings) < 1:
        raise LoadFailed(f"{folder / CONFIG} has a number that is not from 1 on; {_AGAIN}")
    return Folder(
        kv=KvShape(
            layers=config.num_hidden_layers,
            kv_heads=heads,
            head_width=width,
            context_tokens=config.max_position_embeddings,
        ),
        vocabulary=config.vocab_size,
        weights_bytes=(folder / WEIGHTS).stat().st_size,
    )
