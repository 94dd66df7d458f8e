"""What is tried when a model does not load: every rung, in order, and nothing for errors that none would cure."""

import pytest

from localllm.devices.ladder import LEAST_CONTEXT, Attempt, given_up, is_curable, next_rung
from localllm.errors import (
    ConfigError,
    EngineUnavailable,
    IntegrityError,
    LoadFailed,
    LocalLLMError,
    ModelNotFound,
    NoRoom,
    WorkerDied,
)

FULL = NoRoom("cudaMalloc failed: out of memory")
ON_GPU = Attempt(model="m:Q8_0", devices=("CUDA0",), gpu_layers=31, layers=31, context_tokens=8192, jobs=4)


def walk(attempt: Attempt, error: LocalLLMError = FULL, holds: int | None = None) -> list[Attempt]:
    """Every rung, until `holds` layers or nothing is left."""
    rungs: list[Attempt] = []
    while (rung := next_rung(attempt, error)) is not None:
        rungs.append(rung)
        attempt = rung
        if holds is not None and 0 < rung.gpu_layers <= holds:
            break
    return rungs


def test_the_whole_way_down() -> None:
    rungs = walk(Attempt(**{**as_fields(ON_GPU), "smaller": ("m:Q4_K_M",)}))  # type: ignore[arg-type]
    assert [rung.gpu_layers for rung in rungs[:4]] == [15, 7, 3, 1]
    assert [rung.step for rung in rungs] == ["layers"] * 4 + ["device", "jobs"] + ["context"] * 4 + [
        "model", "jobs", *["context"] * 4
    ]  # fmt: skip
    assert (rungs[4].devices, rungs[4].gpu_layers) == ((), 0)
    assert [rung.context_tokens for rung in rungs[6:10]] == [4096, 2048, 1024, LEAST_CONTEXT]
    assert rungs[10].model == rungs[-1].model == "m:Q4_K_M"
    assert (rungs[10].context_tokens, rungs[10].jobs, rungs[10].smaller) == (None, None, ())


def as_fields(attempt: Attempt) -> dict[str, object]:
    return {name: getattr(attempt, name) for name in attempt.__struct_fields__}


def test_each_says_what_is_given_up_and_why() -> None:
    sentences = [rung.sentence for rung in walk(ON_GPU)]
    why = "cudaMalloc failed: out of memory"
    assert sentences[0] == f"CUDA0 could not hold 31 of 31 layers ({why}); trying 15"
    assert sentences[4] == f"CUDA0 could not load it ({why}); trying the CPU"
    assert sentences[5] == f"no room for several answers at once ({why}); trying one"
    assert sentences[6] == f"no room for 8192 tokens of context ({why}); trying 4096"
    assert next_rung(Attempt(model="a", jobs=1, smaller=("b",), is_context_free=False), FULL) == Attempt(
        model="b", is_context_free=False, step="model", sentence=f"a did not load ({why}); trying b"
    )


def test_it_stops_where_it_holds() -> None:
    assert [rung.gpu_layers for rung in walk(ON_GPU, holds=8)] == [15, 7]


def test_all_layers_may_be_written_as_minus_one() -> None:
    rung = next_rung(Attempt(model="m", devices=("CUDA0",), gpu_layers=-1, layers=31), FULL)
    assert rung is not None
    assert rung.gpu_layers == 15


def test_an_engine_without_layers_goes_to_the_cpu_at_once() -> None:
    rungs = walk(Attempt(model="m", devices=("GPU.0",), gpu_layers=-1, context_tokens=512, jobs=1))
    assert [(rung.devices, rung.step) for rung in rungs[:1]] == [((), "device")]


def test_what_a_user_chose_is_not_given_up() -> None:
    named = Attempt(
        model="m",
        devices=("CUDA0",),
        gpu_layers=31,
        layers=31,
        is_device_free=False,
        context_tokens=4096,
        is_context_free=False,
        jobs=8,
        are_jobs_free=False,
    )
    rungs = walk(named)
    assert [rung.gpu_layers for rung in rungs] == [15, 7, 3, 1]
    assert {(rung.devices, rung.context_tokens, rung.jobs) for rung in rungs} == {(("CUDA0",), 4096, 8)}


def test_a_context_that_the_engine_chose_is_halved_from_the_most_that_it_chooses() -> None:
    contexts = [rung.context_tokens for rung in walk(Attempt(model="m", jobs=1))]
    assert contexts == [4096, 2048, 1024, 512]
    assert walk(Attempt(model="m", jobs=1, context_tokens=LEAST_CONTEXT)) == []


@pytest.mark.parametrize(
    "error",
    [
        IntegrityError("damaged"),
        EngineUnavailable("not installed"),
        ConfigError("no such device"),
        ModelNotFound("no such file"),
    ],
)
def test_what_no_rung_cures(error: LocalLLMError) -> None:
    assert walk(ON_GPU, error) == []
    assert walk(Attempt(model="m", smaller=("n",)), error) == []


def test_a_refusal_of_a_device_says_nothing_of_the_cpu_but_one_of_the_cpu_is_final() -> None:
    refusal = LoadFailed("llama.cpp cannot load m: this driver is too old")
    assert [rung.step for rung in walk(ON_GPU, refusal)] == ["layers"] * 4 + ["device"]
    assert walk(Attempt(model="m", smaller=("n",)), refusal) == []


@pytest.mark.parametrize("error", [NoRoom("x"), WorkerDied("killed by signal 9")])
def test_lack_of_room_and_death_are_worth_another_try_everywhere(error: LocalLLMError) -> None:
    assert is_curable(error, on_cpu=True)
    assert is_curable(error, on_cpu=False)


def test_in_the_end_all_that_was_tried_is_told() -> None:
    rungs = walk(ON_GPU)
    error = given_up(rungs, FULL)
    assert isinstance(error, NoRoom)
    assert error.message.startswith(FULL.message)
    assert all(rung.sentence in error.message for rung in rungs)
    assert "\n" not in error.message
    assert given_up([ON_GPU], FULL) is FULL
    assert isinstance(given_up(rungs, WorkerDied("signal 9")), NoRoom)
    refused = ConfigError("no")
    assert given_up(rungs, refused) is refused


def test_a_long_reason_is_cut() -> None:
    rung = next_rung(ON_GPU, NoRoom("word " * 1000))
    assert rung is not None
    assert len(rung.sentence) < 300
