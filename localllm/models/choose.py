"""From a reference to what is to be pulled: which repository, which commit, which of its files."""

import difflib
from collections.abc import Callable, Mapping, Sequence

import msgspec
from msgspec import Struct

from localllm.errors import DownloadFailed, IntegrityError, ModelNotFound
from localllm.models.checkpoint import ReadFile, checkpoint_files
from localllm.models.hub.gguf_files import gguf_models, gguf_sets
from localllm.models.hub.kinds import is_allowed, refusal_words
from localllm.models.hub.repository import HubFile, HubRepository
from localllm.models.manifest import Format
from localllm.models.names import ModelName
from localllm.models.on_disk import BESIDE_PTE
from localllm.models.quant import canonical_quant, choose_quant, quant_of, rank, split_of
from localllm.models.reference import HubReference
from localllm.models.resolve import CardWanted, Pullable, tag_of
from localllm.models.signing.trusted_key import SIGNATURE_NAME
from localllm.models.wanted import MAIN, Wanted, WantedFile, of_hub, pinned

CHECKPOINT_TAG, PROGRAM_TAG = "safetensors", "pte"
_LEAST_COMMIT_DIGITS = 7

Files = tuple[HubFile, ...]


class Hub(Struct, frozen=True, kw_only=True):
    """What can be asked of the hub; both raise DownloadFailed."""

    read_repository: Callable[[str, str | None], HubRepository]  # repository, revision
    read_file: ReadFile  # a small one


class _Choice(Struct, frozen=True, kw_only=True):
    """Files of a repository that make up a model."""

    tag: str
    format: Format
    quant: str
    files: Files
    reason: str = ""


def choose(pullable: Pullable, hub: Hub, room_bytes: int) -> Wanted:
    """What to pull. Where no quant is named, the best that fits `room_bytes` of memory.

    Raises ModelNotFound with what there is, NoRoom where nothing fits, DownloadFailed where the hub cannot be asked or
    the files are of a kind that is never pulled, IntegrityError for a repository that contradicts itself.
    """
    if isinstance(pullable, CardWanted):
        return _of_card(pullable, hub, room_bytes)
    repository = hub.read_repository(pullable.repository, pullable.revision)
    choice = _choice(pullable, repository, hub.read_file, room_bytes)
    name = ModelName(f"{repository.repository}:{choice.tag}")
    return _wanted(name, choice, repository, follows=_follows(pullable.revision, repository))


def choose_again(format_: Format, path: str, quant: str, repository: HubRepository, read_file: ReadFile) -> Files:
    """The files that a model has at another commit, given its first one before.

    Where that is gone, as when a split model comes to have more parts, those of the same quant. Raises as `choose`.
    """
    if format_ == "safetensors":
        return checkpoint_files(repository, read_file)
    sets = gguf_models(repository)
    if format_ == "gguf" and repository.find(path) is None and quant in sets:
        return sets[quant]
    return _named_file(path, repository).files


def wanted_files(files: Sequence[HubFile], repository: HubRepository) -> tuple[WantedFile, ...]:
    """Files of a repository at its commit. Raises IntegrityError where two could not lie in one folder."""
    found = tuple(of_hub(file, repository) for file in files)
    if len({file.filename.lower() for file in found}) < len(found):
        raise IntegrityError(f"two files of {repository.repository} have one name; that is not safe to keep")
    return found


def programs_of(repository: HubRepository) -> Files:
    """The programs of ExecuTorch in a repository."""
    return tuple(file for file in repository.files if file.path.lower().endswith(".pte") and is_allowed(file.path))


def signature_of(repository: HubRepository) -> WantedFile | None:
    """The signature that a repository carries, if it does."""
    file = repository.find(SIGNATURE_NAME)
    return None if file is None else of_hub(file, repository)


def _of_card(wanted: CardWanted, hub: Hub, room_bytes: int) -> Wanted:
    card, quant = wanted.card, wanted.quant
    whole = pinned(card)
    if whole is not None and quant in {None, whole.quant}:
        return msgspec.structs.replace(whole, name=wanted.name)
    offered = {known: card.hub_file(known) for known in ([quant] if quant else card.quants)}
    name, path = next(iter(offered.values()))
    repository = hub.read_repository(name, None)
    found = {known: repository.find(path) for known, (_, path) in offered.items()}
    there = {known: (file,) for known, file in found.items() if file is not None}
    if not there:
        raise ModelNotFound(f"{name} has no {path}; {_there_is(gguf_models(repository))}", param="model")
    choice = _best(there, room_bytes) if quant is None else _set(quant, there)
    chosen = _wanted(ModelName(wanted.name), choice, repository, follows=MAIN)
    return msgspec.structs.replace(chosen, license=card.license, defaults=card.localllm.defaults)


def _choice(reference: HubReference, repository: HubRepository, read_file: ReadFile, room_bytes: int) -> _Choice:
    if reference.path is not None:
        return _named_file(reference.path, repository)
    if reference.quant is not None:
        return _tagged(reference.quant, repository, read_file)
    sets = gguf_models(repository)
    if sets:
        return _best(sets, room_bytes)
    lone = _lone_file(repository)
    if lone is not None:
        return _named_file(lone, repository)
    return _checkpoint(repository, read_file)


