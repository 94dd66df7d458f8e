"""One model on this machine, through the service door."""

import random
import statistics
import time
from contextlib import aclosing

from msgspec import Struct

from localllm.bench.prompts import filler, task
from localllm.errors import EngineError
from localllm.service import ChatService
from localllm.types import ChatRequest, EngineInfo, Finished, Message, SamplingChoice, Usage


class ModelResult(Struct, frozen=True, kw_only=True):
    """Medians over the repeats. Rates are tokens a second of one stream."""

    model: str
    engine: EngineInfo
    load_seconds: float  # from nothing to ready, process start included
    prompt_tokens: int
    prefill_rate: float
    decode_rate: float
    cold_first_token_seconds: float  # of a prompt never seen
    warm_first_token_seconds: float  # of the same prompt again
    peak_memory_bytes: int
    python_share: float  # of all steps, 0 to 1


async def bench_model(service: ChatService, *, prompt_tokens: int, answer_tokens: int, repeats: int) -> ModelResult:
    """Load the service's default model and measure it."""
    started = time.perf_counter()
    async with aclosing(service.load()) as steps:
        async for _ in steps:
            pass
    load_seconds = time.perf_counter() - started
    source = random.Random()  # noqa: S311  prompts, not secrets; new ones in every run
    cold, warm, decode = [], [], []
    for _ in range(repeats):
        prompt = filler(source, prompt_tokens)
        cold.append(await _ask(service, prompt, 2))
        warm.append(await _ask(service, prompt, 2))
        decode.append(await _ask(service, task(source, 32), answer_tokens))
    info = (await service.models())[0]
    measured = await service.measure()
    if info.engine is None:
        raise EngineError("the model was unloaded while it was measured")
    return ModelResult(
        model=info.id,
        engine=info.engine,
        load_seconds=load_seconds,
        prompt_tokens=cold[0].prompt_tokens,
        prefill_rate=statistics.median([(u.prompt_tokens - u.cached_tokens) / u.prefill_seconds for u in cold]),
        decode_rate=statistics.median([u.tokens_per_second for u in decode]),
        cold_first_token_seconds=statistics.median([u.first_token_seconds for u in cold]),
        warm_first_token_seconds=statistics.median([u.first_token_seconds for u in warm]),
        peak_memory_bytes=measured.peak_memory_bytes,
        python_share=measured.python_share,
    )


async def _ask(service: ChatService, prompt: str, tokens: int) -> Usage:
    sampling = SamplingChoice(temperature=0.0, repeat_penalty=1.0, max_tokens=tokens, ignore_eos=True)
    request = ChatRequest(messages=(Message("user", prompt),), sampling=sampling)
    async with aclosing(service.chat(request)) as events:
        async for event in events:
            if isinstance(event, Finished):
                return event.usage
    raise EngineError("an answer ended without saying so")
