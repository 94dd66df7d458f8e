"""A process that looks what an engine can use here and says so in JSON; drivers may bring it down.

python -P -m localllm.engines.probe NAME
"""

import os
import signal
import sys

import msgspec

from localllm.engines.back_ends import EngineReport
from localllm.engines.registry import check_engine, kind_of
from localllm.errors import EngineUnavailable

_MOST_SECONDS = 120  # then the system ends it, if nobody is left who would


def probe(name: str) -> EngineReport:
    """What the engine can use, found in this process. An engine that cannot be imported is not usable for that reason.

    Raises InvalidRequest for a name that is none, and whatever an engine of another package does.
    """
    check_engine(name)
    try:
        return kind_of(name).report()
    except EngineUnavailable as error:
        return EngineReport(engine=name, is_usable=False, reason=error.message)


def main() -> None:
    """Probe the one engine that is named."""
    if hasattr(signal, "alarm"):  # not on Windows
        signal.alarm(_MOST_SECONDS)
    stdout = os.dup(1)
    os.dup2(2, 1)  # whatever a library prints goes to stderr
    sys.stdout = sys.stderr
    report = probe(sys.argv[1] if len(sys.argv) == 2 else "")
    with os.fdopen(stdout, "wb") as file:
        file.write(msgspec.json.encode(report))
    os._exit(0)  # at exit too a driver may hang or crash, and all is said


if __name__ == "__main__":
    main()
