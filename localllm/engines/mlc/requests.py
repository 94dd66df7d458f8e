"""A job in the words of MLC's `completions.create`, and what it would stumble over, refused before."""

from localllm.engines.job import Job
from localllm.engines.mlc.schema import any_object, checked_schema
from localllm.errors import InvalidRequest
from localllm.types import Constraint, Sampling

SAMPLING = frozenset(
    {"temperature", "top_p", "frequency_penalty", "presence_penalty", "logit_bias", "seed", "ignore_eos"}
)
_RANGES = {  # GenerationConfig::Validate, mlc-llm cpp/serve/config.cc; beyond them its engine fails
    "temperature": (0.0, float("inf")),
    "top_p": (0.0, 1.0),
    "frequency_penalty": (-2.0, 2.0),
    "presence_penalty": (-2.0, 2.0),
}
_MOST_BIAS = 100.0
_SEEDS = 2**31  # it keeps a seed in an int


def request_of(job: Job, max_tokens: int) -> dict[str, object]:
    """The arguments, but for the id. Raises InvalidRequest, naming the field."""
    sampling = job.sampling
    _check(sampling, max_tokens)
    request: dict[str, object] = {
        "prompt": list(job.tokens),
        "max_tokens": max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if sampling.logit_bias:
        request["logit_bias"] = dict(sampling.logit_bias)
    if sampling.seed is not None:
        request["seed"] = sampling.seed % _SEEDS
    if sampling.ignore_eos:
        request["extra_body"] = {"debug_config": {"ignore_eos": True}}
    if job.wanted is not None:
        request["response_format"] = {"type": "json_object", "schema": _schema(job.wanted)}
    return request


def _check(sampling: Sampling, max_tokens: int) -> None:
    if max_tokens < 1:
        raise InvalidRequest("MLC makes at least one token; ask for max_tokens of 1 or more", param="max_tokens")
    for name, (least, most) in _RANGES.items():
        value = getattr(sampling, name)
        if not least <= value <= most:
            limits = f"from {least:g} to {most:g}" if most < float("inf") else f"of {least:g} or more"
            raise InvalidRequest(f"MLC takes a {name} {limits}, not {value:g}", param=name)
    for token, bias in sampling.logit_bias.items():
        if not abs(bias) <= _MOST_BIAS:
            raise InvalidRequest(
                f"MLC takes a bias from -100 to 100, not {bias:g} of token {token}", param="logit_bias"
            )


def _schema(wanted: Constraint) -> str:
    if wanted.kind == "json_object":
        return any_object()
    if wanted.kind == "json_schema":
        return checked_schema(wanted.source)
    raise InvalidRequest(f"MLC holds no answer to a {wanted.kind}; use json_schema", param="response_format")
