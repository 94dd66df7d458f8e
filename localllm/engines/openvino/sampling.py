"""A job's sampling as OpenVINO's GenerationConfig: only what acts there as `Sampling` says."""

import random

import openvino_genai as genai

from localllm.engines.job import Job
from localllm.errors import UnsupportedField

# Not among them: frequency_penalty and presence_penalty, which raise the logits of tokens whose logit is below 0, and
# everything that it does not know at all.
HONOURED = frozenset({"temperature", "top_k", "top_p", "min_p", "repeat_penalty", "seed", "ignore_eos", "logprobs"})
_LESS_THAN_ONE = 1 - 1e-6  # it takes no 1
_COLDEST = 1e-3  # as the batcher's
_SEEDS = 2**31


def generation_config(job: Job, max_tokens: int, end_tokens: frozenset[int]) -> genai.GenerationConfig:
    """Raises UnsupportedField for more log probabilities than the chosen token's own."""
    sampling = job.sampling
    config = genai.GenerationConfig()
    config.max_new_tokens = max_tokens
    _set_end(config, end_tokens, max_tokens, is_ignored=sampling.ignore_eos and job.wanted is None)
    config.repetition_penalty = sampling.repeat_penalty
    if sampling.logprobs:
        raise UnsupportedField(
            "the engine openvino gives the log probability of the chosen token alone (logprobs 0); "
            "use --engine llama_cpp for those of others",
            param="logprobs",
        )
    config.logprobs = 0 if sampling.logprobs is None else 1
    config.do_sample = sampling.temperature > 0
    if not config.do_sample:
        return config
    temperature = max(sampling.temperature, _COLDEST)
    config.temperature = temperature
    if sampling.top_k > 0:
        config.top_k = sampling.top_k
    config.top_p = sampling.top_p
    # It looks after temperature, which takes probabilities to the power of 1 / temperature; so the ratio must follow.
    config.min_p = min(sampling.min_p ** (1 / temperature), _LESS_THAN_ONE) if sampling.min_p > 0 else 0.0
    config.rng_seed = random.randrange(_SEEDS) if sampling.seed is None else sampling.seed % _SEEDS  # noqa: S311
    return config


def _set_end(config: genai.GenerationConfig, tokens: frozenset[int], max_tokens: int, *, is_ignored: bool) -> None:
    """`ignore_eos` means that no end may come, so that it is never chosen: its probability is 0 for all tokens."""
    if not tokens:
        config.ignore_eos = True
        return
    config.set_eos_token_id(min(tokens))
    config.stop_token_ids = set(tokens)
    if is_ignored:
        config.min_new_tokens = max_tokens
