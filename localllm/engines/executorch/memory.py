"""How many copies of a program fit into memory."""

from localllm.devices.fit import KV_ENOUGH_BYTES, KV_SHARE
from localllm.errors import NoRoom
from localllm.units import size_words

MOST_AUTO_COPIES = 4  # each step runs one copy alone, so more of them only save reading prompts again


def fit_copies(*, program_bytes: int, planned_bytes: int, available_bytes: int, jobs: int | None) -> int:
    """How many copies to allow. Each packs its weights anew, about as large as the file, and has its planned memory.

    `jobs` copies where that is given. Raises NoRoom when they do not fit `available_bytes`.
    """
    copy_bytes = program_bytes + planned_bytes
    if jobs is None:
        budget = min(available_bytes * KV_SHARE, KV_ENOUGH_BYTES)
        return max(1, min(MOST_AUTO_COPIES, int(budget // max(1, copy_bytes))))
    if jobs > 1 and jobs * copy_bytes > available_bytes:
        raise NoRoom(
            f"{jobs} copies of this program need {size_words(jobs * copy_bytes)}, "
            f"{size_words(available_bytes)} are free; lower --parallel"
        )
    return jobs
