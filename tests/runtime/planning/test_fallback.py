"""Loading with less, with faults at every rung: real workers whose engine fails as it is told."""

from pathlib import Path

import msgspec
import pytest

from localllm.engines.plan import LoadPlan, Placement
from localllm.engines.registry import registered
from localllm.errors import IntegrityError, LoadFailed, LoadKilled, LocalLLMError, ModelNotFound, NoRoom
from localllm.models.local import LocalModel
from localllm.models.on_disk import from_path
from localllm.runtime.planning.fallback import FallbackLadder
from localllm.runtime.planning.plans import plan_of
from localllm.runtime.planning.wishes import Machine, ModelPlan, Wishes
from localllm.runtime.served import ServedModel
from localllm.types import ModelDefaults

pytestmark = pytest.mark.anyio

PLUGIN = Path(__file__).parent.parent.parent / "plugin"
GPU = Placement(devices=("GPU0",), gpu_layers=31)


@pytest.fixture(autouse=True)
def brittle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(PLUGIN))
    registered.cache_clear()


def model(name: str = "m:8bit") -> LocalModel:
    return LocalModel(id=name, engine="brittle", path=name, created=0, size_bytes=0, defaults=ModelDefaults())


def planned(placement: Placement = GPU, **fields: object) -> ModelPlan:
    device = "GPU0 (all layers)" if placement.devices else "cpu"
    return ModelPlan(engine="brittle", device=device, placement=placement, layers=31, **fields)  # type: ignore[arg-type]


def served(
    options: dict[str, str],
    wishes: Wishes = Wishes(),
    *,
    placement: Placement = GPU,
    smaller: tuple[str, ...] = (),
) -> ServedModel:
    """A model whose engine has these limits."""

    def load(one: LocalModel, plan: ModelPlan) -> LoadPlan:
        return plan.applied_to(LoadPlan(engine="brittle", path=one.path, options=options))

    def replan(one: LocalModel) -> tuple[LoadPlan, ModelPlan]:
        plan = planned(placement)
        return load(one, plan), plan

    plan = planned(placement, context_tokens=wishes.context_tokens, jobs=wishes.jobs)
    ladder = FallbackLadder(model(), plan, wishes, [model(name) for name in smaller], replan)
    return ServedModel(model(), load(model(), plan), ladder=ladder)


async def loaded(one: ServedModel) -> tuple[str, ...]:
    """What was given up until it was loaded."""
    try:
        await one.worker()
        return one.info.fallbacks
    finally:
        await one.unload()


def plans_down(
    plan: ModelPlan, load: LoadPlan, wishes: Wishes, error: LocalLLMError, smaller: tuple[str, ...] = ()
) -> tuple[list[LoadPlan], list[str]]:
    """Every plan below one that fails again and again, with the words of each."""

    def replan(one: LocalModel) -> tuple[LoadPlan, ModelPlan]:
        return LoadPlan(engine=load.engine, path=one.path), ModelPlan(engine=load.engine, device="cpu", layers=9)

    ladder = FallbackLadder(model("/big"), plan, wishes, [model(name) for name in smaller], replan)
    plans: list[LoadPlan] = [load]
    words: list[str] = []
    while True:
        try:
            rung = ladder(plans[-1], error)
        except type(error):
            return plans[1:], words
        plans.append(rung.plan)
        words.append(rung.words)


SPLIT = Placement(devices=("CUDA0", "CUDA1"), gpu_layers=9, split=(4.0, 5.0))
BIG = ModelPlan(
    engine="llama_cpp", device="CUDA0, CUDA1 (all layers)", placement=SPLIT, layers=9, context_tokens=2048, jobs=2
)
BIG_LOAD = BIG.applied_to(LoadPlan(engine="llama_cpp", path="/big"))


@pytest.mark.parametrize("error", [NoRoom("full"), LoadKilled("signal 9")])
def test_every_plan_on_the_way(error: LocalLLMError) -> None:
    plans, words = plans_down(BIG, BIG_LOAD, Wishes(), error, smaller=("/small",))
    bottom = [(0, None, None), (0, 1, None), *((0, 1, tokens) for tokens in (4096, 2048, 1024, 512))]
    assert [(plan.path, plan.placement.gpu_layers, plan.max_jobs, plan.context_tokens) for plan in plans] == [
        *(("/big", layers, 2, 2048) for layers in (4, 2, 1)),
        *(("/big", *rest) for rest in bottom),
        *(("/small", *rest) for rest in bottom),
    ]
    assert plans[0].placement.split == (4.0, 5.0)
    assert plans[3].placement == Placement()
    assert all(error.message in sentence for sentence in words)
    assert words[0] == f"CUDA0 and CUDA1 could not hold 9 of 9 layers ({error.message}); trying 4"


def test_wishes_stand() -> None:
    wishes = Wishes(device="gpu", context_tokens=2048, jobs=2)
    plans, _ = plans_down(BIG, BIG_LOAD, wishes, NoRoom("full"))
    assert [plan.placement.gpu_layers for plan in plans] == [4, 2, 1]


