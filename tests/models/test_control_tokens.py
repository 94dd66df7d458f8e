"""Control tokens known by their text."""

import pytest

from localllm.models.control_tokens import control_among, ends_among, looks_special, plain_among, shown_among


@pytest.mark.parametrize("text", ["<|x|>", "<｜x｜>", "<|a\nb|>", "<unused7>", "<pad>", "<mask>", "[@BOS@]"])
def test_what_looks_special(text: str) -> None:
    assert looks_special(text)


@pytest.mark.parametrize("text", ["", "x", "<x>", "a<|x|>", "<|x|>a", "<tool_call>", "unused"])
def test_what_does_not(text: str) -> None:
    assert not looks_special(text)


def test_only_what_is_there_ends_answers() -> None:
    assert ends_among({"<|im_end|>", "<REPO>", "the", "</s>"}) == {"<|im_end|>", "<REPO>", "</s>"}
    assert ends_among(()) == frozenset()


def test_what_is_filled_in_is_between_control_tokens() -> None:
    assert control_among({"<PRE>", "▁<SUF>", "<eos>", "the"}) == {"<PRE>", "▁<SUF>", "<eos>"}


@pytest.mark.parametrize(
    ("texts", "goes_on"),
    [
        ({"<|end|>"}, False),
        ({"<|end|>", "<|return|>"}, False),
        ({"<|end|>", "<|call|>"}, False),
        ({"<|end|>", "<|return|>", "<|call|>"}, True),
        ({"<|end|>", "<|flush|>", "<|calls|>"}, True),
    ],
)
def test_where_an_answer_has_several_messages(texts: set[str], goes_on: bool) -> None:
    assert ("<|end|>" in shown_among(texts)) == goes_on
    assert ("<|end|>" in ends_among(texts)) != goes_on


def test_what_is_shown_of_gpt_oss() -> None:
    assert shown_among({"<|channel|>", "<|start|>", "<|x|>"}) == {"<|channel|>", "<|start|>"}


def test_a_strikethrough_is_a_word_in_some_models() -> None:
    assert plain_among({"</s>"}) == frozenset()
    assert plain_among({"<|tool_response>"}) == frozenset()
    assert plain_among({"</s>", "<|tool_response>"}) == {"</s>"}
    assert ends_among({"</s>", "<|tool_response>"}) == {"<|tool_response>"}
