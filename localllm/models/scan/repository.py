"""The GGUF files of one repository as models: which belong together, and what each could be called."""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from localllm.models.quant import canonical_quant, quant_of
from localllm.models.scan.foreign_file import TROUBLE, look_at
from localllm.models.scan.found import FoundFile, FoundModel, Origin
from localllm.models.scan.parts import complete_sets
from localllm.models.scan.survey import Survey

SUFFIX = ".gguf"
UNKNOWN_TAG = "latest"  # where the file name says no quant
_ILLEGAL = re.compile(r"[^A-Za-z0-9._-]+")
_COMPANION = re.compile(r"(?:^|[-._])(mmproj|imatrix)(?:[-._]|$)", re.IGNORECASE)  # GGUF, but no language model


def gguf_files(paths: Iterable[Path], survey: Survey) -> list[FoundFile]:
    """The GGUF files among `paths`; those that only call themselves so are skipped."""
    files = []
    for path in paths:
        if path.suffix.lower() == SUFFIX:
            try:
                files.append(look_at(path))
            except TROUBLE as error:
                survey.skip(path, error)
    return files


def models_of(
    repository: str, root: Path, files: Iterable[FoundFile], origin: Origin, survey: Survey
) -> list[FoundModel]:
    """The models among files below `root`, which is the folder of `repository`: owner/name, name, or empty: unknown."""
    weights, has_projector = [], False
    for file in files:
        companion = _COMPANION.search(file.path.stem)
        if companion is None:
            weights.append(file)
        has_projector |= companion is not None and companion[1].lower() == "mmproj"
    note = "its projector for pictures is not used" if has_projector and repository else ""
    sets = complete_sets(weights, survey)
    names = _names(repository, root, list(sets))
    return [FoundModel(name=names[stem], origin=origin, files=sets[stem], note=note) for stem in sets]


def tidy(text: str) -> str:
    """The nearest text that may be a part of a model's name."""
    return _ILLEGAL.sub("-", text).strip("-._") or "model"


def _names(repository: str, root: Path, stems: list[Path]) -> dict[Path, str]:
    """A name for each model, by the path of its file without part number and suffix."""
    if not repository:
        return {stem: _name_alone(stem.name) for stem in stems}
    family = "/".join(tidy(part) for part in repository.split("/"))
    paths = {stem: stem.relative_to(root).as_posix() for stem in stems}
    tags = {stem: quant_of(path) or UNKNOWN_TAG for stem, path in paths.items()}
    count = Counter(tags.values())
    return {stem: f"{family}:{tag if count[tag] == 1 else tidy(paths[stem])}" for stem, tag in tags.items()}


def _name_alone(stem: str) -> str:
    for separator in "-.":
        family, _, last = stem.rpartition(separator)
        quant = canonical_quant(last)
        if family and quant:
            return f"{tidy(family)}:{quant}"
    return f"{tidy(stem)}:{UNKNOWN_TAG}"
