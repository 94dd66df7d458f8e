"""What to expect of a program of ExecuTorch on this machine, from what it says of itself."""

from msgspec import Struct

from localllm.devices.cpu import available_memory_bytes
from localllm.devices.footprint import Footprint
from localllm.devices.forecast import Forecast
from localllm.engines.executorch.memory import fit_copies
from localllm.errors import ModelError
from localllm.models.pte.header import ProgramFacts
from localllm.units import size_words

ENGINE = "executorch"
CPU_BACKENDS = {"XnnpackBackend"}
# Measured with models of 95 and 120 MB: what a copy of a program takes beside its planned memory, to the size of its
# file (weights are packed anew when it is loaded), and the process around it (Python, torch, ExecuTorch).
PACKED_SHARE = 1.2
PROGRAM_BYTES = 410 * 2**20


class ProgramOutlook(Struct, frozen=True, kw_only=True):
    """A program, and what running it takes. Its speed is not foretold."""

    engine: str
    device: str  # cpu, or the back ends that it was lowered for
    facts: ProgramFacts
    forecast: Forecast


def program_outlook(facts: ProgramFacts, *, context: int | None = None, jobs: int | None = None) -> ProgramOutlook:
    """What to expect, with the context and the answers at once that are wished for. Raises nothing: what cannot be has
    `fits` false and reasons."""
    others = [name for name in facts.backends if name not in CPU_BACKENDS]
    return ProgramOutlook(
        engine=ENGINE,
        device=", ".join(others) or "cpu",
        facts=facts,
        forecast=_forecast(facts, available_memory_bytes(), context, jobs),
    )


def _forecast(facts: ProgramFacts, available_bytes: int, context: int | None, jobs: int | None) -> Forecast:
    refusal = ""
    room_bytes = max(0, available_bytes - PROGRAM_BYTES)
    try:
        copies = fit_copies(
            program_bytes=facts.size_bytes, planned_bytes=facts.planned_bytes, available_bytes=room_bytes, jobs=jobs
        )
    except ModelError as error:
        copies, refusal = jobs or 1, error.message
    need = Footprint(
        weights_bytes=int(PACKED_SHARE * facts.size_bytes) * copies,
        kv_bytes=facts.planned_bytes * copies,
        compute_bytes=0,  # planned with the KV
        overhead_bytes=PROGRAM_BYTES,
    )
    if facts.context_tokens is not None and context is not None and context > facts.context_tokens:
        refusal = f"it was exported for {facts.context_tokens} tokens; use --context {facts.context_tokens} or less"
    elif not refusal and need.total_bytes > available_bytes:
        refusal = (
            f"it takes about {size_words(need.total_bytes)} ({_parts(need)}); {size_words(available_bytes)} are free"
        )
    memory = f"it takes about {size_words(need.total_bytes)} of {size_words(available_bytes)} free: {_parts(need)}"
    return Forecast(
        fits=not refusal,
        context_tokens=context or facts.context_tokens or 0,
        jobs=copies,
        footprint=need,
        reasons=(refusal,) if refusal else (memory, _context_words(facts, context, copies)),
    )


def _context_words(facts: ProgramFacts, context: int | None, copies: int) -> str:
    tokens = context or facts.context_tokens
    if tokens is None:
        return "how many tokens of context it holds is not known before it is loaded"
    if copies == 1:
        return f"{tokens} tokens of context, one answer at a time"
    return f"{tokens} tokens of context for each of {copies} answers at once"


def _parts(need: Footprint) -> str:
    return (
        f"weights {size_words(need.weights_bytes)}, KV and buffers {size_words(need.kv_bytes)}, "
        f"program {size_words(need.overhead_bytes)}"
    )
