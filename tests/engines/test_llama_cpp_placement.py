"""Where llama.cpp puts layers: its own on a CPU, and what it would be told with GPUs, which no test here has."""

import ctypes
from collections.abc import Callable
from pathlib import Path

import llama_cpp as lib
import pytest

from localllm.engines.llama_cpp import placement as module
from localllm.engines.llama_cpp.ggml import FunctionMissing, Functions
from localllm.engines.llama_cpp.placement import LayerPlacement, flash_attention_of
from localllm.engines.plan import LoadPlan, Placement
from localllm.engines.registry import load_runner
from localllm.errors import ConfigError, EngineUnavailable, NoRoom
from localllm.models.gguf.facts import facts_of
from localllm.models.gguf.header import read_header
from tests.tiny import LAYERS, WIDTH, write_tiny_model

DEVICES = {"CPU": 0, "CUDA0": 1, "BLAS": 3, "Vulkan1": 2}  # ggml_backend_dev_type by name
OUTPUT_BYTES = 259 * WIDTH * 4 + WIDTH * 4  # the matrix and its norm, in F32


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    names = list(DEVICES)
    functions: dict[str, Callable[..., object]] = {
        "ggml_backend_dev_count": lambda: len(names),
        "ggml_backend_dev_get": lambda place: 1000 + place,
        "ggml_backend_dev_name": lambda handle: names[handle - 1000].encode(),
        "ggml_backend_dev_type": lambda handle: DEVICES[names[handle - 1000]],
    }
    monkeypatch.setattr(module, "bind_functions", lambda _signatures: functions)


def placed(path: Path, **fields: object) -> LayerPlacement:
    headers = [read_header(path)]
    return LayerPlacement(Placement(**fields), headers, facts_of(headers))  # type: ignore[arg-type]


def params(placement: LayerPlacement) -> lib.llama_model_params:
    made = lib.llama_model_default_params()
    placement.apply(made)
    return made


def handles(made: lib.llama_model_params) -> list[int | None]:
    """The array up to its end."""
    array = ctypes.cast(made.devices, ctypes.POINTER(ctypes.c_void_p))
    found: list[int | None] = []
    while not found or found[-1] is not None:
        found.append(array[len(found)])
    return found


def test_the_cpu_is_an_empty_list_of_devices(tiny_model: Path) -> None:
    """Not a missing one, which means every GPU that there is."""
    placement = placed(tiny_model)
    made = params(placement)
    assert (handles(made), made.n_gpu_layers) == ([None], 0)
    assert (placement.words, placement.is_on_cpu) == ("cpu", True)
    assert placement.host_weights_bytes == facts_of([read_header(tiny_model)]).weights_bytes


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize(
    ("devices", "layers", "words", "told"),
    [
        (("CUDA0",), -1, "CUDA0 (all layers)", 3),
        (("CUDA0",), 99, "CUDA0 (all layers)", 3),
        (("Vulkan1",), 2, "Vulkan1 (2 of 3 layers)", 2),
        (("CUDA0", "Vulkan1"), -1, "CUDA0, Vulkan1 (all layers)", 3),
        (("CUDA0",), 0, "cpu", 0),
    ],
)
def test_what_the_library_is_told(
    tiny_model: Path, devices: tuple[str, ...], layers: int, words: str, told: int
) -> None:
    placement = placed(tiny_model, devices=devices, gpu_layers=layers)
    made = params(placement)
    numbers = {"CUDA0": 1001, "Vulkan1": 1003}
    assert handles(made) == [*(numbers[name] for name in devices if told), None]
    assert (made.n_gpu_layers, made.split_mode, placement.words) == (told, lib.LLAMA_SPLIT_MODE_LAYER, words)


