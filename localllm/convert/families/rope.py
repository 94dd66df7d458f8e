"""Rotary position embeddings: the ways of scaling them that a config.json names, and what each becomes in a GGUF.

Formulas are those of transformers (modeling_rope_utils.py); keys are those that llama.cpp reads (src/llama-model.cpp,
`llama_model_base::load_hparams`) and how it applies them those of src/llama-context.cpp and ggml's `rope_yarn`.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
from msgspec import Struct

from localllm.convert.config import Config
from localllm.convert.families.base import MadeTensor, MetadataValue
from localllm.convert.families.dimensions import Dimensions
from localllm.convert.families.positive import is_positive, positive
from localllm.convert.families.refusal import refusal
from localllm.errors import LoadFailed

DEFAULT_THETA = 10000.0
_BETA_FAST, _BETA_SLOW = 32.0, 1.0  # of yarn; llama.cpp reads others for a few architectures only, none of them here
_CLOSE = 1e-6  # relative: float32 tells no less


class RopeRules(Struct, frozen=True, kw_only=True):
    """What the graph of an architecture can do, and the defaults of its class in transformers."""

    kinds: tuple[str, ...] = ("default", "dynamic", "linear", "yarn")
    aliases: Mapping[str, str] = {}  # other names of kinds
    theta: float = DEFAULT_THETA
    window_theta: float | None = None  # of layers with a sliding window, where those have a rope of their own
    original_positions: int | None = None  # original_max_position_embeddings
    may_be_partial: bool = False  # whether only the first part of each head may be rotated


class Rope(Struct, frozen=True, kw_only=True):
    """What becomes of a rope: metadata by key without the architecture, and tensors."""

    metadata: Mapping[str, MetadataValue]
    made: tuple[MadeTensor, ...] = ()


class _Source(Struct, frozen=True, kw_only=True):
    """A rope as a checkpoint has it."""

    architecture: str
    values: Config  # rope_scaling or rope_parameters
    theta: float
    rotated: int  # numbers of a head
    positions: int  # max_position_embeddings
    original_positions: int  # before any scaling

    @property
    def factor(self) -> float:
        """How many times the context was lengthened."""
        return positive(self.values, "factor", self.positions / self.original_positions)


def rope_of(config: Config, dimensions: Dimensions, architecture: str, rules: RopeRules) -> Rope:
    """The rope of a model. Raises LoadFailed for a kind that `rules` do not name and for what is wrong in itself."""
    outer = config.part("rope_scaling") or config.part("rope_parameters") or Config({}, name="config.json: rope")
    is_older = config.has("rope_scaling") or not config.has("rope_parameters")
    values = _of_full_attention(outer, architecture, rules, is_older=is_older)
    source = _Source(
        architecture=architecture,
        values=values,
        theta=_theta(config, values, "rope_theta", rules.theta),
        rotated=_rotated(config, values, dimensions, architecture, rules),
        positions=dimensions.positions,
        original_positions=_original_positions(config, values, dimensions, rules),
    )
    scaled = _SCALINGS[_kind(values, architecture, rules)](source)
    metadata: dict[str, MetadataValue] = {"rope.dimension_count": source.rotated, "rope.freq_base": source.theta}
    if rules.window_theta is not None:
        metadata["rope.freq_base_swa"] = _window_theta(config, outer, architecture, rules.window_theta)
    return Rope(metadata=metadata | dict(scaled.metadata), made=scaled.made)


def _of_full_attention(values: Config, architecture: str, rules: RopeRules, *, is_older: bool) -> Config:
    """The part for layers that see everything, where layers differ; that is so where windows have their own theta."""
    has_parts = values.has("full_attention") or values.has("sliding_attention")
    if rules.window_theta is None:
        if has_parts:
            raise refusal(architecture, "rope_parameters differ by the type of layer")
        return values
    if has_parts:
        return values.part("full_attention") or Config({}, name="config.json: rope")
    if not is_older:  # rope_scaling is about these layers alone; transformers would not heed such rope_parameters
        raise refusal(architecture, "rope_parameters do not say what holds for which type of layer")
    return values


def _kind(values: Config, architecture: str, rules: RopeRules) -> str:
    named = values.text("rope_type", values.text("type", "default"))
    kind = rules.aliases.get(named, named)
    if kind not in rules.kinds:
        raise refusal(architecture, f"the rope type is {named[:40]!r}")
    if values.has("mrope_section"):
        raise refusal(architecture, "mrope_section tells of positions in images")
    return kind


def _theta(config: Config, values: Config, key: str, default: float) -> float:
    return positive(values, "rope_theta", positive(config, key, default))


def _window_theta(config: Config, outer: Config, architecture: str, default: float) -> float:
    """Of the layers with a sliding window, which llama.cpp rotates without any scaling."""
    values = outer.part("sliding_attention") or Config({}, name="config.json: rope")
    if values.text("rope_type", values.text("type", "default")) != "default":
        raise refusal(architecture, "the rope of the sliding layers is scaled")
    return _theta(config, values, "rope_local_base_freq", default)


def _rotated(config: Config, values: Config, dimensions: Dimensions, architecture: str, rules: RopeRules) -> int:
    """How many numbers of a head are rotated."""
    key = "partial_rotary_factor"
    share = positive(values, key, positive(config, key, 1.0))
    rotated = int(dimensions.head_width * share)
    if rotated != dimensions.head_width and not rules.may_be_partial:
        raise refusal(architecture, f"{key} is {share}")
    if not 2 <= rotated <= dimensions.head_width or rotated % 2:
        raise LoadFailed(f"config.json: {key} is {share} of {dimensions.head_width}, which cannot be; get it again")
    return rotated


def _original_positions(config: Config, values: Config, dimensions: Dimensions, rules: RopeRules) -> int:
    """What stands beside the rope goes before what stands in it, as in transformers' `standardize_rope_params`."""
    key = "original_max_position_embeddings"
    if config.has(key) or rules.original_positions is not None:
        return config.count(key, rules.original_positions)
    return values.count(key, dimensions.positions)


