"""Models that llama.cpp downloaded: <owner>_<name>_<file>.gguf in one folder, or, today, a cache like the hub's.

Beside the files lies what tells owner from name: `manifest=<owner>=<name>=<tag>.json` (llama.cpp's sources:
`common/download.cpp`, `common/hf-cache.cpp`). Without it the whole file name is the model's.
"""

from pathlib import Path

from localllm.models.scan.found import FoundFile, FoundModel
from localllm.models.scan.hub_cache import find_in_hub_cache
from localllm.models.scan.repository import gguf_files, models_of
from localllm.models.scan.survey import Survey


def find_in_llama_cpp_cache(folder: Path, survey: Survey) -> list[FoundModel]:
    """The models in `folder`, kept the old way or the new one."""
    paths = survey.children(folder)
    prefixes = _repositories(paths)
    by_repository: dict[str, list[FoundFile]] = {}
    for file in gguf_files(paths, survey):
        prefix = max((prefix for prefix in prefixes if file.path.name.startswith(prefix)), key=len, default="")
        by_repository.setdefault(prefixes.get(prefix, ""), []).append(file)
    models = find_in_hub_cache(folder, "llama.cpp", survey)
    for repository, files in by_repository.items():
        models += models_of(repository, folder, files, "llama.cpp", survey)
    return models


def _repositories(paths: list[Path]) -> dict[str, str]:
    """owner/name by the beginning of the names of its files."""
    found = {}
    for path in paths:
        match path.name.removesuffix(".json").split("="):
            case ["manifest", owner, name, _]:
                found[f"{owner}_{name}_"] = f"{owner}/{name}"
    return found
