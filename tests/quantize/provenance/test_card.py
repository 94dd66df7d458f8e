"""Cards: what they say, that they are read back to the letter, and what a hostile one is told."""

import random
import string
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import yaml
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt
from markdown_it.token import Token

from localllm.errors import InvalidRequest, ModelError
from localllm.models.front_matter import MOST_CHARACTERS, front_matter
from localllm.quantize.evaluation import Evaluation, Measurement
from localllm.quantize.provenance.card import (
    KEY,
    Made,
    card_of,
    outcome_of,
    read_made,
    read_made_file,
)
from localllm.quantize.provenance.recipe import FileFacts
from localllm.quantize.steps import Quantized, TensorPlan
from tests.marks import mostly_slow
from tests.models.child import Child, clean_environment
from tests.quantize.examples import EVALUATION, MADE, PROGRAM, SHA, renamed

replace = msgspec.structs.replace

NASTY = (
    "plain",
    "no",
    "null",
    "~",
    "1e5",
    "012",
    "0x1f",
    "12:30:45",
    "2026-01-01",
    "=",
    "<<",
    "---",
    "...",
    "a: b # c",
    "- item",
    "? key",
    "& * ! | > % @ `",
    "'single' and \"double\"",
    "{a: [b]}",
    "a | b || c",
    "| --- | --- |\n| x | y |",
    "# heading\n\n## another",
    "line\n---\nlicense: mit\n---\n",
    "<script>alert(1)</script>",
    "<!-- comment",
    "[text](https://example.com)",
    "![image](https://example.com/a.png)",
    "https://example.com",
    "```sh\nrm -rf /\n```",
    "`code`",
    "a\\b\\|c\\",
    "tab\tand\rreturn",
    "\x00\x07\x1b[31mred",
    " leading and trailing ",
    "\ufeffbom",
    "a\u2028b\u2029c",
    "e\u0301 ü 中文 😀 \U0010ffff",
    "right-to-left \u202e txt.exe",
    "x" * 1000,
    "word " * 200,
    "${{ jinja }} {% if %}",
    "$x^2$ &amp; &#60;",
    "",
)
QUICK = {"no", "=", "a | b || c", "line\n---\nlicense: mit\n---\n", "<!-- comment", "\x00\x07\x1b[31mred", ""}


def parsed(card: str) -> list[Token]:
    """The body as Markdown with GitHub's tables, as the hub shows it."""
    body = card.split("\n---\n", 1)[1]
    return MarkdownIt("commonmark").enable("table").parse(body)


def tables(card: str) -> list[list[list[str]]]:
    """Tables, of rows, of cells' texts."""
    found: list[list[list[str]]] = []
    for token in parsed(card):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type == "inline" and found and token.level >= 4 and found[-1] and token.map is not None:
            found[-1][-1].append("".join(child.content for child in token.children or ()))
    return found


def leaves(card: str) -> list[Token]:
    tokens = parsed(card)
    return tokens + [child for token in tokens for child in token.children or ()]


def changed(card: str, change: Callable[[dict[str, object]], object]) -> str:
    """The card with its data changed."""
    _, block, body = card.split("---\n", 2)
    front = yaml.safe_load(block)
    change(front[KEY])
    return f"---\n{yaml.safe_dump(front)}---\n{body}"


def hub_data(card: str) -> dict[str, object]:
    """The front matter as huggingface_hub reads it."""
    data: dict[str, object] = ModelCard(card).data.to_dict()  # type: ignore[no-untyped-call]
    return data


def tags(made: Made) -> object:
    return hub_data(card_of(made))["tags"]


CARD = card_of(MADE)


def test_a_card_is_read_back_to_the_letter() -> None:
    assert read_made(CARD, "README.md") == MADE


@pytest.mark.parametrize(
    "made",
    [
        replace(MADE, evaluation=None),
        replace(MADE, recipe=replace(MADE.recipe, calibration=None, importance_sha256=SHA)),
        replace(
            MADE,
            evaluation=Evaluation(
                before=Measurement(size_bytes=2, bits_per_weight=16.0),
                after=Measurement(size_bytes=1, bits_per_weight=1e-05),
            ),
        ),
    ],
)
def test_parts_may_be_missing(made: Made) -> None:
    assert read_made(card_of(made), "README.md") == made


