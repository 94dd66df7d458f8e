"""The batcher under random schedules: whatever comes and goes, every answer is the one it would be alone."""

import random
import string
from collections.abc import Generator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from localllm.engines.base import Batch, Logits, Runner
from localllm.engines.echo import EchoRunner
from localllm.engines.job import Delta, Job
from localllm.engines.plan import LoadPlan
from localllm.engines.registry import load_runner
from localllm.errors import LocalLLMError, QueueFull
from localllm.inference.batcher import Batcher
from localllm.inference.sequence import FRESH_TOKENS, Sequence
from localllm.inference.speculation.lookup import PromptLookup
from localllm.inference.state_files import StateFiles
from localllm.types import Client, Priority, Sampling
from tests.engines.contract import Answer, tokens
from tests.marks import slow

TEXT = "the river carried small boats past quiet stone houses where people were cooking supper"
WORDS = TEXT.split()


def load(kind: str, model: Path, *, slots: int = 5, identity: str = "tiny") -> Runner:
    """Without flash attention llama.cpp's rows do not depend on their neighbours (see docs/performance.md)."""
    plan = LoadPlan(
        engine=kind,
        path="" if kind == "echo" else str(model),
        identity=identity,
        max_jobs=slots,
        context_tokens=768,
        threads=1,
        flash_attention=False,
    )
    return load_runner(plan, lambda _: None)


class ApartRunner(EchoRunner):
    """KV stays in the slot that made it. Knows how many rows came for each slot."""

    def __init__(self, slots: int) -> None:
        super().__init__(LoadPlan(engine="echo", path="", max_jobs=slots, context_tokens=768))
        self.info = msgspec.structs.replace(self.info, can_copy=False, state_key="")
        self.rows = [0] * slots

    def decode(self, batch: Batch) -> Logits:
        for slot in batch.slots[: batch.size]:
            self.rows[slot] += 1
        return super().decode(batch)

    def copy_prefix(self, source: int, target: int, tokens: int) -> int:
        """Nothing is copied, and the target is as it was."""
        return 0

    def save(self, slot: int) -> bytes | None:
        raise AssertionError("there is nothing to be had")

    def restore(self, slot: int, state: bytes) -> int:
        raise AssertionError("there is nothing to be had")


@pytest.fixture(scope="module", params=["echo", "echo without copies", "llama_cpp", "llama_cpp with disk and lookup"])
def engine(
    request: pytest.FixtureRequest, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Batcher, None, None]:
    kind, _, has_all = request.param.partition(" with ")
    runner = ApartRunner(5) if "without copies" in kind else load(kind, tiny_model)
    files = StateFiles(tmp_path_factory.mktemp("kv"), 2**24, runner.info.state_key) if has_all else None
    batcher = Batcher(runner, files=files, drafter=PromptLookup() if has_all else None, guesses_always=True)
    yield batcher
    batcher.close()


def prompts(source: random.Random, engine: Batcher, count: int) -> list[tuple[int, ...]]:
    """Some of them begin alike, as chats do, and some are long enough to be read in pieces."""
    shared = " ".join(source.choice(WORDS) for _ in range(30))
    made = []
    for _ in range(count):
        own = " ".join(source.choice(WORDS) for _ in range(source.choice([1, 5, 60])))
        made.append(tokens(engine, shared + own if source.random() < 0.5 else own))
    return made


def alone(engine: Batcher, prompt: tuple[int, ...], sampling: Sampling) -> str:
    engine.start(Job(id=1, tokens=prompt, sampling=sampling))
    answer = Answer()
    while engine.is_busy:
        for delta in engine.step():
            answer.add(delta)
    return answer.text


@pytest.mark.parametrize("seed", [0, *map(slow, range(1, 10))])
def test_random_schedules(engine: Batcher, seed: int) -> None:
    source = random.Random(seed)
    jobs = {
        job_id: Job(
            id=job_id,
            tokens=prompt,
            sampling=Sampling(
                temperature=source.choice([0.0, 0.0, 0.9]), seed=job_id, max_tokens=source.randrange(1, 40)
            ),
            client=Client(source.choice(["", "", "other"]), source.choice(["interactive", "batch"])),
        )
        for job_id, prompt in enumerate(prompts(source, engine, 40), start=1)
    }
    expected = {job_id: alone(engine, job.tokens, job.sampling) for job_id, job in jobs.items()}
    answers: dict[int, Answer] = {job_id: Answer() for job_id in jobs}
    waiting, cancelled = list(jobs), set[int]()
    while waiting or engine.is_busy:
        while waiting and source.random() < (0.4 if engine.is_busy else 0.9):
            engine.start(jobs[waiting.pop(0)])
        if source.random() < 0.05:
            victim = source.choice(list(jobs))
            if answers[victim].finish is None and victim not in waiting:
                engine.cancel(victim)
                cancelled.add(victim)
        for delta in engine.step():
            assert delta.job_id not in cancelled
            answers[delta.job_id].add(delta)
        engine.idle()
    assert cancelled
    assert engine.free_slots == engine.info.max_jobs
    for job_id, answer in answers.items():
        if job_id in cancelled:
            assert expected[job_id].startswith(answer.text)
        else:
            assert answer.text == expected[job_id]
            assert answer.finish is not None


