"""What a pull that failed may leave behind: nothing but a part to go on from."""

from localllm.models.storage.store import Store


def assert_nothing_published(store: Store) -> None:
    """No model, no bytes under a digest's name, nothing half done but part and lock."""
    assert store.survey() == ([], [])
    assert not list(store.root.glob("blobs/*"))
    assert {path.suffix for path in store.root.rglob("*") if path.is_file()} <= {".part", ".map", ".lock"}
    assert [path for path in store.root.glob("parts/*") if path.is_dir()] == []
