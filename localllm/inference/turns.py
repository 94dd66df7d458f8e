"""Which of the running jobs take part in a step."""

from localllm.inference.sequence import Sequence
from localllm.types import AdapterUse

BATCH_TURN = 4  # every so many steps batch jobs go along with the interactive ones
HOLD_SECONDS = 3.0  # answers that have just begun wait no longer than this for the prompts that came with theirs


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


def can_wait(streams: list[Sequence], prompts: list[Sequence], seconds: float) -> bool:
    """Whether the answers wait while the prompts are read, which takes `seconds`.

    They do where all came at about the same time, so that no answer has more than its first token: they then go on
    side by side, instead of a few now and a few later. Nobody waits for a batch job.
    """
    is_for_batch = any(prompt.is_batch for prompt in prompts) and not all(stream.is_batch for stream in streams)
    return not is_for_batch and seconds <= HOLD_SECONDS and all(stream.answer_tokens <= 1 for stream in streams)
