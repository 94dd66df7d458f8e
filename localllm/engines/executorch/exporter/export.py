"""From GGUF files to a program, stage by stage."""

import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from localllm.devices.cpu import available_memory_bytes
from localllm.engines.executorch.exporter.angles import angles_of
from localllm.engines.executorch.exporter.check import check_order
from localllm.engines.executorch.exporter.delegates.base import Delegate
from localllm.engines.executorch.exporter.delegates.registry import delegate_of
from localllm.engines.executorch.exporter.ends import ends_of
from localllm.engines.executorch.exporter.faults import engine_faults
from localllm.engines.executorch.exporter.layout import ROPE_FACTORS, layout_of
from localllm.engines.executorch.exporter.memory import check_memory
from localllm.engines.executorch.exporter.model import build_model
from localllm.engines.executorch.exporter.order import Export, ExportOrder, OnStage
from localllm.engines.executorch.exporter.program import count_operations, manager_of, write_program
from localllm.engines.executorch.exporter.provenance import shared_provenance
from localllm.engines.executorch.exporter.quiet import quiet
from localllm.engines.executorch.exporter.schemes import Scheme, scheme_of
from localllm.engines.executorch.exporter.shape import Shape, shape_of
from localllm.engines.executorch.exporter.tensors import program_tensors
from localllm.engines.executorch.exporter.weights import StoredWeights, state_of
from localllm.models.gguf.header import GgufHeader, read_header

if TYPE_CHECKING:
    from executorch.extension.llm.export.builder import LLMEdgeManager

# The share of all work that is done when a stage begins: measured with 30 layers of 135 million parameters.
_STAGES = {"reading weights": 0.0, "rounding": 0.01, "tracing": 0.02, "lowering": 0.12, "writing": 0.99}


def export(order: ExportOrder, on_stage: OnStage) -> Export:
    """Write the program `order.target`; nothing is left there where that fails.

    `on_stage` is told what begins; what it prints is not seen. Raises InvalidRequest and LoadFailed for what cannot be
    exported, EngineUnavailable where ExecuTorch or the delegate's libraries are not installed, NoRoom for memory and
    disk, ModelError for the disk, EngineError for what goes wrong in the libraries.
    """
    headers = [read_header(path) for path in order.sources]
    check_order(headers, order)
    scheme, delegate = scheme_of(order.scheme), delegate_of(order.delegate)
    check_memory(headers, scheme, order.context_tokens, available_memory_bytes())
    work = _Work(order, headers, scheme, delegate, on_stage)
    with quiet(), engine_faults(), shared_provenance():
        return work.done()


class _Work:
    """One export."""

    def __init__(
        self,
        order: ExportOrder,
        headers: Sequence[GgufHeader],
        scheme: Scheme,
        delegate: Delegate,
        on_stage: OnStage,
    ) -> None:
        self._order = order
        self._headers = headers
        self._scheme = scheme
        self._delegate = delegate
        self._on_stage = on_stage
        self._seconds: dict[str, float] = {}

    def done(self) -> Export:
        shape = shape_of(self._headers)
        weights = StoredWeights(self._headers, self._order.sources)
        manager = self._manager(shape, weights)
        with self._stage("tracing"):
            manager.export()
            manager.run_canonical_optimizations()
        with self._stage("lowering"):
            manager = self._delegate.lower(manager)
        with self._stage("writing"):
            size_bytes = write_program(manager, self._order.target)
        delegated, undelegated = count_operations(manager)
        return Export(
            size_bytes=size_bytes,
            tensors=program_tensors(self._headers, shape, self._scheme),
            delegated=delegated,
            undelegated=undelegated,
            seconds=self._seconds,
            warnings=(self._delegate.warning,) if self._delegate.warning else (),
        )

    def _manager(self, shape: Shape, weights: StoredWeights) -> "LLMEdgeManager":
        context = self._order.context_tokens
        with self._stage("reading weights"):
            divisors = weights.read(ROPE_FACTORS) if shape.has_rope_factors else None
            state = state_of(weights, layout_of(shape))
            model = build_model(shape, state, angles_of(shape, divisors, context), context)
        with self._stage("rounding"):
            model = self._delegate.quantize(self._delegate.prepare(model), self._scheme)
        ends = ends_of(self._headers[0], self._order.sources[0])
        return manager_of(model, shape, ends, context, is_dynamic=self._delegate.is_dynamic)

    @contextmanager
    def _stage(self, name: str) -> Generator[None, None, None]:
        self._on_stage(name, _STAGES[name])
        begin = time.monotonic()
        yield
        self._seconds[name] = time.monotonic() - begin
