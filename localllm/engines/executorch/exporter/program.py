"""The way from a model to the bytes of a program."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import BuiltinFunctionType, FunctionType
from typing import TYPE_CHECKING

from localllm.engines.executorch.exporter.ends import Ends
from localllm.engines.executorch.exporter.model import call_tokens
from localllm.engines.executorch.exporter.shape import Shape
from localllm.models.files import disk_errors, move_durably

if TYPE_CHECKING:
    from executorch.extension.llm.export.builder import LLMEdgeManager
    from torch import nn
    from torch.fx import Node

_SUBGRAPH = "lowered_module_"  # how ExecuTorch names what a back end took
_CALL = "executorch_call_delegate"


def manager_of(
    model: "nn.Module", shape: Shape, ends: Ends, context_tokens: int, *, is_dynamic: bool = True
) -> "LLMEdgeManager":
    """ExecuTorch's builder of programs. The method `forward` takes tokens [1, n] int64, of which the first has the
    position [1] int64, and gives the logits [1, vocabulary] float32 of the last one. n is 1 unless it is dynamic."""
    import torch
    from executorch.extension.llm.export.builder import DType, LLMEdgeManager

    return LLMEdgeManager(
        model=model,
        modelname="model",
        max_seq_len=call_tokens(context_tokens) if is_dynamic else 1,
        use_kv_cache=True,
        example_inputs=(torch.tensor([[2, 3, 4] if is_dynamic else [2]]), {"input_pos": torch.tensor([0])}),
        dtype=DType.fp32,
        enable_dynamic_shape=is_dynamic,
        metadata=_metadata(shape, ends, context_tokens, is_dynamic=is_dynamic),
    )


def write_program(manager: "LLMEdgeManager", target: Path) -> int:
    """Write the program, durably, whole or not at all; returns its bytes. Raises NoRoom, ModelError."""
    part = target.with_name(f"{target.name}.part")
    with disk_errors(f"write {target}"):
        try:
            with open(part, "wb") as file:
                manager.export_program.write_to_file(file)
                file.flush()
                os.fsync(file.fileno())
            move_durably(part, target)
        finally:
            with suppress(FileNotFoundError):
                part.unlink()
        return target.stat().st_size


def count_operations(manager: "LLMEdgeManager") -> tuple[int, int]:
    """How many operations of the program back ends run, and how many ExecuTorch's own kernels."""
    module = manager.export_program.exported_program().graph_module
    taken = [getattr(module, node.name) for node in module.graph.nodes if node.name.startswith(_SUBGRAPH)]
    return sum(_operations(part.original_module.graph.nodes) for part in taken), _operations(module.graph.nodes)


def _operations(nodes: "Iterable[Node]") -> int:
    """Those that a kernel runs: plain functions only reserve memory, view it, or take an item."""
    return sum(
        1
        for node in nodes
        if node.op == "call_function"
        and not node.name.startswith(_CALL)
        and not isinstance(node.target, FunctionType | BuiltinFunctionType)
    )


def _metadata(shape: Shape, ends: Ends, context_tokens: int, *, is_dynamic: bool) -> dict[str, object]:
    """Methods that answer a constant, as ExecuTorch's own exporter names them (`_load_llama_model_metadata`)."""
    return {
        "get_max_seq_len": call_tokens(context_tokens) if is_dynamic else 1,
        "get_max_context_len": context_tokens,
        "get_n_layers": shape.layers,
        "get_vocab_size": shape.vocabulary,
        "use_kv_cache": True,
        "use_sdpa_with_kv_cache": True,
        "enable_dynamic_shape": is_dynamic,
        "get_bos_id": ends.begin,
        "get_eos_ids": list(ends.ends),
    }
