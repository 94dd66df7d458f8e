"""Vocabularies of sentencepiece out of a GGUF file: the ids of the library `tokenizers` are those of llama.cpp."""

from collections.abc import Callable, Sequence
from pathlib import Path

import gguf
import msgspec
import pytest

from localllm.convert.hub_files.write import tokenizer_files
from localllm.convert.vocabulary.vocabulary import Vocabulary
from localllm.errors import LoadFailed
from tests.convert.vocabulary.byte_pair_files import Json, size_of, write_files
from tests.convert.vocabulary.sentencepiece_files import BEGIN, END, UNKNOWN, USER_DEFINED, trained, write_model
from tests.convert.vocabulary.tokenizers_at_work import read_folder
from tests.convert.vocabulary.tokenizers_at_work import write_model as write_gguf

pytest.importorskip("tokenizers", reason="the library tokenizers, of the extra executorch, is missing")

from tests.convert.hub_files.at_work import (
    MANY,
    check_ids,
    check_pieces,
    check_tokens,
    llama_tokenizer,
    load_folder,
    random_texts,
    rebuilt,
)
from tests.convert.vocabulary.test_ranked_pieces import PREPEND, REPLACE, SPLIT, document_of, metaspace
from tests.convert.vocabulary.test_sentencepieces import CODE

SIZE = 700
CHATS = [f"{BEGIN}[INST] Hi [/INST]{END}{BEGIN}x", f"a {END} b{UNKNOWN}", f"{BEGIN}{BEGIN}"]


def vocabulary_of(folder: Path, user_defined: Sequence[str] = (), *, has_prefix: bool) -> Vocabulary:
    model = trained(tuple(user_defined), add_dummy_prefix=has_prefix)
    return read_folder(write_model(folder, model, tokenizer_config={"chat_template": "{{ x }}"}), SIZE + 4)


@pytest.mark.parametrize("has_prefix", [True, False], ids=["Llama 2", "Gemma"])
@pytest.mark.parametrize("user_defined", [(), USER_DEFINED], ids=["plain", "with symbols"])
def test_ids_are_those_of_llama_cpp(user_defined: tuple[str, ...], has_prefix: bool, tmp_path: Path) -> None:
    model = write_gguf(vocabulary_of(tmp_path / "files", user_defined, has_prefix=has_prefix), tmp_path / "model.gguf")
    ours = rebuilt(model, tmp_path / "rebuilt")
    with llama_tokenizer(model) as theirs:
        check_tokens(ours, theirs)
        check_ids(ours, theirs, [*MANY, *CODE, *CHATS, *random_texts([BEGIN, END, UNKNOWN, *USER_DEFINED])])
    if not user_defined or not has_prefix:  # before a symbol there is no space
        check_pieces(ours, [*MANY, *CODE, *CHATS], has_prefix=has_prefix)


@pytest.mark.parametrize(
    ("normalizer", "pre_tokenizer"),
    [
        pytest.param(PREPEND, None, id="Llama 2"),
        pytest.param(REPLACE, None, id="Gemma 1"),
        pytest.param(REPLACE, SPLIT, id="Gemma 3"),
        pytest.param(None, metaspace("never"), id="without a prefix"),
        pytest.param(None, metaspace("always"), id="transformers 5"),
    ],
)
def test_what_was_converted_comes_back(normalizer: Json | None, pre_tokenizer: Json | None, tmp_path: Path) -> None:
    document = document_of(normalizer, pre_tokenizer)
    original = write_files(
        tmp_path / "original", document, eos_token=END, bos_token=BEGIN, unk_token=UNKNOWN, add_bos_token=True
    )
    vocabulary = read_folder(original, size_of(document))
    folder = tmp_path / "rebuilt"
    ours, theirs = rebuilt(write_gguf(vocabulary, tmp_path / "model.gguf"), folder), load_folder(original)
    check_tokens(ours, theirs)
    # a Metaspace puts no space before one that is there; llama.cpp and sentencepiece do
    has_other_prefix = pre_tokenizer == metaspace("always")
    check_ids(ours, theirs, [text for text in MANY if not (has_other_prefix and text.startswith(" "))])
    assert read_folder(folder, size_of(document)) == vocabulary


def test_no_text_is_merged_into_a_control_token(tmp_path: Path) -> None:
    """As llama.cpp does, where the parts of its name happen to be tokens; its score is the best of all."""
    vocabulary = with_tokens(vocabulary_of(tmp_path / "files", has_prefix=False), {"s>": -2.5})
    model = write_gguf(vocabulary, tmp_path / "model.gguf")
    ours = rebuilt(model, tmp_path / "rebuilt")
    end = vocabulary.special["eos"]
    with llama_tokenizer(model) as theirs:
        assert theirs.encode(END, add_special=False, parse_special=False) == [end]
    ids = ours.encode(END, add_special=False, parse_special=False)
    assert [ours.piece(place) for place in ids] == [b"</", b"s>"]
    assert ours.encode(END, add_special=False, parse_special=True) == [end]


def test_scores_count_and_not_places(tmp_path: Path) -> None:
    vocabulary = vocabulary_of(tmp_path / "files", has_prefix=True)
    first = 3 + 256  # behind the control tokens and the bytes
    turned = {
        name: values[:first] + values[: first - 1 : -1]
        for name in ("tokens", "types", "scores")
        if (values := getattr(vocabulary, name))
    }
    model = write_gguf(msgspec.structs.replace(vocabulary, **turned), tmp_path / "model.gguf")
    with llama_tokenizer(model) as theirs:
        check_ids(rebuilt(model, tmp_path / "rebuilt"), theirs, [*MANY, *CHATS, *random_texts([BEGIN])])


def with_tokens(vocabulary: Vocabulary, scores: dict[str, float]) -> Vocabulary:
    """With more tokens, by score."""
    return msgspec.structs.replace(
        vocabulary,
        tokens=(*vocabulary.tokens, *(text.encode() for text in scores)),
        types=(*vocabulary.types, *[gguf.TokenType.NORMAL] * len(scores)),
        scores=(*vocabulary.scores, *scores.values()),
    )


def without_token(vocabulary: Vocabulary, text: bytes) -> Vocabulary:
    tokens = tuple(b"[gone]" if token == text else token for token in vocabulary.tokens)
    assert b"[gone]" in tokens
    return msgspec.structs.replace(vocabulary, tokens=tokens)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        pytest.param(
            lambda held: with_tokens(held, {"qz": -3.0, "zx": -3.0}),
            "tokenizer.ggml.scores are the same for '.*' and '.*', which the ranks",
            id="equal scores",
        ),
        pytest.param(
            lambda held: with_tokens(held, {"q€": -3.5}),
            "tokenizer.ggml.tokens has 'q€' but not its letter '€'",
            id="a letter that is no token",
        ),
        pytest.param(
            lambda held: without_token(held, b"<0x0A>"), "tokenizer.ggml.tokens has no <0x0A>", id="a byte is missing"
        ),
        pytest.param(
            lambda held: with_tokens(held, {"qz": float("nan")}),
            "tokenizer.ggml.scores has values that are no numbers",
            id="a score that is no number",
        ),
    ],
)
def test_what_ranks_cannot_say_is_refused(
    changed: Callable[[Vocabulary], Vocabulary], message: str, tmp_path: Path
) -> None:
    model = write_gguf(changed(vocabulary_of(tmp_path / "files", has_prefix=True)), tmp_path / "model.gguf")
    with pytest.raises(LoadFailed, match=message) as caught:
        tokenizer_files(model)
    assert caught.value.message.startswith(str(model))
