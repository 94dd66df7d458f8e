"""DRY against llama.cpp's on a real vocabulary, and its parts against plain definitions."""

import ctypes
from collections.abc import Generator
from pathlib import Path

import llama_cpp as lib
import msgspec
import numpy as np
import pytest

from localllm.engines.echo import EchoTokenizer
from localllm.engines.llama_cpp.native import Handle, load_model
from localllm.engines.llama_cpp.tokenizer import LlamaTokenizer
from localllm.inference.dry import DryPenalty, suffix_matches
from localllm.types import Sampling
from tests.inference.native_samplers import logits_after, owned
from tests.marks import slow


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Generator[Handle, None, None]:
    handle = load_model([str(tiny_model)], lambda _: None)
    yield handle
    lib.llama_model_free(handle)


def native_dry(model: Handle, sampling: Sampling) -> Handle:
    breakers = [breaker.encode() for breaker in sampling.dry_sequence_breakers]
    return lib.llama_sampler_init_dry(
        lib.llama_model_get_vocab(model),
        sampling.dry_multiplier,
        sampling.dry_base,
        sampling.dry_allowed_length,
        sampling.dry_penalty_last_n,
        (ctypes.c_char_p * len(breakers))(*breakers),
        len(breakers),
    )


CASES: list[dict[str, object]] = [
    {},
    {"dry_allowed_length": 1},
    {"dry_allowed_length": 4, "dry_base": 1.2},
    {"dry_base": 1.0, "dry_multiplier": 3.0},
    {"dry_penalty_last_n": 12},
    {"dry_sequence_breakers": ()},
    {"dry_sequence_breakers": ("c",)},
    {"dry_sequence_breakers": ("ca", "bbb")},  # spelled by several tokens
    {"dry_sequence_breakers": ("<|im_end|>",)},  # a control token
]


@pytest.mark.parametrize("letters", [slow("ab"), "abcd"])
@pytest.mark.parametrize("fields", CASES)
def test_the_penalties_are_llama_cpps(model: Handle, fields: dict[str, object], letters: str) -> None:
    tokenizer = LlamaTokenizer(model)
    tokens = [tokenizer.encode(letter, add_special=False, parse_special=False)[0] for letter in letters]
    tokens.append(tokenizer.encode("<|im_end|>", add_special=False, parse_special=True)[0])
    weights = np.array([*[1.0] * len(letters), 0.1])
    random = np.random.default_rng(0)
    text = random.choice(tokens, 120, p=weights / weights.sum()).tolist()
    prompt, answer = text[:60], text[60:]
    sampling = msgspec.convert({"dry_multiplier": 0.8, "dry_penalty_last_n": 1000} | fields, Sampling)
    ours, penalized = DryPenalty(sampling, tokenizer, prompt), 0
    with owned(native_dry(model, sampling)) as native:
        for token in prompt:
            lib.llama_sampler_accept(native, token)
        for token in answer:
            logits = random.normal(0, 3.0, tokenizer.vocab_size).astype(np.float32)
            found = logits.copy()
            ours.apply(found)
            np.testing.assert_allclose(found, logits_after(native, logits), rtol=1e-5, atol=1e-5)
            penalized += int((found != logits).sum())
            ours.accept(token)
            lib.llama_sampler_accept(native, token)
    assert penalized > 5


def plain_matches(tokens: list[int]) -> list[int]:
    """How many tokens up to each place equal the end: by trying."""
    size = len(tokens)
    found = []
    for place in range(size - 1):
        length = 0
        while length <= place and tokens[place - length] == tokens[size - 1 - length]:
            length += 1
        found.append(length)
    return [*found, 0][:size]


@pytest.mark.parametrize("kinds", [1, 2, 5])
def test_the_matches_are_those_found_by_trying(kinds: int) -> None:
    random = np.random.default_rng(kinds)
    for size in [0, 1, 2, 3, 30, 200]:
        tokens = random.integers(0, kinds, size).tolist()
        assert suffix_matches(tokens).tolist() == plain_matches(tokens)


def penalties(dry: DryPenalty) -> dict[int, float]:
    logits = np.zeros(EchoTokenizer.vocab_size, np.float32)
    dry.apply(logits)
    return {int(token): -float(logits[token]) for token in np.flatnonzero(logits)}


@pytest.mark.parametrize("window", [-1, 50, 3000])
def test_a_text_penalizes_alike_as_prompt_and_token_by_token(window: int) -> None:
    random = np.random.default_rng(4)
    text = random.integers(97, 100, 2600).tolist()  # more than the room made at first
    sampling = Sampling(dry_multiplier=1.0, dry_penalty_last_n=window, dry_sequence_breakers=("abcabc",))
    grown = DryPenalty(sampling, EchoTokenizer(), text[:10])
    for token in text[10:]:
        grown.accept(token)
    whole = DryPenalty(sampling, EchoTokenizer(), text)
    assert penalties(grown) == penalties(whole) != {}


def test_only_what_would_go_on_repeating_is_penalized() -> None:
    sampling = Sampling(dry_multiplier=2.0, dry_base=3.0, dry_allowed_length=2)
    assert penalties(DryPenalty(sampling, EchoTokenizer(), b"one two. one t")) == {
        ord("w"): pytest.approx(2.0 * 3.0**3)
    }
    assert penalties(DryPenalty(sampling, EchoTokenizer(), b"one two. one:t")) == {}


def test_a_breaker_itself_is_never_penalized() -> None:
    sampling = Sampling(dry_multiplier=2.0)
    assert penalties(DryPenalty(sampling, EchoTokenizer(), b"abc\nabc")) == {}
    assert set(penalties(DryPenalty(sampling, EchoTokenizer(), b"abcxabc"))) == {ord("x")}


def test_an_endless_repetition_does_not_overflow() -> None:
    logits = np.full(EchoTokenizer.vocab_size, -1e30, np.float32)
    DryPenalty(Sampling(dry_multiplier=100.0, dry_base=100.0), EchoTokenizer(), b"a" * 5000).apply(logits)
    assert np.isfinite(logits).all()
    assert logits.argmin() == ord("a")
