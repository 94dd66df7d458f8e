"""XNNPACK: CPUs of every kind, with nothing to install."""

from typing import TYPE_CHECKING

from localllm.engines.executorch.exporter.delegates.own_attention import use_own_attention
from localllm.engines.executorch.exporter.rounding import round_embedding, round_linears
from localllm.engines.executorch.exporter.schemes import Scheme

if TYPE_CHECKING:
    from executorch.extension.llm.export.builder import LLMEdgeManager
    from torch import nn


class Xnnpack:
    """Matrix products and what stands between them by XNNPACK, attention by ExecuTorch's own kernel."""

    name = "xnnpack"
    words = "any CPU"
    schemes: tuple[str, ...] = ("8da4w", "8da8w", "fp32")
    is_dynamic = True
    warning = ""

    def missing(self) -> str:
        """Nothing: it comes with ExecuTorch."""
        return ""

    def prepare(self, model: "nn.Module") -> "nn.Module":
        """Take the attention and KV cache that are written for CPUs."""
        return use_own_attention(model)

    def quantize(self, model: "nn.Module", scheme: Scheme) -> "nn.Module":
        """Round the embedding and the matrices, in place."""
        return round_linears(round_embedding(model, scheme), scheme)

    def lower(self, manager: "LLMEdgeManager") -> "LLMEdgeManager":
        """Hand over products with rounded weights first, each as a part of its own, then all that is left.

        This way through LLMEdgeManager, which exports twice and removes transposes in between, makes a program
        that answers half as fast again as what `to_edge_transform_and_lower` alone makes (docs/executorch.md).
        """
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import (
            XnnpackDynamicallyQuantizedPartitioner,
            XnnpackPartitioner,
        )

        manager.to_edge_transform_and_lower([XnnpackDynamicallyQuantizedPartitioner(), XnnpackPartitioner()])
        return manager.to_executorch(passes=[])
