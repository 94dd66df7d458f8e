"""Speculation: guesses come from where they should, are as long as pays, and never change an answer."""

import random
from pathlib import Path

import numpy as np
import pytest

from localllm.engines.base import Batch, Logits, Runner, Tokenizer
from localllm.engines.echo import EchoRunner, EchoTokenizer
from localllm.engines.job import Job
from localllm.engines.plan import LoadPlan
from localllm.engines.registry import load_runner
from localllm.errors import LoadFailed
from localllm.inference.batcher import Batcher
from localllm.inference.sequence import Sequence
from localllm.inference.speculation.draft_model import DraftModel, check_vocabularies
from localllm.inference.speculation.exactness import rows_are_exact
from localllm.inference.speculation.length import LENGTHS, PROBE_STEPS, DraftLength, StepCosts
from localllm.inference.speculation.lookup import MAX_MATCH_TOKENS, MIN_MATCH_TOKENS, PromptLookup
from localllm.inference.speculation.speculator import MOST_STREAMS, Speculator
from localllm.models.local import LocalModel
from localllm.types import Sampling, Usage
from tests.engines.contract import Answer, tokens
from tests.marks import slow
from tests.tiny import write_tiny_model


def sequence(ids: list[int], **sampling: object) -> Sequence:
    job = Job(id=1, tokens=tuple(ids), sampling=Sampling(**sampling))  # type: ignore[arg-type]
    return Sequence(job, EchoTokenizer(), 4096)


class TestLookup:
    @pytest.mark.parametrize(
        ("ids", "most", "expected"),
        [
            ([1, 2, 3, 4, 5, 1, 2, 3], 2, [4, 5]),
            ([1, 2, 3, 4, 5, 1, 2, 3], 8, [4, 5, 1, 2, 3]),
            ([1, 2, 3, 7, 1, 2, 3, 8, 1, 2, 3], 1, [8]),  # the latest of equals
            ([9, 1, 2, 3, 7, 1, 2, 3, 8, 9, 1, 2, 3], 1, [7]),  # the longest before the latest
            ([1, 2, 3, 4, 2, 3], 4, []),  # too short a match
            ([5, 5, 5, 5, 5], 3, [5]),
            ([1, 2], 4, []),
            ([], 4, []),
        ],
    )
    def test_what_followed_last_time(self, ids: list[int], most: int, expected: list[int]) -> None:
        if ids:
            assert PromptLookup().propose(sequence(ids), most) == expected

    def test_against_plain_search(self) -> None:
        source = random.Random(3)
        for _ in range(300):
            ids = [source.randrange(3) for _ in range(source.randrange(1, 40))]
            found = PromptLookup().propose(sequence(ids), 1)
            longest = 0
            expected: list[int] = []
            for end in range(1, len(ids)):
                size = 0
                while size < min(end, MAX_MATCH_TOKENS) and ids[end - 1 - size] == ids[-1 - size]:
                    size += 1
                if size >= max(longest, MIN_MATCH_TOKENS):
                    longest, expected = size, ids[end : end + 1]
            assert found == expected, ids


class TestLength:
    def test_right_guesses_that_cost_nothing_are_made_as_long_as_can_be(self) -> None:
        costs = StepCosts()
        length = DraftLength(costs)
        for _ in range(200):
            chosen = length.choose(LENGTHS[-1])
            costs.measured(chosen, 1.0)
            length.learn(chosen, chosen)
        assert chosen == LENGTHS[-1]

    def test_guesses_that_are_wrong_are_given_up(self) -> None:
        costs = StepCosts()
        length = DraftLength(costs)
        chosen = []
        for _ in range(PROBE_STEPS - 10):
            chosen.append(length.choose(LENGTHS[-1]))
            costs.measured(chosen[-1], 1.0 + 0.2 * chosen[-1])
            length.learn(chosen[-1], 0)
        assert chosen[0] > 0
        assert set(chosen[-10:]) == {0}

    def test_checking_that_costs_as_much_as_decoding_is_given_up_and_tried_again(self) -> None:
        costs = StepCosts()
        length = DraftLength(costs)
        chosen = []
        for _ in range(PROBE_STEPS * 3):
            chosen.append(length.choose(LENGTHS[-1]))
            costs.measured(chosen[-1], 1.0 + 1.1 * chosen[-1])
            length.learn(chosen[-1], chosen[-1])
        assert chosen.count(0) > PROBE_STEPS * 2
        assert any(chosen[PROBE_STEPS:])

    def test_it_stays_within_what_is_left(self) -> None:
        assert DraftLength(StepCosts()).choose(1) <= 1
        assert DraftLength(StepCosts()).choose(0) == 0
        assert DraftLength(StepCosts()).choose(-3) == 0


