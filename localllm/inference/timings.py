"""Where the time of decode steps goes; those that also read prompts are left out, being much longer."""


class StepTimings:
    """Sums over all steps: seconds in the runner's decode, and in Python around it."""

    def __init__(self) -> None:
        self.steps = 0
        self.decode_seconds = 0.0
        self.python_seconds = 0.0

    def add(self, *, python: float, decode: float) -> None:
        """Count one step."""
        self.steps += 1
        self.python_seconds += python
        self.decode_seconds += decode
