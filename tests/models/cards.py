"""Cards, wheels and stored models for tests."""

import hashlib
import zipfile
from pathlib import Path

import msgspec
import yaml

from localllm.models.card import HubSource, ModelCard, parse_card
from localllm.models.digest import Digest
from localllm.models.manifest import Manifest, StoredFile, version_of
from localllm.models.storage.store import Store
from localllm.models.transfer.expected import Expected
from localllm.models.transfer.part import PartFile

REPOSITORY, FILENAME, REVISION = "some-org/Tiny-GGUF", "tiny.Q4_0.gguf", "0" * 39 + "1"
KEY = f"{REPOSITORY}/{FILENAME}"  # in Hub.files
PACKAGE, VERSION, MEMBER = "tiny-model", "1.2", "tiny_model/tiny.gguf"
WHEEL = f"tiny_model-{VERSION}-py3-none-any.whl"

Field = str | int | list["Field"] | dict[str, "Field"]

HUB: Field = {"from": "hub", "repository": REPOSITORY, "revision": REVISION, "filename": FILENAME}
WHEEL_BYTES = 1000  # what the card says the wheel has
INDEX: Field = {
    "from": "wheel",
    "package": PACKAGE,
    "version": VERSION,
    "member": MEMBER,
    "size_bytes": WHEEL_BYTES,
}


def front_matter(
    data: bytes = b"GGUF", *, name: str = "tiny:1m", sources: list[Field] | None = None
) -> dict[str, Field]:
    """A card's front matter, for a test to alter."""
    artifact: Field = {
        "filename": FILENAME,
        "format": "gguf",
        "quant": "Q4_0",
        "size_bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "sources": [HUB, INDEX] if sources is None else sources,
    }
    profile: Field = {
        "name": name,
        "architecture": "llama",
        "parameters": 1_000_000,
        "context_tokens": 1024,
        "artifacts": [artifact],
    }
    return {"license": "mit", "base_model": "some-org/Tiny", "localllm": profile}


def card_text(front: dict[str, Field]) -> str:
    """The Markdown of a card."""
    return f"---\n{yaml.safe_dump(front)}---\n\n# Tiny\n"


def make_card(data: bytes, *, name: str = "tiny:1m", sources: list[Field] | None = None) -> ModelCard:
    """A card for a model that consists of `data`."""
    return parse_card(card_text(front_matter(data, name=name, sources=sources)), "tiny.md")


def write_wheel(path: Path, members: dict[str, bytes]) -> Path:
    """A wheel as pip wants it, with these files in it."""
    info = f"tiny_model-{VERSION}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: {VERSION}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def stored_model(store: Store, name: str = "tiny:1m", data: bytes = b"GGUF and more", **fields: object) -> Manifest:
    """Put a model into the store."""
    return stored_files(store, name, {FILENAME: data}, **fields)


def stored_files(store: Store, name: str, files: dict[str, bytes], **fields: object) -> Manifest:
    """Put a model of these files into the store."""
    stored = tuple(_stored(store, filename, data) for filename, data in files.items())
    facts = {"format": "gguf", "quant": "Q4_0", "license": "mit", "source": "a test", "created": 1} | fields
    manifest = msgspec.convert(
        facts | {"name": name, "version": version_of(stored), "files": msgspec.to_builtins(stored)}, Manifest
    )
    return store.commit(manifest)


def _stored(store: Store, filename: str, data: bytes) -> StoredFile:
    digest = Digest(hashlib.sha256(data).hexdigest())
    part = store.part_path(digest)
    part.write_bytes(data)
    store.blobs.publish(part, digest)
    origin = HubSource(repository=REPOSITORY, revision=REVISION, filename=filename)
    return StoredFile(filename=filename, size_bytes=len(data), sha256=str(digest), origin=origin)


def part_of(store: Store, data: bytes) -> Path:
    """Where a download of `data` is collected."""
    return store.part_path(hashlib.sha256(data).hexdigest())


def leave(store: Store, data: bytes, part: bytes) -> Path:
    """Pretend that an earlier attempt at `data` got this far."""
    path = part_of(store, data)
    expected = Expected(size_bytes=len(data), sha256=Digest(hashlib.sha256(data).hexdigest()))
    with PartFile(path, expected) as file:
        file.write(part)
    return path
