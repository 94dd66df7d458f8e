"""Where the time of decode steps goes; those that also read prompts are left out, being much longer."""


class StepTimings:
    """Sums over all steps: seconds in the runner's decode, and in Python around it."""

    def __init__(self) -> None:
        self.steps = 0
        self.decode_seconds = 0.0
        self.python_seconds = 0.0
        self._is_counting = False  # whether the last step was one that counts

    def add(self, *, python: float, decode: float, is_counted: bool) -> None:
        """A step was made."""
        self._is_counting = is_counted
        if is_counted:
            self.steps += 1
            self.python_seconds += python
            self.decode_seconds += decode

    def add_handover(self, seconds: float) -> None:
        """What the last step brought was handed to the parent process."""
        if self._is_counting:
            self.python_seconds += seconds
