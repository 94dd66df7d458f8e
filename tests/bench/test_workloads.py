"""Measuring one engine: through the service door, with the echo engine in a worker; sizes from made paces."""

import asyncio

import pytest

from localllm.bench import workloads
from localllm.bench.tables import speeds_table
from localllm.bench.workloads import Pace, Sizes, Speeds, fitted, measure_engine
from localllm.config import Settings
from localllm.errors import LoadFailed
from localllm.types import EngineInfo
from tests.serving import running_service

pytestmark = pytest.mark.anyio

FAST = Pace(reading=1e6, answering=1e6)
INFO = EngineInfo(
    engine="e",
    build="1",
    device="cpu",
    context_tokens=1024,
    max_jobs=16,
    threads=1,
    vocab_size=9,
    sampling=frozenset(),
    has_chat_template=False,
    load_seconds=0.0,
)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Sizes:
    """Enough to see that all is done."""
    sizes = Sizes(chat_tokens=8, reading_tokens=40, prompt_tokens=8, answer_tokens=8)
    monkeypatch.setattr(workloads, "fitted", lambda *_, **__: sizes)
    return sizes


async def test_every_kind_of_work_is_measured(small: Sizes) -> None:
    told: list[tuple[str, float]] = []
    async with running_service("echo", jobs=3) as service:
        speeds = await measure_engine(service, on_progress=lambda *step: told.append(step))
    assert set(speeds.rates) == {"chat", "reading", "serving"}
    assert min(speeds.rates.values()) > 0
    assert (speeds.model, speeds.engine.engine, speeds.streams) == ("echo", "echo", 3)
    assert speeds.left_out == ("longer prompts than 40 tokens, answers than 8",)
    assert [stage for stage, _ in told if stage in speeds.rates] == ["chat", "reading", "serving"] * 2
    shares = [share for stage, share in told if stage in speeds.rates]
    assert shares == sorted(shares)
    assert shares[-1] < 1


async def test_prompts_are_as_long_as_said_and_never_the_same(small: Sizes, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts: list[tuple[int, ...]] = []
    async with running_service("echo", jobs=2) as service:
        complete = service.complete

        def listening(request):  # type: ignore[no-untyped-def]
            prompts.append(request.prompt)
            assert (request.sampling.temperature, request.sampling.ignore_eos) == (0.0, True)
            return complete(request)

        monkeypatch.setattr(service, "complete", listening)
        await measure_engine(service)
    assert len(prompts) == len(set(prompts)) == 2 + 2 * (1 + 1 + 2)
    assert sorted({len(prompt) for prompt in prompts}) == [8, 16, 32, 40]


async def test_what_the_deadline_does_not_allow_is_left_out_and_said() -> None:
    async with running_service("echo:20", jobs=2) as service:
        speeds = await measure_engine(service, deadline_seconds=1.5)
        assert (await service.models())[0].state == "ready"  # nothing else was ended
    assert speeds.sizes.repeats == 1
    assert speeds.sizes.chat_tokens < Sizes().chat_tokens
    assert "repeats" in speeds.left_out


async def test_nothing_is_done_in_no_time() -> None:
    async with running_service("echo:5", jobs=1) as service:
        speeds = await measure_engine(service, deadline_seconds=0.2)
    assert speeds.rates == {}
    assert "serving, for which 0.2 seconds were not enough" in speeds.left_out


async def test_a_model_that_does_not_load_is_the_error_of_the_load() -> None:
    async with running_service("echo:never") as service:
        with pytest.raises(LoadFailed, match="steps per second"):
            await measure_engine(service)


async def test_cancelling_ends_it(small: Sizes) -> None:
    async with running_service("echo:2") as service:
        task = asyncio.create_task(measure_engine(service))
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_small_context_holds_the_prompts() -> None:
    async with running_service("echo:2000", settings=Settings(context=128), jobs=2) as service:
        speeds = await measure_engine(service)
    assert speeds.sizes.reading_tokens < 128
    assert set(speeds.rates) == {"chat", "reading", "serving"}
    assert any("longer prompts" in phrase for phrase in speeds.left_out)


def test_a_fast_engine_does_all_of_it() -> None:
    assert fitted(FAST, streams=16, context_tokens=1024, seconds=20) == Sizes()


@pytest.mark.parametrize(
    ("pace", "context"),
    [
        (Pace(reading=500.0, answering=60.0), 1024),
        (Pace(reading=80.0, answering=10.0), 1024),
        (Pace(reading=30.0, answering=5.0), 1024),
        (Pace(reading=80.0, answering=10.0), 256),
    ],
)
def test_a_slow_one_does_as_much_as_there_is_time_for(pace: Pace, context: int) -> None:
    sizes = fitted(pace, streams=16, context_tokens=context, seconds=24)
    assert pace.seconds(sizes, 16) <= 24 * 1.01
    assert sizes.reading_tokens + 2 <= context
    assert sizes.prompt_tokens + sizes.answer_tokens <= context


def test_repeats_are_the_first_to_go_and_something_is_always_left() -> None:
    once = fitted(Pace(reading=500.0, answering=30.0), streams=16, context_tokens=1024, seconds=10)
    assert once == Sizes(repeats=1)
    least = fitted(Pace(reading=0.01, answering=0.01), streams=16, context_tokens=1024, seconds=1)
    assert least == Sizes(repeats=1, chat_tokens=8, reading_tokens=32, prompt_tokens=8, answer_tokens=8)


def test_the_table_shows_ratios_to_the_first_engine() -> None:
    def speeds(engine: str, chat: float, **others: float) -> Speeds:
        info = EngineInfo(**{name: getattr(INFO, name) for name in INFO.__struct_fields__} | {"engine": engine})
        rates = {"chat": chat, **others}
        return Speeds(
            model="m",
            engine=info,
            rates=rates,  # type: ignore[arg-type]
            streams=16,
            sizes=Sizes(),
            left_out=(),
            seconds=1.0,
        )

    table = speeds_table([speeds("a", 50.0, reading=10.0), speeds("b", 75.0, serving=5.0)])
    rows = list(zip(*(column.cells for column in table.columns), strict=True))
    assert rows == [
        ("a", "50.0", "1.00", "10.0", "1.00", "–", "–", "16", "cpu", "1"),
        ("b", "75.0", "1.50", "–", "–", "5.0", "–", "16", "cpu", "1"),
    ]
