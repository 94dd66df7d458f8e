"""Which engine to take, by what each was measured to do."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from localllm.types import Workload

DEFAULT_ENGINE = "llama_cpp"  # it honours every sampling field and takes LoRA adapters and a draft model
LEAD = 1.10  # times as fast as the default one must be; two measurements of the same differ by some percent
WORKLOADS: tuple[Workload, ...] = ("chat", "reading", "serving")

Rates = Mapping[Workload, float]  # tokens a second; a kind of work without a figure was not measured

_DOES: dict[Workload, str] = {
    "chat": "gives one answer at a time",
    "reading": "reads prompts",
    "serving": "gives many answers at once",
}
_ASIDE: dict[Workload, str] = {
    "chat": "one answer at a time",
    "reading": "reading prompts",
    "serving": "many answers at once",
}


class Choice(Struct, frozen=True, kw_only=True):
    """An engine, why it is taken, and why others were not considered, a sentence each."""

    engine: str
    reason: str
    left_out: tuple[str, ...] = ()


def choose(rates_by_engine: Mapping[str, Rates], workload: Workload, default: str = DEFAULT_ENGINE) -> Choice:
    """The fastest at this kind of work; the default one unless another leads it by LEAD.

    Without the default among those measured, the fastest; of equals the first. Without any figure, the default.
    """
    found = {engine: rates[workload] for engine, rates in rates_by_engine.items() if workload in rates}
    if not found:
        return Choice(engine=default, reason=f"{default} is taken without measuring: no engine has a figure for it")
    fastest = max(found, key=lambda engine: found[engine])
    if len(found) == 1:
        words = f"{fastest} {_DOES[workload]} at {_number(found[fastest])} tokens a second here"
        return Choice(engine=fastest, reason=f"{words}; no other one has a figure for that")
    if default not in found or found[fastest] >= LEAD * found[default]:
        return Choice(engine=fastest, reason=_comparison(rates_by_engine, fastest, _rival(found, fastest), workload))
    words = _comparison(rates_by_engine, *_leader_first(found, default), workload)
    if found[fastest] > found[default]:
        words += f"; {default} is left only for {LEAD:.2f} times its speed"
    return Choice(engine=default, reason=words)


def _rival(found: Mapping[str, float], engine: str) -> str:
    """The default one where it is there, else the fastest of the others."""
    others = [other for other in found if other != engine]
    return DEFAULT_ENGINE if DEFAULT_ENGINE in others else max(others, key=lambda other: found[other])


def _leader_first(found: Mapping[str, float], default: str) -> tuple[str, str]:
    """The default one and the fastest of the others, in the order of their speed."""
    other = max((engine for engine in found if engine != default), key=lambda engine: found[engine])
    return (other, default) if found[other] > found[default] else (default, other)


def _comparison(rates_by_engine: Mapping[str, Rates], engine: str, other: str, workload: Workload) -> str:
    ours, theirs = rates_by_engine[engine], rates_by_engine[other]
    first, second = ours[workload], theirs[workload]
    words = (
        f"{engine} {_DOES[workload]} {_times(first / second)} as fast as {other} here "
        f"({_number(first)} against {_number(second)} tokens a second)"
    )
    asides = _asides(ours, theirs, [work for work in WORKLOADS if work != workload])
    return f"{words}; {asides}" if asides else words


def _asides(ours: Rates, theirs: Rates, works: Sequence[Workload]) -> str:
    """How the two compare at other kinds of work."""
    phrases: list[str] = []
    for work in works:
        if work in ours and work in theirs:
            middle = " it is" if not phrases else ""
            phrases.append(f"{_ASIDE[work]}{middle} {_times(ours[work] / theirs[work])} as fast")
    return ", ".join(phrases)


def _times(ratio: float) -> str:
    """With a second decimal where the first would hide the difference."""
    return f"{ratio:.2f} times" if 0.895 < ratio < 1.25 else f"{ratio:.1f} times"


def _number(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}"
