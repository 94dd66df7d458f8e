"""Programs and tokenizers that are broken, foreign or lie: each is an error of ours, and the process lives on."""

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path

import pytest

from localllm.engines.executorch.digest import check_digest
from localllm.engines.plan import LoadPlan
from localllm.errors import IntegrityError
from localllm.models.pte.header import read_program
from tests.engines.executorch_programs import CONTEXT, exported_toys
from tests.engines.loading import Outcome, outcomes
from tests.exports import PROGRAM, TOKENIZER, skip_without_executorch

HEADER_BYTES = 40  # offset of the root table, identifier, extended header


def test_a_digest_is_of_all_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.pte"
    path.write_bytes(bytes(10_000_000))
    check_digest(path, hashlib.sha256(bytes(10_000_000)).hexdigest().upper())
    with path.open("r+b") as file:
        file.seek(9_999_999)
        file.write(b"\1")
    with pytest.raises(IntegrityError, match=r"is damaged.*localllm verify"):
        check_digest(path, hashlib.sha256(bytes(10_000_000)).hexdigest())


@pytest.mark.slow
def test_what_a_program_needs_is_read_without_native_code(tiny_program: Path) -> None:
    found = read_program(tiny_program / PROGRAM)
    assert found.backends == ("XnnpackBackend",)
    assert {"llama::custom_sdpa.out", "llama::update_cache.out"} <= set(found.operators)
    assert found.planned_bytes > 2 * 2 * 512 * 4  # K and V of two layers, of as many tokens


Files = Mapping[str, bytes]


