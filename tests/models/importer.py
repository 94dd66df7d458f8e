"""Import in a process of its own, which stops at a chosen place, to be killed there.

python -m tests.models.importer PATH HOME STAGE; it prints "start", and there "at STAGE", and waits. A stage is `copy`
(some bytes are read), `sync`, `publish` or `commit` (before each of them), or `none`.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from localllm.models.candidate import candidate_of
from localllm.models.import_file import copy
from localllm.models.storage.blobs import Blobs
from localllm.models.storage.store import Store


def main() -> None:
    """Run it."""
    path, home, stage = sys.argv[1:]

    def stop(*_: object) -> NoReturn:
        print(f"at {stage}", flush=True)
        while True:
            time.sleep(60)

    print("start", flush=True)
    _stop_at(stage, stop)
    copy(candidate_of(Path(path), None), Store(Path(home)), stop if stage == "copy" else lambda *_: None)
    print("done", flush=True)


def _stop_at(stage: str, stop: Callable[..., NoReturn]) -> None:
    match stage:
        case "sync":
            os.fsync = stop
        case "publish":
            Blobs.publish = stop  # type: ignore[method-assign]
        case "commit":
            Store.commit = stop  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
