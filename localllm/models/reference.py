"""What a user types for a model, and what it means: a card's name, a path to a GGUF, or the echo engine."""

import hashlib
import os
import re
from pathlib import Path

from localllm.errors import LoadFailed, ModelNotFound
from localllm.models.card import ModelCard
from localllm.models.catalog import Catalog
from localllm.models.local import LocalModel
from localllm.models.store import Manifest, Store
from localllm.types import ModelDefaults

ECHO = "echo"
GGUF_MAGIC = b"GGUF"  # ggml docs/gguf.md, "File Structure"
ENGINES = {"gguf": "llama_cpp"}
_REPOSITORY = re.compile(r"(?:(?:https?|hf)://|hf\.co/|huggingface\.co/).*|\w[\w.-]*/[\w.-]+(?::[\w.-]+)?(?<!\.gguf)")


def resolve(reference: str, store: Store, catalog: Catalog) -> LocalModel | ModelCard:
    """The model on this disk that `reference` means, or the card of one that could be pulled.

    Raises ModelNotFound with the nearest names, or LoadFailed for a file that is no GGUF.
    """
    if reference.partition(":")[0] == ECHO:
        return _echo(reference)
    if _looks_like_path(reference):
        return _file(reference)
    card = catalog.find(reference)
    name = card.name if card else reference.lower()
    manifest = store.find(name) if ":" in name else None
    if manifest is not None:
        return from_manifest(manifest, store)
    if card is not None:
        return card
    near = catalog.nearest(reference)
    hint = f"; did you mean {' or '.join(near)}?" if near else "; see: localllm list --all"
    raise ModelNotFound(f"no model is called {reference!r}{hint}", param="model")


def from_manifest(manifest: Manifest, store: Store) -> LocalModel:
    """A stored model."""
    return LocalModel(
        id=manifest.name,
        engine=ENGINES[manifest.file.format],
        path=str(store.blob_path(manifest.file.digest)),
        created=manifest.created,
        size_bytes=manifest.file.size_bytes,
        defaults=manifest.defaults,
        identity=manifest.file.sha256,
    )


def _looks_like_path(reference: str) -> bool:
    return reference.lower().endswith(".gguf") or "/" in reference or os.sep in reference


def _file(reference: str) -> LocalModel:
    try:
        path = Path(reference).expanduser()
        if path.exists() and not path.is_file():
            raise LoadFailed(f"{path} is no file; name the .gguf file itself")
        with path.open("rb") as file:
            magic = file.read(len(GGUF_MAGIC))
            stat = os.fstat(file.fileno())
    except FileNotFoundError:
        raise ModelNotFound(_no_file(reference), param="model") from None
    except (OSError, ValueError, RuntimeError) as error:  # also a NUL in the path, and the home of nobody
        raise LoadFailed(f"cannot read {reference}: {error}") from error
    if magic != GGUF_MAGIC:
        raise LoadFailed(f"{path} is not a GGUF file: it begins with {magic!r}")
    return LocalModel(
        id=path.stem,
        engine=ENGINES["gguf"],
        path=str(path),
        created=int(stat.st_mtime),
        size_bytes=stat.st_size,
        defaults=ModelDefaults(),
        identity=_identity(path, stat),
    )


def _identity(path: Path, stat: os.stat_result) -> str:
    """Of a file whose bytes were not read: a file that was changed or replaced has another size or time."""
    facts = f"{path.resolve()}\0{stat.st_size}\0{stat.st_mtime_ns}"
    return hashlib.sha256(facts.encode("utf-8", "surrogateescape")).hexdigest()


def _no_file(reference: str) -> str:
    if _REPOSITORY.fullmatch(reference) is None:
        return f"there is no file {reference}"
    return (
        f"there is no file {reference}, and a Hugging Face repository cannot be named directly; "
        "take a model of: localllm list --all; or download a .gguf file and give its path"
    )


def _echo(reference: str) -> LocalModel:
    return LocalModel(
        id=reference, engine=ECHO, path=reference.partition(":")[2], created=0, size_bytes=0, defaults=ModelDefaults()
    )
