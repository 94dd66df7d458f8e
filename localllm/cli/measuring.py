"""Measuring engines on one model, each in a worker of its own, one after the other; what is found is remembered."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from localllm.cli.candidates import Candidate
from localllm.cli.talk import say, stage_bar, warn
from localllm.config import Settings
from localllm.devices.contention import TOLERATED_CORES, CoreMeter
from localllm.errors import EngineUnavailable, LoadFailed, LoadKilled, LocalLLMError, NoRoom
from localllm.models.local import LocalModel
from localllm.runtime.local import LocalService
from localllm.runtime.measurements import (
    Measured,
    MeasurementFile,
    Subject,
    failed_now,
    identity_of,
    machine_name,
    measured_now,
)
from localllm.types import ModelDefaults

if TYPE_CHECKING:
    from localllm.bench.workloads import Speeds

CONTEXT_TOKENS = 1024  # enough for the longest prompt of a measurement
STREAMS = 16
_LOOK_SECONDS = 0.25  # at what other programs do

ServiceMaker = Callable[[LocalModel, Settings], LocalService]  # a service over this model alone, by these settings
Report = Callable[[str, float], None]


class Outcome(Struct, frozen=True, kw_only=True):
    """What became of measuring an engine: figures, or the error. `speeds` only where it was measured just now."""

    engine: str
    measured: Measured
    speeds: "Speeds | None" = None
    error: LocalLLMError | None = None


class EngineMeter:
    """Measures engines on one model with these settings, and remembers."""

    def __init__(self, model: LocalModel, settings: Settings, make_service: ServiceMaker) -> None:
        self._model = model
        self._settings = settings
        self._make_service = make_service
        self._figures = MeasurementFile(settings.home_path, warn)
        self._is_warned = False

    def recall(self, candidate: Candidate) -> Measured | None:
        """What was found before."""
        return self._figures.recall(self._subject(candidate))

    def fail(self, candidate: Candidate, fault: str) -> Measured:
        """Remember that an engine cannot be used, and why."""
        failed = failed_now(self._subject(candidate), self._model.id, fault)
        self._figures.remember(failed)
        return failed

    def measure(self, candidates: Sequence[Candidate], *, again: bool) -> list[Outcome]:
        """Measure each, with a progress bar; not what another process has measured meanwhile, unless `again`.

        An engine that fails is an outcome. Ctrl-C keeps what was found before it. No event loop may run already.
        """
        outcomes: list[Outcome] = []
        with self._figures.measuring(_waiting_line()), stage_bar() as report:
            for candidate in candidates:
                known = None if again else self.recall(candidate)
                if known is not None:
                    outcomes.append(Outcome(engine=candidate.engine, measured=known))
                    continue
                outcome = self._measured(candidate, report)
                outcomes.append(outcome)
                if not isinstance(outcome.error, NoRoom):  # there may be room tomorrow
                    self._figures.remember(outcome.measured)
        return outcomes

    def _is_busy(self) -> bool:
        """Whether other programs take more than a little; says so once."""
        meter = CoreMeter()
        time.sleep(_LOOK_SECONDS)
        taken = meter.others()
        if taken > TOLERATED_CORES and not self._is_warned:
            self._is_warned = True
            warn(
                f"other programs take {taken:.1f} of {meter.cores} processors, so the figures may mislead and are "
                "remembered for a day; measure again when they are done: localllm bench --engine auto"
            )
        return taken > TOLERATED_CORES

    def _measured(self, candidate: Candidate, report: Report) -> Outcome:
        engine, subject, name = candidate.engine, self._subject(candidate), self._model.id
        title = f"Measuring {engine} with {name}"
        report(title, 0.0)
        is_busy = self._is_busy()
        try:
            speeds = self._speeds(engine, lambda _stage, share: report(title, share))
        except LocalLLMError as error:
            return Outcome(engine=engine, measured=failed_now(subject, name, error.message), error=error)
        measured = measured_now(
            subject,
            name,
            speeds.rates,
            streams=speeds.streams,
            device=speeds.engine.device,
            is_doubtful=is_busy,
        )
        return Outcome(engine=engine, measured=measured, speeds=speeds)

    def _speeds(self, engine: str, on_progress: Report) -> "Speeds":
        """In a small context with many streams; with as much of both as there would be, where that does not load."""
        # the model's defaults are left out: they may name sampling fields that not every engine has
        model = replace(self._model, engine=engine, defaults=ModelDefaults())
        small = _for_measuring(self._settings, engine)
        try:
            return asyncio.run(_measured_once(self._make_service(model, small), engine, on_progress))
        except LoadKilled:  # it would crash again
            raise
        except (LoadFailed, NoRoom):
            own = replace(small, context=self._settings.context, parallel=self._settings.parallel)
            return asyncio.run(_measured_once(self._make_service(model, own), engine, on_progress))

    def _subject(self, candidate: Candidate) -> Subject:
        """What the figures of an engine are remembered by."""
        return Subject(
            model=identity_of(self._model),
            engine=candidate.engine,
            build=candidate.build,
            device=self._settings.device,
            threads=self._settings.threads,
            setup=_setup(self._settings),
            machine=machine_name(),
        )


async def _measured_once(service: LocalService, engine: str, on_progress: Report) -> "Speeds":
    from localllm.bench.workloads import measure_engine

    try:
        speeds = await measure_engine(service, on_progress=on_progress)
    finally:
        await service.close()
    if speeds.engine.engine != engine:
        raise EngineUnavailable(f"{engine} did not run the model; {speeds.engine.engine} did in its place")
    if not speeds.rates:
        raise EngineUnavailable(f"{engine} got nothing done in {speeds.seconds:.0f} seconds")
    return speeds


def _for_measuring(settings: Settings, engine: str) -> Settings:
    """The engine and the model alone. No guesses: what they gain depends on how much a text repeats itself."""
    return replace(
        settings,
        engine=engine,
        context=min(settings.context or CONTEXT_TOKENS, CONTEXT_TOKENS),
        parallel=settings.parallel or STREAMS,
        max_queue=max(settings.max_queue, STREAMS),
        allow_smaller=False,
        guessing="off",
        draft="",
        lora={},
        cache_bytes=0,
    )


def _setup(settings: Settings) -> str:
    """What else the speed depends on, as far as it was chosen."""
    chosen = {
        "prefer": "" if settings.prefer == "speed" else settings.prefer,
        "kv_type": "" if settings.kv_type == "auto" else settings.kv_type,
        "parallel": str(settings.parallel or ""),
        "flash_attention": "" if settings.flash_attention is None else str(settings.flash_attention),
    } | {f"option {name}": value for name, value in sorted(settings.engine_options.items())}
    return ", ".join(f"{name} {value}" for name, value in chosen.items() if value)


def _waiting_line() -> Callable[[], None]:
    """Says once that another process measures."""
    told: list[bool] = []

    def tell() -> None:
        if not told:
            told.append(True)
            say("Another localllm is measuring on this machine; waiting for it …")

    return tell
