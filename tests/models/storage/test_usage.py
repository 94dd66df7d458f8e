"""Disk usage: what is shared counts for each, and is nobody's own."""

from pathlib import Path

import msgspec

from localllm.models.storage.store import Store
from localllm.models.storage.usage import ModelUsage, disk_usage
from tests.models.cards import part_of, stored_files, stored_model

OWN, SHARED, OLD = b"GGUF own", b"GGUF that is shared", b"GGUF of an earlier version"


def test_an_empty_store_takes_nothing(store: Store) -> None:
    usage = disk_usage(store)
    assert usage.models == []
    assert (usage.blobs_bytes, usage.parts_bytes, usage.kv_bytes) == (0, 0, 0)
    assert not store.root.exists()


def test_own_and_shared_bytes(store: Store) -> None:
    stored_model(store, "tiny:b", OLD)
    stored_files(store, "tiny:b", {"a.gguf": OWN, "b.gguf": SHARED})
    stored_model(store, "Tiny:a", SHARED)
    usage = disk_usage(store)
    both = len(OWN) + len(OLD)
    assert usage.models == [
        ModelUsage(name="Tiny:a", versions=1, total_bytes=len(SHARED), own_bytes=0, linked_bytes=0),
        ModelUsage(name="tiny:b", versions=2, total_bytes=both + len(SHARED), own_bytes=both, linked_bytes=0),
    ]
    assert usage.blobs_bytes == both + len(SHARED)
    assert store.remove("tiny:b") == both
    assert disk_usage(store).models[0].own_bytes == len(SHARED)


def test_what_is_own_is_what_removing_frees_also_where_a_file_is_lost(store: Store) -> None:
    manifest = stored_files(store, "tiny:1m", {"a.gguf": OWN, "b.gguf": OLD})
    store.path(manifest.files[0]).unlink()
    (usage,) = disk_usage(store).models
    assert usage.own_bytes == usage.total_bytes == store.remove("tiny:1m") == len(OLD)


def test_a_file_used_in_place_is_not_ours(store: Store, tmp_path: Path) -> None:
    place = tmp_path / "mine.gguf"
    place.write_bytes(OWN)
    manifest = stored_model(store, "tiny:1m", OWN)
    linked = msgspec.structs.replace(manifest.files[0], path=str(place))
    store.commit(msgspec.structs.replace(manifest, name="tiny:linked", files=(linked,)))
    own, in_place = disk_usage(store).models
    assert (own.own_bytes, own.linked_bytes) == (len(OWN), 0)
    assert (in_place.total_bytes, in_place.own_bytes, in_place.linked_bytes) == (0, 0, len(OWN))


def test_downloads_prompts_and_what_nobody_uses_count_too(store: Store) -> None:
    stored_model(store, "tiny:1m", OWN)
    stored_model(store, "tiny:2m", SHARED)
    (store.root / "manifests" / "tiny+2m" / "head.json").write_bytes(b"{")
    part_of(store, OLD).write_bytes(b"x" * 10_000)
    scratch = store.scratch_path("0" * 64)
    scratch.mkdir()
    (scratch / "x.whl").write_bytes(b"x" * 10_000)
    (store.root.parent / "kv" / "deeper").mkdir(parents=True)
    (store.root.parent / "kv" / "deeper" / "state").write_bytes(b"x" * 5_000)
    usage = disk_usage(store)
    assert [model.name for model in usage.models] == ["tiny:1m"]
    assert usage.blobs_bytes == len(OWN) + len(SHARED)
    assert 20_000 <= usage.parts_bytes < 40_000
    assert 5_000 <= usage.kv_bytes < 20_000
