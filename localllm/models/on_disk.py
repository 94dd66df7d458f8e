"""Models on this disk: those of the store, and files that a user names by their path."""

import hashlib
import os
import shlex
import stat
from pathlib import Path

from localllm.errors import LoadFailed, ModelNotFound
from localllm.models.hub.naming import is_repository
from localllm.models.local import ENGINES, LocalModel
from localllm.models.manifest import MLC_CONFIG, FileSource, Format, Manifest, StoredFile
from localllm.models.pte.header import FORWARD, MAGIC, MAGIC_OFFSET, read_program
from localllm.models.quant import split_of
from localllm.models.reference import shown
from localllm.models.storage.store import Store
from localllm.types import ModelDefaults

GGUF_MAGIC = b"GGUF"  # ggml docs/gguf.md, "File Structure"
OPENVINO_MODEL = "openvino_model.xml"  # as optimum-intel calls it
CHECKPOINT_CONFIG = "config.json"
TOKENIZERS = ("tokenizer.json", "tokenizer.model")
BESIDE_PTE = (
    *TOKENIZERS,
    "tokenizer_config.json",
    "special_tokens_map.json",
    CHECKPOINT_CONFIG,
    "chat_template.jinja",
    "generation_config.json",
)
_CHECKPOINT = (
    "{place} is a checkpoint, which no engine here runs as it is; turn it into a GGUF file: localllm quantize {place}"
)
_NUMBER_FROM, _NUMBER_TO = -len("00001-of-00003.gguf"), -len("-of-00003.gguf")


def from_manifest(manifest: Manifest, store: Store) -> LocalModel:
    """A stored model. Raises LoadFailed for one that no engine runs, and as `check_in_place` does."""
    check_in_place(manifest)
    engine = ENGINES.get(manifest.format)
    if engine is None:
        raise LoadFailed(_CHECKPOINT.format(place=manifest.name))
    paths = tuple(str(store.path(file)) for file in manifest.weights)
    digests = [file.sha256 for file in manifest.weights]
    is_one_file = len(digests) == 1 and manifest.format != "mlc"
    if manifest.format == "mlc":  # its weights lie beside the file that is named
        digests = [file.sha256 for file in manifest.files]
    return LocalModel(
        id=manifest.name,
        engine=engine,
        path=paths[0],
        parts=paths if len(paths) > 1 else (),
        created=manifest.created,
        size_bytes=manifest.size_bytes,
        defaults=manifest.defaults,
        beside={file.filename: str(store.path(file)) for file in manifest.files if file not in manifest.weights},
        sha256=digests[0] if is_one_file else "",
        identity=digests[0] if is_one_file else _hashed(digests),
        format=manifest.format,
    )


def check_in_place(manifest: Manifest) -> None:
    """Raises LoadFailed where a file that is used in place is gone, or not what it was when it was hashed."""
    for file in manifest.files:
        if file.is_linked:
            _check_unchanged(file, manifest)


def from_path(text: str) -> LocalModel:
    """The model in a file, in all parts of a split one, or in a folder that MLC or OpenVINO has made.

    Raises ModelNotFound or LoadFailed.
    """
    try:
        path = Path(text).expanduser()
        if path.name == MLC_CONFIG and path.is_file():
            return _of_folder(path.parent, "mlc")
        if path.is_dir():
            kind = _kind_of_folder(path)
            if kind is None:
                raise LoadFailed(_folder_words(path, text))
            return _of_folder(path, kind)
        parts = parts_of(path)
        format_ = format_of(path)
        beside = {file.name: str(file) for file in beside_pte(path)} if format_ == "pte" else {}
        found = [part.stat() for part in parts]
        facts = [_facts(part, status) for part, status in zip(parts, found, strict=True)]
    except (OSError, ValueError, RuntimeError) as error:  # also a NUL in the path, and the home of nobody
        raise unreadable(text, error) from error
    split = split_of(path.name)
    return LocalModel(
        id=split.stem if split is not None else path.stem,
        engine=ENGINES[format_],
        format=format_,
        path=str(parts[0]),
        parts=tuple(str(part) for part in parts) if len(parts) > 1 else (),
        created=int(found[0].st_mtime),
        size_bytes=sum(status.st_size for status in found),
        defaults=ModelDefaults(),
        beside=beside,
        identity=_hashed(facts),
    )


def _kind_of_folder(folder: Path) -> str | None:
    """The format of a model that is a folder, if it is one."""
    if (folder / MLC_CONFIG).is_file():
        return "mlc"
    return "openvino" if (folder / OPENVINO_MODEL).is_file() else None


def _of_folder(folder: Path, format_: str) -> LocalModel:
    """The model in a folder, whose files are looked at when it is loaded. Raises OSError."""
    found = {path: path.stat() for path in sorted(folder.iterdir()) if path.is_file()}
    return LocalModel(
        id=Path(os.path.abspath(folder)).name,
        engine=ENGINES[format_],
        format=format_,
        path=str(folder),
        created=max(int(status.st_mtime) for status in found.values()),
        size_bytes=sum(status.st_size for status in found.values()),
        defaults=ModelDefaults(),
        identity=_hashed([_facts(path, status) for path, status in found.items()]),
    )


