"""Changes to a store that are cut off by SIGKILL: python -m tests.models.storage.doomed CHANGE FOLDER

FOLDER/<n> is a home whose change was killed before its n-th step; prints how many there are. Each change runs in a
process of its own, forked from this one, which holds no lock and has one thread.
"""

import os
import shutil
import signal
import sys
from pathlib import Path

from localllm.models.storage.store import Store
from tests.models.storage.steps import CHANGES, CHANGES_OF_A_STORE, at_step, without_sync


def main() -> int:
    """Returns the exit code: 1 if a change failed otherwise than by being killed."""
    change, folder = sys.argv[1], Path(sys.argv[2])
    prepare, do, _ = CHANGES_OF_A_STORE[change]
    with without_sync():
        prepare(Store(folder / "before"))
    status, step = 0, -1
    while step < 0 or os.WIFSIGNALED(status):
        step += 1
        home = Path(shutil.copytree(folder / "before", folder / str(step)))
        child = os.fork()
        if child == 0:
            with at_step(step, CHANGES, lambda: os.kill(os.getpid(), signal.SIGKILL)):
                do(Store(home))
            os._exit(0)
        status = os.waitpid(child, 0)[1]
    print(step)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main())