@pytest.mark.parametrize("text", mostly_slow(NASTY, *QUICK))
def test_a_strangers_text_changes_nothing_but_itself(text: str) -> None:
    made = renamed(MADE, text)
    card = card_of(made)
    assert read_made(card, "README.md") == made
    assert [len(table) for table in tables(card)] == [len(table) for table in tables(CARD)]
    assert {len(row) for row in tables(card)[1]} == {4}
    kinds = [token.type for token in leaves(card)]
    assert kinds.count("heading_open") == 4
    assert kinds.count("fence") == 1
    assert not {"html_block", "html_inline", "image", "code_inline", "code_block", "blockquote_open"} & set(kinds)
    assert "link_open" not in kinds
    body = card.split("\n---\n", 1)[1]
    assert all(letter.isprintable() or letter == "\n" for letter in body)


def test_any_text_is_read_back_to_the_letter() -> None:
    numbers = random.Random(7)
    alphabet = string.printable + "éß中😀\u00a0\u200b\u2028\ufeff\x01\x7f\x9f:-#'\"|>%@`&*!{}[],?\\ \n"
    for _ in range(20):
        made = renamed(MADE, "".join(numbers.choices(alphabet, k=numbers.randint(0, 60))))
        assert read_made(card_of(made), "README.md") == made


def test_what_no_yaml_can_carry_is_written_as_an_escape() -> None:
    made = renamed(MADE, "caf\udce9 \x85")
    assert read_made(card_of(made), "README.md").source.name == "caf\\udce9 \\x85"
    card_of(made).encode("utf-8")


def test_names_of_files_are_kept_and_shown_as_they_are() -> None:
    files = {"a|b_c*.gguf": FileFacts(sha256=SHA, size_bytes=1), "<b>.gguf": FileFacts(sha256=SHA, size_bytes=0)}
    made = replace(MADE, outcome=replace(MADE.outcome, files=files))
    card = card_of(made)
    assert read_made(card, "README.md") == made
    assert [row[0] for row in tables(card)[1]] == [
        "File",
        "a|b_c*.gguf",
        "<b>.gguf",
        "model.safetensors",
        "config.json",
    ]


def test_the_hub_reads_the_front_matter() -> None:
    data = hub_data(CARD)
    assert isinstance(data.pop(KEY), dict)
    assert data == {
        "license": "apache-2.0",
        "base_model": "some-org/Tiny-1M",
        "base_model_relation": "quantized",
        "pipeline_tag": "text-generation",
        "tags": ["gguf", "quantized", "localllm", "imatrix"],
    }
    assert str(ModelCard(CARD)).split("---\n", 2)[1] == CARD.split("---\n", 2)[1]


@pytest.mark.parametrize(
    ("name", "shown", "own"),
    [
        ("apache-2.0", "apache-2.0", None),
        ("MIT", "mit", None),
        ("", "unknown", None),
        ("Qwen License v1", "other", "qwen-license-v1"),
        ("<script>", "other", "script"),
        ("…", "other", "unnamed"),
        ("x" * 500, "other", "x" * 64),
    ],
)
def test_a_license_that_the_hub_does_not_know_is_another(name: str, shown: str, own: str | None) -> None:
    card = card_of(replace(MADE, source=replace(MADE.source, license=name)))
    data = hub_data(card)
    assert (data["license"], data.get("license_name")) == (shown, own)
    assert read_made(card, "README.md").source.license == name


def test_a_base_model_that_is_no_repository_is_not_claimed() -> None:
    data = hub_data(card_of(replace(MADE, source=replace(MADE.source, base_model="/home/me/model"))))
    assert "base_model" not in data
    assert "base_model_relation" not in data


def test_the_tag_of_a_matrix_needs_a_matrix() -> None:
    plain = replace(MADE.recipe, calibration=None)
    assert tags(replace(MADE, recipe=plain)) == ["gguf", "quantized", "localllm"]
    assert "without calibration" in card_of(replace(MADE, recipe=plain))
    given = replace(plain, importance_sha256=SHA)
    assert tags(replace(MADE, recipe=given)) == ["gguf", "quantized", "localllm", "imatrix"]
    assert "without calibration" not in card_of(replace(MADE, recipe=given))


def test_the_body_says_what_was_made_and_how_good_it_is() -> None:
    assert "localllm quantize --from-card README.md" in CARD
    assert "6.17 bits a weight, 105 MB in place of 270 MB" in CARD
    assert "These layers were removed: 3, 5." in CARD
    assert "2560 tokens of the text “default”" in CARD
    assert [row for row in tables(CARD)[0] if row[0] in {"", "perplexity", "divergence, mean", "peak memory"}] == [
        ["", "Before", "After", "Ratio"],
        ["perplexity", "15.20 ± 0.87", "15.66 ± 0.91", "1.031×"],
        ["divergence, mean", "–", "0.0333 ± 0.0012", ""],
        ["peak memory", "420 MB", "250 MB", "0.60×"],
    ]
    links = [token.attrGet("href") for token in leaves(CARD) if token.type == "link_open"]
    assert links == ["https://huggingface.co/some-org/Tiny-1M"]


