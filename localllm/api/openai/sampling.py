"""The sampling fields that chat and text completions share."""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from localllm.errors import InvalidRequest
from localllm.types import SamplingChoice

Temperature = Annotated[float, Meta(ge=0, le=2)]
Probability = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
RepeatPenalty = Annotated[float, Meta(gt=0, le=10)]
TokenCount = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Seed = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Bias = Annotated[float, Meta(ge=-100, le=100)]
StopString = Annotated[str, Meta(min_length=1, max_length=256)]
Stops = Annotated[list[StopString], Meta(max_length=4)]

MAX_BIASES = 300


class SamplingFields(Struct, kw_only=True):
    """Fields of the request body. `top_k`, `min_p`, `repeat_penalty` and `ignore_eos` go beyond OpenAI's
    and have llama-server's names."""

    max_tokens: TokenCount | UnsetType = UNSET
    temperature: Temperature | UnsetType = UNSET
    top_k: Annotated[int, Meta(ge=0, le=2**31 - 1)] | UnsetType = UNSET
    top_p: Probability | UnsetType = UNSET
    min_p: Probability | UnsetType = UNSET
    repeat_penalty: RepeatPenalty | UnsetType = UNSET
    frequency_penalty: Penalty | UnsetType = UNSET
    presence_penalty: Penalty | UnsetType = UNSET
    logit_bias: dict[str, Bias] | UnsetType = UNSET
    seed: Seed | UnsetType = UNSET
    stop: Annotated[str, Meta(min_length=1, max_length=256)] | Stops | UnsetType = UNSET
    ignore_eos: bool | UnsetType = UNSET

    def choice(self) -> SamplingChoice:
        """What the request chose. Raises InvalidRequest."""
        plain = {name: getattr(self, name) for name in SamplingFields.__struct_fields__}
        choice = SamplingChoice(**{k: v for k, v in plain.items() if k not in ("stop", "logit_bias")})
        if self.stop is not UNSET:
            stops = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)
            choice = msgspec.structs.replace(choice, stop=stops)
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
