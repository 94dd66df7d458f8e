"""Loading with less: the ladder of `devices/ladder.py` in load plans of one model, or of a smaller one in its place."""

from collections.abc import Callable, Sequence

import msgspec

from localllm.devices.ladder import Attempt, given_up, next_rung
from localllm.devices.policy import AUTO
from localllm.engines.plan import LoadPlan, Placement
from localllm.errors import LocalLLMError
from localllm.models.local import LocalModel
from localllm.runtime.planning.processors import LLAMA
from localllm.runtime.planning.wishes import ModelPlan, Wishes
from localllm.runtime.served import Rung

Replan = Callable[[LocalModel], tuple[LoadPlan, ModelPlan]]  # how another model is loaded here


class FallbackLadder:
    """Goes down from one plan, a rung at a call; see `Ladder`."""

    def __init__(
        self, model: LocalModel, plan: ModelPlan, wishes: Wishes, smaller: Sequence[LocalModel], replan: Replan
    ) -> None:
        """`smaller` are the models that may take its place, in the order to try them."""
        self._attempt = _attempt(model, plan, wishes, smaller)
        self._wishes = wishes
        self._smaller = {other.id: other for other in smaller}
        self._replan = replan
        self._tried: list[Attempt] = []

    def __call__(self, tried: LoadPlan, error: LocalLLMError) -> Rung:
        """What to try next. Raises the error, with all that was tried before, where nothing is left that may help."""
        rung = next_rung(self._attempt, error)
        if rung is None:
            raise given_up(self._tried, error) from error
        self._tried.append(rung)
        if rung.step == "model":
            other = self._smaller[rung.model]
            load, plan = self._replan(other)
            afresh = _attempt(other, plan, self._wishes, [self._smaller[name] for name in rung.smaller])
            self._attempt = msgspec.structs.replace(afresh, step=rung.step, sentence=rung.sentence)
            return Rung(plan=load, words=rung.sentence)
        self._attempt = rung
        return Rung(plan=_lowered(tried, rung), words=rung.sentence)


def _attempt(model: LocalModel, plan: ModelPlan, wishes: Wishes, smaller: Sequence[LocalModel]) -> Attempt:
    return Attempt(
        model=model.id,
        devices=() if plan.device == "cpu" else plan.placement.devices,
        gpu_layers=plan.placement.gpu_layers,
        layers=plan.layers,
        is_device_free=wishes.device == AUTO,
        context_tokens=plan.context_tokens,
        is_context_free=wishes.context_tokens is None,
        jobs=plan.jobs,
        are_jobs_free=wishes.jobs is None,
        smaller=tuple(other.id for other in smaller),
    )


def _lowered(load: LoadPlan, rung: Attempt) -> LoadPlan:
    """The same load with what is left."""
    devices = rung.devices
    if not devices and load.engine != LLAMA:
        devices = ("cpu",)  # to those engines, no device is the one that they like best
    split = load.placement.split if devices == load.placement.devices else ()
    return msgspec.structs.replace(
        load,
        placement=Placement(devices=devices, gpu_layers=rung.gpu_layers, split=split),
        context_tokens=rung.context_tokens,
        max_jobs=rung.jobs,
    )
