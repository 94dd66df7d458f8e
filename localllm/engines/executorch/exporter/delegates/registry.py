"""Back ends by name."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from localllm.engines.executorch.exporter.delegates.base import Delegate
from localllm.errors import InvalidRequest

DEFAULT_DELEGATE = "xnnpack"


def _xnnpack() -> Delegate:
    from localllm.engines.executorch.exporter.delegates.xnnpack import Xnnpack

    return Xnnpack()


def _openvino() -> Delegate:
    from localllm.engines.executorch.exporter.delegates.openvino import OpenVino

    return OpenVino()


def _coreml() -> Delegate:
    from localllm.engines.executorch.exporter.delegates.coreml import CoreMl

    return CoreMl()


def _qualcomm() -> Delegate:
    from localllm.engines.executorch.exporter.delegates.qualcomm import Qualcomm

    return Qualcomm()


def _vulkan() -> Delegate:
    from localllm.engines.executorch.exporter.delegates.vulkan import Vulkan

    return Vulkan()


_MAKERS: Mapping[str, Callable[[], Delegate]] = MappingProxyType(
    {
        DEFAULT_DELEGATE: _xnnpack,
        "openvino": _openvino,
        "coreml": _coreml,
        "qualcomm": _qualcomm,
        "vulkan": _vulkan,
    }
)
DELEGATE_NAMES = tuple(_MAKERS)


def delegate_of(name: str) -> Delegate:
    """The back end that `name` names, however it is spelt. Raises InvalidRequest with those that there are."""
    maker = _MAKERS.get(name.strip().lower())
    if maker is None:
        raise InvalidRequest(
            f"there is no delegate {name[:40]!r} for ExecuTorch; there are {', '.join(DELEGATE_NAMES)}",
            param="delegate",
        )
    return maker()
