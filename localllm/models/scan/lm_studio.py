"""Models of LM Studio: models/<publisher>/<repository>/<file>.gguf below a folder that the user may have moved.

The sources of its command line tool `lms`: `src/lmstudioPaths.ts`, `src/subcommands/importCmd.ts`.
"""

from pathlib import Path

import msgspec
from msgspec import Struct

from localllm.errors import ModelError
from localllm.models.scan.foreign_file import TROUBLE, small_file, small_json
from localllm.models.scan.found import FoundFile, FoundModel
from localllm.models.scan.repository import gguf_files, models_of
from localllm.models.scan.survey import Survey

_MOST_POINTER_BYTES = 4096
_MOST_SETTINGS_BYTES = 2**20


class _Settings(Struct):
    models_folder: str = msgspec.field(name="downloadsFolder", default="")


def model_folders(homes: tuple[Path, ...], pointer: Path, survey: Survey) -> list[Path]:
    """Where models may be: below each of the `homes`, the one that the file `pointer` names, and where settings say."""
    folders = []
    for home in (*_pointed(pointer, survey), *homes):
        folders += [*_chosen(home / "settings.json", survey), home / "models"]
    return list(dict.fromkeys(folders))


def find_in_lm_studio(folder: Path, survey: Survey) -> list[FoundModel]:
    """The models below one folder of models."""
    by_repository: dict[tuple[str, ...], list[FoundFile]] = {}
    for file in gguf_files(survey.files(folder), survey):
        owner_and_name = file.path.relative_to(folder).parts[:-1][:2]
        by_repository.setdefault(owner_and_name, []).append(file)
    return [
        model
        for parts, files in by_repository.items()
        for model in models_of("/".join(parts), folder.joinpath(*parts), files, "lm-studio", survey)
    ]


def _pointed(pointer: Path, survey: Survey) -> list[Path]:
    try:
        text = small_file(pointer, _MOST_POINTER_BYTES).decode().strip()
        return [_absolute(text)] if text else []
    except FileNotFoundError:
        return []
    except TROUBLE as error:
        survey.skip(pointer, error)
        return []


def _chosen(settings: Path, survey: Survey) -> list[Path]:
    try:
        text = small_json(settings, _MOST_SETTINGS_BYTES, _Settings).models_folder
        return [_absolute(text)] if text else []
    except FileNotFoundError:
        return []
    except TROUBLE as error:
        survey.skip(settings, error)
        return []


def _absolute(text: str) -> Path:
    path = Path(text)
    if not path.is_absolute():
        raise ModelError(f"it names {text[:200]!r}, which is no absolute path")
    return path
