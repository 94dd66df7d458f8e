"""The catalog: names, aliases, tags left out, and names that are nearly right."""

from pathlib import Path

import pytest

from localllm.errors import ModelError
from localllm.models.card import ModelCard, parse_card
from localllm.models.catalog import Catalog
from tests.models.cards import Field, card_text, front_matter


def text_of(name: str, *aliases: str) -> str:
    front = front_matter(name=name)
    profile = front["localllm"]
    assert isinstance(profile, dict)
    names: list[Field] = [*aliases]
    profile["aliases"] = names
    return card_text(front)


def card(name: str, *aliases: str) -> ModelCard:
    return parse_card(text_of(name, *aliases), "tiny.md")


@pytest.fixture
def catalog() -> Catalog:
    return Catalog([card("tiny:1m", "tiny-instruct"), card("tiny:9m"), card("small:2m", "mini:2m", "mini")])


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("tiny:1m", "tiny:1m"),
        ("TINY:1M", "tiny:1m"),
        ("tiny-instruct", "tiny:1m"),
        ("Tiny-Instruct", "tiny:1m"),
        ("mini", "small:2m"),
        ("mini:2m", "small:2m"),
        ("small", "small:2m"),  # one card alone has that family
        ("Small", "small:2m"),
        ("tiny", None),  # which of the two?
        ("tin", None),
        ("tiny:", None),
        (":1m", None),
        ("", None),
    ],
)
def test_what_a_name_means(catalog: Catalog, name: str, found: str | None) -> None:
    card = catalog.find(name)
    assert (card.name if card else None) == found


def test_every_card_once_by_name(catalog: Catalog) -> None:
    assert [card.name for card in catalog.cards()] == ["small:2m", "tiny:1m", "tiny:9m"]


def test_the_nearest_names_come_first(catalog: Catalog) -> None:
    assert catalog.nearest("tiny:2m")[0] in {"tiny:1m", "tiny:9m"}
    assert catalog.nearest("Tiny-Instrukt")[0] == "tiny-instruct"
    assert len(catalog.nearest("tiny")) <= 3
    assert catalog.nearest("qqqqqqqq") == []


def test_the_bundled_catalog_has_the_starter_model() -> None:
    found = Catalog.bundled().find("smollm2")
    assert found is not None
    assert found.name == "smollm2:135m"
    assert Catalog.bundled().find("smollm2-135m-instruct") == found


@pytest.mark.parametrize(
    ("first", "second", "field"),
    [
        (("tiny:1m",), ("tiny:1m",), "name"),
        (("tiny:1m", "tiny"), ("tiny:9m", "tiny"), "aliases"),
        (("tiny:1m",), ("tiny:9m", "tiny:1m"), "aliases"),
        (("tiny:1m", "zeta:1m"), ("zeta:1m",), "name"),
    ],
)
def test_a_name_belongs_to_one_card(
    tmp_path: Path, first: tuple[str, ...], second: tuple[str, ...], field: str
) -> None:
    (tmp_path / "a.md").write_text(text_of(*first))
    (tmp_path / "b.md").write_text(text_of(*second))
    with pytest.raises(ModelError, match=rf"^b\.md: localllm\.{field}: .* is taken by a\.md$"):
        Catalog.from_folder(tmp_path)


def test_a_broken_card_in_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "good.md").write_text(text_of("tiny:1m"))
    (tmp_path / "worse.md").write_text("nothing")
    with pytest.raises(ModelError, match=r"^worse\.md: "):
        Catalog.from_folder(tmp_path)


def test_a_folder_without_cards_is_an_empty_catalog(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    assert Catalog.from_folder(tmp_path).cards() == []