def _unscaled(_: _Source) -> Rope:
    return Rope(metadata={})


def _dynamic(source: _Source) -> Rope:
    """Changes nothing up to max_position_embeddings, where the GGUF's context ends (`_compute_dynamic_ntk_parameters`:
    for so many positions the base is multiplied by (factor - (factor - 1)) to some power)."""
    if source.values.has("alpha"):
        raise refusal(source.architecture, "the rope type is 'dynamic' with an alpha")
    return _unscaled(source)


def _linear(source: _Source) -> Rope:
    """All angles are divided by the factor."""
    factor = positive(source.values, "factor")
    return Rope(metadata={"rope.scaling.type": "linear", "rope.scaling.factor": factor})


def _yarn(source: _Source) -> Rope:
    """YaRN (arXiv 2309.00071). llama.cpp scales queries and keys by 0.1 ln(factor) + 1, times attn_factor."""
    values, architecture = source.values, source.architecture
    for key, usual in (("beta_fast", _BETA_FAST), ("beta_slow", _BETA_SLOW)):
        if values.number(key, usual) not in (usual, 0.0):  # transformers takes 0 as not said
            raise refusal(architecture, f"{key} of the rope is {values.number(key)}, not {usual}")
    if not values.flag("truncate", True):
        raise refusal(architecture, "truncate of the rope is false")
    if source.theta <= 1:
        raise LoadFailed(f"config.json: rope_theta is {source.theta}, too small for yarn; get the file again")
    factor = source.factor
    metadata: dict[str, MetadataValue] = {
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": factor,
        "rope.scaling.original_context_length": source.original_positions,
    }
    ratio = _yarn_magnitude(values, factor) / _magnitude(factor)
    if abs(ratio - 1) > _CLOSE:
        metadata["rope.scaling.attn_factor"] = ratio
    return Rope(metadata=metadata)


def _magnitude(factor: float, scale: float = 1.0) -> float:
    return 0.1 * scale * math.log(factor) + 1.0 if factor > 1 else 1.0


def _yarn_magnitude(values: Config, factor: float) -> float:
    """What transformers multiplies queries and keys by."""
    if values.has("attention_factor"):
        return positive(values, "attention_factor")
    scale, all_scale = values.number("mscale", 0.0), values.number("mscale_all_dim", 0.0)
    if not scale or not all_scale:
        return _magnitude(factor)
    if scale < 0 or all_scale < 0:
        raise LoadFailed("config.json: mscale of the rope is below zero; get the file again")
    return _magnitude(factor, scale) / _magnitude(factor, all_scale)


def _llama3(source: _Source) -> Rope:
    """Llama 3.1: slow frequencies are divided by the factor, fast ones kept, those between blended."""
    low, high = positive(source.values, "low_freq_factor"), positive(source.values, "high_freq_factor")
    if high <= low:
        raise LoadFailed(f"config.json: high_freq_factor {high} is not above low_freq_factor {low}; get it again")
    frequencies = source.theta ** (-np.arange(0, source.rotated, 2, dtype=np.float64) / source.rotated)
    turns = source.original_positions * frequencies / (2 * math.pi)  # in the original context
    kept = np.clip((turns - low) / (high - low), 0.0, 1.0)
    divisors = 1.0 / ((1.0 - kept) / positive(source.values, "factor") + kept)
    return Rope(metadata={}, made=(MadeTensor(target="rope_freqs.weight", values=divisors.astype(np.float32)),))


def _longrope(source: _Source) -> Rope:
    """LongRoPE (arXiv 2402.13753): a divisor for each frequency, one set for short contexts and one for long.

    llama.cpp goes by the context that was asked for, transformers by the tokens there are. No factor is written:
    llama.cpp would divide all angles by it as well.
    """
    values, original = source.values, source.original_positions
    if original < 2:
        raise LoadFailed(f"config.json: original_max_position_embeddings is {original}; get the file again")
    factor = source.factor
    usual = math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 else 1.0
    made = tuple(
        MadeTensor(target=f"rope_factors_{length}.weight", values=_divisors(source, f"{length}_factor"))
        for length in ("long", "short")
    )
    metadata: dict[str, MetadataValue] = {
        "rope.scaling.type": "longrope",
        "rope.scaling.original_context_length": original,
        "rope.scaling.attn_factor": positive(values, "attention_factor", usual),
    }
    return Rope(metadata=metadata, made=made)


def _divisors(source: _Source, key: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """One for each pair of numbers that is rotated."""
    numbers, pairs = source.values.numbers(key), source.rotated // 2
    if len(numbers) != pairs or not all(is_positive(number) for number in numbers):
        raise LoadFailed(f"config.json: {key} is not {pairs} numbers above zero; get the file again")
    return np.array(numbers, np.float32)


_SCALINGS: Mapping[str, Callable[[_Source], Rope]] = {
    "default": _unscaled,
    "dynamic": _dynamic,
    "linear": _linear,
    "yarn": _yarn,
    "llama3": _llama3,
    "longrope": _longrope,
}
