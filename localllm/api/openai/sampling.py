"""The sampling fields that chat and text completions share."""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from localllm.errors import InvalidRequest
from localllm.types import SamplingChoice

Temperature = Annotated[float, Meta(ge=0, le=2)]
Probability = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
RepeatPenalty = Annotated[float, Meta(gt=0, le=10)]
TokenCount = Annotated[int, Meta(ge=1, le=2**31 - 1)]
LastTokens = Annotated[int, Meta(ge=-1, le=2**31 - 1)]  # -1: all
Multiplier = Annotated[float, Meta(ge=0, le=100)]
Breaker = Annotated[str, Meta(min_length=1, max_length=40)]
Seed = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Bias = Annotated[float, Meta(ge=-100, le=100)]
StopString = Annotated[str, Meta(min_length=1, max_length=256)]
Stops = Annotated[list[StopString], Meta(max_length=4)]

MAX_BIASES = 300
CONVERTED = frozenset({"stop", "dry_sequence_breakers", "logit_bias"})  # to what a SamplingChoice holds


class SamplingFields(Struct, kw_only=True):
    """Fields of the request body. Those that go beyond OpenAI's have llama-server's names."""

    max_tokens: TokenCount | UnsetType = UNSET
    temperature: Temperature | UnsetType = UNSET
    top_k: Annotated[int, Meta(ge=0, le=2**31 - 1)] | UnsetType = UNSET
    top_p: Probability | UnsetType = UNSET
    min_p: Probability | UnsetType = UNSET
    typical_p: Probability | UnsetType = UNSET
    top_n_sigma: Multiplier | UnsetType = UNSET
    xtc_probability: Probability | UnsetType = UNSET
    xtc_threshold: Probability | UnsetType = UNSET
    dynatemp_range: Temperature | UnsetType = UNSET
    dynatemp_exponent: Annotated[float, Meta(gt=0, le=10)] | UnsetType = UNSET
    mirostat: Literal[0, 2] | UnsetType = UNSET
    mirostat_tau: Annotated[float, Meta(ge=0, le=100)] | UnsetType = UNSET
    mirostat_eta: Probability | UnsetType = UNSET
    repeat_penalty: RepeatPenalty | UnsetType = UNSET
    repeat_last_n: LastTokens | UnsetType = UNSET
    frequency_penalty: Penalty | UnsetType = UNSET
    presence_penalty: Penalty | UnsetType = UNSET
    dry_multiplier: Multiplier | UnsetType = UNSET
    dry_base: Annotated[float, Meta(ge=1, le=100)] | UnsetType = UNSET
    dry_allowed_length: TokenCount | UnsetType = UNSET
    dry_penalty_last_n: LastTokens | UnsetType = UNSET
    dry_sequence_breakers: Annotated[list[Breaker], Meta(max_length=16)] | UnsetType = UNSET
    logit_bias: dict[str, Bias] | UnsetType = UNSET
    seed: Seed | UnsetType = UNSET
    stop: Annotated[str, Meta(min_length=1, max_length=256)] | Stops | UnsetType = UNSET
    ignore_eos: bool | UnsetType = UNSET

    def choice(self) -> SamplingChoice:
        """What the request chose. Raises InvalidRequest."""
        plain = {name: getattr(self, name) for name in SamplingFields.__struct_fields__ if name not in CONVERTED}
        choice = SamplingChoice(**plain)
        if self.stop is not UNSET:
            stops = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)
            choice = msgspec.structs.replace(choice, stop=stops)
        if self.dry_sequence_breakers is not UNSET:
            choice = msgspec.structs.replace(choice, dry_sequence_breakers=tuple(self.dry_sequence_breakers))
        if self.logit_bias is not UNSET:
            choice = msgspec.structs.replace(choice, logit_bias=_biases(self.logit_bias))
        return choice


class StreamOptions(Struct, forbid_unknown_fields=True):
    """`stream_options`."""

    include_usage: bool = False


def _biases(biases: dict[str, float]) -> dict[int, float]:
    if len(biases) > MAX_BIASES:
        raise InvalidRequest(f"logit_bias has {len(biases)} entries, the most is {MAX_BIASES}", param="logit_bias")
    wrong = next((token for token in biases if not (token.isascii() and token.isdigit() and len(token) < 10)), None)
    if wrong is not None:
        raise InvalidRequest(f"logit_bias: {wrong[:40]!r} is not a token id", param="logit_bias")
    return {int(token): bias for token, bias in biases.items()}
