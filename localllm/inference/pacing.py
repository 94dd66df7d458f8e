"""How much of the waiting prompts goes into one step."""

STEP_SECONDS = 0.2  # a running stream should not wait longer than about this for a prompt beside it
BATCH_STEP_SECONDS = 0.05  # and an interactive one not longer than this for the prompt of a batch job
MIN_TOKENS = 32  # fewer would waste a step
SMOOTHING = 0.3


class PrefillPacer:
    """Keeps steps short while answers stream, by the prompt speed measured so far.

    A prompt that is alone is read in pieces of fixed size, so that its answer does not depend on timing.
    """

    def __init__(self, chunk_tokens: int) -> None:
        self._chunk_tokens = chunk_tokens
        self._tokens_per_second = 0.0
        self._seconds_per_row = 0.0  # of the streams beside the prompts

    def budget(self, *, is_alone: bool, is_for_batch: bool = False) -> int:
        """Prompt tokens for the next step."""
        if is_alone:
            return self._chunk_tokens
        seconds = BATCH_STEP_SECONDS if is_for_batch else STEP_SECONDS
        affordable = int(self._tokens_per_second * seconds)
        return max(MIN_TOKENS, min(affordable, self._chunk_tokens))

    def measured(self, tokens: int, rows: int, seconds: float) -> None:
        """Learn from a step that read `tokens` of prompts beside `rows` of streams."""
        if seconds <= 0:
            return
        if not tokens and rows:
            self._seconds_per_row = seconds / rows
        if tokens < MIN_TOKENS:
            return
        rate = tokens / max(seconds - rows * self._seconds_per_row, seconds / 4)
        known = self._tokens_per_second or rate
        self._tokens_per_second = known + SMOOTHING * (rate - known)
