"""The batcher over a program of ExecuTorch: what is kept of a prompt that was read in part."""

from collections.abc import Generator
from pathlib import Path

import pytest

from localllm.engines.job import Job
from localllm.engines.plan import LoadPlan
from localllm.engines.registry import load_runner
from localllm.inference.batcher import Batcher
from localllm.types import Client, Sampling
from tests.engines.contract import Answer, ask, drain, tokens
from tests.exports import CONTEXT, PROGRAM, skip_without_executorch, tiny_program  # noqa: F401  # a fixture

skip_without_executorch()

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # the first that needs the program may have to export it

PROMPT = ("The river carried small boats down to the sea. " * 20)[: CONTEXT - 20]


@pytest.fixture(scope="module")
def loaded(tiny_program: Path) -> Generator[Batcher, None, None]:  # noqa: F811
    beside = {path.name: str(path) for path in tiny_program.glob("*.json")}
    plan = LoadPlan(engine="executorch", path=str(tiny_program / PROGRAM), beside=beside, threads=2, max_jobs=2)
    batcher = Batcher(load_runner(plan, lambda _: None))
    yield batcher
    batcher.close()


@pytest.fixture
def batcher(loaded: Batcher) -> Batcher:
    assert not loaded.is_busy
    return loaded


def read_one_piece(batcher: Batcher, text: str, job_id: int = 1) -> int:
    """Start a job and cancel it once a piece of its prompt was read; returns the tokens of the piece."""
    batcher.start(Job(id=job_id, tokens=tokens(batcher, text), sampling=Sampling()))
    [delta] = [delta for delta in batcher.step() if delta.job_id == job_id]
    batcher.cancel(job_id)
    assert not batcher.is_busy
    assert 0 < delta.prompt_done < len(text)
    return delta.prompt_done


def test_cancelled_between_two_pieces_a_prompt_goes_on_where_it_stopped(batcher: Batcher) -> None:
    piece = read_one_piece(batcher, PROMPT)
    answer = ask(batcher, PROMPT)
    assert answer.usage is not None
    assert answer.usage.cached_tokens == piece
    other = ask(batcher, PROMPT.upper())  # in the other slot, from its beginning
    assert other.usage is not None
    assert other.usage.cached_tokens < piece
    again = ask(batcher, PROMPT)
    assert (again.text, again.finish) == (answer.text, answer.finish)


def test_a_prompt_that_parts_from_the_last_one_forgets_the_rest_of_it(batcher: Batcher) -> None:
    """Its position is set back; what an answer or another prompt left behind it is written over."""
    first = ask(batcher, PROMPT[:200])
    ask(batcher, PROMPT[:150] + "?" * 100)
    ask(batcher, PROMPT[:100], ignore_eos=True)
    assert ask(batcher, PROMPT[:200]).text == first.text


def test_others_go_on_while_one_is_cancelled_between_pieces(batcher: Batcher) -> None:
    alone = ask(batcher, "hello", ignore_eos=True).text
    sampling = Sampling(temperature=0.0, max_tokens=24, ignore_eos=True)
    batcher.start(Job(id=1, tokens=tokens(batcher, "hello"), sampling=sampling))
    said = "".join(delta.text for delta in batcher.step())
    batcher.start(Job(id=2, tokens=tokens(batcher, PROMPT[::-1]), sampling=sampling))
    said += "".join(delta.text for delta in batcher.step() if delta.job_id == 1)
    batcher.cancel(2)
    while batcher.is_busy:
        said += "".join(delta.text for delta in batcher.step())
    assert said == alone


def test_a_batch_job_that_gave_its_slot_away_says_what_it_says_alone(batcher: Batcher) -> None:
    """Its text is read anew, in whichever slot: KV stays where it was made."""
    texts = ["Once upon a time", "In the beginning", "hello"]
    alone = [ask(batcher, text, ignore_eos=True, max_tokens=40).text for text in texts]
    sampling = Sampling(temperature=0.0, ignore_eos=True, max_tokens=40)
    answers: dict[int, Answer] = {}
    for job_id, text in enumerate(texts):
        client = Client("", "interactive" if text == "hello" else "batch")
        assert (batcher.free_slots == 0) == (client.priority == "interactive")
        batcher.start(Job(id=job_id, tokens=tokens(batcher, text), sampling=sampling, client=client))
        for _ in range(8):
            for delta in batcher.step():
                answers.setdefault(delta.job_id, Answer()).add(delta)
    drain(batcher, answers)
    assert [answers[job_id].text for job_id in range(3)] == alone
    usages = [answers[job_id].usage for job_id in range(3)]
    assert all(usage is not None and usage.completion_tokens == 40 for usage in usages)
