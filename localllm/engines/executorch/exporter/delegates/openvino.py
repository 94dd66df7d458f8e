"""OpenVINO: Intel's own library. Here it compiles for the CPU."""

import importlib.util
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from localllm.engines.executorch.exporter.delegates.fixed_shape import fix_shape
from localllm.engines.executorch.exporter.schemes import SCHEMES, Scheme

if TYPE_CHECKING:
    from executorch.extension.llm.export.builder import LLMEdgeManager
    from torch import nn

INSTALL = 'pip install "openvino>=2025.4,<2026" "nncf>=3.1,<3.3"'
# Tried: older NNCF needs an older torch, newer NNCF needs OpenVINO 2026, which executorch 1.5.1 rules out.
_VERSIONS = {"openvino": ((2025, 4), (2026, 0)), "nncf": ((3, 1), (3, 3))}
_DEVICE = "CPU"
_FLOAT_BITS = 32


class OpenVino:
    """The whole model as one part, compiled for the CPU, one token a call."""

    name = "openvino"
    words = "CPUs with AVX2, Intel's above all"
    schemes: tuple[str, ...] = ("8w", "4w", "fp32")
    is_dynamic = False  # openvino_compile fails on a size that is a symbol
    warning = ""

    def __init__(self) -> None:
        self._scheme = SCHEMES["fp32"]

    def missing(self) -> str:
        """NNCF, which rounds for OpenVINO, is needed for float32 too: the back end imports it."""
        for package, (least, below) in _VERSIONS.items():
            if importlib.util.find_spec(package) is None:
                return f"exporting for OpenVINO needs the package {package}, which is not installed here; {INSTALL}"
            found = _version(package)
            if not least <= found < below:
                words = ".".join(map(str, found)) or "of an unknown version"
                if package == "openvino" and found >= below:
                    words += ", which the engine openvino needs (use an environment of its own)"
                return f"exporting for OpenVINO does not work with {package} {words}; {INSTALL}"
        return ""

    def prepare(self, model: "nn.Module") -> "nn.Module":
        """One token a call. Attention stays as torch has it, which OpenVINO knows."""
        return fix_shape(model)

    def quantize(self, model: "nn.Module", scheme: Scheme) -> "nn.Module":
        """Nothing yet: NNCF rounds the weights of the exported graph."""
        self._scheme = scheme
        return model

    def lower(self, manager: "LLMEdgeManager") -> "LLMEdgeManager":
        """As `_to_edge_and_lower_llama_openvino`, which rounds always."""
        from executorch.backends.openvino import OpenvinoPartitioner
        from executorch.exir.backend.backend_details import CompileSpec

        if self._scheme.linear_bits != _FLOAT_BITS:
            _round(manager, self._scheme)
        manager.to_edge_transform_and_lower([OpenvinoPartitioner([CompileSpec("device", _DEVICE.encode())])])
        return manager.to_executorch(passes=[])


def _round(manager: "LLMEdgeManager", scheme: Scheme) -> None:
    """Round the weights alone, without texts to calibrate by. NNCF takes 8 bits, one scale a row, for the output and
    the embedding of a model whose other matrices it rounds to 4."""
    import nncf
    from executorch.backends.openvino.quantizer import OpenVINOQuantizer, QuantizationMode

    quantizer = (
        OpenVINOQuantizer(mode=QuantizationMode.INT4WO_SYM, group_size=scheme.group_size, ratio=1)
        if scheme.linear_bits == 4
        else OpenVINOQuantizer(mode=QuantizationMode.INT8WO_ASYM, group_size=-1, ratio=None)
    )
    manager.pre_autograd_graph_module = nncf.experimental.torch.fx.compress_pt2e(
        manager.pre_autograd_graph_module, quantizer=quantizer
    )


def _version(package: str) -> tuple[int, ...]:
    """The first two numbers of its version; empty where it has none that can be read."""
    try:
        return tuple(int(part) for part in version(package).split(".")[:2])
    except (PackageNotFoundError, ValueError):
        return ()
