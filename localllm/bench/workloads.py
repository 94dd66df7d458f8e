"""One loaded engine at three kinds of work, through the service door: figures to choose an engine by."""

import asyncio
import random
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from msgspec import Struct

from localllm.errors import EngineError
from localllm.service import ChatService
from localllm.types import EngineInfo, Finished, SamplingChoice, TextRequest, Usage, Workload

DEADLINE_SECONDS = 30.0  # for all of it, once the model is loaded
MOST_STREAMS = 16
_PLANNED_SHARE = 0.8  # of the deadline that is planned for; the forecast is a rough one
_GAIN_AT_ONCE = 4  # times as many tokens a second of several streams as of one, to be reckoned with
_FIRST_TOKENS = 16  # of the prompt of a chat, short enough to be of no account

OnProgress = Callable[[str, float], None]  # what is being done, and the share of all that is


class Sizes(Struct, frozen=True, kw_only=True):
    """How much of each kind of work is done."""

    repeats: int = 2
    chat_tokens: int = 64  # of the one answer
    reading_tokens: int = 512  # of the long prompt
    prompt_tokens: int = 64  # of each of the streams at once
    answer_tokens: int = 32

    def smaller(self, share: float) -> "Sizes":
        """About this share of it, but as much as is needed for a figure at all."""
        return Sizes(
            repeats=self.repeats,
            chat_tokens=max(8, int(self.chat_tokens * share)),
            reading_tokens=max(32, int(self.reading_tokens * share)),
            prompt_tokens=max(8, int(self.prompt_tokens * share)),
            answer_tokens=max(8, int(self.answer_tokens * share)),
        )


class Pace(Struct, frozen=True, kw_only=True):
    """Tokens a second in a first short answer: of its prompt, and of the answer."""

    reading: float
    answering: float

    def seconds(self, sizes: Sizes, streams: int) -> float:
        """How long all repeats would take."""
        read = _FIRST_TOKENS + sizes.reading_tokens + streams * sizes.prompt_tokens
        answered = sizes.chat_tokens + streams * sizes.answer_tokens / min(streams, _GAIN_AT_ONCE)
        return sizes.repeats * (read / self.reading + answered / self.answering)


class Speeds(Struct, frozen=True, kw_only=True):
    """What an engine did in a second, medians over the repeats. A kind of work without a figure was left out."""

    model: str
    engine: EngineInfo
    rates: dict[Workload, float]  # tokens: of one answer, of a prompt read, of all answers at once
    streams: int  # answers at once
    sizes: Sizes
    left_out: tuple[str, ...]  # what the deadline did not allow, a phrase each
    seconds: float  # that it took, without the loading


def fitted(pace: Pace, *, streams: int, context_tokens: int, seconds: float) -> Sizes:
    """As much work as is done in this time, and fits the context."""
    whole = Sizes()
    room = (context_tokens - 8) / (whole.reading_tokens + 2)
    sizes = whole if room >= 1 else whole.smaller(room)
    if pace.seconds(sizes, streams) <= seconds:
        return sizes
    once = Sizes(repeats=1, chat_tokens=sizes.chat_tokens, reading_tokens=sizes.reading_tokens)
    needed = pace.seconds(once, streams)
    return once if needed <= seconds else once.smaller(seconds / needed)


async def measure_engine(
    service: ChatService,
    *,
    deadline_seconds: float = DEADLINE_SECONDS,
    on_progress: OnProgress = lambda _stage, _share: None,
) -> Speeds:
    """Load the service's default model and measure it at each kind of work.

    Prompts are random token ids, which no cache has and every tokenizer takes. Raises what loading and answering raise.
    """
    model, engine = await _loaded(service, on_progress)
    measuring = _Measuring(service, engine, on_progress)
    began = time.perf_counter()
    is_whole = await _within(deadline_seconds, measuring.run(deadline_seconds * _PLANNED_SHARE))
    return Speeds(
        model=model,
        engine=engine,
        rates=measuring.rates(),
        streams=measuring.streams,
        sizes=measuring.sizes,
        left_out=measuring.left_out(is_whole, deadline_seconds),
        seconds=time.perf_counter() - began,
    )


