"""From a model on this disk to one that is served: its engine, its device, and what to do where it does not load."""

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from localllm.cli.extras import require_engine
from localllm.cli.talk import warn
from localllm.config import Settings
from localllm.engines.plan import LoadPlan, Scheduling
from localllm.models.local import LocalModel
from localllm.runtime.planning.fallback import FallbackLadder
from localllm.runtime.planning.plans import plan_of, reports_for
from localllm.runtime.planning.wishes import Machine, ModelPlan, Wishes
from localllm.runtime.probing import probe_engines
from localllm.runtime.served import ServedModel
from localllm.types import Workload

if TYPE_CHECKING:
    from localllm.cli.measuring import ServiceMaker
    from localllm.models.storage.store import Store

AUTO = "auto"


class Placer(Struct, frozen=True, kw_only=True):
    """What all models of a service have in common; `jobs`: how many answers to prepare for where no setting says."""

    settings: Settings
    store: "Store"
    scheduling: Scheduling
    adapters: dict[str, str]
    jobs: int | None
    workload: Workload

    def place(self, model: LocalModel, make_service: "ServiceMaker") -> ServedModel:
        """The model with an engine, a plan and a ladder. Measures engines, if the settings want the fastest.

        Raises InvalidRequest, ConfigError, EngineUnavailable, and ModelError for a file that is no model.
        """
        chosen, why = self._with_engine(model, make_service)
        wishes = self._wishes
        load, plan = self._planned(chosen)
        smaller = self._smaller(chosen) if self.settings.allow_smaller else []
        return ServedModel(
            model,
            load,
            reasons=(*why, *plan.reasons),
            ladder=FallbackLadder(chosen, plan, wishes, smaller, self._planned),
            on_fallback=warn,
        )

    def _with_engine(self, model: LocalModel, make_service: "ServiceMaker") -> tuple[LocalModel, tuple[str, ...]]:
        """The model for the engine that is to run it, and why that one."""
        wanted = self.settings.engine
        if wanted in ("", model.engine):
            return model, ()
        if wanted == AUTO:
            from localllm.cli.choosing import choose_engine

            choice = choose_engine(model, self.settings, self.workload, make_service=make_service)
            return replace(model, engine=choice.engine), (choice.reason, *choice.left_out)
        from localllm.cli.candidates import require_format

        require_engine(wanted, offline=self.settings.offline)
        require_format(model, wanted)
        return replace(model, engine=wanted), (f"{wanted} runs it, as asked",)

    def _smaller(self, model: LocalModel) -> list[LocalModel]:
        from localllm.runtime.planning.smaller import smaller_quants

        return smaller_quants(model, self.store)

    @property
    def _wishes(self) -> Wishes:
        wishes = Wishes.of(self.settings)
        return replace(wishes, jobs=wishes.jobs or self.jobs)

    def _planned(self, model: LocalModel) -> tuple[LoadPlan, ModelPlan]:
        reports = reports_for(model.engine, self.settings.device, probe=probe_engines)
        plan = plan_of(model, self._wishes, Machine.here(), reports)
        load = LoadPlan(
            engine=model.engine,
            path=model.path,
            parts=model.parts,
            beside=model.beside,
            sha256=model.sha256,
            identity=model.identity,
            adapters=self.adapters,
            options=self.settings.engine_options,
            scheduling=self.scheduling,
        )
        return plan.applied_to(load), plan
