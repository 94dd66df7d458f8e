"""Where the time of the steps goes."""


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

    @property
    def python_share(self) -> float:
        """Python's part of a step, 0 to 1."""
        total = self.python_seconds + self.decode_seconds
        return self.python_seconds / total if total else 0.0
