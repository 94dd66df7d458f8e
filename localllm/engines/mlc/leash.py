"""A process that ends when whoever started it does, and with it all that it has started.

Whoever starts it holds the other end of its stdin, and has made it the leader of a session of its own.
"""

import os
import signal
import threading


def end_with_stdin() -> None:
    """From now on, end this process and its group as soon as stdin ends."""
    threading.Thread(target=_wait_and_end, daemon=True).start()


def _wait_and_end() -> None:
    while os.read(0, 4096):  # a reader of sys.stdin would hold its lock when the process ends
        pass
    if os.name == "posix" and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