def test_a_long_prompt_does_not_stall_a_stream() -> None:
    batcher = Batcher(EchoRunner(LoadPlan(engine="echo", path="", max_jobs=2)))
    batcher.start(Job(id=1, tokens=tokens(batcher, "a" * 200), sampling=Sampling()))
    said = 0
    while said < 2:  # what has only just begun may wait
        said += sum(bool(delta.text) for delta in batcher.step())
    batcher.start(Job(id=2, tokens=tokens(batcher, "b" * 3000), sampling=Sampling(max_tokens=1)))
    between = 0
    while True:
        deltas = batcher.step()
        if any(delta.job_id == 2 and delta.finish for delta in deltas):
            break
        between += sum(delta.job_id == 1 and bool(delta.text) for delta in deltas)
    assert between > 3000 / 64 - 2  # one token of the stream for each piece of the prompt


@pytest.mark.parametrize("priority", ["interactive", "batch"])
def test_answers_that_begin_together_go_on_together_and_wait_for_no_batch_job(priority: Priority) -> None:
    batcher = Batcher(EchoRunner(LoadPlan(engine="echo", path="", max_jobs=3)))
    for job_id in (1, 2, 3):
        text = string.ascii_letters[job_id] * 100
        client = Client("", "interactive" if job_id == 1 else priority)
        batcher.start(Job(id=job_id, tokens=tokens(batcher, text), sampling=Sampling(), client=client))
    order = [delta.job_id for _ in range(40) for delta in batcher.step() if delta.text]
    begun = order.index(3)  # by then all have
    assert order[:begun].count(1) == 1 if priority == "interactive" else order[:begun].count(1) > 4


def test_progress_of_a_long_prompt_is_told() -> None:
    batcher = Batcher(EchoRunner(LoadPlan(engine="echo", path="", max_jobs=1)))
    batcher.start(Job(id=1, tokens=tokens(batcher, "b" * 200), sampling=Sampling(max_tokens=1)))
    told = []
    while batcher.is_busy:
        told += [(delta.prompt_done, delta.prompt_total) for delta in batcher.step() if delta.prompt_done]
    assert told == [(64, 201), (128, 201), (192, 201)]


@pytest.mark.parametrize(
    ("lengths", "read"),
    [
        ([65], [[63], [2]]),  # 64 at a time, and no row alone
        ([200, 20], [[64], [64], [64], [8, 20]]),
        ([60, 10, 4], [[60], [10, 4]]),  # only the first in line is read in part
        ([1, 1, 62], [[1, 1, 62]]),
    ],
)
def test_how_prompts_are_cut_into_pieces(lengths: list[int], read: list[list[int]]) -> None:
    pieces: list[list[int]] = []

    class Watched(EchoRunner):
        def decode(self, batch: Batch) -> Logits:
            slots = batch.slots[: batch.size]
            pieces.append([int((slots == slot).sum()) for slot in dict.fromkeys(slots.tolist())])
            return super().decode(batch)

    batcher = Batcher(Watched(LoadPlan(engine="echo", path="", max_jobs=3)))
    for job_id, length in enumerate(lengths):
        prompt = (job_id + 65,) * length
        batcher.start(Job(id=job_id, tokens=prompt, sampling=Sampling(max_tokens=1)))
    drain(batcher)
    assert pieces == read


def test_jobs_get_slots_in_order_of_arrival() -> None:
    batcher = Batcher(EchoRunner(LoadPlan(engine="echo", path="", max_jobs=1)))
    for job_id in range(5):
        batcher.start(Job(id=job_id, tokens=tokens(batcher, "x"), sampling=Sampling()))
    ended = []
    while batcher.is_busy:
        ended += [delta.job_id for delta in batcher.step() if delta.finish]
    assert ended == [0, 1, 2, 3, 4]