def parts_of(path: Path) -> list[Path]:
    """All files of a model, in order, given any of them (llama.cpp `llama_split_path`).

    Raises ModelNotFound where one is missing, LoadFailed for what is no regular file, OSError, ValueError.
    """
    split = split_of(path.name)
    if split is None:
        return [_regular(path, path)]
    begin, end = path.name[:_NUMBER_FROM], path.name[_NUMBER_TO:]
    return [_regular(path.with_name(f"{begin}{part:05d}{end}"), path) for part in range(1, split.parts + 1)]


def format_of(path: Path) -> Format:
    """What a file's first bytes say it is. Raises LoadFailed for what no engine loads, OSError."""
    with path.open("rb") as file:
        beginning = file.read(MAGIC_OFFSET + len(MAGIC))
    if beginning.startswith(GGUF_MAGIC):
        return "gguf"
    if beginning[MAGIC_OFFSET:] == MAGIC:
        return "pte"
    kind = "an ExecuTorch" if path.suffix.lower() == ".pte" else "a GGUF"
    raise LoadFailed(f"{shown(path)} is not {kind} file: it begins with {beginning[:4]!r}; name a .gguf file")


def beside_pte(path: Path) -> list[Path]:
    """The files that belong to an exported model, from its folder.

    Raises LoadFailed where it has no tokenizer, or is no program of a model.
    """
    require_forward(path)
    found = [path.with_name(name) for name in BESIDE_PTE if path.with_name(name).is_file()]
    if not any(file.name in TOKENIZERS for file in found):
        raise LoadFailed(f"{shown(path)} has no tokenizer beside it; put its {' or '.join(TOKENIZERS)} there")
    return found


def require_forward(path: Path) -> None:
    """Raises LoadFailed where a .pte file is damaged, or its program does not answer for tokens."""
    if not read_program(path).has_forward:
        raise LoadFailed(f"{shown(path)} is a program without a method {FORWARD!r}; name one that is a language model")


def unreadable(place: object, error: Exception) -> LoadFailed:
    """Why a path could not be read, as an error to raise."""
    reason = getattr(error, "strerror", None) or error
    return LoadFailed(f"cannot read {shown(place)}: {shown(reason)}; check the path and its permissions")


def _regular(part: Path, named: Path) -> Path:
    """It, checked to be there."""
    try:
        mode = part.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        belongs = f", a part of {shown(named.name)}; bring it there" if part != named else ""
        raise ModelNotFound(f"there is no file {shown(part)}{belongs}", param="model") from None
    if not stat.S_ISREG(mode):
        raise LoadFailed(f"{shown(part)} is no regular file; name a GGUF file")
    return part


def _folder_words(folder: Path, text: str) -> str:
    names = sorted(path.name for path in folder.iterdir())
    inside = [name for kind in ENGINES for name in names if name.lower().endswith(f".{kind}")]
    if not inside and CHECKPOINT_CONFIG in names:
        return _CHECKPOINT.format(place=shown(folder))
    suffix = Path(inside[0]).suffix.lower() if inside else ".gguf"
    one_of = f", such as {shown(folder / inside[0])}" if inside else ""
    remote = f"; the repository of the hub is hf.co/{text}" if is_repository(text) else ""
    return f"{shown(folder)} is a folder; name the {suffix} file itself{one_of}{remote}"


def _check_unchanged(file: StoredFile, manifest: Manifest) -> None:
    try:
        status = os.stat(file.path)
    except (OSError, ValueError) as error:
        raise LoadFailed(
            f"{manifest.name} is used where it lies, and {shown(file.path)} cannot be read "
            f"({getattr(error, 'strerror', None) or error}); bring it back, or forget the model with: "
            f"localllm rm {manifest.name}"
        ) from error
    if (status.st_size, status.st_mtime_ns) != (file.size_bytes, file.modified_ns):
        raise LoadFailed(
            f"{shown(file.path)} has changed since {manifest.name} was imported; if that was meant: "
            f"localllm import --link {_again(manifest)}"
        )


def _again(manifest: Manifest) -> str:
    """The arguments that import a model once more under its name."""
    if "/" in manifest.name:  # it was found in another program's folder
        return "--scan"
    first = manifest.files[0]
    place = Path(first.origin.path if isinstance(first.origin, FileSource) else first.path)
    if manifest.format == "safetensors":
        place = place.parent
    return f"--name {manifest.name} {shown(shlex.quote(str(place)))}"


def _facts(path: Path, status: os.stat_result) -> str:
    """Of a file whose bytes were not read: a file that was changed or replaced has another size or time."""
    return f"{os.path.realpath(path)}\0{status.st_size}\0{status.st_mtime_ns}"


def _hashed(lines: list[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
