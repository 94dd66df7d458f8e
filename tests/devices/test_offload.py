"""Layers on GPUs: as many as fit, shared as llama.cpp shares them, and counted once."""

import msgspec
import pytest

from localllm.devices.footprint import ModelShape, kv_bytes, overhead_bytes
from localllm.devices.offload import (
    LEAST_RESERVE_BYTES,
    MOST_RESERVE_BYTES,
    Offload,
    WantedContext,
    layer_devices,
    layer_weights,
    offload,
)
from localllm.devices.processor import Processor, ProcessorKind
from localllm.errors import LoadFailed, NoRoom
from tests.devices.shapes import EIGHT_BILLION

GIB = 2**30
RAM = 32 * GIB
LAYERS = EIGHT_BILLION.layers + 1
OUTPUT = 318_000_000  # of 128,256 tokens and 4096 values, in 4.85 bits


def gpu(gib: float, name: str = "CUDA0", kind: ProcessorKind = "gpu") -> Processor:
    return Processor(name=name, kind=kind, free_bytes=int(gib * GIB), total_bytes=int(gib * GIB))


def place(
    *gpus: Processor,
    shape: ModelShape = EIGHT_BILLION,
    ram: float = RAM,
    context: int | None = 4096,
    jobs: int | None = 1,
    **fields: object,
) -> Offload:
    wanted = WantedContext(tokens=context, jobs=jobs, **fields)  # type: ignore[arg-type]
    return offload(shape, gpus, available_bytes=int(ram), wanted=wanted)


def test_a_model_that_fits_goes_there_whole() -> None:
    placed = place(gpu(24))
    assert (placed.devices, placed.gpu_layers, placed.layers, placed.is_whole) == (("CUDA0",), LAYERS, LAYERS, True)
    assert placed.split == ()
    (held,) = placed.device_bytes
    moved = sum(layer_weights(EIGHT_BILLION)) + kv_bytes(EIGHT_BILLION, context_tokens=4096)
    assert moved < held < moved + GIB  # the buffers too
    assert placed.host_bytes < 2 * GIB


@pytest.mark.parametrize("gib", [1.5, 2, 3, 4, 5, 5.5])
def test_what_does_not_fit_stays_with_the_cpu(gib: float) -> None:
    placed = place(gpu(gib))
    assert 0 < placed.gpu_layers < LAYERS
    reserve = max(LEAST_RESERVE_BYTES, gib * GIB * 0.1)
    assert placed.device_bytes[0] <= gib * GIB - reserve
    whole = place(gpu(24))
    assert placed.host_bytes > whole.host_bytes


def test_more_memory_never_takes_fewer_layers() -> None:
    counts = [place(gpu(quarters / 4)).gpu_layers for quarters in range(1, 40)]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (0, LAYERS)


def test_nothing_fits_a_small_one() -> None:
    placed = place(gpu(0.5))
    assert (placed.devices, placed.gpu_layers, placed.split, placed.device_bytes) == ((), 0, (), ())
    assert placed.host_bytes > EIGHT_BILLION.weights_bytes + overhead_bytes(EIGHT_BILLION)


def test_a_longer_context_leaves_room_for_fewer_layers() -> None:
    assert place(gpu(5), context=32_768).gpu_layers < place(gpu(5), context=1024).gpu_layers
    small = place(gpu(5), context=32_768, kv_type="q8_0")
    assert place(gpu(5), context=32_768).gpu_layers < small.gpu_layers


def test_the_output_goes_first() -> None:
    lopsided = msgspec.structs.replace(
        EIGHT_BILLION, layer_bytes=(100,) * 30 + (GIB, GIB), output_bytes=OUTPUT, weights_bytes=2 * GIB + OUTPUT
    )
    assert layer_weights(lopsided)[-2:] == (GIB, OUTPUT)
    assert place(gpu(2.3), shape=lopsided, context=256).gpu_layers == 1  # the layer before it does not fit


def test_several_share_by_what_they_have_free() -> None:
    placed = place(gpu(4), gpu(4, "CUDA1"))
    assert placed.is_whole
    first, second = placed.split
    assert first + second == LAYERS
    assert abs(first - second) <= 3  # the output is as large as two layers
    uneven = place(gpu(12), gpu(4, "CUDA1"))
    assert uneven.split[0] > 2 * uneven.split[1] > 0
    assert all(size < part * GIB for size, part in zip(uneven.device_bytes, (12, 4), strict=True))


def test_together_they_hold_what_neither_does_alone() -> None:
    assert not place(gpu(4)).is_whole
    assert place(gpu(4), gpu(4, "CUDA1")).is_whole


def test_one_that_is_full_gets_nothing() -> None:
    placed = place(gpu(24), gpu(0.1, "CUDA1"))
    assert (placed.devices, placed.split, placed.is_whole) == (("CUDA0",), (), True)


@pytest.mark.parametrize(
    ("layers", "count", "split"), [(33, 33, (20.0, 13.0)), (33, 7, (2.0, 5.0)), (3, 3, (1.0, 2.0))]
)
def test_llama_cpp_reads_a_split_as_it_is_meant(layers: int, count: int, split: tuple[float, ...]) -> None:
    devices = layer_devices(layers, count, split)
    assert devices == [None] * (layers - count) + [0] * int(split[0]) + [1] * int(split[1])


def test_memory_that_is_shared_is_counted_once() -> None:
    shared = place(gpu(32, "Vulkan0", "igpu"), ram=16 * GIB)
    own = place(gpu(24), ram=16 * GIB)
    assert shared.is_whole
    assert shared.host_bytes == own.host_bytes + shared.device_bytes[0]
    with pytest.raises(NoRoom):
        place(gpu(32, "Vulkan0", "igpu"), ram=4 * GIB, context=256)


def test_one_that_does_not_tell_its_memory() -> None:
    silent = Processor(name="GPU", kind="igpu")
    assert place(silent).is_whole
    assert place(Processor(name="GPU", kind="gpu")).gpu_layers == 0


def test_what_was_left_open_is_chosen_from_what_the_gpu_has_left() -> None:
    placed = place(gpu(24), context=None, jobs=None)
    assert (placed.context_tokens, placed.is_whole) == (8192, True)
    assert placed.jobs > 1
    tight = place(gpu(6.5), context=None, jobs=None)
    assert tight.is_whole
    assert 2048 <= tight.context_tokens < 8192
    assert tight.jobs == 1


def test_a_context_that_cannot_be_had() -> None:
    with pytest.raises(NoRoom, match="lower --context"):
        place(gpu(2), ram=6 * GIB, context=131_072)
    with pytest.raises(LoadFailed, match="trained for a context of 131072"):
        place(gpu(24), context=200_000)


def test_an_output_that_is_the_embeddings_is_kept_twice() -> None:
    tied = place(gpu(24))
    untied = place(gpu(24), shape=msgspec.structs.replace(EIGHT_BILLION, lookup_bytes=OUTPUT))
    assert tied.host_bytes == pytest.approx(untied.host_bytes, rel=0.01)
    assert tied.device_bytes[0] - untied.device_bytes[0] == pytest.approx(OUTPUT, rel=0.01)


def test_the_reserve_is_bounded() -> None:
    shape = msgspec.structs.replace(EIGHT_BILLION, weights_bytes=70 * GIB)
    (held,) = place(gpu(80), shape=shape).device_bytes
    assert held <= 80 * GIB - MOST_RESERVE_BYTES
