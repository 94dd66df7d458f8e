"""The queue: who is next, and who has to come again."""

import pytest

from localllm.engines.echo import EchoTokenizer
from localllm.engines.job import Job
from localllm.errors import QueueFull
from localllm.inference.queue import AdmissionQueue
from localllm.inference.sequence import Sequence
from localllm.types import Client, Priority, Sampling


def sequence(job_id: int, priority: Priority = "interactive", scope: str = "") -> Sequence:
    job = Job(id=job_id, tokens=(1,), sampling=Sampling(), client=Client(scope, priority))
    return Sequence(job, EchoTokenizer(), 64)


def queue(*waiting: Sequence, limit: int = 64) -> AdmissionQueue[Sequence]:
    made = AdmissionQueue[Sequence](limit)
    for each in waiting:
        made.put(each, free_slots=0)
    return made


def ids(sequences: list[Sequence]) -> list[int]:
    return [each.job.id for each in sequences]


def test_arrival_decides_between_equals() -> None:
    assert ids(queue(sequence(1), sequence(2), sequence(3)).in_order(())) == [1, 2, 3]


def test_interactive_jobs_go_before_batch_jobs() -> None:
    waiting = queue(sequence(1, "batch"), sequence(2), sequence(3, "batch"), sequence(4))
    assert ids(waiting.in_order(())) == [2, 4, 1, 3]


def test_a_client_with_fewer_running_jobs_goes_first() -> None:
    waiting = queue(sequence(5, scope="busy"), sequence(6, scope="calm"))
    assert ids(waiting.in_order([sequence(1, scope="busy")])) == [6, 5]


def test_a_job_that_gave_way_keeps_its_place_by_arrival() -> None:
    waiting = queue(sequence(2, "batch"), sequence(3, "batch"))
    waiting.put_back(sequence(1, "batch"))
    assert ids(waiting.in_order(())) == [1, 2, 3]


def test_a_full_queue_says_when_to_come_again() -> None:
    waiting = queue(sequence(1), sequence(2), limit=2)
    with pytest.raises(QueueFull, match="2 requests wait") as caught:
        waiting.put(sequence(3), free_slots=0)
    assert caught.value.retry_seconds is not None
    assert caught.value.retry_seconds > 0
    assert len(waiting) == 2


def test_who_finds_a_free_slot_does_not_count_as_waiting() -> None:
    waiting = queue(limit=0)
    waiting.put(sequence(1), free_slots=2)
    waiting.put(sequence(2), free_slots=2)
    with pytest.raises(QueueFull):
        waiting.put(sequence(3), free_slots=2)


def test_positions_are_told_once_and_when_they_change() -> None:
    waiting = queue(sequence(1, "batch"), sequence(2))
    assert waiting.moved(()) == {2: 1, 1: 2}
    assert waiting.moved(()) == {}
    waiting.remove(2)
    assert waiting.moved(()) == {1: 1}
    waiting.remove(1)
    assert waiting.moved(()) == {}
