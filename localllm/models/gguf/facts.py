"""What a model is, told from its GGUF headers: size, shape, context, quantization, template."""

from collections.abc import Sequence

from msgspec import Struct

from localllm.errors import LoadFailed
from localllm.models.gguf.attention import Attention, attention_of
from localllm.models.gguf.cursor import damaged
from localllm.models.gguf.fields import Fields
from localllm.models.gguf.header import GgufHeader
from localllm.models.gguf.quant import quant_label
from localllm.models.gguf.template import Features, template_features
from localllm.models.gguf.tensors import TensorInfo
from localllm.models.gguf.vocabulary import vocabulary_tokens

MAX_LAYERS = 512  # LLAMA_MAX_LAYERS of llama.cpp
_POOLING = ("none", "mean", "cls", "last", "rank")  # llama.cpp's enum llama_pooling_type, from 0 on


class ModelFacts(Struct, frozen=True, kw_only=True):
    """What the headers say of a model; 0 or "" where they say nothing."""

    architecture: str
    name: str
    license: str
    base_model: str
    finetune: str
    parameters: int  # numbers in all tensors
    weights_bytes: int
    quant: str  # as the file calls itself, such as Q4_K_M
    context_tokens: int  # that it was trained for
    vocabulary: int  # tokens
    layers: int
    embedding_width: int
    feed_forward_width: int  # of the widest layer
    attention: Attention
    experts: int
    experts_used: int
    pooling: str  # how token embeddings become one: mean, cls, last; rank for a reranker; "" or none for text models
    chat_template: str
    features: Features
    has_vision: bool  # an image encoder, which goes with a text model
    split_count: int  # files that the model is split into; 1: it is whole

    @property
    def bits_per_weight(self) -> float:
        """What a number takes really, scales and unquantized tensors counted in."""
        return self.weights_bytes * 8 / self.parameters if self.parameters else 0.0


def facts_of(headers: Sequence[GgufHeader]) -> ModelFacts:
    """The facts of a model whose parts have these headers, in order. Of a split model, all parts, or only the first.

    Of the first alone, the sums (`parameters`, `weights_bytes`) are of that part. Raises LoadFailed, naming the key
    whose value is of another type, or saying why the parts are not one model.
    """
    if not headers:
        raise LoadFailed("a model has at least one file; none was named")
    fields = Fields(headers[0].metadata)
    architecture = fields.text("general.architecture")
    if not architecture:
        raise LoadFailed("this file is a later part of a split model; name the first part, …-00001-of-….gguf")
    tensors = _united(headers)
    layers = _layers(fields, architecture)
    width = fields.count(f"{architecture}.embedding_length") or 0
    template = fields.text("tokenizer.chat_template")
    return ModelFacts(
        architecture=architecture,
        name=fields.text("general.name"),
        license=fields.text("general.license"),
        base_model=fields.text("general.base_model.0.name"),
        finetune=fields.text("general.finetune"),
        parameters=sum(tensor.elements for tensor in tensors),
        weights_bytes=sum(tensor.size_bytes for tensor in tensors),
        quant=quant_label(fields.count("general.file_type"), tensors),
        context_tokens=fields.count(f"{architecture}.context_length") or 0,
        vocabulary=vocabulary_tokens(headers[0].metadata) or fields.count(f"{architecture}.vocab_size") or 0,
        layers=layers,
        embedding_width=width,
        feed_forward_width=_widest(fields.counts(f"{architecture}.feed_forward_length")),
        attention=attention_of(fields, architecture, layers, width),
        experts=fields.count(f"{architecture}.expert_count") or 0,
        experts_used=fields.count(f"{architecture}.expert_used_count") or 0,
        pooling=_pooling(fields, architecture),
        chat_template=template,
        features=template_features(template),
        has_vision=architecture == "clip" or fields.text("general.type") == "mmproj",
        split_count=fields.count("split.count") or 1,
    )


def _united(headers: Sequence[GgufHeader]) -> list[TensorInfo]:
    """The tensors of all parts. Raises LoadFailed when the parts are not those of one model, in order."""
    if len(headers) > 1:
        for number, header in enumerate(headers):
            part = Fields(header.metadata)
            if part.count("split.count") != len(headers) or part.count("split.no") != number:
                raise damaged(f"part {number + 1} of {len(headers)} is not that part of this model")
    tensors = {tensor.name: tensor for header in headers for tensor in header.tensors}
    if len(tensors) != sum(len(header.tensors) for header in headers):
        raise damaged("two of its parts hold the same tensor")
    return list(tensors.values())


def _layers(fields: Fields, architecture: str) -> int:
    key = f"{architecture}.block_count"
    layers = fields.count(key) or 0
    if layers > MAX_LAYERS:
        raise damaged(f"{key} is {layers}, llama.cpp reads {MAX_LAYERS} layers at most")
    return layers


def _widest(counts: int | tuple[int, ...] | None) -> int:
    return max(counts, default=0) if isinstance(counts, tuple) else counts or 0


def _pooling(fields: Fields, architecture: str) -> str:
    key = f"{architecture}.pooling_type"
    number = fields.count(key)
    if number is None:
        return ""
    if number >= len(_POOLING):
        raise damaged(f"{key} is {number}, which llama.cpp does not know")
    return _POOLING[number]
