"""What a saved KV state depends on, as text."""

from pathlib import Path

import llama_cpp as lib

from localllm.devices.footprint import KvType
from localllm.engines.llama_cpp import native
from localllm.engines.plan import LoadPlan


def fingerprint(
    model: native.Handle,
    context: native.Handle,
    *,
    slots: int,
    flash_attention: bool,
    kv_type: KvType,
    device: str,
) -> str:
    """All that the layout and meaning of a state depend on, besides the weights.

    The number of slots, the types of K and V and flash attention (V is transposed without) are part of the layout.
    The context per slot is not: a state goes into any context that has room, except that some models turn positions
    by other factors in a context longer than the one they were first trained with (LongRoPE, YaRN). Whatever computes
    it, a state is read and written by the CPU; but what one device rounded, no other goes on with.
    """
    kind = native.architecture(model)
    original = int(native.metadata(model, f"{kind}.rope.scaling.original_context_length") or 0)
    is_stretched = 0 < original < int(lib.llama_n_ctx_seq(context))
    return (
        f"{native.BUILD} {native.COMMIT} {kind} slots={slots} kv={kv_type} "
        f"flash={int(flash_attention)} stretched={int(is_stretched)} on={device}"
    )


def state_key(plan: LoadPlan, layout: str) -> str:
    """RunnerInfo.state_key: the model's bytes, the adapters' files and the layout; "" when the model is unknown."""
    if not plan.identity:
        return ""
    adapters = [f"{name}={_version(path)}" for name, path in sorted(plan.adapters.items())]
    return " ".join([plan.identity, layout, *adapters])


def _version(path: str) -> str:
    """Tells an adapter's file from what was there before. Its KV says nothing of the bytes that made it."""
    status = Path(path).stat()
    return f"{status.st_size}-{status.st_mtime_ns}"
