"""The catalog: all known model cards, found by name or alias, with or without a quantization behind it."""

import difflib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from localllm.errors import ModelError
from localllm.models.card import ModelCard, read_card
from localllm.models.quant import canonical_quant

_PACKAGED = Path(__file__).parent.parent / "modelcards"  # in an installed wheel
_CHECKOUT = Path(__file__).parent.parent.parent / "modelcards"
_LONGEST_NAME = 200  # characters that are compared: a name may come from anywhere
_LONGEST_QUANT = 20  # characters, with what stands before it


class CardMatch(NamedTuple):
    """What a name means: a card, and the quantization that was asked for; None leaves that to the machine."""

    card: ModelCard
    quant: str | None


class Catalog:
    """Cards by name. A name without its size is enough where only one card has it."""

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
        """Every card once, by family and size."""
        unique = {card.name: card for card in self._cards.values()}
        return sorted(unique.values(), key=lambda card: (_family(card), card.localllm.parameters, card.name))

    def find(self, name: str) -> CardMatch | None:
        """The card that `name` means, or None.

        A name is `family:size`, an alias, or `family` alone where one card has it; behind each may stand a
        quantization: `qwen3:4b-q4_k_m`, `smollm3:q8_0`. Whether the card has that one is not looked at.
        """
        for base, quant in _readings(name):
            card = self._card(base)
            if card is not None:
                return CardMatch(card, quant)
        return None

    def of_repository(self, repository: str) -> ModelCard | None:
        """The card whose files come from that repository of the hub, or None."""
        for card in self.cards():
            hub = card.localllm.hub
            if hub is not None and hub.repository.lower() == repository.lower():
                return card
        return None

    def ambiguous(self, name: str) -> list[str]:
        """The names of the cards of the family that `name` means, smallest first, if it is not clear which; else []."""
        if self.find(name) is not None:
            return []
        for base, _ in _readings(name):
            family = [card.name for card in self._of_family(base)]
            if family:
                return family
        return []

    def nearest(self, name: str) -> list[str]:
        """Names that look like `name`, the most alike first."""
        return difflib.get_close_matches(name[:_LONGEST_NAME].lower(), list(self._cards), n=3, cutoff=0.4)

    def _card(self, name: str) -> ModelCard | None:
        family = self._of_family(name)
        return self._cards.get(name) or (family[0] if len(family) == 1 else None)

    def _of_family(self, family: str) -> list[ModelCard]:
        return [card for card in self.cards() if _family(card) == family]

    def _add(self, card: ModelCard, origin: str) -> None:
        fields = [("name", card.name), *(("aliases", alias) for alias in card.localllm.aliases)]
        for field, name in fields:
            if name in self._cards:
                raise ModelError(f"{origin}: localllm.{field}: {name!r} is taken by {self._origins[name]}")
            self._cards[name] = card
            self._origins[name] = origin


def _readings(name: str) -> Iterator[tuple[str, str | None]]:
    """The ways to read a name: as it stands, and as a name with a quantization behind a colon or a hyphen."""
    name = name.lower()
    yield name, None
    for at in range(max(0, len(name) - _LONGEST_QUANT), len(name)):
        quant = canonical_quant(name[at + 1 :]) if name[at] in ":-" else None
        if quant is not None:
            yield name[:at], quant


def _family(card: ModelCard) -> str:
    return card.name.partition(":")[0]
