"""How much of the waiting prompts goes into one step."""

STEP_SECONDS = 0.2  # a running stream should not wait longer than about this for a prompt beside it
BATCH_STEP_SECONDS = 0.05  # and an interactive one not longer than this for the prompt of a batch job
SIZES = 4  # of pieces: the largest, its half, its quarter, ...
SMOOTHING = 0.5


class PrefillPacer:
    """Keeps steps short while answers stream, by what pieces of several sizes were measured to take.

    A prompt that is alone is read in pieces of fixed size, so that its answer does not depend on timing.
    """

    def __init__(self, chunk_tokens: int) -> None:
        self._sizes = [max(1, chunk_tokens >> halvings) for halvings in reversed(range(SIZES))]
        self._seconds: dict[int, float] = {}  # that a piece of a size takes
        self._seconds_per_row = 0.0  # of the streams beside the prompts

    def budget(self, *, is_alone: bool, is_for_batch: bool = False) -> int:
        """Prompt tokens for the next step: the largest piece that is short enough.

        Where none is, in a long context or a large model, the one for which its time, which the streams wait, and
        the time to read all in such pieces have the smallest product.
        """
        if is_alone:
            return self._sizes[-1]
        if not self._seconds:
            return self._sizes[0]
        limit = BATCH_STEP_SECONDS if is_for_batch else STEP_SECONDS
        seconds = {size: self._expected(size) for size in self._sizes}
        short = [size for size in self._sizes if seconds[size] <= limit]
        return short[-1] if short else min(self._sizes, key=lambda size: seconds[size] ** 2 / size)

    def seconds(self, tokens: int) -> float:
        """What reading so many tokens may take in the largest pieces; 0 before anything was measured."""
        largest = self._sizes[-1]
        return self._expected(largest) * tokens / largest if self._seconds else 0.0

    def measured(self, tokens: int, rows: int, seconds: float) -> None:
        """Learn from a step that read `tokens` of prompts beside `rows` of streams."""
        if seconds <= 0:
            return
        if not tokens and rows:
            self._seconds_per_row = seconds / rows
        if tokens < self._sizes[0]:
            return
        size = max(size for size in self._sizes if size <= tokens)
        taken = max(seconds - rows * self._seconds_per_row, seconds / 4) * size / tokens
        known = self._seconds.get(size, taken)
        self._seconds[size] = known + SMOOTHING * (taken - known)
        for other in self._seconds:
            self._seconds[other] = self._within(other, size)

    def _expected(self, size: int) -> float:
        """Seconds of a piece; of a size never tried, more or less hopefully, by the nearest that was."""
        nearest = min(self._seconds, key=lambda tried: (max(size / tried, tried / size), tried))
        ratio = size / nearest
        return float(self._seconds[nearest] * ratio ** (1 / 3 if ratio > 1 else 2 / 3))

    def _within(self, other: int, size: int) -> float:
        """The time of a piece of another size, kept between what it must be if that of `size` is right: a larger one
        takes longer, but not for each token. So nothing stays as it was in a shorter or longer context."""
        seconds = self._seconds[size]
        proportional = seconds * other / size
        return min(max(seconds, proportional), max(min(seconds, proportional), self._seconds[other]))
