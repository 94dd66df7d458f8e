"""What the scenarios show: a line for each figure, ours beside a peer's."""

import statistics
from collections.abc import Iterable, Sequence

from msgspec import Struct
from rich.table import Table

from localllm.bench.scenario import Goal, Measured


class Row(Struct, frozen=True, kw_only=True):
    """Medians of the rounds in which no request failed, and their ratio; 0 where there were none."""

    goal: Goal
    peer: str
    ours: float
    theirs: float
    round_ratios: list[float]  # of each round in which both did it
    failures: int

    @property
    def ratio(self) -> float:
        """Ours to the peer's; 0 where one of them is missing."""
        return self.ours / self.theirs if self.theirs else 0.0

    @property
    def is_met(self) -> bool | None:
        """Whether the wanted ratio was reached; None where none is wanted."""
        if self.goal.wanted is None:
            return None
        reached = self.ratio <= self.goal.wanted if self.goal.is_lower_better else self.ratio >= self.goal.wanted
        return self.ratio > 0 and reached


def rows_of(results: Sequence[Measured], goals: dict[str, tuple[Goal, ...]]) -> list[Row]:
    """A row for each goal and peer. The first target of a scenario is ours."""
    rows: list[Row] = []
    for scenario, figures in goals.items():
        measured = [result for result in results if result.scenario == scenario]
        ours, *peers = dict.fromkeys(result.target for result in measured) or [""]
        rows += [_row(goal, measured, ours, peer) for goal in figures for peer in peers]
    return rows


class Texts(Struct):
    """Of the texts that two targets gave to the same prompts, how many are the same, and how many there are."""

    same: int = 0
    total: int = 0


def texts_compared(results: Sequence[Measured]) -> dict[str, Texts]:
    """By scenario; of those that have texts."""
    compared: dict[str, Texts] = {}
    first: dict[tuple[str, int], Measured] = {}
    for result in results:
        other = first.setdefault((result.scenario, result.round), result)
        if other is not result and (result.reading.texts or other.reading.texts):
            texts = compared.setdefault(result.scenario, Texts())
            texts.same += sum(a == b for a, b in zip(other.reading.texts, result.reading.texts, strict=False))
            texts.total += max(len(other.reading.texts), len(result.reading.texts))
    return compared


def verdict_table(rows: Iterable[Row], texts: dict[str, Texts]) -> Table:
    """WORK, OURS, PEER, RATIO and what is wanted; ROUNDS has the lowest and highest ratio of a round."""
    table = Table(box=None, pad_edge=False)
    for heading in ("WORK", "OURS", "PEER", "", "RATIO", "ROUNDS", "WANTED", "MET", "FAILED"):
        table.add_column(heading, justify="left" if heading in {"WORK", ""} else "right")
    for row in rows:
        low, high = (min(row.round_ratios), max(row.round_ratios)) if row.round_ratios else (0.0, 0.0)
        table.add_row(
            row.goal.work,
            _value(row.goal, row.ours),
            _value(row.goal, row.theirs),
            row.peer,
            f"{row.ratio:.2f}" if row.ratio else "–",
            f"{low:.2f}–{high:.2f}" if high else "–",
            "" if row.goal.wanted is None else f"{'≤' if row.goal.is_lower_better else '≥'} {row.goal.wanted:.2f}",
            {True: "yes", False: "no", None: ""}[row.is_met],
            str(row.failures or ""),
        )
    for scenario, compared in texts.items():
        met = "yes" if compared.same == compared.total else "no"
        same = f"{compared.same} of {compared.total}"
        table.add_row(f"{scenario}, same texts", same, "", "", "", "", "all", met, "")
    return table


def measured_line(measured: Measured) -> str:
    """One result, for whoever waits for the table."""
    reading = measured.reading
    failed = f"; {len(reading.faults)} failed: {reading.faults[0]}" if reading.faults else ""
    values = ", ".join(
        f"{name} {value:.3f}" if value < 10 else f"{name} {value:.1f}" for name, value in reading.values.items()
    )
    return f"{measured.scenario}, round {measured.round + 1}, {measured.target}: {values}{failed}"


def _row(goal: Goal, measured: Sequence[Measured], ours: str, peer: str) -> Row:
    mine, theirs = _by_round(goal, measured, ours), _by_round(goal, measured, peer)
    return Row(
        goal=goal,
        peer=peer,
        ours=statistics.median(mine.values()) if mine else 0.0,
        theirs=statistics.median(theirs.values()) if theirs else 0.0,
        round_ratios=[mine[number] / theirs[number] for number in mine if number in theirs],
        failures=sum(len(m.reading.faults) for m in measured if m.target in {ours, peer}),
    )


def _by_round(goal: Goal, measured: Sequence[Measured], target: str) -> dict[int, float]:
    return {
        m.round: m.reading.values[goal.value]
        for m in measured
        if m.target == target and not m.reading.faults and m.reading.values.get(goal.value)
    }


def _value(goal: Goal, value: float) -> str:
    if not value:
        return "–"
    return f"{1000 * value:.1f} ms" if goal.value.endswith("_seconds") else f"{value:.1f}/s"
