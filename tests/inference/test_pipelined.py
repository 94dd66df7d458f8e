"""A pipeline under the queue: stop strings, whole characters, who waits, and what is refused."""

from collections.abc import Callable

import msgspec
import pytest

from localllm.engines.job import Delta, Job
from localllm.engines.pipeline import Emission
from localllm.engines.plan import LoadPlan
from localllm.errors import ContextOverflow, InvalidRequest, LocalLLMError, QueueFull, UnsupportedField
from localllm.inference.pipelined import PipelinedEngine
from localllm.types import AdapterUse, Client, Constraint, Priority, Sampling, TokenLogprob
from tests.plugin.localllm_backwards import Backwards, Pipeline

GREEDY = Sampling(temperature=1.0)


class Scripted(Pipeline):
    """Gives what it was told to, step by step, and remembers what it was asked."""

    def __init__(self, *script: Emission, jobs: int = 2, fault: LocalLLMError | None = None) -> None:
        super().__init__(LoadPlan(engine="backwards", path="", max_jobs=jobs))
        self._script = list(script)
        self._fault = fault
        self.started: list[tuple[int, int]] = []
        self.cancelled: list[int] = []

    def start(self, job: Job, max_tokens: int) -> None:
        if self._fault is not None:
            raise self._fault
        self.started.append((job.id, max_tokens))

    def step(self) -> list[Emission]:
        return [self._script.pop(0)] if self._script else []

    def cancel(self, job_id: int) -> None:
        self.cancelled.append(job_id)


def job(text: str = "hello", job_id: int = 1, priority: Priority = "interactive", **fields: object) -> Job:
    sampling = msgspec.structs.replace(GREEDY, **fields)
    return Job(id=job_id, tokens=tuple(text.encode()), sampling=sampling, client=Client("", priority))


def drain(engine: PipelinedEngine) -> list[Delta]:
    deltas: list[Delta] = []
    while engine.is_busy:
        deltas += engine.step()
    return deltas


def text_of(deltas: list[Delta], job_id: int = 1) -> str:
    return "".join(delta.text for delta in deltas if delta.job_id == job_id)


def backwards(**fields: object) -> PipelinedEngine:
    plan = LoadPlan(engine="backwards", path="", **fields)  # type: ignore[arg-type]
    return PipelinedEngine(Backwards().load(plan, lambda _: None))


def test_an_answer_is_whole_and_counted() -> None:
    engine = backwards()
    engine.start(job("abc"))
    deltas = drain(engine)
    assert (text_of(deltas), deltas[-1].finish) == ("cba", "stop")
    assert deltas[-1].usage is not None
    assert (deltas[-1].usage.prompt_tokens, deltas[-1].usage.completion_tokens) == (3, 3)
    assert all(seconds >= 0 for seconds in (deltas[-1].usage.queue_seconds, deltas[-1].usage.prefill_seconds))


def test_characters_leave_whole_and_a_broken_one_as_a_sign() -> None:
    first, *rest = "é".encode()
    pipeline = Scripted(Emission(job_id=1, tokens=(first,)), Emission(job_id=1, tokens=(*rest, first), finish="stop"))
    engine = PipelinedEngine(pipeline)
    engine.start(job())
    assert [delta.text for delta in drain(engine)] == ["é\N{REPLACEMENT CHARACTER}"]


@pytest.mark.parametrize(("stop", "shown"), [(("dl",), "!"), (("zz", "lro"), "!d"), (("!",), "")])
def test_a_stop_string_ends_it_in_the_pipeline_too(stop: tuple[str, ...], shown: str) -> None:
    pipeline = Scripted(*(Emission(job_id=1, tokens=(byte,)) for byte in b"!dlrow"))
    engine = PipelinedEngine(pipeline)
    engine.start(job(stop=stop))
    deltas = drain(engine)
    assert (text_of(deltas), deltas[-1].finish, pipeline.cancelled) == (shown, "stop", [1])


def test_what_could_have_begun_a_stop_string_is_shown_at_the_end() -> None:
    engine = PipelinedEngine(Scripted(Emission(job_id=1, tokens=tuple(b"abc"), finish="length")))
    engine.start(job(stop=("cd",)))
    assert text_of(drain(engine)) == "abc"


def test_text_of_a_pipeline_that_keeps_its_tokens() -> None:
    pipeline = Scripted(
        Emission(job_id=1, text="one ", text_tokens=1),
        Emission(job_id=1, text="two", text_tokens=2, cached_tokens=3, finish="stop"),
    )
    engine = PipelinedEngine(pipeline)
    engine.start(job())
    deltas = drain(engine)
    assert deltas[-1].usage is not None
    assert text_of(deltas) == "one two"
    assert (deltas[-1].usage.completion_tokens, deltas[-1].usage.cached_tokens) == (3, 3)


