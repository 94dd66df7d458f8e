"""What every engine must do. A test module for an engine subclasses `EngineContract` and gives the engine."""

import pytest

from localllm.engines.base import Engine
from localllm.engines.job import Delta, Job
from localllm.errors import ContextOverflow, InvalidRequest
from localllm.inference.sequence import FRESH_TOKENS
from localllm.types import FinishReason, Sampling, Usage


class Answer:
    """What an engine said to one job."""

    def __init__(self) -> None:
        self.text = ""
        self.finish: FinishReason | None = None
        self.usage: Usage | None = None

    def add(self, delta: Delta) -> None:
        assert self.finish is None, "a delta after the end"
        assert (delta.finish is None) == (delta.usage is None)
        self.text += delta.text
        self.finish, self.usage = delta.finish, delta.usage


def drain(engine: Engine, answers: dict[int, Answer], steps: int = 100_000) -> None:
    """Step until nothing is left to do."""
    while engine.is_busy and steps:
        for delta in engine.step():
            answers.setdefault(delta.job_id, Answer()).add(delta)
        steps -= 1
    assert not engine.is_busy


def tokens(engine: Engine, text: str) -> tuple[int, ...]:
    return tuple(engine.tokenizer.encode(text, add_special=True, parse_special=True))


def ask(engine: Engine, text: str, job_id: int = 1, **fields: object) -> Answer:
    """One answer alone."""
    sampling = Sampling(**{"temperature": 0.0, "max_tokens": 24, **fields})  # type: ignore[arg-type]
    engine.start(Job(id=job_id, tokens=tokens(engine, text), sampling=sampling))
    answers: dict[int, Answer] = {}
    drain(engine, answers)
    return answers[job_id]