def test_the_card_of_a_program_says_what_it_is() -> None:
    text = card_of(PROGRAM)
    assert read_made(text, "README.md") == PROGRAM
    assert front_matter(text, "README.md")["tags"] == ["executorch", "quantized", "localllm"]
    assert "Exported to a program of ExecuTorch for xnnpack, 8da4w: 4 bits in groups of 32" in text
    assert "with a context of 2048 tokens" in text
    assert "ExecuTorch 1.5.1, PyTorch 2.13.0" in text
    assert "ExecuTorch" not in card_of(MADE)


def test_what_was_not_measured_is_said() -> None:
    assert "Not measured: perplexity, how far the result is from its source, speed and memory, skill" in card_of(
        replace(MADE, evaluation=None)
    )
    silent = replace(EVALUATION, after=replace(EVALUATION.after, rates=None), bench=None)
    assert "Not measured: speed and memory, skill" in card_of(replace(MADE, evaluation=silent))
    assert "Not measured: skill at any task" in CARD


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_a_figure_that_is_none_is_refused_by_name(value: float) -> None:
    assert EVALUATION.after.perplexity is not None
    broken = replace(EVALUATION.after, perplexity=replace(EVALUATION.after.perplexity, error=value))
    with pytest.raises(InvalidRequest, match=rf"{KEY}\.evaluation\.after\.perplexity\.error"):
        card_of(replace(MADE, evaluation=replace(EVALUATION, after=broken)))


def test_a_wrong_recipe_is_refused_when_it_is_written() -> None:
    with pytest.raises(InvalidRequest) as caught:
        card_of(replace(MADE, recipe=replace(MADE.recipe, type="Q9_K")))
    assert caught.value.param == "type"


def test_the_outcome_counts_the_tensors() -> None:
    kinds = ("F32", "Q5_0", "Q5_0")
    tensors = tuple(
        TensorPlan(name=f"t{place}", source_type="F16", type=kind, fallback_from="Q4_K" if kind == "Q5_0" else "")
        for place, kind in enumerate(kinds)
    )
    quantized = Quantized(size_bytes=20, weights_bytes=10, parameters=20, tensors=tensors)
    outcome = outcome_of(quantized, {"a.gguf": FileFacts(sha256=SHA, size_bytes=20)})
    assert outcome.tensor_types == {"Q5_0": 2, "F32": 1}
    assert (outcome.fallbacks, outcome.bits_per_weight) == (2, 4.0)


WRITER = """
import sys
sockets = []
sys.addaudithook(lambda event, _: sockets.append(event) if event.startswith("socket.") else None)
from localllm.quantize.provenance.card import card_of, read_made
from tests.quantize.examples import MADE
assert read_made(card_of(MADE), "README.md") == MADE
print("sockets", sockets)
"""


def test_no_socket_is_opened(tmp_path: Path) -> None:
    with Child("-c", WRITER, environment=clean_environment(tmp_path, HF_TOKEN="our-secret")) as child:
        code, lines = child.finish()
    assert (code, lines) == (0, ["sockets []"])


def drop(key: str) -> Callable[[dict[str, object]], object]:
    return lambda data: data.pop(key)


