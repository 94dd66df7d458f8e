"""What `list` shows of a model."""

from msgspec import Struct

from localllm.errors import NoRoom
from localllm.models.card import ModelCard
from localllm.models.catalog import Catalog
from localllm.models.manifest import Head, Manifest
from localllm.models.quant import choose_quant, needed_bytes
from localllm.models.storage.store import Store


class ModelRow(Struct, frozen=True, kw_only=True):
    """One model, on this disk or not."""

    name: str
    quant: str  # of one that is not here: that which fits this machine best
    size_bytes: int
    is_estimate: bool = False  # of the size: no card knows it, the hub says it when the model is pulled
    license: str
    is_here: bool
    is_linked: bool = False  # used in place
    is_pinned: bool = False
    is_whole: bool = True  # each of its files is where it should be
    fits: bool = True  # of one that is not here: into the memory that is free
    created: int = 0  # Unix time
    version: str = ""
    source: str = ""
    quants: tuple[str, ...] = ()  # that it can be had in


def model_rows(store: Store, catalog: Catalog, room_bytes: int) -> list[ModelRow]:
    """The stored models by name, then the cards of the catalog that are not stored."""
    pinned = {head.name for head in store.versions.heads() if isinstance(head, Head) and head.is_pinned}
    here = [_stored(manifest, store, is_pinned=manifest.name in pinned) for manifest in store.survey().manifests]
    names = {row.name for row in here}
    return here + [_known(card, room_bytes) for card in catalog.cards() if card.name not in names]


def _stored(manifest: Manifest, store: Store, *, is_pinned: bool) -> ModelRow:
    return ModelRow(
        name=manifest.name,
        quant=manifest.quant,
        size_bytes=manifest.size_bytes,
        license=manifest.license,
        is_here=True,
        is_linked=any(file.is_linked for file in manifest.files),
        is_pinned=is_pinned,
        is_whole=store.is_whole(manifest),
        created=manifest.created,
        version=manifest.version,
        source=manifest.source,
        quants=(manifest.quant,),
    )


def _known(card: ModelCard, room_bytes: int) -> ModelRow:
    quant = card.artifact.quant if card.artifact is not None else _best(card, room_bytes)
    size_bytes = card.estimated_bytes(quant)
    return ModelRow(
        name=card.name,
        quant=quant,
        size_bytes=size_bytes,
        is_estimate=card.artifact is None,
        license=card.license_name or card.license,
        is_here=False,
        fits=needed_bytes(size_bytes) <= room_bytes,
        quants=card.quants,
    )


def _best(card: ModelCard, room_bytes: int) -> str:
    sizes = {quant: card.estimated_bytes(quant) for quant in card.quants}
    try:
        return choose_quant(sizes, room_bytes).quant
    except NoRoom:
        return min(sizes, key=sizes.__getitem__)