class EngineContract:
    """The tests. `engine` has at least 4 jobs and 256 tokens of context."""

    TILE_TOKENS = 1  # a known prompt is read again from a multiple of these on
    PROMPTS = ("The river carried small boats", "Explain how bread is made", "zwölf Boxkämpfer 日本", "x")

    def test_info_describes_the_engine(self, engine: Engine) -> None:
        assert engine.info.max_jobs >= 4
        assert engine.info.context_tokens >= 256
        assert engine.info.sampling <= set(Sampling.__struct_fields__)
        assert engine.info.vocab_size == engine.tokenizer.vocab_size
        assert not engine.is_busy

    def test_an_idle_step_is_harmless(self, engine: Engine) -> None:
        assert engine.step() == []

    def test_it_answers_and_ends(self, engine: Engine) -> None:
        answer = ask(engine, self.PROMPTS[0])
        assert answer.text
        assert answer.finish in ("stop", "length")
        assert answer.usage is not None
        assert answer.usage.prompt_tokens == len(tokens(engine, self.PROMPTS[0]))
        assert 0 < answer.usage.completion_tokens <= 24

    def test_greedy_answers_repeat(self, engine: Engine) -> None:
        assert ask(engine, self.PROMPTS[1]).text == ask(engine, self.PROMPTS[1]).text

    def test_a_seed_repeats_and_matters(self, engine: Engine) -> None:
        texts = [ask(engine, self.PROMPTS[1], temperature=1.5, seed=seed).text for seed in (5, 5, 6, 7)]
        assert texts[0] == texts[1]

    def test_max_tokens_is_exact(self, engine: Engine) -> None:
        answer = ask(engine, self.PROMPTS[0], max_tokens=3, ignore_eos=True)
        assert answer.finish == "length"
        assert answer.usage is not None
        assert answer.usage.completion_tokens == 3

    def test_a_stop_string_ends_and_is_not_shown(self, engine: Engine) -> None:
        whole = ask(engine, self.PROMPTS[0]).text
        stop = whole[3:5]
        answer = ask(engine, self.PROMPTS[0], stop=(stop,))
        assert answer.text == whole[: whole.index(stop)]
        assert answer.finish == "stop"

    def test_jobs_run_together_and_each_ends_once(self, engine: Engine) -> None:
        answers: dict[int, Answer] = {}
        for job_id in range(10):  # more than run at once
            text = self.PROMPTS[job_id % 4]
            sampling = Sampling(temperature=0.0, max_tokens=4 + job_id)
            engine.start(Job(id=job_id, tokens=tokens(engine, text), sampling=sampling))
        drain(engine, answers)
        assert sorted(answers) == list(range(10))
        assert all(answer.finish for answer in answers.values())

    def test_cancel_frees_the_place_and_spares_the_others(self, engine: Engine) -> None:
        alone = ask(engine, self.PROMPTS[1], max_tokens=16, ignore_eos=True).text
        answers: dict[int, Answer] = {}
        for job_id, text in enumerate(self.PROMPTS):
            sampling = Sampling(temperature=0.0, max_tokens=16, ignore_eos=True)
            engine.start(Job(id=job_id, tokens=tokens(engine, text), sampling=sampling))
        for _ in range(4):
            for delta in engine.step():
                answers.setdefault(delta.job_id, Answer()).add(delta)
        for job_id in (0, 2, 3, 99):  # one of them does not exist
            engine.cancel(job_id)
        drain(engine, answers)
        assert answers[1].finish == "length"
        assert len(answers[1].text) > 0
        assert [answers[i].finish for i in (0, 2, 3) if i in answers] == [None] * sum(i in answers for i in (0, 2, 3))
        self.check_undisturbed(answers[1].text, alone)

    def check_undisturbed(self, text: str, alone: str) -> None:
        """Whether an answer among others may differ from the one alone is for the engine to say."""
        assert text == alone

    def test_cancel_while_waiting(self, engine: Engine) -> None:
        for job_id in range(engine.info.max_jobs + 3):
            sampling = Sampling(temperature=0.0, max_tokens=4)
            engine.start(Job(id=job_id, tokens=tokens(engine, "hello"), sampling=sampling))
        engine.step()
        for job_id in range(engine.info.max_jobs + 3):
            engine.cancel(job_id)
        assert not engine.is_busy

    def test_a_prompt_too_long_is_refused_and_changes_nothing(self, engine: Engine) -> None:
        long = tokens(engine, "word ") * engine.info.context_tokens
        with pytest.raises(ContextOverflow, match=str(engine.info.context_tokens)):
            engine.start(Job(id=1, tokens=long, sampling=Sampling()))
        assert not engine.is_busy

    def test_an_answer_ends_at_the_end_of_the_context(self, engine: Engine) -> None:
        room = 5
        prompt = (tokens(engine, "word ") * engine.info.context_tokens)[: engine.info.context_tokens - room]
        engine.start(Job(id=1, tokens=prompt, sampling=Sampling(temperature=0.0, ignore_eos=True)))
        answers: dict[int, Answer] = {}
        drain(engine, answers)
        assert answers[1].finish == "length"
        assert answers[1].usage is not None
        assert answers[1].usage.completion_tokens == room

    @pytest.mark.parametrize("prompt", [(), (-1,), (10**9,)])
    def test_impossible_tokens_are_refused(self, engine: Engine, prompt: tuple[int, ...]) -> None:
        with pytest.raises(InvalidRequest):
            engine.start(Job(id=1, tokens=prompt, sampling=Sampling()))

    def test_a_bias_on_an_impossible_token_is_refused(self, engine: Engine) -> None:
        sampling = Sampling(logit_bias={engine.info.vocab_size: 1.0})
        with pytest.raises(InvalidRequest) as caught:
            engine.start(Job(id=1, tokens=tokens(engine, "x"), sampling=sampling))
        assert caught.value.param == "logit_bias"

    def test_a_known_prefix_is_not_read_again(self, engine: Engine) -> None:
        text = "a prompt that is long enough to be worth keeping " * 3
        first = ask(engine, text, max_tokens=4)
        again = ask(engine, text, max_tokens=4)
        assert first.usage is not None
        assert again.usage is not None
        reusable = again.usage.prompt_tokens - FRESH_TOKENS
        assert again.usage.cached_tokens == reusable - reusable % self.TILE_TOKENS > 0
        assert again.text == first.text

    def test_an_id_can_be_used_again(self, engine: Engine) -> None:
        engine.start(Job(id=7, tokens=tokens(engine, "hello there"), sampling=Sampling(max_tokens=9)))
        engine.step()
        engine.cancel(7)
        assert ask(engine, "hello there", job_id=7).finish is not None
