"""Turns: batch jobs cost interactive ones little, and adapters do not mix."""

from localllm.engines.echo import EchoTokenizer
from localllm.engines.job import Job
from localllm.inference.sequence import Sequence
from localllm.inference.turns import BATCH_TURN, Turns
from localllm.types import AdapterUse, Client, Priority, Sampling


def sequence(priority: Priority = "interactive", adapter: str | None = None) -> Sequence:
    adapters = (AdapterUse(adapter),) if adapter else ()
    job = Job(id=1, tokens=(1,), sampling=Sampling(), client=Client("", priority), adapters=adapters)
    return Sequence(job, EchoTokenizer(), 64)


def test_equals_always_step_together() -> None:
    turns = Turns()
    priorities: tuple[Priority, ...] = ("interactive", "batch")
    for priority in priorities:
        running = [sequence(priority), sequence(priority)]
        assert all(turns.next(running) == running for _ in range(2 * BATCH_TURN))


def test_batch_jobs_take_some_of_the_steps_of_interactive_ones() -> None:
    turns, running = Turns(), [sequence("batch"), sequence(), sequence("batch")]
    steps = [turns.next(running) for _ in range(3 * BATCH_TURN)]
    assert sum(step == running for step in steps) == 3
    assert sum(step == [running[1]] for step in steps) == 3 * BATCH_TURN - 3


def test_adapters_take_turns() -> None:
    turns, running = Turns(), [sequence(), sequence(adapter="a"), sequence(), sequence(adapter="b")]
    steps = [turns.next(running) for _ in range(6)]
    assert steps[:3] == steps[3:]
    assert sorted(map(len, steps[:3])) == [1, 1, 2]
    assert {id(each) for step in steps[:3] for each in step} == {id(each) for each in running}
