"""The sampling fields of a request: all arrive, each is checked, and errors name the field."""

import json

import msgspec
import pytest

from localllm.api.body import decode_body
from localllm.api.openai.sampling import SamplingFields
from localllm.errors import InvalidRequest
from localllm.types import SamplingChoice

GIVEN: dict[str, object] = {
    "max_tokens": 7,
    "temperature": 0.5,
    "top_k": 3,
    "top_p": 0.9,
    "min_p": 0.1,
    "typical_p": 0.7,
    "top_n_sigma": 1.5,
    "xtc_probability": 0.4,
    "xtc_threshold": 0.2,
    "dynatemp_range": 0.3,
    "dynatemp_exponent": 2.0,
    "mirostat": 2,
    "mirostat_tau": 4.0,
    "mirostat_eta": 0.2,
    "repeat_penalty": 1.2,
    "repeat_last_n": -1,
    "frequency_penalty": 0.1,
    "presence_penalty": -0.1,
    "dry_multiplier": 0.8,
    "dry_base": 2.0,
    "dry_allowed_length": 4,
    "dry_penalty_last_n": 256,
    "dry_sequence_breakers": ["\n", "<|im_end|>"],
    "logit_bias": {"5": -1.0},
    "seed": 1,
    "stop": ["a", "b"],
    "ignore_eos": True,
}


def choice(fields: dict[str, object]) -> SamplingChoice:
    return decode_body(json.dumps(fields).encode(), SamplingFields, ignored=(), refused={}).choice()


def test_what_a_request_gives_is_what_is_chosen() -> None:
    expected = GIVEN | {"dry_sequence_breakers": ("\n", "<|im_end|>"), "logit_bias": {5: -1.0}, "stop": ("a", "b")}
    assert choice(GIVEN).chosen() == expected
    assert choice({}).chosen() == {}


def test_every_choice_but_logprobs_can_be_given() -> None:
    """`logprobs` means another thing in chats than in completions, so each reads its own."""
    assert set(GIVEN) == set(SamplingFields.__struct_fields__)
    assert set(SamplingChoice.__struct_fields__) - set(GIVEN) == {"logprobs"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("typical_p", 1.1),
        ("top_n_sigma", -0.5),
        ("xtc_probability", 2),
        ("xtc_threshold", -0.1),
        ("dynatemp_range", 2.5),
        ("dynatemp_exponent", 0),
        ("mirostat", 1),
        ("mirostat", True),
        ("mirostat_tau", -1),
        ("mirostat_eta", 1.5),
        ("repeat_last_n", -2),
        ("repeat_last_n", 1.5),
        ("dry_multiplier", -1),
        ("dry_base", 0.9),
        ("dry_allowed_length", 0),
        ("dry_penalty_last_n", -2),
        ("dry_sequence_breakers", "x"),
        ("dry_sequence_breakers", ["x"] * 17),
        ("dry_sequence_breakers", [""]),
        ("dry_sequence_breakers", ["x" * 41]),
        ("dry_sequence_breakers", [1]),
        ("temperature", "hot"),
    ],
)
def test_an_error_names_the_field(name: str, value: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        choice({name: value})
    assert caught.value.param is not None
    assert caught.value.param.partition("[")[0] == name
    assert name in caught.value.message


@pytest.mark.parametrize("name", GIVEN)
def test_null_counts_as_left_out(name: str) -> None:
    assert choice({name: None}) == msgspec.convert({}, SamplingChoice)
