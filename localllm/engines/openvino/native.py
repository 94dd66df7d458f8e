"""The native library: whether it is here, its devices, and its errors in one line."""

import importlib.util
import re
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from localllm.errors import EngineUnavailable

if TYPE_CHECKING:
    import openvino

INSTALL = 'pip install "localllm[openvino]"'
_PLACE = re.compile(r"^\[[\d:]+\] \S+:\d+: |^.*\.[ch]pp:\d+:?")
_NAMES = ("openvino", "openvino_genai")


def is_installed() -> bool:
    """Whether both packages are here; looking imports neither."""
    return all(importlib.util.find_spec(name) is not None for name in _NAMES)


def build() -> str:
    """The version of the library, such as openvino-genai 2026.4.1.0."""
    try:
        return f"openvino-genai {version('openvino-genai')}"
    except PackageNotFoundError:  # found, but not installed: a build of one's own
        return "openvino-genai"


def open_core() -> "openvino.Core":
    """The library's registry of devices. Raises EngineUnavailable."""
    if not is_installed():
        raise EngineUnavailable(f"OpenVINO is not installed; {INSTALL}")
    try:
        import openvino  # noqa: PLC0415  there is something to be said where it is absent
        import openvino_genai  # noqa: F401, PLC0415  it must load, too

        return openvino.Core()
    except Exception as error:  # ImportError of a library that is missing, RuntimeError of a plugin
        raise EngineUnavailable(f"OpenVINO cannot be used: {line(error)}; {INSTALL}") from error


def line(error: BaseException) -> str:
    """What the library says, without the place in its source, which it begins with or puts behind a time."""
    said = [_PLACE.sub("", part).strip() for part in str(error).splitlines()]
    kept = [part for part in said if part and not part.startswith(("Exception from ", "Check '"))]
    return " ".join(kept or [part for part in said if part])[:300]
