"""A scenario: one kind of work, played against servers in turn, round by round."""

import random
from collections.abc import Awaitable, Callable, Sequence

from msgspec import Struct

from localllm.bench.client import Target
from localllm.bench.together import Outcome, Request, together

Play = Callable[[Target, random.Random, bool], Awaitable["Reading"]]  # the bool: quick, to see that it works


class Reading(Struct, frozen=True, kw_only=True):
    """What one server did in one round. `values` are rates in tokens a second, or seconds, by their names."""

    values: dict[str, float]
    faults: list[str] = []  # of requests that failed, in words; the values then do not count
    texts: list[str] = []  # answers, where they are to be compared


class Goal(Struct, frozen=True, kw_only=True):
    """A figure to show: ours to the peer's. `wanted` is the ratio to reach; None: only to be known."""

    work: str
    value: str  # its name in `Reading.values`
    wanted: float | None = None
    is_lower_better: bool = False


class Scenario(Struct, frozen=True, kw_only=True):
    """How servers are started for it, how it is played, and which figures it gives."""

    name: str
    slots: int  # answers at the same time
    context: int  # tokens for each of them
    play: Play  # its docstring says what the work is
    goals: tuple[Goal, ...]

    @property
    def words(self) -> str:
        """What the work is."""
        return " ".join((self.play.__doc__ or "").split())


class Measured(Struct, frozen=True, kw_only=True):
    """One server in one round of one scenario."""

    scenario: str
    target: str
    round: int
    reading: Reading


Told = Callable[[Measured], None]


async def play_rounds(
    scenario: Scenario, targets: Sequence[Target], rounds: int, told: Told, *, seed: int, quick: bool = False
) -> list[Measured]:
    """Play it against every target; A B, then B A, which cancels drift. Every target gets the same prompts, and
    every round new ones. `told` gets each result."""
    results: list[Measured] = []
    for target in targets:  # uncounted: connections, code paths, lazy loading
        await together(target, [Request.of("Say something.", 8)])
    for number in range(rounds):
        for target in targets if number % 2 == 0 else targets[::-1]:
            source = random.Random(f"{seed}/{scenario.name}/{number}")  # noqa: S311  prompts, not secrets
            reading = await scenario.play(target, source, quick)
            measured = Measured(scenario=scenario.name, target=target.name, round=number, reading=reading)
            results.append(measured)
            told(measured)
    return results


def reading_of(outcome: Outcome, decode_rate: float) -> Reading:
    """The usual values of requests sent together."""
    return Reading(
        values={
            "total_rate": outcome.total_rate,
            "decode_rate": decode_rate,
            "first_token_seconds": outcome.first_token_seconds,
        },
        faults=outcome.faults,
    )
