"""What is written before the tensors, where a test of the whole file does not reach."""

from typing import Literal

import gguf
import pytest

from localllm.convert.metadata import add_architecture_values, check_vocabulary, safe_name
from localllm.convert.vocabulary.vocabulary import Vocabulary
from localllm.errors import LoadFailed

PHI3 = (b"</s>", b"<s>", b"<unk>", b"<|endoftext|>")


def vocabulary(tokens: tuple[bytes, ...] = (b"a", b"b"), **fields: object) -> Vocabulary:
    given = {"model": "gpt2", "pre": "gpt-2", "tokens": tokens, "types": (1,) * len(tokens), **fields}
    return Vocabulary(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"tokens": (b"a",)}, "the vocabulary has 1 tokens, the model 2 tokens"),
        ({"tokens": (b"a",) * 3}, "the vocabulary has 3 tokens"),
        ({"types": (1,)}, "the vocabulary has 1 types"),
        ({"scores": (0.0,) * 3}, "the vocabulary has 3 scores"),
        ({"special": {"bos": 1, "eos": 2}}, "the eos token is number 2, there are 2"),
        ({"special": {"unknown": -1}}, "the unknown token is number -1"),
    ],
)
def test_a_vocabulary_fits_the_model(fields: dict[str, object], words: str) -> None:
    check_vocabulary(vocabulary(scores=(0.0, -1.0), special={"bos": 0}), 2)
    with pytest.raises(LoadFailed, match=words):
        check_vocabulary(vocabulary(**fields), 2)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [-1, 2**32, float("inf"), float("nan"), 1e39])
def test_a_number_that_its_type_cannot_hold_is_refused(value: float) -> None:
    with pytest.raises(LoadFailed, match=r"makes 'llama\.key' .*, which a GGUF file cannot hold"):
        add_architecture_values(gguf.GGUFWriter(None, "llama"), {"llama.key": value})


def test_values_keep_their_kinds() -> None:
    writer = gguf.GGUFWriter(None, "llama")
    add_architecture_values(writer, {"a": True, "b": 2**32 - 1, "c": 3.4e38, "d": "text"})
    kinds = {key: value.type.name for key, value in writer.kv_data[0].items()}
    assert kinds == {
        "general.architecture": "STRING",
        "a": "BOOL",
        "b": "UINT32",
        "c": "FLOAT32",
        "d": "STRING",
    }


@pytest.mark.parametrize(
    ("name", "kind", "written"),
    [
        ("Phi-3-mini", "all", "Phi-3-mini"),
        ("Phi-3-mini", "some", "Phi 3-mini"),
        ("not-phi3", "some", "not-phi 3"),
        ("phi-35", "some", "phi 35"),
        ("Phi-4", "some", "Phi-4"),
        ("sapphire-3", "some", "sapphire-3"),
        ("", "some", ""),
    ],
)
def test_a_name_is_kept_unless_it_would_stop_llama_cpp(name: str, kind: Literal["all", "some"], written: str) -> None:
    assert safe_name(name, vocabulary(PHI3 if kind == "all" else PHI3[:3])) == written