@pytest.mark.usefixtures("gpus")
def test_shares_of_layers(tiny_model: Path) -> None:
    placement = placed(tiny_model, devices=("CUDA0", "Vulkan1"), gpu_layers=-1, split=(1.0, 2.0))
    assert list(params(placement).tensor_split[:3]) == [1.0, 2.0, 0.0]
    assert not params(placed(tiny_model, devices=("CUDA0", "Vulkan1"), gpu_layers=-1)).tensor_split
    with pytest.raises(ConfigError, match="2 shares of layers do not go with 1 devices"):
        placed(tiny_model, devices=("CUDA0",), gpu_layers=-1, split=(1.0, 2.0))


@pytest.mark.usefixtures("gpus")
def test_what_is_offloaded_takes_no_memory_here(tiny_model: Path) -> None:
    whole = facts_of([read_header(tiny_model)]).weights_bytes
    embeddings = 259 * WIDTH * 4
    layer = (whole - embeddings - OUTPUT_BYTES) // LAYERS
    stays = [placed(tiny_model, devices=("CUDA0",), gpu_layers=count).host_weights_bytes for count in range(LAYERS + 2)]
    assert stays == [whole, whole - OUTPUT_BYTES, whole - OUTPUT_BYTES - layer, embeddings]


@pytest.mark.usefixtures("gpus")
def test_kv_of_offloaded_layers_is_not_counted_here(tiny_model: Path) -> None:
    plan = LoadPlan(engine="llama_cpp", path="", context_tokens=1024, max_jobs=4)
    kv_bytes = LAYERS * 2 * 2 * 16 * 2 * 1024 * 4
    assert placed(tiny_model, devices=("CUDA0",), gpu_layers=-1).fit(plan, 0, 1024).jobs == 4
    assert placed(tiny_model, devices=("CUDA0",), gpu_layers=2).fit(plan, kv_bytes // 2, 1024).jobs == 4
    with pytest.raises(NoRoom, match=r"524 kB are free|lower --context"):
        placed(tiny_model, devices=("CUDA0",), gpu_layers=2).fit(plan, kv_bytes // 2 - 1, 1024)


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize("name", ["CUDA1", "CPU", "BLAS"])
def test_a_device_that_is_no_gpu_here_is_named(tiny_model: Path, name: str) -> None:
    with pytest.raises(EngineUnavailable, match=f"no device '{name}' here; there is CUDA0, Vulkan1"):
        placed(tiny_model, devices=(name,), gpu_layers=-1)


def test_this_build_has_no_gpu(tiny_model: Path) -> None:
    plan = LoadPlan(engine="llama_cpp", path=str(tiny_model), placement=Placement(devices=("CUDA0",), gpu_layers=-1))
    with pytest.raises(EngineUnavailable, match=r"no device 'CUDA0' here; .*see: localllm devices"):
        load_runner(plan, lambda _: None)


def test_a_build_that_tells_of_no_devices(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_signatures: object) -> Functions:
        raise FunctionMissing("ggml_backend_dev_count is missing")

    monkeypatch.setattr(module, "bind_functions", missing)
    assert placed(tiny_model).is_on_cpu
    with pytest.raises(EngineUnavailable, match="does not tell of its devices: ggml_backend_dev_count"):
        placed(tiny_model, devices=("CUDA0",), gpu_layers=-1)


@pytest.mark.parametrize(
    ("asked", "jobs", "is_on_cpu", "is_on"),
    [
        ({}, 1, True, False),
        ({}, 4, True, True),
        ({}, 1, False, True),
        ({"flash_attention": False}, 4, False, False),
        ({"kv_type": "q8_0"}, 1, True, True),
    ],
)
def test_flash_attention(asked: dict[str, object], jobs: int, is_on_cpu: bool, is_on: bool) -> None:
    plan = LoadPlan(engine="llama_cpp", path="", **asked)  # type: ignore[arg-type]
    assert flash_attention_of(plan, jobs, is_on_cpu=is_on_cpu) is is_on


def test_it_says_that_it_runs_on_the_cpu(tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path / "t.gguf")
    loaded = load_runner(LoadPlan(engine="llama_cpp", path=str(path), max_jobs=1), lambda _: None)
    assert (loaded.info.device, loaded.info.exact_tokens) == ("cpu", 0)
    loaded.close()
