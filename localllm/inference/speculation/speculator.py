"""Whether, what and how far to guess ahead in the next step."""

from typing import Protocol
from weakref import WeakKeyDictionary

from localllm.inference.sequence import Sequence
from localllm.inference.speculation.length import LENGTHS, DraftLength, StepCosts

EXACT_LENGTHS = (47, 15, 3, 1)  # tried in this order: kernels change with the number of rows
MOST_STREAMS = 3  # with more, decoding them together already uses what a guess would


class Drafter(Protocol):
    """Something that guesses."""

    def propose(self, sequence: Sequence, most: int) -> list[int]:
        """Up to `most` tokens that may follow the sequence's."""
        ...


class Speculator:
    """Gives sequences their drafts before a step, and learns from what became of them."""

    def __init__(self, drafter: Drafter, *, exact_tokens: int | None = None, is_always: bool = False) -> None:
        """`exact_tokens` as in RunnerInfo; `is_always`: also where an answer may come out differently."""
        self._drafter = drafter
        self._exact_tokens = None if is_always else exact_tokens
        self.exact_length = LENGTHS[-1] if is_always else 0  # so many guesses are known to leave the logits alone
        self._untried = [] if is_always else list(EXACT_LENGTHS)
        self._costs = StepCosts()
        self._lengths: WeakKeyDictionary[Sequence, DraftLength] = WeakKeyDictionary()
        self._tried: list[tuple[Sequence, int]] = []

    @property
    def untried_length(self) -> int | None:
        """A number of guesses of which it is worth knowing whether they leave the logits alone; None: all is known."""
        return self._untried[0] if self._untried else None

    def tried(self, *, is_exact: bool) -> None:
        """What became of the trial of `untried_length`."""
        length = self._untried.pop(0)
        if is_exact:
            self.exact_length = length
            self._untried.clear()

    def draft(self, streams: list[Sequence], room: int) -> None:
        """Put guesses behind the tokens of each stream, `room` in all at most."""
        self._tried = []
        if len(streams) > MOST_STREAMS:
            return
        for sequence in streams:
            longest = self._longest(sequence)
            if longest < 1:
                continue
            length = self._lengths.setdefault(sequence, DraftLength(self._costs))
            most = length.choose(min(longest, sequence.room_tokens - 1, room))
            sequence.draft = self._drafter.propose(sequence, most) if most > 0 else []
            room -= len(sequence.draft)
            self._tried.append((sequence, len(sequence.draft)))

    def learn(self, streams: int, seconds: float) -> None:
        """After a step of so many streams and nothing else, guessing included."""
        for sequence, drafted in self._tried:
            if drafted:
                self._lengths[sequence].learn(drafted, sequence.accepted)
        if streams == 1 and self._tried:
            self._costs.measured(self._tried[0][1], seconds)

    def _longest(self, sequence: Sequence) -> int:
        """For an answer that must repeat, as many guesses as change nothing; none beside a grammar, which already
        forces what can be known."""
        sampling = sequence.job.sampling
        if sequence.job.constraint is not None:
            return 0
        if sampling.temperature > 0 and sampling.seed is None:
            return LENGTHS[-1]
        room = LENGTHS[-1] if self._exact_tokens is None else self._exact_tokens - len(sequence.tokens)
        return min(self.exact_length, room)
