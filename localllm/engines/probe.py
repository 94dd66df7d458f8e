"""A process that looks what an engine can use here and says so in JSON; drivers may bring it down.

python -P -m localllm.engines.probe NAME
"""

import os
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType

import msgspec

from localllm.engines.back_ends import EngineReport
from localllm.errors import InvalidRequest


def _llama_cpp() -> EngineReport:
    from localllm.engines.llama_cpp.devices import report

    return report()


def _executorch() -> EngineReport:
    from localllm.engines.executorch.delegates import report

    return report()


_PROBES: Mapping[str, Callable[[], EngineReport]] = MappingProxyType(
    {"llama_cpp": _llama_cpp, "executorch": _executorch}
)
ENGINES = tuple(_PROBES)


def check_engine(name: str) -> None:
    """Raises InvalidRequest with those that there are."""
    if name not in _PROBES:
        raise InvalidRequest(f"there is no engine {name[:40]!r}; there are {', '.join(ENGINES)}", param="engine")


def probe(name: str) -> EngineReport:
    """What the engine can use, found in this process. Raises InvalidRequest."""
    check_engine(name)
    return _PROBES[name]()


def main() -> None:
    """Probe the one engine that is named."""
    stdout = os.dup(1)
    os.dup2(2, 1)  # whatever a library prints goes to stderr
    sys.stdout = sys.stderr
    report = probe(sys.argv[1] if len(sys.argv) == 2 else "")
    with os.fdopen(stdout, "wb") as file:
        file.write(msgspec.json.encode(report))
    os._exit(0)  # at exit too a driver may hang or crash, and all is said


if __name__ == "__main__":
    main()
