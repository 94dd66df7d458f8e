"""`--engine auto`: the engine that is measured to be the fastest for a model on this machine, for a kind of work."""

from collections.abc import Sequence

from localllm.cli.candidates import Candidate, Field, find_field
from localllm.cli.measuring import EngineMeter, ServiceMaker
from localllm.config import Settings
from localllm.devices.choice import Choice, choose
from localllm.models.local import LocalModel
from localllm.runtime.measurements import Measured
from localllm.types import Workload

_FAULT_CHARS = 240  # of what a process said at its end, enough to know it again


def choose_engine(
    model: LocalModel,
    settings: Settings,
    workload: Workload,
    *,
    make_service: ServiceMaker,
    candidates: Sequence[str] | None = None,
) -> Choice:
    """The engine for `model`, by figures that are remembered, or measured now. Only before an event loop runs.

    `candidates` are names of engines; by default all. Raises InvalidRequest for a name that is none.
    """
    field = find_field(model, settings, candidates)
    meter = EngineMeter(model, settings, make_service)
    known = _known(field, model.engine, meter) if len(field.candidates) > 1 else {}
    faults = {engine: found.fault for engine, found in known.items() if found.fault}
    left_out = (*field.left_out, *(f"{engine} is out: {_short(fault)}" for engine, fault in faults.items()))
    able = [engine for engine in field.engines if engine not in faults]
    if len(able) > 1:
        chosen = choose({engine: known[engine].rates for engine in able}, workload, default=model.engine)
        return Choice(engine=chosen.engine, reason=chosen.reason, left_out=left_out)
    return _unrivalled(able[0] if able else model.engine, left_out, is_able=bool(able))


def _unrivalled(engine: str, left_out: tuple[str, ...], *, is_able: bool) -> Choice:
    """Nothing to compare. Where no engine can run it the usual one is taken, whose load says what is missing."""
    if not is_able:
        reason = f"{engine} is taken, as it is the usual one: no engine here was found to run this model"
    elif left_out:
        reason = f"{engine} is the only engine here that can take this model"
    else:
        reason = f"{engine} is the only engine that runs models of this format"
    return Choice(engine=engine, reason=reason, left_out=left_out)


def _known(field: Field, usual: str, meter: EngineMeter) -> dict[str, Measured]:
    """What each engine was measured to do: remembered, or found now.

    Nothing is measured where no more than one can be used; so the usual one, which mostly can, comes last.
    """
    recalled = {candidate.engine: meter.recall(candidate) for candidate in field.candidates}
    known = {engine: found for engine, found in recalled.items() if found is not None}
    missing = [candidate for candidate in field.candidates if candidate.engine not in known]
    if not missing or _able(field, known) < 2:
        return known
    known |= _unusable(missing, meter)
    missing = [candidate for candidate in missing if candidate.engine not in known]
    rivals = [candidate for candidate in missing if candidate.engine != usual]
    for group in (rivals, [candidate for candidate in missing if candidate.engine == usual]):
        if group and _able(field, known) > 1:
            known |= {outcome.engine: outcome.measured for outcome in meter.measure(group, again=False)}
    return known


def _able(field: Field, known: dict[str, Measured]) -> int:
    """How many are not known to fail."""
    return sum(engine not in known or not known[engine].fault for engine in field.engines)


def _unusable(candidates: Sequence[Candidate], meter: EngineMeter) -> dict[str, Measured]:
    """Those whose devices are not usable here, looked at in processes of their own: a driver that hangs would cost a
    load otherwise."""
    from localllm.runtime.probing import probe_engines

    reports = probe_engines([candidate.engine for candidate in candidates])
    return {
        candidate.engine: meter.fail(candidate, report.reason or "it is not usable here")
        for candidate, report in zip(candidates, reports, strict=True)
        if not report.is_usable
    }


def _short(fault: str) -> str:
    return fault if len(fault) <= _FAULT_CHARS else f"{fault[:_FAULT_CHARS]}…"
