"""A plain decoder as a table, and the family it makes."""

from collections.abc import Callable, Mapping

from msgspec import Struct

from localllm.convert.config import Config
from localllm.convert.families.base import Family, Layout, MetadataValue
from localllm.convert.families.dimensions import Dimensions, dimensions_of
from localllm.convert.families.refusal import refusal
from localllm.convert.families.rope import RopeRules, rope_of
from localllm.convert.families.weights import Weight, rules_of
from localllm.convert.families.window import Windows, check_layer_types, context_of
from localllm.errors import LoadFailed

Metadata = Mapping[str, MetadataValue]

# Whatever the class: what would make another model of it, and the value that is harmless.
_HARMLESS_FLAGS = {"is_causal": True, "use_bidirectional_attention": False, "is_encoder_decoder": False}
_BIAS_FLAGS = ("attention_bias", "mlp_bias")


def _none(_: Config, __: Dimensions) -> Metadata:
    return {}


class Decoder(Struct, frozen=True, kw_only=True):
    """Layers of attention and a gated feed-forward network, with an embedding before and a norm behind."""

    architecture: str
    classes: tuple[str, ...]
    weights: tuple[Weight, ...]  # of one layer
    rope: RopeRules
    windows: Windows = "none"
    defaults: Mapping[str, float] = {}  # of the class in transformers, for keys that config.json may leave out
    is_tied: bool = False  # tie_word_embeddings where config.json leaves it out
    may_be_untied: bool = True
    activation: tuple[str, tuple[str, ...]] = ("hidden_act", ("silu", "swish"))  # its key, and what the graph computes
    norm_offset: float = 0.0  # norms multiply by their weights and so much more
    has_own_head_width: bool = True  # whether head_dim may be other than hidden_size / num_attention_heads
    more: Callable[[Config, Dimensions], Metadata] = _none  # metadata without the architecture, and further refusals
    dropped: tuple[str, ...] = ()
    renamed: Mapping[str, str] = {}


def family(decoder: Decoder) -> Family:
    """The family of these decoders."""
    return Family(
        architecture=decoder.architecture,
        classes=decoder.classes,
        layout=lambda config: layout(decoder, config),
    )


def layout(decoder: Decoder, config: Config) -> Layout:
    """What becomes of a checkpoint. Raises LoadFailed for what llama.cpp's graph of the architecture does not do."""
    dimensions = dimensions_of(config, decoder.defaults)
    _check(decoder, config, dimensions)
    is_tied = config.flag("tie_word_embeddings", decoder.is_tied)
    if not is_tied and not decoder.may_be_untied:
        raise refusal(decoder.architecture, "tie_word_embeddings is false")
    rope = rope_of(config, dimensions, decoder.architecture, decoder.rope)
    keys = {
        **dimensions.metadata(context_of(config, dimensions, decoder.windows)),
        **rope.metadata,
        **decoder.more(config, dimensions),
    }
    return Layout(
        metadata={f"{decoder.architecture}.{key}": value for key, value in keys.items()},
        tensors=rules_of(decoder.weights, config, dimensions, is_tied=is_tied, norm_offset=decoder.norm_offset),
        made=rope.made,
        vocabulary=dimensions.vocabulary,
        dropped=_dropped(decoder, is_tied=is_tied),
        renamed=decoder.renamed,
    )


def _check(decoder: Decoder, config: Config, dimensions: Dimensions) -> None:
    architecture = decoder.architecture
    if config.has("quantization_config"):
        raise LoadFailed("config.json: these weights are quantized already; convert the checkpoint they were made from")
    for flag, harmless in _HARMLESS_FLAGS.items():
        if config.flag(flag, harmless) is not harmless:
            raise refusal(architecture, f"{flag} is {str(not harmless).lower()}")
    known = {weight.flag for weight in decoder.weights}
    for flag in _BIAS_FLAGS:
        if flag not in known and config.flag(flag, False):
            raise refusal(architecture, f"{flag} is true")
    key, known_activations = decoder.activation
    activation = config.text(key, known_activations[0])
    if activation not in known_activations:
        raise refusal(architecture, f"{key} is {activation[:40]!r}")
    if not decoder.has_own_head_width and dimensions.heads * dimensions.head_width != dimensions.width:
        raise refusal(architecture, f"head_dim is {dimensions.head_width}, not hidden_size / num_attention_heads")
    check_layer_types(config, dimensions, architecture)


def _dropped(decoder: Decoder, *, is_tied: bool) -> tuple[str, ...]:
    """Beside the family's own, the head that repeats the embedding."""
    heads = ("lm_head.", *(old for old, new in decoder.renamed.items() if new == "lm_head."))
    return (*decoder.dropped, *(heads if is_tied else ()))