def test_times_add_up() -> None:
    batcher = Batcher(EchoRunner(LoadPlan(engine="echo", path="200", max_jobs=1)))
    for job_id in (1, 2):
        batcher.start(Job(id=job_id, tokens=tokens(batcher, "abcdefghij"), sampling=Sampling()))
    usages = []
    while batcher.is_busy:
        usages += [delta.usage for delta in batcher.step() if delta.usage is not None]
    first, second = usages
    assert first.completion_tokens == second.completion_tokens == 10
    assert first.decode_seconds >= 0.005  # nine steps of 5 ms
    assert first.queue_seconds < second.queue_seconds
    assert second.queue_seconds >= first.prefill_seconds + first.decode_seconds
    assert 0 < first.tokens_per_second <= 200


def start(batcher: Batcher, job_id: int, text: str, *, client: Client = Client(), **sampling: object) -> None:
    chosen = Sampling(**({"temperature": 0.0} | sampling))  # type: ignore[arg-type]
    batcher.start(Job(id=job_id, tokens=tokens(batcher, text), sampling=chosen, client=client))


def drain(batcher: Batcher) -> dict[int, Answer]:
    answers: dict[int, Answer] = {}
    while batcher.is_busy:
        for delta in batcher.step():
            answers.setdefault(delta.job_id, Answer()).add(delta)
    return answers


def echo(slots: int, *, max_queue: int = 64) -> Batcher:
    return Batcher(EchoRunner(LoadPlan(engine="echo", path="", max_jobs=slots)), max_queue=max_queue)


class CountingRunner(EchoRunner):
    """Knows how many rows it was given."""

    rows = 0

    def decode(self, batch: Batch) -> Logits:
        self.rows += batch.size
        return super().decode(batch)


def test_a_prefix_that_many_bring_at_once_is_read_once() -> None:
    runner = CountingRunner(LoadPlan(engine="echo", path="", max_jobs=8))
    batcher = Batcher(runner)
    shared = "s" * 600
    for job_id in range(8):
        start(batcher, job_id, f"{shared}{job_id} and more", max_tokens=1)
    answers = drain(batcher)
    assert {answer.text for answer in answers.values()} == {"s"}
    assert 600 + 8 * 10 <= runner.rows <= 600 + 8 * 12
    cached = [answer.usage.cached_tokens for answer in answers.values() if answer.usage]
    assert sorted(cached) == [0] + [600] * 7


def test_a_shared_prefix_is_waited_for_only_as_long_as_somebody_reads_it() -> None:
    batcher = echo(4)
    for job_id in range(3):
        start(batcher, job_id, "s" * 600 + str(job_id), max_tokens=1)
    batcher.step()
    batcher.cancel(0)
    answers = drain(batcher)
    assert [answers[job_id].text for job_id in (1, 2)] == ["s", "s"]


def test_scopes_read_for_themselves() -> None:
    batcher = echo(4)
    for job_id, scope in enumerate(["a", "b", "a"]):
        start(batcher, job_id, "s" * 300, client=Client(scope), max_tokens=1)
        usage = drain(batcher)[job_id].usage
        assert usage is not None
        assert usage.cached_tokens == (301 - FRESH_TOKENS if job_id == 2 else 0)


def test_where_nothing_can_be_copied_a_chat_comes_back_to_its_slot() -> None:
    runner = ApartRunner(3)
    batcher = Batcher(runner)
    chats = ["s" * 100 + letter * 150 for letter in "abc"]  # which all begin alike
    for job_id, text in enumerate(chats):
        start(batcher, job_id, text, max_tokens=1)
    for answer in drain(batcher).values():  # nobody waited for another to read
        assert answer.usage is not None
        assert answer.usage.cached_tokens == 0
    for slot in (1, 2, 0):
        before = list(runner.rows)
        start(batcher, slot, chats[slot] + "more", max_tokens=1)
        usage = drain(batcher)[slot].usage
        assert usage is not None
        assert usage.cached_tokens == len(chats[slot])
        read = [now - then for now, then in zip(runner.rows, before, strict=True)]
        assert read == [len("more") + 1 if each == slot else 0 for each in range(3)]  # and the marker


