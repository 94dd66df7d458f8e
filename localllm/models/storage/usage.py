"""Disk usage: what each model takes, and what several share."""

from collections import Counter

from msgspec import Struct

from localllm.models.files import bytes_on_disk, disk_errors
from localllm.models.manifest import Head
from localllm.models.storage.store import Store


class ModelUsage(Struct, frozen=True, kw_only=True):
    """What one model takes on disk."""

    name: str
    versions: int
    total_bytes: int  # of all its versions' files that are here
    own_bytes: int  # that removing it would free
    linked_bytes: int  # of files used in place, which are not ours


class DiskUsage(Struct, frozen=True, kw_only=True):
    """What everything takes on disk."""

    models: list[ModelUsage]
    blobs_bytes: int
    parts_bytes: int
    kv_bytes: int  # remembered prompts


def disk_usage(store: Store) -> DiskUsage:
    """Count it. Raises ModelError; what a damaged manifest uses counts among the blobs alone."""
    heads = [head for head in store.versions.heads() if isinstance(head, Head)]
    manifests = {head.name: store.versions.manifests(head) for head in heads}
    digests = {name: {file.digest for one in mine for file in one.own_files} for name, mine in manifests.items()}
    users = Counter(digest for mine in digests.values() for digest in mine)
    sizes = {digest: store.blobs.size(digest) or 0 for digest in {*users, *store.blobs.digests()}}
    models = []
    for head in heads:
        linked = {file.path: file.size_bytes for one in manifests[head.name] for file in one.files if file.is_linked}
        models.append(
            ModelUsage(
                name=head.name,
                versions=len(head.trail),
                total_bytes=sum(sizes[digest] for digest in digests[head.name]),
                own_bytes=sum(sizes[digest] for digest in digests[head.name] if users[digest] == 1),
                linked_bytes=sum(linked.values()),
            )
        )
    with disk_errors(f"read {store.root.parent}"):
        return DiskUsage(
            models=sorted(models, key=lambda model: model.name.lower()),
            blobs_bytes=sum(sizes.values()),
            parts_bytes=bytes_on_disk(store.root / "parts"),
            kv_bytes=bytes_on_disk(store.root.parent / "kv"),
        )
