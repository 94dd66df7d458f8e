"""Whether a program's bytes are those that were kept: damage in packed weights shows nowhere else.

The runtime takes a mapped file at its word in places. `models/pte/header.py` has looked at its flatbuffer before, and
the runtime verifies it, not to the last: 5 of 400 single flipped bits ended the process (measured). That is what the
digest is for, and for a file without one the worker process.
"""

import hashlib
from pathlib import Path

from localllm.errors import IntegrityError, LoadFailed

_BLOCK_BYTES = 4 << 20


def check_digest(path: Path, sha256: str) -> None:
    """Raises IntegrityError where the file's bytes have another SHA-256 (hex), LoadFailed where it cannot be read.

    Flipped bits in packed weights are not noticed otherwise: such a program loads, and answers nonsense.
    """
    found = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                found.update(block)
    except OSError as error:
        raise LoadFailed(f"cannot read {path}: {error}; check the path and its permissions") from error
    if found.hexdigest() != sha256.lower():
        raise IntegrityError(
            f"{path} is damaged: its SHA-256 is {found.hexdigest()[:16]}…, not {sha256[:16]}…. "
            "Find and mend it with: localllm verify, localllm repair"
        )