def test_where_nothing_can_be_copied_all_read_for_themselves_and_at_once() -> None:
    runner = ApartRunner(4)
    batcher = Batcher(runner)
    shared = "s" * 300
    for job_id in range(7):
        start(batcher, job_id, f"{shared}{job_id} and more", max_tokens=2)
    batcher.step()
    assert batcher.free_slots == 0
    batcher.cancel(2)
    answers = drain(batcher)
    assert {job_id: answer.text for job_id, answer in answers.items()} == dict.fromkeys([0, 1, 3, 4, 5, 6], "ss")
    cached = {job_id: answer.usage.cached_tokens for job_id, answer in answers.items() if answer.usage}
    assert [cached[job_id] for job_id in (0, 1, 3)] == [0, 0, 0]
    assert sorted(cached[job_id] for job_id in (5, 6)) == [300, 300]  # in slots that were another's
    assert batcher.free_slots == 4


def test_where_nothing_can_be_copied_a_lone_user_opens_no_second_slot() -> None:
    runner = ApartRunner(4)
    batcher = Batcher(runner)
    history = ""
    for job_id in range(12):
        history += f"turn {job_id} goes on "
        start(batcher, job_id, history)  # the answer is as long again
        drain(batcher)
    assert runner.rows[0] > 0
    assert runner.rows[1:] == [0, 0, 0]


def test_where_nothing_can_be_copied_a_batch_job_still_gives_way_and_goes_on() -> None:
    batcher = Batcher(ApartRunner(1))
    start(batcher, 1, "batch " * 40, client=Client("", BATCH))
    for _ in range(20):
        batcher.step()
    start(batcher, 2, "hello")
    answers = drain(batcher)
    assert answers[2].text == "hello"
    assert ("batch " * 40).endswith(answers[1].text)
    assert answers[1].finish == "stop"


BATCH: Priority = "batch"


def test_an_interactive_job_takes_the_slot_of_a_batch_job_which_then_goes_on() -> None:
    batcher = echo(2)
    for job_id in (1, 2):
        start(batcher, job_id, "batch " * 20, client=Client("", BATCH))
    deltas: list[Delta] = []
    for _ in range(12):
        deltas += batcher.step()
    start(batcher, 3, "hello")
    ended = []
    while batcher.is_busy:
        step = batcher.step()
        ended += [delta.job_id for delta in step if delta.finish]
        deltas += step
    assert ended[0] == 3
    texts = {job_id: "".join(d.text for d in deltas if d.job_id == job_id) for job_id in (1, 2, 3)}
    assert texts == {1: "batch " * 20, 2: "batch " * 20, 3: "hello"}
    assert any(delta.job_id == 2 and delta.queue_position == 1 for delta in deltas)


def test_batch_jobs_slow_an_interactive_one_little() -> None:
    batcher = echo(8)
    for job_id in range(7):
        start(batcher, job_id, "b" * 100, client=Client("", BATCH))
    start(batcher, 9, "i" * 100)
    said = dict.fromkeys([*range(7), 9], 0)
    while not said[9] >= 100:
        for delta in batcher.step():
            said[delta.job_id] += len(delta.text)
    assert all(0 < said[job_id] <= 30 for job_id in range(7))


def test_a_full_queue_refuses_and_tells_positions() -> None:
    batcher = echo(1, max_queue=2)
    for job_id in range(3):
        start(batcher, job_id, "abc")
    with pytest.raises(QueueFull):
        start(batcher, 3, "abc")
    first = {delta.job_id: delta.queue_position for delta in batcher.step() if delta.queue_position}
    assert first == {1: 1, 2: 2}
    assert sorted(drain(batcher)) == [0, 1, 2]


class Refusing:
    """A constraint that gives up after a few tokens."""

    is_complete = False

    def __init__(self) -> None:
        self.left = 3

    def mask(self, logits: Logits) -> None:
        self.left -= 1
        if not self.left:
            raise LocalLLMError("too complex")

    def accept(self, token: int) -> None:
        pass

    def forced(self) -> list[int]:
        return []


def test_a_job_that_cannot_go_on_fails_alone() -> None:
    batcher = echo(2)
    start(batcher, 1, "abcdefgh")
    batcher.start(Job(id=2, tokens=tokens(batcher, "abcdefgh"), sampling=Sampling(), constraint=Refusing()))
    answers = drain(batcher)
    assert answers[1].text == "abcdefgh"
    assert answers[2].finish is None
    assert [(job_id, error.message) for job_id, error in batcher.take_faults()] == [(2, "too complex")]
    assert batcher.take_faults() == []
    assert batcher.free_slots == 2


