"""How many of a model's last layers fit the memory of the GPUs, and how they are shared between several.

The rules are llama.cpp's (`llama_model::load_tensors` in src/llama-model.cpp, 0c1e57098): of L repeating layers and the
output, counted as one more, the last `n_gpu_layers` are offloaded, with their KV; the embeddings that tokens are looked
up in never are. Layer i, counted from the first offloaded one, goes to the first device whose cumulated share of the
split is above i / n_gpu_layers, so that a split of whole numbers of layers comes out as it is written.
Nothing of this was tried on a GPU.
"""

from collections.abc import Sequence

from msgspec import Struct

from localllm.devices.fit import KV_SHARE, MAX_AUTO_CONTEXT, MIN_CONTEXT, Fit, fit_kv
from localllm.devices.footprint import (
    UBATCH_TOKENS,
    KvType,
    ModelShape,
    compute_bytes,
    kv_bytes,
    kv_bytes_per_token,
    overhead_bytes,
)
from localllm.devices.processor import Processor

RESERVE_SHARE = 0.1  # of a GPU's memory is left to its driver, to the screen and to other programs,
LEAST_RESERVE_BYTES, MOST_RESERVE_BYTES = 256 * 2**20, 2**30  # within these; llama.cpp's own fitting leaves 1 GiB
GPU_SHARE = 0.9  # of what the weights leave free on GPUs may go to KV unasked
WORTHWHILE_TOKENS = 2048  # of context: before less than that, layers go to the CPU


