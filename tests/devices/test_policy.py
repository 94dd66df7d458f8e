"""Which processors a wish means, and what is said where there are none."""

import pytest

from localllm.devices.policy import Absence, Selection, select
from localllm.devices.processor import Processor, ProcessorKind
from localllm.errors import ConfigError, EngineUnavailable

CPU = Processor(name="CPU", kind="cpu")
GPUS = (
    Processor(name="CUDA0", kind="gpu", description="NVIDIA L4"),
    Processor(name="CUDA1", kind="gpu", description="NVIDIA T4"),
)
SHARING = (Processor(name="Vulkan0", kind="igpu"), Processor(name="Vulkan1", kind="igpu"))
NPU = Processor(name="NPU", kind="npu")
ABSENCES: dict[ProcessorKind, Absence] = {"gpu": Absence(reason="no GPU build", remedy="install one")}


def choose(wish: str, *processors: Processor) -> Selection:
    return select(wish, processors, engine="llama.cpp", absences=ABSENCES)


def names(selection: Selection) -> list[str]:
    return [processor.name for processor in selection.processors]


@pytest.mark.parametrize(
    ("wish", "there", "chosen"),
    [
        ("auto", (CPU,), ["CPU"]),
        ("auto", (CPU, *GPUS), ["CUDA0", "CUDA1"]),
        ("auto", (CPU, *SHARING), ["Vulkan0"]),
        ("auto", (*SHARING, CPU, *GPUS), ["CUDA0", "CUDA1"]),
        ("auto", (CPU, NPU), ["CPU"]),
        ("cpu", (CPU, *GPUS), ["CPU"]),
        ("gpu", (CPU, *SHARING, *GPUS), ["CUDA0", "CUDA1"]),
        ("gpu", (CPU, *SHARING), ["Vulkan0"]),
        ("npu", (CPU, NPU), ["NPU"]),
        ("cuda1", (CPU, *GPUS), ["CUDA1"]),
        ("Vulkan1", (CPU, *SHARING), ["Vulkan1"]),
    ],
)
def test_what_a_wish_means(wish: str, there: tuple[Processor, ...], chosen: list[str]) -> None:
    selection = choose(wish, *there)
    assert names(selection) == chosen
    assert selection.is_wished == (wish != "auto")
    assert selection.is_cpu == (chosen == ["CPU"])
    assert chosen[0].lower() in selection.reason.lower()


def test_why_it_is_the_cpu() -> None:
    assert choose("auto", CPU).reason == "CPU: no GPU build; install one"
    assert choose("cpu", CPU).reason == "CPU: as asked"


@pytest.mark.parametrize(
    ("wish", "error", "words"),
    [
        ("gpu", EngineUnavailable, "device gpu: no GPU build; install one"),
        ("npu", EngineUnavailable, "device npu: llama.cpp finds no NPU here"),
        ("CUDA7", ConfigError, "llama.cpp has no 'CUDA7' here; there is CPU"),
        ("", ConfigError, "there is CPU"),
    ],
)
def test_what_is_not_here_is_no_reason_to_take_another(wish: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        choose(wish, CPU)