def put(*path: str, value: object) -> Callable[[dict[str, object]], object]:
    def change(data: dict[str, object]) -> None:
        for key in path[:-1]:
            inner = data[key]
            assert isinstance(inner, dict)
            data = inner
        data[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (drop("recipe"), "missing required field `recipe`"),
        (put("surprise", value=1), "unknown field `surprise`"),
        (put("recipe", "type", value=4), f"Expected `str`, got `int` - at `{KEY}.recipe.type`"),
        (put("recipe", "type", value="Q9_K"), f"{KEY}: type: 'Q9_K' is no type"),
        (put("recipe", "overrides", value=[{"pattern": "a", "type": "B"}]), "overrides"),
        (put("recipe", "prune_layers", value=[-1]), "prune_layers"),
        (put("recipe", "prune_layers", value=[10**30]), "prune_layers"),
        (put("recipe", "metadata", value={"a": 1}), "metadata"),
        (put("recipe", "importance_sha256", value="abc"), "importance_sha256"),
        (put("recipe", "calibration", "text_sha256", value=SHA.upper()), "calibration.text_sha256"),
        (put("source", "format", value="pickle"), "source.format"),
        (put("source", "files", value={}), "source.files"),
        (put("source", "files", value={"../up": {"sha256": SHA, "size_bytes": 1}}), "files: '../up' is no name"),
        (put("outcome", "files", value={"/etc/passwd": {"sha256": SHA, "size_bytes": 1}}), "files: '/etc/passwd'"),
        (put("outcome", "parameters", value=True), "outcome.parameters"),
        (put("evaluation", "after", "bits_per_weight", value=float("nan")), "evaluation.after.bits_per_weight"),
        (put("evaluation", "text", "positions", value=0), "evaluation.text.positions"),
        (put("version", value=2), f"{KEY}.version is '2'"),
        (drop("version"), f"{KEY}.version is 'None'"),
    ],
)
def test_what_is_wrong_with_a_card_is_named(change: Callable[[dict[str, object]], object], words: str) -> None:
    with pytest.raises(ModelError) as caught:
        read_made(changed(CARD, change), "their.md")
    assert caught.value.message.startswith("their.md: ")
    assert words in caught.value.message


MERGE_BOMB = "a: &a {k: v}\n" + "".join(
    f"{name}: &{name} {{<<: [{', '.join([f'*{before}'] * 10)}]}}\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "begins with YAML front matter"),
        ("# Just Markdown\n", "begins with YAML front matter"),
        ("---\nlicense: mit\n", "begins with YAML front matter"),
        ("---\nlicense: mit\n---\n", f"has no {KEY}"),
        (f"---\n{KEY}: 3\n---\n", f"has no {KEY}"),
        ("---\n- a\n---\n", "consists of keys and values"),
        ("---\n\n---\n", "consists of keys and values"),
        ("---\na: [\n---\n", "did not find"),
        (f"---\na: {'[' * 100_000}\n---\n", "line 2: aliases, tags and deep nesting"),
        (f"---\na: {'{a: ' * 100_000}\n---\n", "deep nesting"),
        (f"---\n{MERGE_BOMB}---\n", "aliases"),
        ("---\na: &a [1]\nb: *a\n---\n", "line 3: aliases"),
        ("---\na: !!python/object/apply:os.system [ls]\n---\n", "tags"),
        ("---\na: !!timestamp x\n---\n", "tags"),
        ("---\na: =\n---\n", "could not determine a constructor"),
        ("---\na: 2026-13-45\n---\n", "month must be in 1..12"),
        (f"---\na: {'9' * 5000}\n---\n", "4300 digits"),
        ("---\na: \x07\n---\n", ""),
        ("---\na: \udce9\n---\n", ""),
        ("---\na: x\n" + "b: y\n" * MOST_CHARACTERS + "---\n", "begins with YAML front matter"),
    ],
)
def test_hostile_texts_are_refused(text: str, words: str) -> None:
    with pytest.raises(ModelError) as caught:
        read_made(text, "their.md")
    assert "their.md" in caught.value.message
    assert words in caught.value.message
    assert len(caught.value.message) < 500
    assert "\n" not in caught.value.message


def test_the_pure_python_loader_refuses_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localllm.models.front_matter._LOADER", yaml.SafeLoader)
    assert read_made(CARD, "README.md") == MADE
    for text in (f"---\na: {'[' * 100_000}\n---\n", f"---\n{MERGE_BOMB}---\n", "---\na: !!timestamp x\n---\n"):
        with pytest.raises(ModelError, match="aliases"):
            read_made(text, "their.md")


def test_a_card_from_windows_is_read_too() -> None:
    assert read_made("\ufeff" + CARD.replace("\n", "\r\n"), "README.md") == MADE


def test_front_matter_is_given_as_it_is() -> None:
    assert front_matter("---\nlicense: mit\ntags: [a, b]\n---\n# Text", "x") == {"license": "mit", "tags": ["a", "b"]}


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text(CARD, "utf-8")
    assert read_made_file(path) == MADE


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing, latin, large = tmp_path / "no.md", tmp_path / "latin.md", tmp_path / "large.md"
    latin.write_bytes(b"---\nlicense: \xe9\n---\n")
    with large.open("wb") as file:
        file.truncate(5 * MOST_CHARACTERS)
    for path in (missing, latin, large, tmp_path, Path("a\0b")):
        with pytest.raises(ModelError):
            read_made_file(path)
