"""Models in the cache of the Hugging Face hub: models--<owner>--<name>/snapshots/<commit>/<file>.

Links lead from there to blobs/<etag>, and the etag of a large file is its SHA-256; without links (Windows) the file
itself is there. huggingface_hub's docs, "Understand caching"; llama.cpp keeps its downloads in the same way
(`common/hf-cache.cpp`).
"""

from pathlib import Path

from localllm.errors import IntegrityError
from localllm.models.digest import Digest
from localllm.models.scan.foreign_file import TROUBLE, look_at, real_path, small_file
from localllm.models.scan.found import FoundFile, FoundModel, Origin
from localllm.models.scan.repository import SUFFIX, models_of
from localllm.models.scan.survey import Survey

_PREFIX = "models--"
_SAFETENSORS = ".safetensors"
_MOST_REF_BYTES = 200


def find_in_hub_cache(hub: Path, origin: Origin, survey: Survey) -> list[FoundModel]:
    """The models below `hub`; of a file in several snapshots, that of the branch `main` comes first."""
    models: list[FoundModel] = []
    others = 0
    for folder in survey.children(hub):
        if folder.name.startswith(_PREFIX):
            repository = folder.name.removeprefix(_PREFIX).replace("--", "/")
            found, suffixes = _find_in_repository(repository, folder, origin, survey)
            models += found
            others += _SAFETENSORS in suffixes and SUFFIX not in suffixes
    if others:
        survey.skip(hub, f"repositories of safetensors, which are not used in place: {others}")
    return models


def _find_in_repository(
    repository: str, folder: Path, origin: Origin, survey: Survey
) -> tuple[list[FoundModel], set[str]]:
    """Its models, and the suffixes of all its files."""
    models: list[FoundModel] = []
    suffixes = set()
    for snapshot in _snapshots(folder, survey):
        files = []
        for path in survey.files(snapshot):
            suffixes.add(path.suffix.lower())
            if path.suffix.lower() == SUFFIX:
                try:
                    files.append(_look_at_link(path, folder))
                except TROUBLE as error:
                    survey.skip(path, error)
        models += models_of(repository, snapshot, files, origin, survey)
    return models, suffixes


def _snapshots(folder: Path, survey: Survey) -> list[Path]:
    try:
        current = small_file(folder / "refs" / "main", _MOST_REF_BYTES).decode("ascii", "replace").strip()
    except TROUBLE:  # also where only a commit or a tag was downloaded
        current = ""
    return sorted(survey.children(folder / "snapshots"), key=lambda path: path.name != current)


def _look_at_link(path: Path, folder: Path) -> FoundFile:
    """The file behind an entry of a snapshot; by its blob's name when that is a digest. Raises TROUBLE."""
    target = real_path(path)
    home = real_path(folder)
    if not target.is_relative_to(home):
        raise IntegrityError("it leads out of the folder of its repository")
    try:
        digest = Digest(target.name) if target.parent == home / "blobs" else None
    except IntegrityError:  # a small file's etag is another hash
        digest = None
    return look_at(path, digest)
