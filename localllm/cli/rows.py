"""What `list` shows of a model."""

from msgspec import Struct

from localllm.models.catalog import Catalog
from localllm.models.store import Store


class ModelRow(Struct, frozen=True, kw_only=True):
    """One model, on this disk or not."""

    name: str
    quant: str
    size_bytes: int
    license: str
    is_here: bool
    source: str
    sha256: str


def model_rows(store: Store, catalog: Catalog) -> list[ModelRow]:
    """The stored models, then the cards of the catalog that are not stored, each by name."""
    here = [
        ModelRow(
            name=manifest.name,
            quant=manifest.file.quant,
            size_bytes=manifest.file.size_bytes,
            license=manifest.license,
            is_here=True,
            source=manifest.source,
            sha256=manifest.file.sha256,
        )
        for manifest in store.manifests()
    ]
    names = {row.name for row in here}
    known = [
        ModelRow(
            name=card.name,
            quant=card.artifact.quant,
            size_bytes=card.artifact.size_bytes,
            license=card.license,
            is_here=False,
            source="",
            sha256=card.artifact.sha256,
        )
        for card in catalog.cards()
        if card.name not in names
    ]
    return here + known
