"""Characters arrive whole."""

from localllm.engines.echo import EchoTokenizer
from localllm.inference.detokenize import Detokenizer

TEXT = "añ日本🎉e\u0301"


def test_no_character_is_split() -> None:
    detokenizer = Detokenizer(EchoTokenizer())
    parts = [detokenizer.add(byte) for byte in TEXT.encode()]
    assert "".join(parts) == TEXT
    assert "\ufffd" not in "".join(parts)
    assert detokenizer.flush() == ""


def test_an_unfinished_character_ends_as_a_replacement() -> None:
    detokenizer = Detokenizer(EchoTokenizer())
    assert detokenizer.add("é".encode()[0]) == ""
    assert detokenizer.flush() == "\ufffd"


def test_invalid_bytes_become_replacements_and_what_follows_is_kept() -> None:
    detokenizer = Detokenizer(EchoTokenizer())
    assert "".join(detokenizer.add(byte) for byte in b"\xff\xc3ok") == "\ufffd\ufffdok"