class Offload(Struct, frozen=True, kw_only=True):
    """Layers on GPUs. `split` counts the layers of each of `devices`; `device_bytes` is what each of them must hold."""

    devices: tuple[str, ...] = ()
    gpu_layers: int = 0  # of the last, the output counted as one
    layers: int  # that there are, likewise
    split: tuple[float, ...] = ()
    context_tokens: int
    jobs: int
    device_bytes: tuple[int, ...] = ()
    host_bytes: int  # of the machine's memory, what GPUs without their own take counted in

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left to the CPU but looking up tokens."""
        return self.gpu_layers == self.layers


class WantedContext(Struct, frozen=True, kw_only=True):
    """What was asked for; what is None is chosen."""

    tokens: int | None = None
    jobs: int | None = None
    kv_type: KvType = "f16"
    flash_attention: bool = True


class _Costs(Struct, frozen=True, kw_only=True):
    """What layers take on a device, in bytes; the output is the last of them."""

    layers: tuple[int, ...]  # weights and KV
    buffers: int  # for computing, on each device
    copies: int  # of weights of the CPU's layers, which a GPU is lent for reading prompts


def offload(shape: ModelShape, gpus: Sequence[Processor], *, available_bytes: int, wanted: WantedContext) -> Offload:
    """Place a model: all of it where it fits with a context worth while, else as many layers as fit.

    `available_bytes` is the machine's free memory. Raises NoRoom or LoadFailed for a context that cannot be had.
    """
    budgets = [_budget_bytes(gpu, available_bytes) for gpu in gpus]
    fit = _fit(shape, gpus, available_bytes, wanted)
    costs = _costs(shape, fit, wanted)
    total = len(costs.layers)
    count, shares = next(
        (count, shares)
        for count in range(total, -1, -1)
        if (shares := _shares(costs, count, budgets)) is not None or not count
    )
    used = [place for place, share in enumerate(shares or ()) if share]
    held = [_held_bytes(costs, count, shares or (), place) for place in used]
    shared = sum(size for size, place in zip(held, used, strict=True) if gpus[place].kind == "igpu")
    return Offload(
        devices=tuple(gpus[place].name for place in used),
        gpu_layers=count,
        layers=total,
        split=tuple(float(share) for share in shares or () if share) if len(used) > 1 else (),
        context_tokens=fit.context_tokens,
        jobs=fit.jobs,
        device_bytes=tuple(held),
        host_bytes=_host_bytes(shape, costs, count) + shared,
    )


def layer_devices(layers: int, gpu_layers: int, split: Sequence[float]) -> list[int | None]:
    """Where llama.cpp puts each of `layers` (the output is the last): the number of a device, None for the CPU."""
    first, count = max(layers - gpu_layers, 0), min(gpu_layers, layers)
    ends = [sum(split[: place + 1]) / sum(split) for place in range(len(split))]
    return [
        None if layer < first else next(place for place, end in enumerate(ends) if end > (layer - first) / count)
        for layer in range(layers)
    ]


def layer_weights(shape: ModelShape) -> tuple[int, ...]:
    """Bytes of the weights of every layer, the output last."""
    output = shape.output_bytes or _estimated_output_bytes(shape)
    if shape.layer_bytes:
        return (*shape.layer_bytes, output)
    rest = max(0, shape.weights_bytes - shape.lookup_bytes - output)
    return (*(rest // max(1, shape.layers) for _ in range(shape.layers)), output)


def _fit(shape: ModelShape, gpus: Sequence[Processor], available_bytes: int, wanted: WantedContext) -> Fit:
    """Context and jobs: of what the GPUs have left, or where the model does not fit them, of all memory together."""
    per_token = kv_bytes_per_token(shape, wanted.kv_type)
    budgets = [_budget_bytes(gpu, available_bytes) for gpu in gpus]
    likely = Fit(context_tokens=wanted.tokens or min(shape.context_tokens, MAX_AUTO_CONTEXT), jobs=1, kv_bytes=0)
    buffers = _costs(shape, likely, wanted).buffers * len(gpus)
    left = sum(budgets) - buffers - sum(layer_weights(shape))
    least = wanted.tokens or max(MIN_CONTEXT, min(shape.context_tokens, WORTHWHILE_TOKENS))
    is_whole = left * GPU_SHARE >= per_token * least * (wanted.jobs or 1)
    if not is_whole:
        own = sum(budget for gpu, budget in zip(gpus, budgets, strict=True) if gpu.kind == "gpu")
        left = available_bytes + own - buffers - shape.weights_bytes - overhead_bytes(shape)
    return fit_kv(
        bytes_per_token=per_token,
        trained_tokens=shape.context_tokens,
        available_bytes=max(0, left),
        context=wanted.tokens,
        jobs=wanted.jobs,
        share=GPU_SHARE if is_whole else KV_SHARE,
    )


def _costs(shape: ModelShape, fit: Fit, wanted: WantedContext) -> _Costs:
    cells = fit.jobs * kv_bytes(shape, context_tokens=fit.context_tokens, kv_type=wanted.kv_type)
    weights = layer_weights(shape)
    heads = [*shape.kv_heads[: shape.layers], *[0] * (len(weights) - min(len(shape.kv_heads), shape.layers))]
    buffers = compute_bytes(
        shape,
        context_tokens=fit.context_tokens,
        flash_attention=wanted.flash_attention,
        rows=UBATCH_TOKENS,
        outputs=UBATCH_TOKENS,
    )
    layers = tuple(size + cells * count // max(1, sum(heads)) for size, count in zip(weights, heads, strict=True))
    return _Costs(layers=layers, buffers=buffers, copies=max(weights))


def _shares(costs: _Costs, count: int, budgets: Sequence[int]) -> tuple[int, ...] | None:
    """How many of the last `count` layers go to each device, each filled to about the same part; None: no way."""
    if _packed(costs, count, budgets, 1.0) is None:
        return None
    low, high = 0.0, 1.0
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (low, middle) if _packed(costs, count, budgets, middle) is not None else (middle, high)
    return _packed(costs, count, budgets, high)


def _packed(costs: _Costs, count: int, budgets: Sequence[int], part: float) -> tuple[int, ...] | None:
    """Layers in order, each device filled up to this part of its budget."""
    left = list(costs.layers[len(costs.layers) - count :])
    fixed = _fixed_bytes(costs, count)
    shares = []
    for budget in budgets:
        room, taken = budget * part - fixed, 0
        while left and left[0] <= room:
            room -= left.pop(0)
            taken += 1
        shares.append(taken)
    return None if left else tuple(shares)


def _fixed_bytes(costs: _Costs, count: int) -> int:
    """What a device holds whatever its layers."""
    return costs.buffers + (costs.copies if count < len(costs.layers) else 0)


def _held_bytes(costs: _Costs, count: int, shares: Sequence[int], place: int) -> int:
    first = len(costs.layers) - count + sum(shares[:place])
    return sum(costs.layers[first : first + shares[place]]) + _fixed_bytes(costs, count)


def _host_bytes(shape: ModelShape, costs: _Costs, count: int) -> int:
    """Of the machine's own memory: the CPU's layers with their KV, the embeddings, buffers and the program."""
    here = len(costs.layers) - count
    weights = layer_weights(shape)
    kv = sum(costs.layers[:here]) - sum(weights[:here])
    rest = shape.weights_bytes - sum(weights[here:])
    if count and not shape.lookup_bytes:
        rest += weights[-1]  # the output's matrix is the embeddings: the GPU has a copy
    return max(0, rest) + kv + costs.buffers + overhead_bytes(shape)


def _budget_bytes(gpu: Processor, available_bytes: int) -> int:
    """What may be taken of a GPU's memory; one without its own has the machine's."""
    free = gpu.free_bytes if gpu.free_bytes is not None else (available_bytes if gpu.kind == "igpu" else 0)
    if gpu.kind == "igpu":
        free = min(free, available_bytes)
    reserve = (gpu.total_bytes or free) * RESERVE_SHARE
    return max(0, int(free - min(MOST_RESERVE_BYTES, max(LEAST_RESERVE_BYTES, reserve))))


def _estimated_output_bytes(shape: ModelShape) -> int:
    values = shape.vocabulary * shape.embedding_width
    return int(shape.weights_bytes * min(1.0, values / shape.parameters)) if shape.parameters else 0
