"""What `scripts/test --quick` leaves out."""

from collections.abc import Iterable

import pytest
from _pytest.mark.structures import ParameterSet


def slow(*values: object) -> ParameterSet:
    """A case that only a whole run has."""
    return pytest.param(*values, marks=pytest.mark.slow)


def mostly_slow(cases: Iterable[object], *quick: object) -> list[object]:
    """All of these cases; those that are not `quick` are slow."""
    return [case if case in quick else slow(case) for case in cases]
