"""A GGUF file's vocabulary in two hands: llama.cpp's, and those of the files that are written from it."""

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import llama_cpp

from localllm.convert.hub_files.write import tokenizer_files
from localllm.engines.executorch.tokenizer import HubTokenizer
from localllm.engines.llama_cpp.native import load_model
from localllm.engines.llama_cpp.tokenizer import LlamaTokenizer
from tests.convert.vocabulary.texts import MARKS, TEXTS

MANY = [*TEXTS, *MARKS]
ASKED = [(add_special, parse_special) for add_special in (False, True) for parse_special in (False, True)]


def write_tokenizer(model: Path, folder: Path) -> Path:
    """The tokenizer files of a GGUF file, in a folder."""
    folder.mkdir(exist_ok=True)
    for name, data in tokenizer_files(model).items():
        (folder / name).write_bytes(data)
    return folder


def load_folder(folder: Path) -> HubTokenizer:
    return HubTokenizer.load({path.name: str(path) for path in folder.iterdir()})


def rebuilt(model: Path, folder: Path) -> HubTokenizer:
    """The tokenizer that is made of a GGUF file's."""
    return load_folder(write_tokenizer(model, folder))


@contextmanager
def llama_tokenizer(path: Path) -> Iterator[LlamaTokenizer]:
    """llama.cpp's tokenizer of a GGUF file."""
    model = load_model([str(path)], lambda _: None)
    try:
        yield LlamaTokenizer(model)
    finally:
        llama_cpp.llama_model_free(model)


def random_texts(names: Iterable[str], count: int = 300) -> list[str]:
    """Short texts of letters that meet often, among them the names of tokens; always the same ones."""
    letters = [*"aaabbehllo  \n\t12.<>/s|_▁é中😀", "  ", "\n\n", "he", " the", *names]
    chance = random.Random(7)
    return ["".join(chance.choices(letters, k=chance.randint(1, 14))) for _ in range(count)]


def check_ids(ours: HubTokenizer, theirs: HubTokenizer | LlamaTokenizer, texts: Iterable[str]) -> None:
    """The same ids, whatever is asked for."""
    for text in texts:
        for add_special, parse_special in ASKED:
            made = ours.encode(text, add_special=add_special, parse_special=parse_special)
            expected = theirs.encode(text, add_special=add_special, parse_special=parse_special)
            assert made == expected, (text, add_special, parse_special)


def check_tokens(ours: HubTokenizer, theirs: HubTokenizer | LlamaTokenizer) -> None:
    """The same tokens and the same parts to play."""
    assert ours.vocab_size == theirs.vocab_size
    for token in range(theirs.vocab_size):
        assert ours.piece(token) == theirs.piece(token), token
    assert (ours.bos, ours.eos, ours.end_tokens) == (theirs.bos, theirs.eos, theirs.end_tokens)
    assert ours.chat_template == theirs.chat_template


def check_pieces(tokenizer: HubTokenizer, texts: Iterable[str], *, has_prefix: bool = False) -> None:
    """The pieces of a text's tokens are its bytes, behind the space that some tokenizers put before a text."""
    for text in texts:
        ids = tokenizer.encode(text, add_special=False, parse_special=False)
        expected = f" {text}" if has_prefix and text else text
        assert b"".join(map(tokenizer.piece, ids)) == expected.encode(), text
