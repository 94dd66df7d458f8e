"""How many tokens to guess ahead: as many as pay, by what this machine was measured to do.

Checking k guesses takes one decode of k + 1 rows. What that costs against one row differs by a factor of three
between weight formats and processors, and how often guesses are right differs by text; so both are measured
while answers run, and a length is chosen that gives the most tokens a second.
"""

LENGTHS = (0, 1, 3, 7, 15, 31, 47)  # and one row before them: kernels take 4 or 8 rows at once
COST_SMOOTHING = 0.25
SUCCESS_SMOOTHING = 0.15
FIRST_SUCCESS = 0.7  # what is believed of a text before anything was tried
PROBE_STEPS = 48  # after so many steps in which guessing did not pay, it is tried again


class StepCosts:
    """Seconds that a decode of one sequence took, by its number of guesses."""

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}

    def measured(self, length: int, seconds: float) -> None:
        """Learn from one step."""
        known = self._seconds.get(length)
        self._seconds[length] = seconds if known is None else known + COST_SMOOTHING * (seconds - known)

    def of(self, length: int) -> float:
        """Expected seconds. An unknown length is believed to cost more than the next shorter known one by the square
        root of how many more rows it has: so it is tried once it looks useful, and the shorter ones first."""
        shorter = max((known for known in self._seconds if known <= length), default=0)
        return self._seconds.get(shorter, 1.0) * float(((length + 1) / (shorter + 1)) ** 0.5)

    def forget(self) -> None:
        """Drop what was measured with guesses: it may have been a bad moment."""
        self._seconds = {length: seconds for length, seconds in self._seconds.items() if length == 0}


class DraftLength:
    """The choice for one sequence."""

    def __init__(self, costs: StepCosts) -> None:
        self._costs = costs
        self._success = FIRST_SUCCESS  # probability that a guess is right when those before it were
        self._steps_without = 0

    def choose(self, most: int) -> int:
        """How many guesses to make, at most `most`."""
        best = max((length for length in LENGTHS if length <= most), key=self._speed, default=0)
        self._steps_without = 0 if best else self._steps_without + 1
        if self._steps_without >= PROBE_STEPS:
            self._steps_without = 0
            self._success = max(self._success, FIRST_SUCCESS)
            self._costs.forget()
        return best

    def learn(self, drafted: int, accepted: int) -> None:
        """So many guesses were made and so many were right."""
        for _ in range(accepted):
            self._success += SUCCESS_SMOOTHING * (1.0 - self._success)
        if accepted < drafted:
            self._success -= SUCCESS_SMOOTHING * self._success

    def _speed(self, length: int) -> float:
        """Expected tokens a second: 1 + p + p² + … for p the chance of success (Leviathan et al. 2023, eq. 1)."""
        p = min(self._success, 0.99)
        return (1 - p ** (length + 1)) / (1 - p) / self._costs.of(length)
