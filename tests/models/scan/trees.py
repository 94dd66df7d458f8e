"""Places of other programs as they leave them on disk, and a look at them that proves that nothing was written."""

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from localllm.config import ForeignFolders
from localllm.models.scan.found import FoundModel, ScanReport
from localllm.models.scan.scan import scan

NOBODY = 65534
COMMIT = "a" * 40
OLDER = "b" * 40
KIND = "application/vnd.ollama.image."


def gguf(text: str = "weights") -> bytes:
    """Bytes that begin like a GGUF file."""
    return b"GGUF\x03\x00\x00\x00" + text.encode()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def ollama_layer(root: Path, kind: str, data: bytes) -> dict[str, object]:
    """A layer of a manifest, and its blob."""
    digest = sha256(data)
    write(root / "blobs" / f"sha256-{digest}", data)
    return {"mediaType": KIND + kind, "digest": f"sha256:{digest}", "size": len(data)}


def ollama_manifest(root: Path, place: str, layers: object) -> Path:
    """The manifest at host/namespace/model/tag."""
    config = ollama_layer(root, "config", b'{"model_format": "gguf"}')
    config["mediaType"] = "application/vnd.docker.container.image.v1+json"
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": config,
        "layers": layers,
    }
    return write(root / "manifests" / place, json.dumps(manifest).encode())


def ollama_model(root: Path, place: str, data: bytes, *others: str) -> Path:
    """A whole model with the usual layers and those of `others`; returns its manifest."""
    kinds = ("template", "params", "license", *others)
    layers = [ollama_layer(root, kind, f"the {kind} of {place}".encode()) for kind in kinds]
    return ollama_manifest(root, place, [ollama_layer(root, "model", data), *layers])


def hub_file(hub: Path, repository: str, filename: str, data: bytes, commit: str = COMMIT, etag: str = "") -> Path:
    """A file in the cache of the hub: a blob, and a link to it from a snapshot; returns the link."""
    folder = hub / f"models--{repository.replace('/', '--')}"
    blob = write(folder / "blobs" / (etag or sha256(data)), data)
    link = folder / "snapshots" / commit / filename
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(os.path.relpath(blob, link.parent))
    if commit == COMMIT:
        write(folder / "refs" / "main", commit.encode())
    return link


def folders_below(root: Path) -> ForeignFolders:
    """A machine with all programs in one folder."""
    return ForeignFolders(
        ollama=(root / "ollama",),
        lm_studio=(root / "lmstudio",),
        lm_studio_pointer=root / "pointer",
        hugging_face=root / "hub",
        llama_cpp=(root / "llama.cpp",),
    )


def look(root: Path) -> ScanReport:
    """Scan that machine, and see that nothing on it was touched."""
    before = facts(root)
    report = scan(folders_below(root))
    assert facts(root) == before
    assert all(one.reason.isprintable() and one.place.isprintable() for one in report.skipped)
    return report


def only_model(report: ScanReport) -> FoundModel:
    (model,) = report.models
    assert report.skipped == ()
    return model


def reasons(report: ScanReport) -> str:
    return "\n".join(f"{one.place}: {one.reason}" for one in report.skipped)


def facts(root: Path) -> dict[str, tuple[object, ...]]:
    """All that would change if anyone wrote below `root`, by path."""
    found: dict[str, tuple[object, ...]] = {}
    for folder, folders, files in os.walk(root):
        for name in (".", *folders, *files):
            path = os.path.join(folder, name)
            status = os.lstat(path)
            bytes_ = Path(path).read_bytes() if stat.S_ISREG(status.st_mode) and status.st_mode & 0o400 else b""
            found[path] = (status.st_mode, status.st_size, status.st_mtime_ns, status.st_ino, status.st_nlink, bytes_)
    return found


@contextmanager
def without_rights() -> Iterator[None]:
    """As a user whom permissions hold: root may read all."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
