"""Files of stored models, found and damaged."""

from pathlib import Path

from localllm.models.storage.store import Store
from tests.models.hub_contents import sha256


def blob_of(store: Store, data: bytes) -> Path:
    """Where the store keeps these bytes."""
    (path,) = store.root.glob(f"blobs/*{sha256(data)}")
    return path


def damage(store: Store, data: bytes) -> None:
    """Turn the last bit of a stored file; its size stays."""
    path = blob_of(store, data)
    path.chmod(0o600)
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def has(store: Store, data: bytes) -> bool:
    """Whether the store keeps these bytes, and they are right."""
    found = list(store.root.glob(f"blobs/*{sha256(data)}"))
    return len(found) == 1 and found[0].read_bytes() == data
