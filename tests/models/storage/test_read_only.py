"""A home on a disk that cannot be written: its models are listed, found, checked and used all the same."""

import json
from pathlib import Path

import pytest

from localllm.models.storage.store import Store
from tests.models.cards import stored_model
from tests.models.child import Child, clean_environment


@pytest.mark.parametrize("has_locks", [True, False])
def test_reading_needs_no_writing(store: Store, data: bytes, tmp_path: Path, has_locks: bool) -> None:
    stored_model(store, "tiny:1m", b"GGUF old")
    stored_model(store, "tiny:1m", data)
    stored_model(store, "tiny:2m", data + b"\0")
    stored_model(store, "tiny:gone", b"GGUF gone")
    store.aliases.put("short", "tiny:1m")
    (store.root / "manifests" / "tiny+gone" / "head.json").unlink()
    if not has_locks:
        for lock in (store.root / "locks").iterdir():
            lock.unlink()
        (store.root / "locks").rmdir()
    before = {path: path.stat().st_mtime_ns for path in store.root.rglob("*")}
    arguments = ["-B", "-m", "tests.models.storage.reader", str(store.root.parent)]
    with Child(*arguments, environment=clean_environment(tmp_path)) as child:
        exit_code, lines = child.finish()
    assert exit_code == 0
    found = json.loads(lines[-1])
    refused = found.pop("refused")
    assert found == {
        "names": ["tiny:1m", "tiny:2m"],
        "damages": 0,
        "whole": [True, True],
        "paths": [str(store.path(manifest.files[0])) for manifest in store.survey().manifests],
        "alias": "tiny:1m",
        "faults": [None, None],
        "models": 2,
        "garbage": 4,  # an old version; the manifest, the blob and the folder of what is gone
        "history": 2,
    }
    assert len(refused) == 4
    assert all("Read-only file system" in message for message in refused)
    assert {path: path.stat().st_mtime_ns for path in store.root.rglob("*")} == before