def _tagged(tag: str, repository: HubRepository, read_file: ReadFile) -> _Choice:
    """What is behind a quantization, or the name of a format."""
    if tag.lower() == CHECKPOINT_TAG:
        return _checkpoint(repository, read_file)
    if tag.lower() == PROGRAM_TAG:
        return _program(repository)
    sets = gguf_models(repository)
    wanted = canonical_quant(tag)
    if wanted not in sets:
        raise ModelNotFound(f"{repository.repository} has no {tag}; {_there_is(sets)}", param="model")
    return _set(wanted, sets)


def _checkpoint(repository: HubRepository, read_file: ReadFile) -> _Choice:
    files = checkpoint_files(repository, read_file)
    return _Choice(tag=CHECKPOINT_TAG, format="safetensors", quant="", files=files)


def _program(repository: HubRepository) -> _Choice:
    """The one program of ExecuTorch in a repository, whatever it is called."""
    path = _only_one([file.path for file in programs_of(repository)], repository)
    if path is None:
        raise ModelNotFound(
            f"{repository.repository} has no .pte file; {_there_is(gguf_models(repository))}", param="model"
        )
    return msgspec.structs.replace(_named_file(path, repository), tag=PROGRAM_TAG)


def _lone_file(repository: HubRepository) -> str | None:
    """The one model among files whose names tell no quant. Raises ModelNotFound where there are several."""
    ggufs = [model.files[0].path for model in gguf_sets(repository)]
    return _only_one(ggufs or [file.path for file in programs_of(repository)], repository)


def _only_one(paths: Sequence[str], repository: HubRepository) -> str | None:
    if len(paths) > 1:
        raise ModelNotFound(
            f"which one of {repository.repository}? There is {', '.join(paths[:8])}; "
            f"name it: {repository.repository}/{paths[0]}",
            param="model",
        )
    return paths[0] if paths else None


def _best(sets: Mapping[str, Files], room_bytes: int) -> _Choice:
    sizes = {quant: sum(file.size_bytes for file in files) for quant, files in sets.items()}
    choice = choose_quant(sizes, room_bytes)
    return msgspec.structs.replace(_set(choice.quant, sets), reason=choice.reason)


def _set(quant: str, sets: Mapping[str, Files]) -> _Choice:
    return _Choice(tag=quant, format="gguf", quant=quant, files=sets[quant])


def _named_file(path: str, repository: HubRepository) -> _Choice:
    """One file of a repository, with what belongs to it: its other parts, its tokenizer."""
    if not is_allowed(path):
        raise DownloadFailed(refusal_words(path))
    file = repository.find(path)
    if file is None:
        near = difflib.get_close_matches(path, [file.path for file in repository.files], n=3)
        hint = f"; there is {', '.join(near)}" if near else ""
        raise ModelNotFound(f"{repository.repository} has no file {path}{hint}", param="model")
    tag, quant = tag_of(path), quant_of(path) or ""
    if path.lower().endswith(".pte"):
        return _Choice(tag=tag, format="pte", quant=quant, files=(file, *_beside(file, repository)))
    if not path.lower().endswith(".gguf"):
        raise DownloadFailed(f"{path} is no model by itself; name a .gguf or .pte file, or the repository")
    return _Choice(tag=tag, format="gguf", quant=quant, files=_with_parts(file, repository))


def _beside(exported: HubFile, repository: HubRepository) -> Files:
    """What a .pte file is used with, from its own folder."""
    folder = exported.path.rpartition("/")[0]
    wanted = {f"{folder}/{name}".lstrip("/") for name in BESIDE_PTE}
    return tuple(file for file in repository.files if file.path in wanted)


def _with_parts(file: HubFile, repository: HubRepository) -> Files:
    whole = next((model.files for model in gguf_sets(repository) if file in model.files), None)
    if whole is None and split_of(file.path) is not None:
        raise ModelNotFound(f"{repository.repository} lacks parts of {file.path}; name another file", param="model")
    return whole or (file,)


def _wanted(name: ModelName, choice: _Choice, repository: HubRepository, *, follows: str) -> Wanted:
    return Wanted(
        name=name,
        format=choice.format,
        quant=choice.quant,
        license=repository.license,
        follows=follows,
        files=wanted_files(choice.files, repository),
        signature=signature_of(repository),
        reason=choice.reason,
    )


def _there_is(sets: Mapping[str, Files]) -> str:
    return f"there is {', '.join(sorted(sets, key=rank))}" if sets else "it has no GGUF files"


def _follows(revision: str | None, repository: HubRepository) -> str:
    """A commit stands still; a branch is followed, and a tag is one that never moves."""
    if revision is None:
        return MAIN
    is_commit = len(revision) >= _LEAST_COMMIT_DIGITS and repository.commit.startswith(revision.lower())
    return "" if is_commit else revision
