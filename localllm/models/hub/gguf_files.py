"""The GGUF models in a repository: one for each quantization, in one file or several."""

from collections.abc import Iterable

from msgspec import Struct

from localllm.models.hub.kinds import is_allowed
from localllm.models.hub.repository import HubFile, HubRepository
from localllm.models.quant import quant_of, split_of

_PROJECTOR = "mmproj"  # what turns pictures or sound into embeddings (llama.cpp, docs/multimodal.md)
_IMATRIX = "imatrix"  # statistics for quantizing, in a GGUF of their own


class GgufSet(Struct, frozen=True, kw_only=True):
    """One model: its file, or all of its parts in order."""

    quant: str  # upper case, as in Q4_K_M; empty where the name tells none
    stem: str  # the path of its file without .gguf, or what its parts' paths begin with
    files: tuple[HubFile, ...]

    @property
    def size_bytes(self) -> int:
        """Of all files."""
        return sum(file.size_bytes for file in self.files)


def gguf_sets(repository: HubRepository) -> tuple[GgufSet, ...]:
    """Every complete model, by path; a set that lacks a part is none, nor are projectors and importance matrices."""
    whole = []
    parts: dict[tuple[str, int], dict[int, HubFile]] = {}
    for file in _ggufs(repository.files):
        name = file.path.rpartition("/")[2].lower()
        if _PROJECTOR in name or _IMATRIX in name:
            continue
        split = split_of(file.path)
        if split is None:
            whole.append(GgufSet(quant=quant_of(file.path) or "", stem=file.path[: -len(".gguf")], files=(file,)))
        else:
            parts.setdefault((split.stem, split.parts), {})[split.part] = file
    for (stem, count), found in parts.items():
        if len(found) == count:
            files = tuple(found[part] for part in sorted(found))
            whole.append(GgufSet(quant=quant_of(stem) or "", stem=stem, files=files))
    return tuple(sorted(whole, key=lambda model: model.stem))


def gguf_models(repository: HubRepository) -> dict[str, tuple[HubFile, ...]]:
    """The files of each quantization, in order; models whose name tells none are not among them.

    Where there are several models of one quantization: the one nearest to the root, of these the one with the shortest
    name, since others have something added to theirs. `gguf_sets` has them all.
    """
    models: dict[str, tuple[HubFile, ...]] = {}
    for model in sorted(gguf_sets(repository), key=_preference):
        if model.quant:
            models.setdefault(model.quant, model.files)
    return models


def projectors(repository: HubRepository) -> tuple[HubFile, ...]:
    """The files that give a model of this repository eyes or ears."""
    return tuple(file for file in _ggufs(repository.files) if _PROJECTOR in file.path.rpartition("/")[2].lower())


def _ggufs(files: Iterable[HubFile]) -> list[HubFile]:
    return [file for file in files if file.path.lower().endswith(".gguf") and file.size_bytes and is_allowed(file.path)]


def _preference(model: GgufSet) -> tuple[int, int, str]:
    name = model.stem.rpartition("/")[2]
    return model.stem.count("/"), len(name), model.stem
