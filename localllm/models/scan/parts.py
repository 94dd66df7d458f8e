"""GGUF files that belong together: `name-00001-of-00003.gguf` and its neighbours are one model.

llama.cpp opens the first part and finds the others beside it by name (`llama_split_path`).
"""

from collections.abc import Iterable
from pathlib import Path

from localllm.models.quant import split_of
from localllm.models.scan.found import FoundFile
from localllm.models.scan.survey import Survey


def complete_sets(files: Iterable[FoundFile], survey: Survey) -> dict[Path, tuple[FoundFile, ...]]:
    """Files of each model in order, by their path without part number and suffix; incomplete sets are skipped."""
    found: dict[Path, tuple[FoundFile, ...]] = {}
    parts: dict[tuple[Path, int], dict[int, FoundFile]] = {}
    for file in files:
        split = split_of(file.path.name)
        if split is None:
            found[file.path.with_suffix("")] = (file,)
        else:
            stem, number, count = split
            parts.setdefault((file.path.with_name(stem), count), {})[number] = file
    for (stem_path, count), by_number in parts.items():
        if sorted(by_number) == list(range(1, count + 1)):
            found.setdefault(stem_path, tuple(by_number[number] for number in range(1, count + 1)))
        else:
            first = by_number[min(by_number)]
            survey.skip(first.path, f"only {len(by_number)} of the {count} parts of this model are usable")
    return found
