"""Repositories of the hub with models of several files, and pulling them by what a user types."""

import functools
import json
import tempfile
from pathlib import Path

from localllm.models.catalog import Catalog
from localllm.models.choose import Hub, choose
from localllm.models.hub.repository import read_repository
from localllm.models.manifest import Manifest
from localllm.models.reference import HubReference, parse
from localllm.models.small_file import read_small_file
from localllm.models.storage.store import Store
from localllm.models.wanted import Wanted
from tests.models.pte.programs import TOKENIZER, program
from tests.models.pulls import bring
from tests.tiny import write_tiny_model

NAME = "some-org/Several"
PLENTY_BYTES = 1 << 40  # of memory
NO_CARDS = Catalog([])


@functools.cache
def split_model(seed: int = 0) -> dict[str, bytes]:
    """The tiny model in three files."""
    with tempfile.TemporaryDirectory() as folder:
        write_tiny_model(Path(folder) / "tiny-F32.gguf", seed=seed, tensors_each=8)
        return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


def checkpoint(version: str = "1") -> dict[str, bytes]:
    """A checkpoint in two shards, with what repositories keep beside it."""
    shards = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    index = {"weight_map": {"a": shards[0], "b": shards[1]}}
    return {
        shards[0]: b"first shard" * 1000,
        shards[1]: b"second shard of " + version.encode() * 1000,
        "model.safetensors.index.json": json.dumps(index).encode(),
        "consolidated.safetensors": b"both shards once more" * 1000,
        "pytorch_model.bin": b"\x80\x04 and once more, as a pickle" * 1000,
        "config.json": b'{"model_type": "llama"}',
        "generation_config.json": b"{}",
        "special_tokens_map.json": b"{}",  # the same bytes as another file
        "tokenizer.json": b'{"version": "%s"}' % version.encode(),
        "modeling_llama.py": b"raise SystemExit('ran')",
        "LICENSE": b"Do as you like.",
        "README.md": b"# Several",
        "onnx/model.safetensors": b"elsewhere",
    }


EXPORTED = {
    "mobile/tiny.pte": program(),
    "mobile/tokenizer.json": TOKENIZER,
    "mobile/chat_template.jinja": b"{{ messages }}",
    "mobile/notes.txt": b"how it was made",
    "tokenizer.model": b"of another folder",
    "README.md": b"# Exported",
}


def real_hub(*, offline: bool = False) -> Hub:
    """The hub that this process asks."""
    return Hub(
        read_repository=lambda repository, revision: read_repository(repository, revision, offline=offline),
        read_file=lambda file: read_small_file(file, offline=offline),
    )


def wanted_at(text: str, room_bytes: int = PLENTY_BYTES) -> Wanted:
    """What a reference to the hub means now."""
    reference = parse(text)
    assert isinstance(reference, HubReference)
    return choose(reference, real_hub(), room_bytes)


def bring_from(store: Store, text: str) -> Manifest:
    """Pull what a reference means."""
    return bring(store, wanted_at(text))


def contents(store: Store, manifest: Manifest) -> dict[str, bytes]:
    """A model's files by name."""
    return {file.filename: store.path(file).read_bytes() for file in manifest.files}
