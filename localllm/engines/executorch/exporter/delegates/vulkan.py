"""Vulkan: GPUs of phones, and of other machines with such a driver."""

from typing import TYPE_CHECKING

from localllm.engines.executorch.exporter.delegates.own_attention import use_own_attention
from localllm.engines.executorch.exporter.rounding import round_embedding, round_linears
from localllm.engines.executorch.exporter.schemes import Scheme
from localllm.errors import InvalidRequest

if TYPE_CHECKING:
    from executorch.extension.llm.export.builder import LLMEdgeManager
    from torch import nn

_ROWS = 4  # its kernels take as many rows of a matrix at once, and its exporter breaks off on any other number


class Vulkan:
    """The whole model as one part; only a rounded embedding is looked up by ExecuTorch."""

    name = "vulkan"
    words = "GPUs with a Vulkan driver, on Android above all"
    schemes: tuple[str, ...] = (
        "8da4w-all",
        "fp32",
    )  # it has no kernel for 8-bit weights with activations rounded as they come
    is_dynamic = True
    warning = "ExecuTorch's packages have no Vulkan to run it with: it was not run yet"

    def missing(self) -> str:
        """Nothing: what exports for it comes with ExecuTorch, where nothing that runs it does."""
        return ""

    def prepare(self, model: "nn.Module") -> "nn.Module":
        """Take ExecuTorch's own attention and KV cache, for which the back end has kernels."""
        return use_own_attention(model)

    def quantize(self, model: "nn.Module", scheme: Scheme) -> "nn.Module":
        """Round the embedding and the matrices, in place. Raises InvalidRequest for sizes that it does not take."""
        import torch

        for name, part in model.named_modules():
            if isinstance(part, torch.nn.Linear) and part.out_features % _ROWS:
                raise InvalidRequest(
                    f"vulkan takes matrices with a multiple of {_ROWS} rows; {name} has {part.out_features}",
                    param="delegate",
                )
        return round_linears(round_embedding(model, scheme), scheme)

    def lower(self, manager: "LLMEdgeManager") -> "LLMEdgeManager":
        """As `get_vulkan_partitioner`, with the sizes that the program takes."""
        from executorch.backends.vulkan.partitioner.vulkan_partitioner import VulkanPartitioner

        manager.to_edge_transform_and_lower([VulkanPartitioner({"require_dynamic_shapes": True})])
        return manager.to_executorch(passes=[])
