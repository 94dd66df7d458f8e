"""Core ML: the CPU, GPU and Neural Engine of Apple's devices."""

import importlib.util
from typing import TYPE_CHECKING

from localllm.engines.executorch.exporter.delegates.fixed_shape import fix_shape
from localllm.engines.executorch.exporter.rounding import OUTPUT_NAME
from localllm.engines.executorch.exporter.schemes import Scheme
from localllm.errors import EngineError

if TYPE_CHECKING:
    from executorch.exir.backend.partitioner import Partitioner
    from executorch.extension.llm.export.builder import LLMEdgeManager
    from torch import nn

_HALF_BITS = 16
_FITTED = "hqq_scale_only"  # scales that fit the weights of a group, not the largest alone


class CoreMl:
    """Everything but the KV cache, which stays with ExecuTorch: its packages cannot give Core ML a state to keep."""

    name = "coreml"
    words = "iPhones, iPads and Macs from iOS 18 and macOS 15 on"
    schemes: tuple[str, ...] = ("4w", "8w", "fp16")
    is_dynamic = False  # Core ML knows no sizes but those it was compiled for
    warning = "compiled with coremltools, and not run on a device of Apple's yet"

    def missing(self) -> str:
        """Apple's coremltools, which compile for Core ML on Linux as well."""
        if importlib.util.find_spec("coremltools") is None:
            return (
                "exporting for Core ML needs coremltools 9.0, which comes with ExecuTorch on macOS, and on Linux on "
                "x86-64, for Python before 3.14; export there, or pip install coremltools==9.0"
            )
        return ""

    def prepare(self, model: "nn.Module") -> "nn.Module":
        """One token a call, with attention as one operation (iOS 18) and keys put in their place by Core ML's own."""
        from executorch.examples.models.llama.source_transformation.sdpa import (
            replace_kv_cache_with_coreml_kv_cache,
            replace_sdpa_with_coreml_sdpa,
        )

        return replace_kv_cache_with_coreml_kv_cache(replace_sdpa_with_coreml_sdpa(fix_shape(model)))

    def quantize(self, model: "nn.Module", scheme: Scheme) -> "nn.Module":
        """Round the weights of matrices and embedding, in place, as ExecuTorch's recipes for Core ML do."""
        if scheme.linear_bits == _HALF_BITS:
            return model  # Core ML computes in float16 and stores what it computes with
        import torch
        from torchao.quantization import IntxWeightOnlyConfig, quantize_
        from torchao.quantization.granularity import PerAxis, PerGroup

        eight = IntxWeightOnlyConfig(
            weight_dtype=torch.int8, granularity=PerAxis(0), intx_choose_qparams_algorithm=_FITTED
        )
        four = IntxWeightOnlyConfig(
            weight_dtype=torch.int4,
            granularity=PerGroup(scheme.group_size or 32),
            intx_choose_qparams_algorithm=_FITTED,
        )
        if scheme.linear_bits == 4:
            quantize_(model, four, lambda part, name: isinstance(part, torch.nn.Linear) and name != OUTPUT_NAME)
        quantize_(model, eight, lambda part, _: isinstance(part, torch.nn.Embedding))
        quantize_(
            model,
            eight,
            lambda part, name: isinstance(part, torch.nn.Linear) and (scheme.linear_bits == 8 or name == OUTPUT_NAME),
        )
        return model

    def lower(self, manager: "LLMEdgeManager") -> "LLMEdgeManager":
        """As `_to_edge_and_lower_llama_coreml`."""
        manager.to_edge_transform_and_lower([_partitioner()])
        _check_states(manager)
        return manager.to_executorch(passes=[])


def _partitioner() -> "Partitioner":
    import coremltools
    from executorch.backends.apple.coreml.compiler import CoreMLBackend
    from executorch.backends.apple.coreml.partition import CoreMLPartitioner

    return CoreMLPartitioner(
        compile_specs=CoreMLBackend.generate_compile_specs(
            minimum_deployment_target=coremltools.target.iOS18,
            compute_precision=coremltools.precision.FLOAT16,
            compute_unit=coremltools.ComputeUnit.CPU_ONLY,
            model_type=CoreMLBackend.MODEL_TYPE.MODEL,
        ),
        take_over_mutable_buffer=False,
    )


def _check_states(manager: "LLMEdgeManager") -> None:
    """Core ML would get a state for every buffer that a part changes, and ExecuTorch's packages refuse to run such a
    program ("must be an MLState"). Raises EngineError."""
    module = manager.edge_manager.exported_program().graph_module
    for _, part in module.named_children():
        program = getattr(part, "original_module", None)
        if program is not None and program.graph_signature.buffers_to_mutate:
            raise EngineError(
                "Core ML would keep the KV cache of this model as a state, which programs cannot be run with; "
                "export it for xnnpack instead"
            )
