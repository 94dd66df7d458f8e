"""llama.cpp's plan: layers, context and the type of KV, for GPUs that no test here has."""

import msgspec
import pytest

from localllm.engines.back_ends import BackEnd, Device, EngineReport
from localllm.engines.plan import Placement
from localllm.errors import ConfigError, NoRoom
from localllm.runtime.planning.gguf import plan_gguf
from localllm.runtime.planning.wishes import Machine, ModelPlan, Wishes
from tests.devices.shapes import EIGHT_BILLION

GIB = 2**30


def gpus(*gib: float) -> EngineReport:
    devices = tuple(
        Device(
            name=f"CUDA{place}",
            kind="gpu",
            description="NVIDIA L4",
            memory_free_bytes=int(size * GIB),
            memory_total_bytes=int(size * GIB),
        )
        for place, size in enumerate(gib)
    )
    rows = (
        BackEnd(name="CUDA", is_registered=True, is_usable=True, devices=devices),
        BackEnd(name="CPU", is_registered=True, is_usable=True, devices=(Device(name="CPU", kind="cpu"),)),
    )
    return EngineReport(engine="llama_cpp", is_usable=True, has_gpu=True, back_ends=rows)


def plan(report: EngineReport | None = None, ram: float = 16, **wishes: object) -> ModelPlan:
    machine = Machine(available_bytes=int(ram * GIB), cores=4)
    return plan_gguf(EIGHT_BILLION, Wishes(**wishes), machine, report)  # type: ignore[arg-type]


def test_all_of_it_on_a_large_gpu() -> None:
    made = plan(gpus(24))
    assert made.placement == Placement(devices=("CUDA0",), gpu_layers=33)
    assert (made.device, made.layers, made.context_tokens, made.kv_type) == ("CUDA0 (all layers)", 33, 8192, "f16")
    assert made.reasons[0].startswith("all 33 layers on CUDA0 (NVIDIA L4): ")
    assert made.reasons[0].endswith(" of 25.8 GB free")
    assert set(made.device_bytes) == {"CUDA0"}
    assert made.jobs
    assert made.jobs > 1


def test_a_part_of_it_on_a_small_one() -> None:
    made = plan(gpus(4))
    layers = made.placement.gpu_layers
    assert 0 < layers < 33
    assert made.device == f"CUDA0 ({layers} of 33 layers)"
    assert f"the other {33 - layers} are computed on the CPU" in made.reasons[1]


def test_shared_between_two() -> None:
    made = plan(gpus(4, 4), context_tokens=4096, jobs=1)
    first, second = made.placement.split
    assert made.placement.devices == ("CUDA0", "CUDA1")
    assert first + second == 33
    assert made.reasons[0].startswith(f"all 33 layers: {first:.0f} on CUDA0 (NVIDIA L4): ")
    assert f"{second:.0f} on CUDA1 (NVIDIA L4): " in made.reasons[0]


def test_named_one_takes_it_alone() -> None:
    assert plan(gpus(24, 24), device="CUDA1").placement.devices == ("CUDA1",)
    assert plan(gpus(24), device="cpu").placement == Placement()


def test_one_that_holds_no_layer_is_left_alone_or_refused() -> None:
    made = plan(gpus(0.5))
    assert (made.device, made.placement) == ("cpu", Placement())
    assert made.reasons[0] == "CPU: CUDA0 has 537 MB free, not enough for a layer of this model with its buffers"
    with pytest.raises(NoRoom, match=r"device gpu: CUDA0 has 537 MB free, .*; use --device cpu"):
        plan(gpus(0.5), device="gpu")


def test_neither_alone_but_both_together() -> None:
    made = plan(gpus(4), ram=4, context_tokens=2048, jobs=1)
    assert 0 < made.placement.gpu_layers < 33


def test_what_fits_nowhere_is_left_to_the_cpu_to_refuse() -> None:
    made = plan(gpus(1.5), ram=2)
    assert (made.device, made.placement) == ("cpu", Placement())
    with pytest.raises(NoRoom, match="device gpu: "):
        plan(gpus(1.5), ram=2, device="gpu")


def test_a_context_that_was_asked_for_is_kept_in_8_bits_where_16_do_not_fit() -> None:
    made = plan(ram=9, context_tokens=32_768, jobs=1)
    assert made.kv_type == "q8_0"
    assert "KV in 8 bits (q8_0), which takes half: in 16 bits it does not fit" in made.reasons[1]
    assert "a third of the speed" in made.reasons[1]
    assert plan(ram=16, context_tokens=32_768, jobs=1).kv_type == "f16"
    assert plan(ram=9).kv_type == "f16"  # nobody asked for so much
    on_gpu = plan(gpus(4), ram=5, context_tokens=32_768, jobs=1)
    assert (on_gpu.kv_type, bool(on_gpu.placement.devices)) == ("q8_0", True)


def test_what_was_asked_for_is_not_changed() -> None:
    assert plan(ram=9, context_tokens=32_768, jobs=1, kv_type="f16").kv_type == "f16"
    assert plan(ram=9, context_tokens=32_768, jobs=1, flash_attention=False).kv_type == "f16"
    asked = plan(kv_type="q8_0")
    assert (asked.kv_type, asked.flash_attention) == ("q8_0", None)
    assert "as asked" in asked.reasons[1]
    with pytest.raises(ConfigError, match="needs flash attention"):
        plan(kv_type="q8_0", flash_attention=False)
    narrow = msgspec.structs.replace(EIGHT_BILLION, key_length=80, value_length=80)
    with pytest.raises(ConfigError, match="needs heads of whole 32 values, this model's have 80 and 80"):
        plan_gguf(narrow, Wishes(kv_type="q8_0"), Machine(available_bytes=GIB, cores=1))


def test_a_model_for_vectors_has_no_context_made_for_it() -> None:
    machine = Machine(available_bytes=16 * GIB, cores=4)
    made = plan_gguf(EIGHT_BILLION, Wishes(), machine, gpus(24), makes_vectors=True)
    assert (made.placement.gpu_layers, made.context_tokens, made.jobs) == (33, None, None)


def test_a_preference_is_told() -> None:
    assert plan(prefer="battery").reasons[-1] == "battery: fewer threads while it runs on battery"
    assert plan(gpus(24), prefer="quiet").prefer == "quiet"
