"""Qualcomm's AI Engine Direct (QNN): the Hexagon processor of Snapdragon devices."""

import ctypes
import platform
from typing import TYPE_CHECKING

from localllm.engines.executorch.exporter.delegates.fixed_shape import fix_shape
from localllm.engines.executorch.exporter.schemes import Scheme

if TYPE_CHECKING:
    from executorch.extension.llm.export.builder import LLMEdgeManager
    from torch import nn

LIBRARY = "libQnnHtp.so"
CHIP = "SM8650"  # QNN compiles for one chip; this is what ExecuTorch takes where none is named
CHIP_WORDS = "Snapdragon 8 Gen 3"


class Qualcomm:
    """Everything but the KV cache, in float16: QNN rounds with the help of texts, which is not offered here."""

    name = "qualcomm"
    words = f"the {CHIP_WORDS} ({CHIP})"
    schemes: tuple[str, ...] = ("fp16",)
    is_dynamic = False  # QNN knows no sizes but those it was compiled for
    warning = f"compiled for the {CHIP_WORDS} ({CHIP}), and not run on one yet"

    def missing(self) -> str:
        """The compiler is a part of Qualcomm's SDK. Without it ExecuTorch would fetch it, a gigabyte, unasked."""
        if platform.system() != "Linux" or platform.machine().lower() not in ("x86_64", "amd64"):
            return "exporting for Qualcomm needs Qualcomm's SDK, whose compiler runs on Linux on x86-64; export there"
        try:
            ctypes.CDLL(LIBRARY)
        except OSError:
            return (
                f"exporting for Qualcomm needs Qualcomm's AI Runtime SDK (QNN), whose {LIBRARY} cannot be loaded here; "
                "get it from qualcomm.com, set QNN_SDK_ROOT to its folder and add its lib/x86_64-linux-clang to "
                "LD_LIBRARY_PATH"
            )
        return ""

    def prepare(self, model: "nn.Module") -> "nn.Module":
        """One token a call, with attention in plain operations and matrices as convolutions, as
        `_get_source_transforms` has it for QNN."""
        from executorch.backends.qualcomm.utils.utils import convert_linear_to_conv2d
        from executorch.examples.models.llama.source_transformation.sdpa import (
            replace_causal_mask,
            replace_kv_cache_with_simple_kv_cache,
            replace_sdpa_with_flex_sdpa,
        )

        model = replace_kv_cache_with_simple_kv_cache(fix_shape(model))
        return convert_linear_to_conv2d(replace_causal_mask(replace_sdpa_with_flex_sdpa(model)))

    def quantize(self, model: "nn.Module", _scheme: Scheme) -> "nn.Module":
        """Nothing: QNN stores what the processor computes with, which is float16."""
        return model

    def lower(self, manager: "LLMEdgeManager") -> "LLMEdgeManager":
        """The way of ExecuTorch's own exporter, whose passes for QNN are many."""
        from executorch.examples.models.llama.export_llama_lib import _to_edge_and_lower_llama

        return _to_edge_and_lower_llama(
            manager,
            "model",
            additional_passes=[],
            pt2e_quant_params=None,
            quantizers=[],
            quant_dtype=None,
            qnn=True,
            use_kv_cache=True,
            enable_dynamic_shape=False,
            soc_model=CHIP,
        )
