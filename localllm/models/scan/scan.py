"""Look through the places of other programs for models that could be used where they are. Writes nothing."""

from collections.abc import Callable
from pathlib import Path

from localllm.config import ForeignFolders
from localllm.models.names import is_model_name
from localllm.models.scan.foreign_file import TROUBLE, real_path
from localllm.models.scan.found import FoundFile, FoundModel, Origin, ScanReport, Skipped
from localllm.models.scan.hub_cache import find_in_hub_cache
from localllm.models.scan.llama_cpp_cache import find_in_llama_cpp_cache
from localllm.models.scan.lm_studio import find_in_lm_studio, model_folders
from localllm.models.scan.ollama import find_in_ollama
from localllm.models.scan.survey import Survey

Finder = Callable[[Path, Survey], list[FoundModel]]


def scan(folders: ForeignFolders) -> ScanReport:
    """All models of other programs in `folders`. Raises nothing: what cannot be read or used is in the report."""
    models: list[FoundModel] = []
    skipped: list[Skipped] = []
    for folder, find in _places(folders, skipped):
        survey = Survey()
        models += find(folder, survey)
        skipped += survey.skipped
    models = _distinct(models, skipped)
    return ScanReport(
        models=tuple(sorted(models, key=lambda model: (model.name.lower(), model.origin))),
        skipped=tuple(sorted(set(skipped), key=lambda one: (str(one.path), one.reason))),
    )


def _places(folders: ForeignFolders, skipped: list[Skipped]) -> list[tuple[Path, Finder]]:
    """Each folder with who can read it, the surest first."""
    survey = Survey()
    lm_studio = model_folders(folders.lm_studio, folders.lm_studio_pointer, survey)
    skipped += survey.skipped
    return [
        *((folder, find_in_ollama) for folder in folders.ollama),
        (folders.hugging_face, _find_in_hugging_face),
        *((folder, find_in_lm_studio) for folder in lm_studio),
        *((folder, find_in_llama_cpp_cache) for folder in folders.llama_cpp),
    ]


def _find_in_hugging_face(hub: Path, survey: Survey) -> list[FoundModel]:
    return find_in_hub_cache(hub, "hugging-face", survey)


def _distinct(models: list[FoundModel], skipped: list[Skipped]) -> list[FoundModel]:
    """Models with a name that can be used, each once: two programs may share files by links, or even a folder."""
    kept: dict[tuple[str, Origin], FoundModel] = {}
    seen: set[tuple[str, tuple[Path, ...]]] = set()
    for model in models:
        name, path = model.name.lower(), model.files[0].path
        identity = (name, tuple(_place(file) for file in model.files))
        if identity in seen:
            continue
        if not is_model_name(model.name):
            skipped.append(Skipped(path=path, reason=f"its name {model.name[:200]} cannot be a model's name here"))
        elif (name, model.origin) in kept:
            skipped.append(Skipped(path=path, reason=f"another file of {model.name} was found first"))
        else:
            kept[name, model.origin] = model
            seen.add(identity)
    return list(kept.values())


def _place(file: FoundFile) -> Path:
    try:
        return real_path(file.path)
    except TROUBLE:  # it went away just now
        return file.path