def load(path: Path, slots: int = 3) -> Runner:
    plan = LoadPlan(
        engine="llama_cpp", path=str(path), max_jobs=slots, context_tokens=512, threads=1, flash_attention=False
    )
    return load_runner(plan, lambda _: None)


def answers(batcher: Batcher, prompts: list[str], **sampling: object) -> list[tuple[str, Usage]]:
    """Of jobs that run together."""
    for at, prompt in enumerate(prompts):
        chosen = Sampling(**({"temperature": 0.0, "max_tokens": 60, "ignore_eos": True} | sampling))  # type: ignore[arg-type]
        batcher.start(Job(id=at, tokens=tokens(batcher, prompt), sampling=chosen))
    said = {at: Answer() for at in range(len(prompts))}
    while batcher.is_busy:
        for delta in batcher.step():
            said[delta.job_id].add(delta)
    made = []
    for answer in said.values():
        assert answer.usage is not None
        made.append((answer.text, answer.usage))
    return made


def test_nothing_is_guessed_while_it_is_spared(tiny_model: Path) -> None:
    is_sparing = True
    batcher = Batcher(load(tiny_model), drafter=PromptLookup(), guesses_always=True, spares_guessing=lambda: is_sparing)
    spared = [usage.drafted_tokens for _, usage in answers(batcher, PROMPTS)]
    is_sparing = False
    guessed = [usage.drafted_tokens for _, usage in answers(batcher, PROMPTS)]
    batcher.close()
    assert (sum(spared), sum(guessed) > 0) == (0, True)


PROMPTS = ["abcabcabcabc", "the river carried the river carried the", "x"]
SAMPLINGS: list[dict[str, object]] = [
    {},
    {"temperature": 1.2, "seed": 5},
    {"repeat_penalty": 1.3, "frequency_penalty": 0.5},
    {"stop": ("é", "\n")},
    {"max_tokens": 7},
]


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("streams", [slow(1), 3])
@pytest.mark.parametrize("kind", ["lookup", "itself", "another"])
def test_no_answer_changes(
    tiny_model: Path, tmp_path: Path, kind: str, streams: int, sampling: dict[str, object]
) -> None:
    plain = Batcher(load(tiny_model))
    expected = answers(plain, PROMPTS[:streams], **sampling)
    plain.close()
    if kind == "lookup":
        guessing = Batcher(load(tiny_model), drafter=PromptLookup(), guesses_always=True)
    else:
        draft = tiny_model if kind == "itself" else write_tiny_model(tmp_path / "draft.gguf", seed=7)
        guessing = Batcher(load(tiny_model), drafter=DraftModel(load(draft)), guesses_always=True)
    found = answers(guessing, PROMPTS[:streams], **sampling)
    guessing.close()
    assert [text for text, _ in found] == [text for text, _ in expected]
    assert [u.completion_tokens for _, u in found] == [u.completion_tokens for _, u in expected]
    if kind == "itself" and not sampling:
        assert all(u.accepted_tokens == u.drafted_tokens > 10 for _, u in found)


def test_lookup_saves_steps_where_the_answer_repeats_the_prompt() -> None:
    batcher = Batcher(EchoRunner(LoadPlan(engine="echo", path="", max_jobs=2)), drafter=PromptLookup())
    assert batcher.idle()  # where it learns that guesses change nothing
    text = "def add(left, right):\n    return left + right\n" * 3
    batcher.start(Job(id=1, tokens=tokens(batcher, text), sampling=Sampling(temperature=0.0)))
    said, steps = Answer(), 0
    while batcher.is_busy:
        steps += 1
        for delta in batcher.step():
            said.add(delta)
    assert said.text == text
    assert said.usage is not None
    assert said.usage.accepted_tokens > len(text) / 2
    assert steps < len(text) / 2


def test_many_streams_are_not_guessed_for() -> None:
    speculator = Speculator(PromptLookup(), is_always=True)
    streams = [sequence([1, 2, 3, 4, 1, 2, 3]) for _ in range(MOST_STREAMS + 1)]
    speculator.draft(streams, 100)
    assert [each.draft for each in streams] == [[]] * len(streams)
    speculator.draft(streams[1:], 100)
    assert all(each.draft[0] == 4 for each in streams[1:])