def test_tokens_without_text_of_their_own_count_too() -> None:
    pipeline = Scripted(Emission(job_id=1, text_tokens=2), Emission(job_id=1, text="é", text_tokens=1, finish="stop"))
    engine = PipelinedEngine(pipeline)
    engine.start(job())
    (delta,) = drain(engine)
    assert delta.usage is not None
    assert (delta.text, delta.usage.completion_tokens) == ("é", 3)


def test_nothing_comes_after_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    end = Emission(job_id=1, tokens=(97,), finish="stop")
    pipeline = Scripted()
    monkeypatch.setattr(pipeline, "step", lambda: [end, end])
    engine = PipelinedEngine(pipeline)
    engine.start(job())
    assert [delta.text for delta in drain(engine)] == ["a"]


def test_log_probabilities_go_with_their_text() -> None:
    pipeline = Scripted(
        Emission(job_id=1, tokens=(97,), logprobs=(-0.5,)),
        Emission(job_id=1, tokens=(98,), logprobs=(-1,), finish="stop"),
    )
    engine = PipelinedEngine(pipeline)
    engine.start(job())
    found = [delta.logprobs for delta in drain(engine)]
    assert found == [(TokenLogprob(b"a", -0.5),), (TokenLogprob(b"b", -1),)]


def test_it_gets_no_more_jobs_than_it_takes_and_interactive_ones_first() -> None:
    pipeline = Scripted(*(Emission(job_id=at, tokens=(97,), finish="stop") for at in (1, 2, 4, 3)), jobs=2)
    engine = PipelinedEngine(pipeline)
    for job_id in (1, 2):
        engine.start(job(job_id=job_id))
    engine.start(job(job_id=3, priority="batch"))
    engine.start(job(job_id=4))
    deltas = engine.step()
    assert [job_id for job_id, _ in pipeline.started] == [1, 2]
    assert {delta.job_id: delta.queue_position for delta in deltas if delta.queue_position} == {4: 1, 3: 2}
    drain(engine)
    assert [job_id for job_id, _ in pipeline.started] == [1, 2, 4, 3]


def test_a_full_queue_sends_away() -> None:
    engine = PipelinedEngine(Scripted(jobs=1), max_queue=1)
    for job_id in (1, 2):
        engine.start(job(job_id=job_id))
    with pytest.raises(QueueFull):
        engine.start(job(job_id=3))


@pytest.mark.parametrize(("max_tokens", "told"), [(None, 507), (3, 3), (9999, 507)])
def test_the_pipeline_is_told_how_long_an_answer_may_be(max_tokens: int | None, told: int) -> None:
    pipeline = Scripted(Emission(job_id=1, finish="length"))
    engine = PipelinedEngine(pipeline)
    engine.start(job("hello", max_tokens=max_tokens))
    drain(engine)
    assert pipeline.started == [(1, told)]


def test_a_job_that_the_pipeline_refuses_fails_alone() -> None:
    engine = PipelinedEngine(Scripted(fault=InvalidRequest("no such grammar", param="response_format")))
    engine.start(job())
    assert engine.step() == []
    ((job_id, fault),) = engine.take_faults()
    assert (job_id, fault.param, engine.is_busy) == (1, "response_format", False)
    assert engine.take_faults() == []


def adapted(wanted: Job) -> Job:
    return msgspec.structs.replace(wanted, adapters=(AdapterUse("pirate"),))


def constrained(wanted: Job) -> Job:
    return msgspec.structs.replace(wanted, wanted=Constraint("regex", "a+"))


@pytest.mark.parametrize(
    ("wanted", "error", "param"),
    [
        (job(""), InvalidRequest, "prompt"),
        (job(top_k=5), UnsupportedField, "top_k"),
        (job(temperature=0.5), UnsupportedField, "temperature"),
        (job(logit_bias={5: 1.0}), UnsupportedField, "logit_bias"),
        (job(logit_bias={999: 1.0}), InvalidRequest, "logit_bias"),
        (job("x" * 512), ContextOverflow, "messages"),
        (adapted(job()), UnsupportedField, "lora"),
        (constrained(job()), UnsupportedField, "response_format"),
    ],
)
def test_what_it_does_not_honour_is_refused_by_name(wanted: Job, error: type[LocalLLMError], param: str) -> None:
    engine = backwards()
    with pytest.raises(error) as caught:
        engine.start(wanted)
    assert (caught.value.param, engine.is_busy) == (param, False)


@pytest.mark.parametrize("forget", [lambda engine: engine.cancel(1), PipelinedEngine.cancel_all, PipelinedEngine.close])
def test_what_is_forgotten_says_no_more(forget: Callable[[PipelinedEngine], None]) -> None:
    pipeline = Scripted(Emission(job_id=1, tokens=(97,)), Emission(job_id=1, tokens=(98,)), jobs=1)
    engine = PipelinedEngine(pipeline)
    engine.start(job())
    assert text_of(engine.step()) == "a"
    forget(engine)
    assert (engine.step(), engine.idle(), engine.put_away()) == ([], False, False)
