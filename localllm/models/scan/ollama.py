"""Models of Ollama: manifests/<host>/<namespace>/<model>/<tag> names blobs/sha256-<digest>.

Ollama's sources: `manifest/manifest.go`, `manifest/paths.go`, `types/model/name.go`.
"""

from pathlib import Path

import msgspec
from msgspec import Struct

from localllm.errors import IntegrityError, LoadFailed
from localllm.models.digest import Digest
from localllm.models.scan.foreign_file import TROUBLE, look_at, real_path, small_json
from localllm.models.scan.found import FoundFile, FoundModel
from localllm.models.scan.survey import Survey

MOST_MANIFEST_BYTES = 2**18  # those of GGUF models have a few hundred
DEFAULT_HOST = "registry.ollama.ai"
DEFAULT_NAMESPACE = "library"
_KIND = "application/vnd.ollama.image."
_DEPTH = 4  # host, namespace, model, tag
_UNUSED = {
    "projector": "its projector for pictures is not used",
    "adapter": "its LoRA adapter is not used",
}


class _Layer(Struct):
    media_type: str = msgspec.field(name="mediaType")
    digest: str
    size: int


class _Manifest(Struct):
    layers: list[_Layer]


def find_in_ollama(folder: Path, survey: Survey) -> list[FoundModel]:
    """The models below `folder`, which has `manifests` and `blobs`."""
    root = folder / "manifests"
    models = []
    for path in survey.files(root, most_depth=_DEPTH):
        parts = path.relative_to(root).parts
        if len(parts) != _DEPTH:
            survey.skip(path, "it is not where Ollama keeps a manifest: host/namespace/model/tag")
            continue
        try:
            models.append(_model(parts, _read(path), folder / "blobs"))
        except TROUBLE as error:
            survey.skip(path, error)
    return models


def _read(path: Path) -> dict[str, list[_Layer]]:
    """Layers by kind: model, projector, adapter, template, params and others."""
    manifest = small_json(path, MOST_MANIFEST_BYTES, _Manifest)
    layers: dict[str, list[_Layer]] = {}
    for layer in manifest.layers:
        layers.setdefault(layer.media_type.removeprefix(_KIND), []).append(layer)
    return layers


def _model(parts: tuple[str, ...], layers: dict[str, list[_Layer]], blobs: Path) -> FoundModel:
    match layers.get("model", []):
        case [weights]:
            file = _blob(weights, blobs)
        case []:
            raise LoadFailed("this manifest names no GGUF file: the model is of another format, or elsewhere")
        case _:
            raise LoadFailed("its weights are several blobs, which only Ollama can put together")
    host, namespace, model, tag = parts
    is_official = (host, namespace) == (DEFAULT_HOST, DEFAULT_NAMESPACE)
    notes = [] if host == DEFAULT_HOST else [f"it came from {host}"]
    notes += [words for kind, words in _UNUSED.items() if kind in layers]
    return FoundModel(
        name=f"{model}:{tag}" if is_official else f"{namespace}/{model}:{tag}",
        origin="ollama",
        files=(file,),
        note="; ".join(notes),
    )


def _blob(layer: _Layer, blobs: Path) -> FoundFile:
    """The file of a layer, which may not lie anywhere else. Raises TROUBLE."""
    algorithm, _, hexadecimal = layer.digest.partition(":")
    if algorithm != "sha256":
        raise IntegrityError(f"its layer has no SHA-256 digest but {layer.digest[:80]!r}")
    digest = Digest(hexadecimal)
    path = blobs / f"sha256-{digest}"
    try:
        is_inside = real_path(path).is_relative_to(real_path(blobs))
    except FileNotFoundError:
        raise LoadFailed(f"its file {path.name} is not here") from None
    if not is_inside:
        raise IntegrityError(f"its file {path.name} leads out of the folder of blobs")
    file = look_at(path, digest)
    if file.size_bytes != layer.size:
        raise IntegrityError(f"its file {path.name} has {file.size_bytes} bytes, not {layer.size}")
    return file
