"""sentencepiece's own file: the ids of llama.cpp are those of sentencepiece."""

from pathlib import Path

import gguf
import pytest
import sentencepiece

from tests.convert.vocabulary.byte_pair_files import Json, byte_pair_json, size_of, write_files
from tests.convert.vocabulary.sentencepiece_files import SPACE, USER_DEFINED, trained, write_model
from tests.convert.vocabulary.texts import MARKS, TEXTS
from tests.convert.vocabulary.tokenizers_at_work import decoded, read_folder, tokenizing

SIZE = 700
TYPED = [text.replace(SPACE, " ") for text in USER_DEFINED]
CODE = [f"a{text}b {text}{text} c{text}" for text in TYPED] + ["1   2    3      4", "x\n\n\n\ny\n\n\n"]


@pytest.mark.parametrize("has_prefix", [True, False])
def test_ids_are_those_of_sentencepiece(has_prefix: bool, tmp_path: Path) -> None:
    model = trained(add_dummy_prefix=has_prefix)
    vocabulary = read_folder(write_model(tmp_path / "files", model), SIZE)
    assert (vocabulary.model, vocabulary.pre) == ("llama", "default")
    assert vocabulary.flags == {"add_bos_token": True, "add_eos_token": False, "add_space_prefix": has_prefix}
    theirs = sentencepiece.SentencePieceProcessor(model_proto=model)
    with tokenizing(vocabulary, tmp_path) as ours:
        for text in (*TEXTS, *MARKS):
            ids = ours.encode(text, add_special=False, parse_special=False)
            assert ids == theirs.encode(text), text
            assert decoded(ours, ids) == (" " + text if has_prefix and text else text)
        assert ours.encode("a", add_special=True, parse_special=False)[0] == theirs.bos_id()


def test_added_tokens_are_laid_over(tmp_path: Path) -> None:
    """Fine-tuned models rename spare tokens and add others, in one file or another."""
    decoder = {"699": {"content": "<renamed>"}, "1": {"content": "<s>", "special": True}}
    files = write_model(
        tmp_path / "files",
        trained(),
        added_tokens={"<old>": 700, "<pad>": 701},
        tokenizer_config={"added_tokens_decoder": decoder, "pad_token": "<pad>"},
    )
    vocabulary = read_folder(files, SIZE + 4)
    assert vocabulary.tokens[699:] == (b"<renamed>", b"<old>", b"<pad>", b"[PAD702]", b"[PAD703]")
    user, control, unused = gguf.TokenType.USER_DEFINED, gguf.TokenType.CONTROL, gguf.TokenType.UNUSED
    assert vocabulary.types[699:] == (user, user, control, unused, unused)
    assert vocabulary.scores[699:] == (-1000.0, -1000.0, -1000.0, -10000.0, -10000.0)
    assert vocabulary.special["padding"] == 701
    with tokenizing(vocabulary, tmp_path) as ours:
        assert ours.encode("a<renamed>b<old>", add_special=False, parse_special=False).count(699) == 1


def test_byte_pairs_over_bytes_come_first(tmp_path: Path) -> None:
    """A tokenizer.model beside them is of something else."""
    gpt_2: Json = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    document = byte_pair_json(pre_tokenizer=gpt_2)
    (write_files(tmp_path, document) / "tokenizer.model").write_bytes(trained())
    assert read_folder(tmp_path, size_of(document)).model == "gpt2"


def test_symbols_that_users_defined_are_found_first(tmp_path: Path) -> None:
    """As Gemma's runs of spaces, in a text that llama.cpp looks through before spaces become ▁."""
    model = trained(USER_DEFINED, add_dummy_prefix=False)
    vocabulary = read_folder(write_model(tmp_path / "files", model), SIZE)
    kinds = dict(zip(vocabulary.tokens, vocabulary.types, strict=True))
    assert [kinds[text.encode()] for text in TYPED] == [gguf.TokenType.USER_DEFINED] * len(TYPED)
    theirs = sentencepiece.SentencePieceProcessor(model_proto=model)
    with tokenizing(vocabulary, tmp_path) as ours:
        for text in (*TEXTS, *MARKS, *CODE):
            ids = ours.encode(text, add_special=False, parse_special=False)
            assert ids == theirs.encode(text), text
            assert decoded(ours, ids) == text
