"""Where a model is planned to run, by what its engine says of its devices, and what is said of it."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from localllm.engines.back_ends import BackEnd, Device, EngineReport
from localllm.engines.llama_cpp.kind import LlamaCpp
from localllm.engines.plan import LoadPlan, Placement
from localllm.errors import ConfigError, EngineUnavailable
from localllm.models.on_disk import from_path
from localllm.runtime.planning.plans import plan_of, plan_other, plan_program, reports_for
from localllm.runtime.planning.processors import processors_of
from localllm.runtime.planning.wishes import Machine, Wishes
from localllm.runtime.probing import probe_engines

GIB = 2**30
MACHINE = Machine(available_bytes=16 * GIB, cores=4)


def report(engine: str, *rows: BackEnd) -> EngineReport:
    return EngineReport(engine=engine, is_usable=True, back_ends=rows)


def row(name: str, *devices: Device, reason: str = "", remedy: str = "") -> BackEnd:
    return BackEnd(
        name=name, is_registered=True, is_usable=bool(devices), devices=devices, reason=reason, remedy=remedy
    )


OPENVINO = report(
    "openvino",
    row("CPU", Device(name="CPU")),
    row("GPU", Device(name="GPU.0", description="Arc (iGPU)"), Device(name="GPU.1", description="Arc (dGPU)")),
    row("NPU", reason="no driver", remedy="install it"),
)
MLC = report("mlc", row("cuda", Device(name="cuda:0")), row("cpu", Device(name="cpu:0")))


def test_this_machine_runs_a_gguf_on_its_cpu(tiny_model: Path) -> None:
    plan = plan_of(from_path(str(tiny_model)), Wishes(), Machine.here(), probe_engines(("llama_cpp",)))
    assert (plan.device, plan.placement, plan.layers, plan.kv_type) == ("cpu", Placement(), 3, "f16")
    assert (plan.context_tokens, plan.jobs, plan.threads) == (None, None, None)  # chosen as it is loaded
    assert plan.reasons[0].startswith("CPU: ")
    assert "llama-cpp-python" in plan.reasons[0]


@pytest.mark.parametrize(
    ("wish", "error", "words"),
    [
        ("gpu", EngineUnavailable, "without a GPU back end; install a build of llama-cpp-python"),
        ("npu", EngineUnavailable, r"llama.cpp has no NPU .*; OpenVINO has one: pip install"),
        ("CUDA0", ConfigError, "llama.cpp has no 'CUDA0' here; there is cpu"),
    ],
)
def test_a_device_that_is_not_here_is_refused_with_what_would_help(
    tiny_model: Path, wish: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        plan_of(from_path(str(tiny_model)), Wishes(device=wish), MACHINE)


def test_a_missing_driver_is_the_reason() -> None:
    lame = report("openvino", row("CPU", Device(name="CPU")), row("GPU", reason="no driver", remedy="install it"))
    assert plan_other("openvino", Wishes(), lame).reasons == ("CPU: OpenVINO: GPU: no driver; install it",)
    with pytest.raises(EngineUnavailable, match="device gpu: OpenVINO: GPU: no driver; install it"):
        plan_other("openvino", Wishes(device="gpu"), lame)


@pytest.mark.parametrize(
    ("engine", "told", "wish", "devices", "device"),
    [
        ("openvino", OPENVINO, "auto", ("GPU.1",), "GPU.1"),
        ("openvino", OPENVINO, "gpu", ("GPU.1",), "GPU.1"),
        ("openvino", OPENVINO, "gpu.0", ("GPU.0",), "GPU.0"),
        ("openvino", OPENVINO, "cpu", ("CPU",), "cpu"),
        ("openvino", None, "cpu", ("cpu",), "cpu"),
        ("mlc", MLC, "auto", ("cuda:0",), "cuda:0"),
        ("mlc", MLC, "cpu", ("cpu:0",), "cpu"),
        ("echo", None, "auto", (), "cpu"),
    ],
)
def test_engines_that_place_a_model_whole(
    engine: str, told: EngineReport | None, wish: str, devices: tuple[str, ...], device: str
) -> None:
    plan = plan_other(engine, Wishes(device=wish, context_tokens=512, jobs=2, threads=1), told)
    assert (plan.placement.devices, plan.device) == (devices, device)
    assert plan.placement.gpu_layers == (0 if device == "cpu" else -1)
    assert (plan.context_tokens, plan.jobs, plan.threads) == (512, 2, 1)
    assert len(plan.reasons) == 1


def test_an_engine_that_is_not_usable_says_why() -> None:
    broken = EngineReport(engine="mlc", is_usable=False, reason="it is not installed", remedy="pip install x")
    with pytest.raises(EngineUnavailable, match="it is not installed; pip install x"):
        plan_other("mlc", Wishes(), broken)
    with pytest.raises(EngineUnavailable, match="OpenVINO: NPU: no driver; install it"):
        plan_other("openvino", Wishes(device="npu"), OPENVINO)
    with pytest.raises(ConfigError, match="echo has no 'tpu' here"):
        plan_other("echo", Wishes(device="tpu"), None)


@pytest.mark.parametrize(
    ("back_ends", "wish", "device"),
    [
        (("XnnpackBackend",), "auto", "cpu"),
        (("XnnpackBackend",), "cpu", "cpu"),
        (("XnnpackBackend",), "xnnpackbackend", "cpu"),
        (("VulkanBackend", "XnnpackBackend"), "gpu", "VulkanBackend"),
        (("CoreMLBackend",), "npu", "CoreMLBackend"),
        ((), "cpu", "cpu"),
    ],
)
def test_a_program_runs_where_it_was_exported_for(back_ends: Sequence[str], wish: str, device: str) -> None:
    plan = plan_program(back_ends, Wishes(device=wish))
    assert (plan.engine, plan.device, plan.placement) == ("executorch", device, Placement())
    assert plan.reasons == (f"{device}: the program was exported for it",)


def test_a_program_is_moved_nowhere_else() -> None:
    with pytest.raises(ConfigError, match="exported for cpu and cannot compute on 'gpu'; export it again"):
        plan_program(("XnnpackBackend",), Wishes(device="gpu"))


@pytest.mark.parametrize("engine", ["openvino", "mlc", "echo"])
def test_small_kv_is_llama_cpps(engine: str) -> None:
    with pytest.raises(ConfigError, match=r"kv_type q8_0 is llama.cpp's"):
        plan_other(engine, Wishes(kv_type="q8_0"), None)
    with pytest.raises(ConfigError, match="ExecuTorch keeps KV as it does"):
        plan_program((), Wishes(kv_type="q8_0"))


@pytest.mark.parametrize(
    ("engine", "device", "has_library", "asked"),
    [
        ("llama_cpp", "auto", False, False),
        ("llama_cpp", "auto", True, True),
        ("llama_cpp", "CPU", True, False),
        ("openvino", "auto", False, True),
        ("openvino", "cpu", False, False),
        ("mlc", "cuda", False, True),
        ("executorch", "auto", True, False),
        ("echo", "gpu", True, False),
    ],
)
def test_an_engine_is_asked_only_where_that_matters(engine: str, device: str, has_library: bool, asked: bool) -> None:
    calls: list[Sequence[str]] = []

    def probe(names: Sequence[str]) -> list[EngineReport]:
        calls.append(names)
        return [report(engine)]

    found = reports_for(engine, device, probe=probe, has_gpu_library=lambda: has_library)
    assert calls == ([(engine,)] if asked else [])
    assert [told.engine for told in found] == ([engine] if asked else [])


def test_without_libraries_for_a_gpu_nothing_is_started() -> None:
    def probe(_names: Sequence[str]) -> list[EngineReport]:
        raise AssertionError

    assert reports_for("llama_cpp", "auto", probe=probe) == []


def test_what_kind_a_processor_is() -> None:
    told = report(
        "x",
        row("CUDA", Device(name="CUDA0", kind="gpu", memory_free_bytes=5, memory_total_bytes=9)),
        row("MTL", Device(name="MTL0", kind="gpu")),
        row("BLAS", Device(name="BLAS", kind="accelerator")),
        row("CPU", Device(name="CPU", kind="cpu")),
        row("gpu", Device(name="GPU.0", description="Iris Xe (iGPU)"), Device(name="NPU"), Device(name="cuda:1")),
    )
    found = {processor.name: processor for processor in processors_of(told)}
    assert {name: one.kind for name, one in found.items()} == {
        "CUDA0": "gpu",
        "MTL0": "igpu",
        "CPU": "cpu",
        "GPU.0": "igpu",
        "NPU": "npu",
        "cuda:1": "gpu",
    }
    assert (found["CUDA0"].free_bytes, found["CUDA0"].total_bytes) == (5, 9)


def test_llama_cpps_own_report_names_the_cpu() -> None:
    assert [(one.name, one.kind) for one in processors_of(LlamaCpp().report())] == [("CPU", "cpu")]


def test_the_engine_is_told_what_was_planned() -> None:
    plan = plan_other("mlc", Wishes(prefer="quiet", context_tokens=512, threads=3), MLC)
    load = plan.applied_to(LoadPlan(engine="mlc", path="/x", context_tokens=9, options={"a": "b"}))
    assert (load.placement.devices, load.context_tokens, load.max_jobs, load.threads) == (("cuda:0",), 512, None, 3)
    assert (load.prefer, load.options, load.path) == ("quiet", {"a": "b"}, "/x")
    assert plan.reasons[-1].startswith("quiet: fewer threads")