def test_other_engines_are_told_of_the_cpu_by_name() -> None:
    whole = ModelPlan(engine="mlc", device="cuda:0", placement=Placement(devices=("cuda:0",), gpu_layers=-1))
    load = whole.applied_to(LoadPlan(engine="mlc", path="/m"))
    plans, words = plans_down(whole, load, Wishes(context_tokens=512, jobs=1), NoRoom("full"))
    assert [(one.placement.devices, one.placement.gpu_layers) for one in plans] == [(("cpu",), 0)]
    assert words == ["cuda:0 could not load it (full); trying the CPU"]


async def test_a_gpu_that_is_not_there_is_the_cpu_in_the_end(tiny_model: Path) -> None:
    """The refusal is llama.cpp's own; only its kind is changed, since here nothing can run out of a GPU's memory."""
    real = from_path(str(tiny_model))
    wanted = Placement(devices=("CUDA0",), gpu_layers=3)
    plan = msgspec.structs.replace(plan_of(real, Wishes(), Machine.here()), device="CUDA0", placement=wanted, layers=3)
    ladder = FallbackLadder(real, plan, Wishes(), [], lambda _: pytest.fail("there is no other model"))
    one = ServedModel(
        real,
        plan.applied_to(LoadPlan(engine="llama_cpp", path=real.path)),
        ladder=lambda tried, error: ladder(tried, NoRoom(error.message)),
    )
    try:
        assert (await one.worker()).info.device == "cpu"
        assert [words.rpartition("; ")[2] for words in one.info.fallbacks] == ["trying 1", "trying the CPU"]
    finally:
        await one.unload()


LAYERS = ["trying 15", "trying 7", "trying 3", "trying 1"]
CONTEXTS = ["trying 4096", "trying 2048", "trying 1024", "trying 512"]


@pytest.mark.parametrize("how", ["room", "refused", "abort", "kill"])
async def test_fewer_layers(how: str) -> None:
    found = await loaded(served({"gpu_layers": "15", "how": how}))
    assert [words.rpartition("; ")[2] for words in found] == LAYERS[:1]
    assert found[0].startswith("GPU0 could not hold 31 of 31 layers (")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["room", "refused", "abort", "kill"])
async def test_then_the_cpu(how: str) -> None:
    found = await loaded(served({"gpu_layers": "0", "how": how}))
    assert [words.rpartition("; ")[2] for words in found] == [*LAYERS, "trying the CPU"]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["room", "kill"])
async def test_then_one_answer_and_less_context(how: str) -> None:
    one = served({"jobs": "1", "tokens": "1024", "how": how}, placement=Placement())
    try:
        worker = await one.worker()
        found = [words.rpartition("; ")[2] for words in one.info.fallbacks]
        assert found == ["trying one", *CONTEXTS[:3]]
        assert (worker.info.context_tokens, worker.info.max_jobs) == (1024, 1)
    finally:
        await one.unload()


@pytest.mark.slow
async def test_then_a_smaller_model_where_one_is_allowed() -> None:
    one = served({"path": "m:2bit"}, placement=Placement(), smaller=("m:4bit", "m:2bit"))
    found = [words.rpartition("; ")[2] for words in await loaded(one)]
    down = ["trying one", *CONTEXTS]
    assert found == [
        *down,
        "m:8bit did not load (no room for it); trying m:4bit".rpartition("; ")[2],
        *down,
        "trying m:2bit",
    ]


async def test_what_was_named_is_never_given_up() -> None:
    wishes = Wishes(device="GPU0", context_tokens=4096, jobs=2)
    one = served({"gpu_layers": "0"}, wishes)
    with pytest.raises(NoRoom, match=r"no room for it; tried before: .*trying 15.*trying 7.*trying 3.*trying 1$"):
        await loaded(one)
    assert [words.rpartition("; ")[2] for words in one.info.fallbacks] == LAYERS


@pytest.mark.slow
async def test_at_the_bottom_the_error_tells_of_all() -> None:
    with pytest.raises(LoadKilled, match=r"signal 9.*tried before: .*trying one.*trying 512$"):
        await loaded(served({"tokens": "0", "how": "kill"}, placement=Placement()))


async def test_a_crash_on_the_cpu_is_no_want_of_room() -> None:
    one = served({"tokens": "0", "how": "abort"}, placement=Placement())
    with pytest.raises(LoadFailed, match=r"signal 6\)$"):
        await loaded(one)
    assert one.info.fallbacks == ()


@pytest.mark.parametrize(
    "error", [ModelNotFound("gone"), IntegrityError("other bytes"), LoadFailed("the header is damaged")]
)
def test_what_less_cannot_cure_is_not_tried(error: LocalLLMError) -> None:
    ladder = FallbackLadder(model(), planned(Placement()), Wishes(), [model("m:4bit")], lambda _: pytest.fail("tried"))
    with pytest.raises(type(error), match=f"^{error.message}$"):
        ladder(LoadPlan(engine="brittle", path=""), error)
