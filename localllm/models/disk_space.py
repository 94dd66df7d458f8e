"""Whether the disk has room, asked before anything is written."""

import shutil
from pathlib import Path

from localllm.errors import NoRoom
from localllm.units import size_words

SPARE_BYTES = 64 * 2**20


def check_room(folder: Path, needed_bytes: int) -> None:
    """Raises NoRoom if the disk of `folder`, which may not exist yet, has less than that and some to spare.

    Where nothing is needed, or the system does not say how much is free, nothing is refused.
    """
    if needed_bytes <= 0:
        return
    try:
        existing = next(place for place in (folder, *folder.parents) if place.exists())
        free_bytes = shutil.disk_usage(existing).free
    except OSError:  # writing will say what is wrong
        return
    if free_bytes < needed_bytes + SPARE_BYTES:
        raise NoRoom(
            f"{folder} has {size_words(free_bytes)} free, {size_words(needed_bytes + SPARE_BYTES)} are needed; "
            "free some (localllm gc --dry-run shows what could go) or set LOCALLLM_HOME to another disk"
        )
