"""The cards that come with localllm: each names files that say what they are, and is told by one name only."""

import importlib.util
import re
from pathlib import Path

import pytest
import yaml

from localllm.models.card import ModelCard, read_card
from localllm.models.catalog import Catalog
from localllm.models.quant import canonical_quant, quant_of

FOLDER = Path(__file__).parent.parent.parent / "modelcards"
PATHS = sorted(FOLDER.glob("*.md"))
LICENSES = {"apache-2.0", "mit", "gemma", "llama3.2", "other"}  # identifiers of the hub (its docs, "Licenses")
NOT_OPEN_SOURCE = {"gemma", "llama3.2", "other"}
SECTIONS = ["What it is good for", "Where it comes from", "Defaults", "Licence"]

# Bytes that the hub reports for these files: they check the parameters that the cards state.
PUBLISHED = [
    ("smollm2:360m", "Q8_0", 386_404_352),
    ("smollm2:1.7b", "Q8_0", 1_820_414_944),
    ("smollm3:3b", "Q8_0", 3_275_574_624),
    ("qwen3:0.6b", "Q8_0", 639_447_744),
    ("qwen3:1.7b", "Q4_K_M", 1_107_409_472),
    ("qwen3:4b", "Q4_K_M", 2_497_280_256),
    ("qwen3.5:2b", "Q4_K_M", 1_280_835_840),
    ("qwen3.5:4b", "Q4_K_M", 2_740_937_888),
    ("gemma3:4b", "Q4_K_M", 2_489_757_856),
    ("gemma4:e2b", "Q8_0", 4_967_494_592),
    ("phi4-mini:3.8b", "Q8_0", 4_084_611_456),
    ("granite4.1:3b", "Q4_K_M", 2_099_501_664),
    ("lfm2.5:1.2b", "Q4_K_M", 730_895_168),
    ("ministral3:3b", "Q4_K_M", 2_146_497_824),
    ("qwen3-embedding:0.6b", "Q8_0", 639_150_592),
]


def of_path(path: Path) -> str:
    return path.stem


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog.from_folder(FOLDER)  # which refuses a name or an alias that two cards have


@pytest.fixture(scope="module", params=PATHS, ids=of_path)
def path(request: pytest.FixtureRequest) -> Path:
    assert isinstance(request.param, Path)
    return request.param


@pytest.fixture(scope="module")
def card(path: Path) -> ModelCard:
    return read_card(path)


def test_there_are_cards_for_chat_code_and_embedding(catalog: Catalog) -> None:
    assert len(catalog.cards()) == len(PATHS) >= 14
    assert sum("embedding" in card.localllm.features for card in catalog.cards()) >= 2
    assert catalog.find("qwen2.5-coder") is not None


def test_a_card_is_found_by_every_name_it_has(catalog: Catalog, card: ModelCard) -> None:
    for name in (card.name, *card.localllm.aliases):
        assert catalog.find(name) == (card, None)
        assert catalog.find(f"{name}-{card.quants[0].lower()}") == (card, card.quants[0])


def test_a_card_is_in_a_file_of_its_name(path: Path, card: ModelCard) -> None:
    assert path.stem in {card.name.replace(":", "-"), "smollm2-135m-instruct"}


def test_every_file_tells_its_quantization(card: ModelCard) -> None:
    assert card.quants
    for quant in card.quants:
        repository, filename = card.hub_file(quant)
        assert repository.count("/") == 1
        assert quant_of(filename) == quant == canonical_quant(quant)
        assert card.estimated_bytes(quant) > 50_000_000


def test_only_the_starter_model_is_pinned(card: ModelCard) -> None:
    assert (card.artifact is not None) == (card.name == "smollm2:135m")


def test_a_size_in_the_name_agrees_with_the_parameters(card: ModelCard) -> None:
    size = re.fullmatch(r"([0-9.]+)([mb])", card.name.rpartition(":")[2])
    if size is None:
        assert card.name == "gemma4:e2b"  # effective ones
        return
    named = float(size[1]) * (1e9 if size[2] == "b" else 1e6)
    assert card.localllm.parameters == pytest.approx(named, rel=0.25)


@pytest.mark.parametrize(("name", "quant", "size_bytes"), PUBLISHED)
def test_the_estimate_is_near_the_published_size(catalog: Catalog, name: str, quant: str, size_bytes: int) -> None:
    match = catalog.find(name)
    assert match is not None
    assert match.card.estimated_bytes(quant) == pytest.approx(size_bytes, rel=0.11)


def test_the_licence_is_named_and_what_is_not_open_source_says_so(path: Path, card: ModelCard) -> None:
    assert card.license in LICENSES
    assert (card.license == "other") == (card.license_name is not None)
    assert ("Not open source." in path.read_text("utf-8")) == (card.license in NOT_OPEN_SOURCE)


def test_a_card_is_also_one_of_the_hubs(path: Path) -> None:
    front = yaml.safe_load(path.read_text("utf-8").split("---\n")[1])
    assert front["library_name"] == "gguf"
    assert front["pipeline_tag"] in {"text-generation", "sentence-similarity", "feature-extraction"}
    assert front["base_model"].count("/") == 1
    assert all(isinstance(language, str) for language in front["language"])


def test_a_card_says_what_a_person_wants_to_know(path: Path) -> None:
    text = path.read_text("utf-8").split("---\n", 2)[2]
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    assert 15 <= len(text.strip().splitlines()) <= 50


def test_what_embeds_samples_nothing_and_the_rest_is_not_left_to_chance(path: Path, card: ModelCard) -> None:
    front = yaml.safe_load(path.read_text("utf-8").split("---\n")[1])
    assert ("defaults" in front["localllm"]) == ("embedding" not in card.localllm.features)


@pytest.fixture(scope="module")
def library() -> bytes:
    """llama.cpp, as a file: to load it is not for this process."""
    spec = importlib.util.find_spec("llama_cpp")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folder = Path(spec.submodule_search_locations[0]) / "lib"
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()) if re.match(r"(lib)?llama\.", path.name))


def test_llama_cpp_knows_the_architecture(library: bytes, card: ModelCard) -> None:
    assert f"{card.localllm.architecture}\0".encode() in library
