"""KV states of llama.cpp: none that is damaged or foreign gets through, and what they depend on is in the key."""

from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest

from localllm.engines.base import Runner
from localllm.engines.plan import LoadPlan
from localllm.engines.registry import load_runner
from tests import tiny
from tests.engines.runner_contract import PROMPT, is_close, read


def load(path: Path, **fields: object) -> Runner:
    plan: dict[str, object] = {"engine": "llama_cpp", "path": str(path), "threads": 1, "identity": "tiny"}
    plan |= {"max_jobs": 3, "context_tokens": 256, "flash_attention": True}
    return load_runner(LoadPlan(**(plan | fields)), lambda _: None)  # type: ignore[arg-type]


@pytest.fixture
def runner(tiny_model: Path) -> Generator[Runner, None, None]:
    loaded = load(tiny_model)
    yield loaded
    loaded.close()


@pytest.fixture
def state(runner: Runner) -> bytes:
    read(runner, 0, 0, PROMPT)
    saved = runner.save(0)
    assert saved
    return saved


def test_flipped_bits_in_the_head_are_noticed(runner: Runner, state: bytes) -> None:
    """Unchecked, the library takes a negative position, which nothing can remove from the slot again."""
    random = np.random.default_rng(0)
    for bit in random.integers(0, 1000 * 8, 300):
        damaged = bytearray(state)
        damaged[bit // 8] ^= 1 << (bit % 8)
        assert runner.restore(1, bytes(damaged)) == 0
    assert runner.restore(1, state) == len(PROMPT)


def test_truncated_and_random_bytes_are_noticed(runner: Runner, state: bytes) -> None:
    random = np.random.default_rng(1)
    for size in random.integers(0, len(state), 100).tolist():
        assert runner.restore(1, state[:size]) == 0
        assert runner.restore(1, state[size:]) == 0 or size == 0
        assert runner.restore(1, random.bytes(size)) == 0
        assert runner.restore(1, state[:size] + random.bytes(200) + state[-24:]) == 0
    assert is_close(read(runner, 1, 0, PROMPT), read(runner, 2, 0, PROMPT))


@pytest.mark.parametrize("fields", [{"max_jobs": 2}, {"flash_attention": False}])
def test_a_state_of_another_layout_is_refused(tiny_model: Path, state: bytes, fields: dict[str, object]) -> None:
    other = load(tiny_model, **fields)
    assert other.restore(0, state) == 0
    assert is_close(read(other, 0, 0, PROMPT), read(other, 1, 0, PROMPT))
    other.close()


def test_the_context_may_differ_where_there_is_room(tiny_model: Path, runner: Runner, state: bytes) -> None:
    longer = load(tiny_model, context_tokens=768)
    assert longer.info.state_key == runner.info.state_key
    assert longer.restore(1, state) == len(PROMPT)
    assert is_close(read(longer, 1, 80, [7]), read(runner, 0, 80, [7]))
    for start in (81, 161, 241):
        read(longer, 1, start, PROMPT)
    assert runner.restore(2, longer.save(1) or b"") == 0  # 321 tokens
    longer.close()


def test_a_copy_on_its_way_is_neither_saved_nor_overwritten(runner: Runner, state: bytes) -> None:
    fresh = read(runner, 0, 80, PROMPT)
    assert runner.copy_prefix(0, 1, 160) == 160  # much of the context: made by the next decode
    assert runner.save(1) is None
    assert runner.restore(0, state) == 0
    assert is_close(read(runner, 2, 0, PROMPT), read(runner, 2, 80, PROMPT)) is False
    assert runner.save(1)
    assert runner.trim(1, 159) == 159
    assert is_close(read(runner, 1, 159, PROMPT[-1:]), fresh)


def test_the_key_names_what_a_state_depends_on(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny, "HEADS", 2)
    monkeypatch.setattr(tiny, "KV_HEADS", 1)
    tiny_model = tiny.write_tiny_model(tmp_path / "wide.gguf")  # whose KV can be kept in q8_0
    variants: list[dict[str, object]] = [
        {},
        {"identity": "other"},
        {"max_jobs": 4},
        {"flash_attention": False},
        {"kv_type": "q8_0"},
    ]
    keys = []
    for fields in variants:
        loaded = load(tiny_model, **fields)
        keys.append(loaded.info.state_key)
        loaded.close()
    assert len(set(keys)) == len(variants)
    assert all("tiny" in key or "other" in key for key in keys)


def test_the_key_names_the_adapters(tiny_model: Path, tmp_path: Path) -> None:
    adapter = tiny.write_tiny_adapter(tmp_path / "a.gguf")
    with_one, without = load(tiny_model, adapters={"a": str(adapter)}), load(tiny_model)
    assert with_one.info.state_key.startswith(without.info.state_key)
    assert with_one.info.state_key != without.info.state_key
    with_one.close()
    without.close()


def test_without_an_identity_there_is_no_key(tiny_model: Path) -> None:
    loaded = load(tiny_model, identity="")
    assert loaded.info.state_key == ""
    loaded.close()
