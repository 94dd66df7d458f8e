"""Which of the running jobs take part in a step."""

from localllm.inference.sequence import Sequence
from localllm.types import AdapterUse

BATCH_TURN = 4  # every so many steps batch jobs go along with the interactive ones


class Turns:
    """Jobs with the same LoRA adapters step together, one such group after the other; beside interactive jobs,
    batch jobs only take every fourth step, so that they cost whoever is waiting little and still get on."""

    def __init__(self) -> None:
        self._steps = 0
        self._last: tuple[AdapterUse, ...] = ()

    def next(self, running: list[Sequence]) -> list[Sequence]:
        """The jobs of the next step, in the order given; all of them have the same adapters."""
        self._steps += 1
        chosen = running
        if self._steps % BATCH_TURN and any(s.is_batch for s in running) and not all(s.is_batch for s in running):
            chosen = [sequence for sequence in running if not sequence.is_batch]
        groups = list(dict.fromkeys(sequence.job.adapters for sequence in chosen))
        if len(groups) > 1:
            at = groups.index(self._last) + 1 if self._last in groups else 0
            self._last = groups[at % len(groups)]
            chosen = [sequence for sequence in chosen if sequence.job.adapters == self._last]
        return chosen
