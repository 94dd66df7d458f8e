"""The tests. They start hundreds of processes: each would compile the whole package where Python may not keep it."""

import os
import sys

if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
    sys.dont_write_bytecode = False