def test_long_texts_are_guessed_for_as_long_as_rows_are_exact() -> None:
    speculator = Speculator(PromptLookup(), exact_tokens=10)
    speculator.exact_length = LENGTHS[-1]
    short, long = [1, 2, 3, 4, 1, 2, 3], [1, 2, 3, 4, 5, 6, 7, 1, 2, 3]
    streams = [sequence(short, temperature=0.0), sequence(long, temperature=0.0), sequence(long)]
    speculator.draft(streams, 100)
    assert len(streams[0].draft) in (1, 2, 3)
    assert streams[1].draft == []
    assert streams[2].draft


@pytest.mark.parametrize("length", [0, 1, 3])
def test_answers_that_must_repeat_are_guessed_for_where_that_is_exact(length: int) -> None:
    speculator = Speculator(PromptLookup())
    speculator.exact_length = length
    greedy, seeded = sequence([1, 2, 3, 4, 1, 2, 3], temperature=0.0), sequence([1, 2, 3, 4, 1, 2, 3], seed=1)
    free = sequence([1, 2, 3, 4, 1, 2, 3])
    speculator.draft([greedy, seeded, free], 100)
    assert [len(each.draft) for each in (greedy, seeded)] == [length, length]
    assert len(free.draft) > 2


def test_exactness_is_measured(tiny_model: Path) -> None:
    """How many rows the kernels of this processor keep apart is its own affair; one row is always like itself."""
    plan = LoadPlan(engine="llama_cpp", path=str(tiny_model), max_jobs=2, threads=1, flash_attention=True)
    runner = load_runner(plan, lambda _: None)
    assert rows_are_exact(runner, 1, 1)
    assert rows_are_exact(runner, 1, 49) in (False, True)
    assert runner.trim(1, 5) == 0  # the slot is empty again
    runner.close()


def test_without_flash_attention_rows_are_never_exact(tiny_model: Path) -> None:
    batcher = Batcher(load(tiny_model), drafter=PromptLookup())
    while batcher.idle():
        pass
    assert batcher.speculator is not None
    assert batcher.speculator.exact_length == 0
    batcher.close()


def test_rows_that_differ_are_noticed() -> None:
    class Noisy(EchoRunner):
        def decode(self, batch: Batch) -> Logits:
            return super().decode(batch) + np.float32(1e-3 * (batch.size > 4))

    plan = LoadPlan(engine="echo", path="", max_jobs=1)
    for kind, exact_length in ((EchoRunner, 47), (Noisy, 3)):
        batcher = Batcher(kind(plan), drafter=PromptLookup())
        while batcher.idle():
            pass
        assert batcher.speculator is not None
        assert batcher.speculator.exact_length == exact_length


class _Renamed(EchoTokenizer):
    def piece(self, token: int) -> bytes:
        return b"?" if token == 5 else super().piece(token)


def test_a_draft_of_another_vocabulary_is_refused() -> None:
    check_vocabularies(EchoTokenizer(), EchoTokenizer())
    with pytest.raises(LoadFailed, match="token 5"):
        check_vocabularies(EchoTokenizer(), _Renamed())


def test_a_draft_of_another_size_is_refused(tiny_model: Path) -> None:
    other: Tokenizer = load(tiny_model).tokenizer
    with pytest.raises(LoadFailed, match=r"258 .*tokens"):
        check_vocabularies(EchoTokenizer(), other)


@pytest.mark.real_model
@pytest.mark.slow
def test_an_exact_guess_changes_no_greedy_answer_of_a_real_model(starter_model: LocalModel) -> None:
    """With flash attention, as servers run; within the length up to which rows are exact."""
    plan = LoadPlan(
        engine="llama_cpp", path=starter_model.path, max_jobs=2, context_tokens=512, threads=1, flash_attention=True
    )
    runner = load_runner(plan, lambda _: None)
    text = (
        "<|im_start|>user\nSay this three times: the old red boat lay in the harbour<|im_end|>\n<|im_start|>assistant\n"
    )
    made = []
    for drafter in (None, PromptLookup()):
        batcher = Batcher(runner, drafter=drafter)
        while batcher.idle():
            pass
        made += answers(batcher, [text], max_tokens=100)
    batcher.close()
    (plain, _), (guessed, usage) = made
    assert guessed == plain
    assert usage.drafted_tokens > 0 or (batcher.speculator is not None and batcher.speculator.exact_length == 0)