class _Measuring:
    """The figures so far."""

    def __init__(self, service: ChatService, engine: EngineInfo, on_progress: OnProgress) -> None:
        self.streams = max(1, min(MOST_STREAMS, engine.max_jobs))
        self.sizes = Sizes()
        self._service = service
        self._engine = engine
        self._on_progress = on_progress
        self._source = random.Random()  # noqa: S311  prompts, not secrets; new ones in every run
        self._works: dict[Workload, Callable[[], Awaitable[float]]] = {
            "chat": self._chat,
            "reading": self._reading,
            "serving": self._serving,
        }
        self._found: dict[Workload, list[float]] = {work: [] for work in self._works}

    async def run(self, seconds: float) -> None:
        """Each kind of work in turn, so that what else the machine does meanwhile hits all of them alike."""
        began = time.perf_counter()
        self._on_progress("warming up", 0.0)
        pace = await self._warm_up()
        left = seconds - (time.perf_counter() - began)
        context = self._engine.context_tokens
        self.sizes = fitted(pace, streams=self.streams, context_tokens=context, seconds=left)
        steps = [(work, measure) for _ in range(self.sizes.repeats) for work, measure in self._works.items()]
        for done, (work, measure) in enumerate(steps):
            self._on_progress(work, done / len(steps))
            self._found[work].append(await measure())

    def rates(self) -> dict[Workload, float]:
        """Medians of what was found."""
        return {work: statistics.median(found) for work, found in self._found.items() if found}

    def left_out(self, is_whole: bool, deadline_seconds: float) -> tuple[str, ...]:
        """What is missing of the full measurement."""
        phrases = []
        whole, sizes = Sizes(), self.sizes
        if sizes.repeats < whole.repeats or not is_whole:
            phrases.append("repeats")
        if sizes.reading_tokens < whole.reading_tokens or sizes.answer_tokens < whole.answer_tokens:
            phrases.append(f"longer prompts than {sizes.reading_tokens} tokens, answers than {sizes.chat_tokens}")
        missing = [work for work, found in self._found.items() if not found]
        return (*phrases, *(f"{work}, for which {deadline_seconds:.3g} seconds were not enough" for work in missing))

    async def _warm_up(self) -> Pace:
        """The first answer brings weights from the disk and compiles what is compiled late; the second one counts."""
        await self._ask(_FIRST_TOKENS, 2)
        usage = await self._ask(32, 8)
        return Pace(reading=_reading_rate(usage), answering=usage.tokens_per_second or _reading_rate(usage))

    async def _chat(self) -> float:
        usage = await self._ask(_FIRST_TOKENS, self.sizes.chat_tokens)
        return usage.tokens_per_second

    async def _reading(self) -> float:
        return _reading_rate(await self._ask(self.sizes.reading_tokens, 2))

    async def _serving(self) -> float:
        """Reading the prompts counts in: whoever serves many waits for that, too."""
        prompts = [self._prompt(self.sizes.prompt_tokens) for _ in range(self.streams)]
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._answer(prompt, self.sizes.answer_tokens)) for prompt in prompts]
        seconds = time.perf_counter() - began
        return sum(task.result().completion_tokens for task in tasks) / seconds

    async def _ask(self, prompt_tokens: int, answer_tokens: int) -> Usage:
        return await self._answer(self._prompt(prompt_tokens), answer_tokens)

    def _prompt(self, tokens: int) -> tuple[int, ...]:
        return tuple(self._source.randrange(self._engine.vocab_size) for _ in range(tokens))

    async def _answer(self, prompt: tuple[int, ...], tokens: int) -> Usage:
        request = TextRequest(prompt=prompt, sampling=_sampling(self._engine, tokens))
        async with aclosing(self._service.complete(request)) as events:
            async for event in events:
                if isinstance(event, Finished):
                    return event.usage
        raise EngineError("an answer ended without saying so")


async def _loaded(service: ChatService, on_progress: OnProgress) -> tuple[str, EngineInfo]:
    on_progress("loading", 0.0)
    async with aclosing(service.load()) as steps:
        async for step in steps:
            on_progress("loading", step.fraction)
    info = (await service.models())[0]
    if info.engine is None:
        raise EngineError("the model was unloaded while it was measured")
    return info.id, info.engine


async def _within(seconds: float, work: Awaitable[None]) -> bool:
    """Whether it was done in this time; it is cancelled if not."""
    try:
        await asyncio.wait_for(work, seconds)
    except TimeoutError:
        return False
    return True


def _sampling(engine: EngineInfo, tokens: int) -> SamplingChoice:
    """Greedy and to the full length, as far as the engine lets that be said."""
    wanted: dict[str, float | int | bool] = {"max_tokens": tokens, "temperature": 0.0, "ignore_eos": True}
    chosen = {name: value for name, value in wanted.items() if name in engine.sampling}
    return SamplingChoice(**chosen)  # type: ignore[arg-type]  # each value is of its field's type, above


def _reading_rate(usage: Usage) -> float:
    return (usage.prompt_tokens - usage.cached_tokens) / max(usage.prefill_seconds, 1e-9)
