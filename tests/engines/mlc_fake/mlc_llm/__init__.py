"""A fake of MLC LLM's package; no real one. FAKE_MLC_BROKEN makes it fail as a library that is missing does."""

import os

if os.environ.get("FAKE_MLC_BROKEN"):
    raise OSError("libcudart.so.12: cannot open shared object file: No such file or directory")

__version__ = "0.1.fake"