class Spelling:
    """A grammar of one word, whose last letters are forced at once."""

    def __init__(self, word: bytes) -> None:
        self.left = list(word)

    @property
    def is_complete(self) -> bool:
        return not self.left

    def mask(self, logits: Logits) -> None:
        allowed = logits[self.left[0]]
        logits[:] = -np.inf
        logits[self.left[0]] = allowed

    def accept(self, token: int) -> None:
        assert token == self.left.pop(0)

    def forced(self) -> list[int]:
        return list(self.left)


@pytest.mark.parametrize("logprobs", [None, 0])
def test_forced_tokens_cost_no_steps(logprobs: int | None) -> None:
    batcher = echo(1)
    word = b"constrained output that goes on for quite a while, and then ends"
    job = Job(id=1, tokens=tokens(batcher, "x"), sampling=Sampling(logprobs=logprobs), constraint=Spelling(word))
    batcher.start(job)
    answer, steps = Answer(), 0
    while batcher.is_busy:
        steps += 1
        for delta in batcher.step():
            answer.add(delta)
    assert answer.text.encode() == word
    assert answer.finish == "stop"
    assert steps == (len(word) if logprobs is not None else 1)
    assert batcher.free_slots == 1


def test_forced_tokens_are_read_before_the_answer_goes_on(tiny_model: Path) -> None:
    """The answer behind them is the one that follows the same text in a prompt."""

    class Beginning(Spelling):
        is_complete = False

        def mask(self, logits: Logits) -> None:
            if self.left:
                super().mask(logits)

        def accept(self, token: int) -> None:
            if self.left:
                super().accept(token)

    batcher = Batcher(load("llama_cpp", tiny_model, slots=1))
    prompt, forced = tokens(batcher, "once upon "), tokens(batcher, "a time " * 12)
    constraint = Beginning(b"")
    constraint.left = list(forced)
    sampling = Sampling(temperature=0.0, max_tokens=len(forced) + 12, ignore_eos=True)
    batcher.start(Job(id=1, tokens=prompt, sampling=sampling, constraint=constraint))
    whole = drain(batcher)[1].text
    sampling = Sampling(temperature=0.0, max_tokens=12, ignore_eos=True)
    batcher.start(Job(id=2, tokens=(*prompt, *forced), sampling=sampling))
    assert whole == "a time " * 12 + drain(batcher)[2].text
    batcher.close()


def logits_after(batcher: Batcher, prompt: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> tuple[Logits, int]:
    """The logits that the first token is chosen by, and how many tokens were not read for them."""
    seen: list[Logits] = []
    accept = Sequence.accept

    def watched(sequence: Sequence, rows: Logits) -> Delta | None:
        seen.append(rows[0].copy())
        return accept(sequence, rows)

    monkeypatch.setattr(Sequence, "accept", watched)
    batcher.start(Job(id=1, tokens=prompt, sampling=Sampling(temperature=0.0, max_tokens=1, ignore_eos=True)))
    usage = drain(batcher)[1].usage
    monkeypatch.undo()
    assert usage is not None
    return seen[0], usage.cached_tokens


def test_the_cache_changes_no_logits(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the same slot, from another one, from disk after a restart: against a runner that knows nothing."""
    known = Batcher(load("llama_cpp", tiny_model))
    shared = tokens(known, TEXT * 4)
    asked = [(*shared, *tokens(known, f" and {word}")) for word in WORDS[:4]]
    known.close()
    expected = []
    for prompt in asked:
        fresh = Batcher(load("llama_cpp", tiny_model))
        expected.append(logits_after(fresh, prompt, monkeypatch)[0])
        fresh.close()
    for _restart in range(2):
        runner = load("llama_cpp", tiny_model)
        batcher = Batcher(runner, files=StateFiles(tmp_path / "kv", 2**24, runner.info.state_key))
        for at, prompt in enumerate(asked):
            logits, cached = logits_after(batcher, prompt, monkeypatch)
            np.testing.assert_allclose(logits, expected[at], atol=1e-4)
            assert cached >= (len(shared) if at or _restart else 0)
        assert batcher.put_away() or _restart
        while batcher.put_away():
            pass
        batcher.close()


def test_another_model_finds_nothing_on_disk(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for identity, found in (("one", False), ("one", True), ("two", False)):
        runner = load("llama_cpp", tiny_model, identity=identity)
        batcher = Batcher(runner, files=StateFiles(tmp_path / "kv", 2**24, runner.info.state_key))
        _, cached = logits_after(batcher, tokens(batcher, TEXT * 4), monkeypatch)
        assert bool(cached) == found
        while batcher.put_away():
            pass
        batcher.close()
