"""Engines side by side on one model, which also makes new what is remembered of them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from localllm.cli.candidates import Candidate, build_of, find_field, require_format
from localllm.cli.measuring import EngineMeter, Outcome, ServiceMaker
from localllm.cli.talk import say, warn
from localllm.config import Settings
from localllm.devices.choice import WORKLOADS, Choice, choose
from localllm.errors import LocalLLMError
from localllm.models.local import LocalModel
from localllm.types import Workload

if TYPE_CHECKING:
    from localllm.bench.workloads import Speeds

AUTO = "auto"  # all engines that could be taken


class Fault(Struct, frozen=True, kw_only=True):
    """An engine that could not be measured."""

    engine: str
    reason: str


class Comparison(Struct, frozen=True, kw_only=True):
    """Engines on one model, and the one to take for each kind of work."""

    model: str
    engines: tuple["Speeds", ...]
    faults: tuple[Fault, ...]
    choices: dict[Workload, Choice]

    @property
    def lines(self) -> list[str]:
        """The choices, one for each kind of work."""
        return [f"{workload}: {choice.reason}" for workload, choice in self.choices.items()]


def compare_engines(
    model: LocalModel, names: Sequence[str], settings: Settings, make_service: ServiceMaker
) -> tuple[Comparison, list[LocalLLMError]]:
    """Measure these engines, or those that could be taken; with them, the errors of those that were named.

    Raises InvalidRequest, EngineUnavailable for one that cannot run such a model at all.
    """
    is_auto = AUTO in names
    candidates = _able(model, settings) if is_auto else _named(model, names)
    outcomes = EngineMeter(model, settings, make_service).measure(candidates, again=True)
    speeds = [outcome.speeds for outcome in outcomes if outcome.speeds is not None]
    for found in speeds:
        if found.left_out:
            warn(f"{found.engine.engine}: there was no time for {'; '.join(found.left_out)}")
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    if is_auto and speeds:
        for error in errors:
            warn(error.message)
        errors = []
    return _comparison(model, outcomes, speeds), errors


def _comparison(model: LocalModel, outcomes: Sequence[Outcome], speeds: Sequence["Speeds"]) -> Comparison:
    rates = {found.engine.engine: found.rates for found in speeds}
    return Comparison(
        model=model.id,
        engines=tuple(speeds),
        faults=tuple(
            Fault(engine=outcome.engine, reason=outcome.error.message)
            for outcome in outcomes
            if outcome.error is not None
        ),
        choices={work: choose(rates, work, model.engine) for work in WORKLOADS} if len(rates) > 1 else {},
    )


def _able(model: LocalModel, settings: Settings) -> tuple[Candidate, ...]:
    field = find_field(model, settings)
    for sentence in field.left_out:
        say(f"{sentence}.")
    return field.candidates


def _named(model: LocalModel, names: Sequence[str]) -> list[Candidate]:
    engines = list(dict.fromkeys(names))
    for engine in engines:
        require_format(model, engine)
    return [Candidate(engine=engine, build=build_of(engine)) for engine in engines]
