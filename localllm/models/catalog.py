"""The catalog: all known model cards, found by name or alias."""

import difflib
from collections.abc import Iterable
from pathlib import Path

from localllm.errors import ModelError
from localllm.models.card import ModelCard, read_card

_PACKAGED = Path(__file__).parent.parent / "modelcards"  # in an installed wheel
_CHECKOUT = Path(__file__).parent.parent.parent / "modelcards"


class Catalog:
    """Cards by name. A name without its tag is enough where only one card has it."""

    def __init__(self, cards: Iterable[ModelCard]) -> None:
        self._cards: dict[str, ModelCard] = {}
        self._origins: dict[str, str] = {}  # of each name: the file of its card
        for card in cards:
            self._add(card, card.name)

    @classmethod
    def bundled(cls) -> "Catalog":
        """The cards that come with localllm. Raises ModelError when one is damaged."""
        return cls.from_folder(_PACKAGED if _PACKAGED.is_dir() else _CHECKOUT)

    @classmethod
    def from_folder(cls, folder: Path) -> "Catalog":
        """The cards in a folder. Raises ModelError, naming the file and the field at fault."""
        catalog = cls([])
        for path in sorted(folder.glob("*.md")):
            catalog._add(read_card(path), path.name)
        return catalog

    def cards(self) -> list[ModelCard]:
        """Every card once, by name."""
        unique = {card.name: card for card in self._cards.values()}
        return [unique[name] for name in sorted(unique)]

    def find(self, name: str) -> ModelCard | None:
        """The card that `name` means, or None."""
        card = self._cards.get(name.lower())
        if card is not None:
            return card
        tagged = [card for card in self.cards() if card.name.split(":")[0] == name.lower()]
        return tagged[0] if len(tagged) == 1 else None

    def nearest(self, name: str) -> list[str]:
        """Names that look like `name`, the most alike first."""
        return difflib.get_close_matches(name.lower(), list(self._cards), n=3, cutoff=0.4)

    def _add(self, card: ModelCard, origin: str) -> None:
        fields = [("name", card.name), *(("aliases", alias) for alias in card.localllm.aliases)]
        for field, name in fields:
            if name in self._cards:
                raise ModelError(f"{origin}: localllm.{field}: {name!r} is taken by {self._origins[name]}")
            self._cards[name] = card
            self._origins[name] = origin
