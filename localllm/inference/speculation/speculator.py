"""Whether, what and how far to guess ahead in the next step."""

from typing import Protocol
from weakref import WeakKeyDictionary

from localllm.inference.sequence import Sequence
from localllm.inference.speculation.length import LENGTHS, DraftLength, StepCosts

MOST_STREAMS = 3  # with more, decoding them together already uses what a guess would


class Drafter(Protocol):
    """Something that guesses."""

    def propose(self, sequence: Sequence, most: int) -> list[int]:
        """Up to `most` tokens that may follow the sequence's."""
        ...


class Speculator:
    """Gives sequences their drafts before a step, and learns from what became of them."""

    def __init__(self, drafter: Drafter) -> None:
        self._drafter = drafter
        self._costs = StepCosts()
        self._lengths: WeakKeyDictionary[Sequence, DraftLength] = WeakKeyDictionary()
        self._tried: list[tuple[Sequence, int]] = []

    def draft(self, streams: list[Sequence], room: int) -> None:
        """Put guesses behind the tokens of each stream, `room` in all at most."""
        self._tried = []
        if len(streams) > MOST_STREAMS:
            return
        for sequence in streams:
            if sequence.job.constraint is not None:  # whose grammar already forces what can be known
                continue
            length = self._lengths.setdefault(sequence, DraftLength(self._costs))
            most = length.choose(min(LENGTHS[-1], sequence.room_tokens - 1, room))
            sequence.draft = self._drafter.propose(sequence, most) if most > 0 else []
            room -= len(sequence.draft)
            self._tried.append((sequence, len(sequence.draft)))

    def learn(self, streams: list[Sequence], seconds: float) -> None:
        """After a step of these streams alone, guessing included."""
        for sequence, drafted in self._tried:
            if drafted:
                self._lengths[sequence].learn(drafted, sequence.accepted)
        if len(streams) == 1 and len(self._tried) == 1:
            self._costs.measured(self._tried[0][1], seconds)
