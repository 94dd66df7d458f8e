"""Measuring servers: against our own, over a socket, with the echo engine."""

import random

import httpx2
import pytest

from localllm.bench.client import Target, ask, first_model
from localllm.bench.load import LevelResult, LoadPlan, run_level, run_load
from localllm.bench.prompts import filler, task
from localllm.bench.tables import load_table
from localllm.errors import RemoteError
from tests.serving import running_server, running_service

pytestmark = pytest.mark.anyio

NOBODY = "http://127.0.0.1:9/v1"  # the discard port: connections are refused


@pytest.mark.slow
async def test_every_stream_of_every_level_is_measured() -> None:
    async with running_service("echo:200") as service, running_server(service) as url:
        target = Target(name="ours", url=url, model="echo:200", extra={"ignore_eos": True})
        told: list[LevelResult] = []
        plan = LoadPlan(levels=(1, 3), repeats=2, prompt_tokens=8, answer_tokens=12)
        results = await run_load([target], plan, told.append)
    assert told == results
    assert [result.streams for result in results] == [1, 3, 1, 3]
    for result in results:
        assert result.failures == 0
        assert result.total_rate > 0
        assert result.first_token_seconds > 0
        assert 0 < result.gap_p50_seconds <= result.gap_p99_seconds


async def test_a_server_that_refuses_is_counted_and_quoted() -> None:
    async with running_service("echo") as service, running_server(service) as url:
        target = Target(name="ours", url=url, model="nobody")
        result = await run_level(target, 2, LoadPlan(), seed=1)
    assert result.failures == 2
    assert "404" in result.failure
    assert "nobody" in result.failure
    assert result.total_rate == 0


async def test_nobody_there_is_said_in_words() -> None:
    async with httpx2.AsyncClient(trust_env=False) as client:
        with pytest.raises(RemoteError, match="is the server running"):
            await first_model(client, NOBODY)
        with pytest.raises(RemoteError, match="ours"):
            await ask(client, Target(name="ours", url=NOBODY, model="m"), [], 1)


def test_prompts_are_new_each_time_and_the_same_for_a_seed() -> None:
    first, second = random.Random(1), random.Random(1)
    prompts = [filler(first, 20) for _ in range(50)]
    assert len(set(prompts)) == 50
    assert prompts == [filler(second, 20) for _ in range(50)]
    assert len(filler(first, 200).split()) == pytest.approx(200, rel=0.15)
    assert task(first, 10) != task(first, 10)


def test_the_table_shows_ratios_to_the_first_server() -> None:
    def result(target: str, rate: float) -> LevelResult:
        return LevelResult(
            target=target,
            streams=4,
            failures=1,
            failure="why",
            total_rate=rate,
            decode_rate=0.0,
            first_token_seconds=0.5,
            gap_p50_seconds=0.01,
            gap_p99_seconds=0.02,
        )

    table = load_table([result("ours", 100.0), result("theirs", 50.0), result("ours", 100.0)])
    columns = {str(column.header): list(column.cells) for column in table.columns}
    assert columns["SERVER"] == ["ours", "theirs"]
    assert columns["TOK/S"] == ["100.0", "50.0"]
    assert columns["FAILED"] == ["2", "1"]
    assert columns["TTFT"] == ["500.0 ms", "500.0 ms"]
    assert [list(column.cells) for column in table.columns][3] == ["1.00", "0.50"]