def broken_programs(whole: bytes, gguf: bytes) -> dict[str, bytes]:
    """Programs by what was done to them."""
    flatbuffer, base = struct.unpack_from("<QQ", whole, 16)
    broken = {
        "empty": b"",
        "text": b"This is no program.\n" * 50,
        "GGUF": gguf,
        "noise": hashlib.shake_256(b"noise").digest(100_000),
        "noise behind a head": whole[:HEADER_BYTES] + hashlib.shake_256(b"noise").digest(len(whole) - HEADER_BYTES),
        "zeros behind a head": whole[:HEADER_BYTES].ljust(len(whole), b"\0"),
        "identifier of an older version": whole[:4] + b"ET11" + whole[8:],
        "no extended header": whole[:8] + b"eh99" + whole[12:],
        "no room for segments": whole[:24] + bytes(16) + whole[40:],
    }
    broken |= {
        f"cut at {at}": whole[:at] for at in (3, 7, 30, 63, flatbuffer // 2, flatbuffer, base + 99, len(whole) - 1)
    }
    for bit in range(HEADER_BYTES * 8):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        broken[f"bit {bit}"] = bytes(damaged)
    return broken


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("broken")


def plan_of(path: Path, tokenizers: Path, **fields: object) -> LoadPlan:
    beside = {file.name: str(file) for file in tokenizers.iterdir()}
    given = {"engine": "executorch", "path": str(path), "beside": beside, "threads": 1, "max_jobs": 1, **fields}
    return LoadPlan(**given)  # type: ignore[arg-type]


@pytest.mark.slow
def test_broken_programs_are_refused_and_no_process_dies(tiny_program: Path, tiny_model: Path, folder: Path) -> None:
    skip_without_executorch()
    plans: dict[str, LoadPlan] = {}
    for name, data in broken_programs((tiny_program / PROGRAM).read_bytes(), tiny_model.read_bytes()).items():
        path = folder / f"{len(plans)}.pte"
        path.write_bytes(data)
        plans[name] = plan_of(path, tiny_program)
    plans["whole"] = plan_of(tiny_program / PROGRAM, tiny_program)
    plans["other digest"] = plan_of(tiny_program / PROGRAM, tiny_program, sha256="0" * 64)
    found = outcomes(plans)
    assert [name for name in plans if name not in found] == []
    assert found["whole"].tokens
    assert found["other digest"].error == "IntegrityError"
    for name, outcome in found.items():
        is_harmless = name.startswith("bit ") and outcome.tokens == found["whole"].tokens  # a size with room to spare
        assert is_harmless or outcome.error == "LoadFailed" or name in {"whole", "other digest"}, name
    assert all("\n" not in outcome.message for outcome in found.values())


def with_tokens(document: bytes, count: int) -> bytes:
    """A tokenizer.json with so many tokens more, or fewer."""
    whole = json.loads(document)
    vocabulary = whole["model"]["vocab"]
    size = max(vocabulary.values()) + 1
    if count > 0:
        vocabulary |= {f"more{i}": size + i for i in range(count)}
    else:
        whole["model"]["vocab"] = {token: place for token, place in vocabulary.items() if place < size + count}
    return json.dumps(whole).encode()


def broken_tokenizers(document: bytes) -> dict[str, Files]:
    """The files beside a program by what was done to them."""
    return {
        "none": {},
        "empty": {TOKENIZER: b""},
        "text": {TOKENIZER: b"This is no tokenizer."},
        "cut": {TOKENIZER: document[: len(document) // 2]},
        "no model": {TOKENIZER: b"{}"},
        "not UTF-8": {TOKENIZER: b"\xff\xfe" + document},
        "a list": {TOKENIZER: b"[1, 2, 3]"},
        "of a larger model": {TOKENIZER: with_tokens(document, 1)},
        "of a much larger model": {TOKENIZER: with_tokens(document, 50_000)},
        "of a smaller model": {TOKENIZER: with_tokens(document, -100)},
    }


@pytest.mark.slow
def test_broken_tokenizers_are_refused_and_no_process_dies(tiny_program: Path, folder: Path) -> None:
    skip_without_executorch()
    plans: dict[str, LoadPlan] = {}
    for name, files in broken_tokenizers((tiny_program / TOKENIZER).read_bytes()).items():
        room = folder / f"tokenizer {name}"
        room.mkdir()
        for filename, data in files.items():
            (room / filename).write_bytes(data)
        plans[name] = plan_of(tiny_program / PROGRAM, room)
    found = outcomes(plans)
    assert {name: found[name].error for name in found} == dict.fromkeys(plans, "LoadFailed")
    assert all(TOKENIZER in outcome.message for outcome in found.values())
    for name in ("of a larger model", "of a much larger model", "of a smaller model"):
        assert "belongs to another model" in found[name].message


@pytest.fixture(scope="module")
def toy_outcomes(tiny_program: Path) -> dict[str, Outcome]:
    skip_without_executorch()
    return outcomes({path.stem: plan_of(path, tiny_program) for path in sorted(exported_toys().iterdir())})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no_forward", "has no method forward, only encode, "),
        ("no_position", "keeps no KV cache"),
        ("no_cache", "keeps no KV cache"),
        ("three_inputs", "takes 3 inputs"),
        ("real_tokens", "not as whole numbers"),
        ("flat_tokens", "of shape [1] and [1], not [1, tokens]"),
        ("no_logits", "gives no logits"),
        ("vocabulary_lie", "gives 259 logits and says that it knows 1000 tokens"),
        ("no_context", "does not say how many tokens its context holds"),
        ("negative_context", "its get_max_context_len is -5"),
        ("context_lie", f"does not take the {CONTEXT + 1} tokens of its context"),
        ("fixed_length", f"does not take the {CONTEXT} tokens of its context one by one"),
        ("recurrent", "cannot begin a text anew"),
    ],
)
def test_a_program_that_is_no_language_model_is_refused_by_name(
    toy_outcomes: dict[str, Outcome], name: str, words: str
) -> None:
    assert toy_outcomes[name].error == "LoadFailed"
    assert words in toy_outcomes[name].message


@pytest.mark.slow
@pytest.mark.parametrize("name", ["one_token", "all_logits", "silent"])
def test_a_strange_program_runs(toy_outcomes: dict[str, Outcome], name: str) -> None:
    """One that takes a token at a time; logits of all tokens, from int32; hardly any metadata."""
    assert not toy_outcomes[name].message
    assert len(toy_outcomes[name].tokens) == 3
