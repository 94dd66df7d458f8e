"""Silence while torch and ExecuTorch work, which log and print by the page and set up logging as they are imported."""

import io
import logging
import warnings
from collections.abc import Generator
from contextlib import contextmanager, redirect_stdout


@contextmanager
def quiet() -> Generator[None, None, None]:
    """No logs, warnings or prints of Python code. What native code writes to file descriptors is not caught."""
    root, before = logging.getLogger(), logging.root.manager.disable
    handler = logging.NullHandler()  # `logging.basicConfig` leaves a root alone that has a handler
    root.addHandler(handler)
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
        root.removeHandler(handler)
