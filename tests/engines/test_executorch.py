"""ExecuTorch under the batcher, on a tiny random model, and what its runner refuses."""

from collections.abc import Generator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest

from localllm.engines.base import Batch, Engine, Runner
from localllm.engines.plan import LoadPlan, Scheduling
from localllm.engines.registry import load_runner
from localllm.errors import EngineError, IntegrityError, LoadFailed, NoRoom
from localllm.inference.batcher import Batcher
from localllm.types import Sampling, TextRequest
from localllm.worker.assembly import assemble
from localllm.worker.handle import WorkerHandle
from tests.engines.contract import EngineContract, ask
from tests.engines.runner_contract import PROMPT, RewindingContract, read
from tests.exports import CONTEXT, PROGRAM, skip_without_executorch

skip_without_executorch()

from localllm.engines.executorch import runner as runner_module  # noqa: E402  # not before the packages are known
from localllm.engines.executorch.facts import ProgramFacts  # noqa: E402
from localllm.engines.executorch.native import Tensor, open_runtime  # noqa: E402
from localllm.engines.executorch.runner import TILE_TOKENS, ExecuTorchRunner  # noqa: E402

pytestmark = pytest.mark.slow


def plan(folder: Path, **fields: object) -> LoadPlan:
    beside = {path.name: str(path) for path in folder.glob("*.json")}
    given = {"engine": "executorch", "path": str(folder / PROGRAM), "beside": beside, "threads": 2, **fields}
    return LoadPlan(**given)  # type: ignore[arg-type]


def load(folder: Path, **fields: object) -> ExecuTorchRunner:
    runner = load_runner(plan(folder, **fields), lambda _: None)
    assert isinstance(runner, ExecuTorchRunner)
    return runner


@pytest.fixture(scope="module")
def shared_engine(tiny_program: Path) -> Generator[Engine, None, None]:
    engine = Batcher(load(tiny_program, max_jobs=4))
    yield engine
    engine.close()


@pytest.fixture
def engine(shared_engine: Engine) -> Engine:
    """Used by all tests in turn, as a server uses it: each must leave it idle."""
    assert not shared_engine.is_busy
    return shared_engine


class TestExecuTorch(EngineContract):
    """The contract."""

    TILE_TOKENS = TILE_TOKENS

    def test_a_prompt_longer_than_a_call_is_read_in_pieces(self, engine: Engine) -> None:
        answer = ask(engine, "one two three " * 30, max_tokens=4)
        assert answer.usage is not None
        assert answer.usage.prompt_tokens > 256


@pytest.fixture
def runner(tiny_program: Path) -> Generator[ExecuTorchRunner, None, None]:
    loaded = load(tiny_program, max_jobs=3)
    yield loaded
    loaded.close()


class TestExecuTorchRunner(RewindingContract):
    """The contract of runners."""

    def test_rewinding_is_exact(self, runner: Runner) -> None:
        read(runner, 0, 0, PROMPT)
        first = [read(runner, 0, 80 + i, [token]) for i, token in enumerate(PROMPT[:5])]
        runner.trim(0, 80)
        read(runner, 0, 80, PROMPT[::-1])
        runner.trim(0, 80)
        again = [read(runner, 0, 80 + i, [token]) for i, token in enumerate(PROMPT[:5])]
        assert np.array_equal(first, again)

    def test_slots_hold_nothing_of_each_other(self, runner: Runner) -> None:
        alone = read(runner, 0, 0, PROMPT)
        runner.trim(0, 40)
        read(runner, 1, 0, PROMPT[::-1])
        assert np.array_equal(read(runner, 0, 40, PROMPT[40:]), alone)

    def test_nothing_goes_from_slot_to_slot(self, runner: Runner) -> None:
        read(runner, 0, 0, PROMPT)
        read(runner, 1, 0, PROMPT)
        assert not runner.info.can_copy
        assert runner.copy_prefix(0, 1, 60) == 0
        assert runner.trim(1, 99) == 0
        assert runner.copy_prefix(0, 2, 60) == 0
        assert runner.copy_prefix(0, 0, 60) == 60
        read(runner, 0, 60, PROMPT)

    def test_nothing_is_saved(self, runner: Runner) -> None:
        read(runner, 0, 0, PROMPT)
        assert runner.info.state_key == ""
        assert runner.save(0) is None
        assert runner.restore(0, b"state") == 0
        read(runner, 0, 0, PROMPT)


def test_it_says_what_it_is(runner: ExecuTorchRunner) -> None:
    assert runner.info.engine == "executorch"
    assert runner.info.build.startswith("executorch 1.")
    assert runner.info.context_tokens == CONTEXT
    assert runner.info.slots == 3
    assert 0 < runner.info.chunk_tokens <= runner.info.batch_tokens
    assert not runner.info.gains_by_guessing


def test_a_slot_is_loaded_when_rows_first_come_for_it(runner: ExecuTorchRunner) -> None:
    def loaded() -> list[bool]:
        return [program is not None for program in runner._programs]

    assert loaded() == [True, False, False]
    assert runner.trim(1, 5) == 0
    assert loaded() == [True, False, False]
    read(runner, 2, 0, PROMPT)
    assert loaded() == [True, False, True]


def test_a_slot_that_cannot_be_loaded_is_an_engine_error(
    runner: ExecuTorchRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise LoadFailed("out of memory")

    monkeypatch.setattr(runner_module, "Program", fail)
    with pytest.raises(EngineError, match=r"out of memory.*--parallel"):
        read(runner, 1, 0, PROMPT)
    read(runner, 0, 0, PROMPT)


def test_the_threads_stay_as_they_were_first_set(runner: ExecuTorchRunner, tiny_program: Path) -> None:
    """Another number would end the process: the pool is in use."""
    other = load(tiny_program, threads=runner.info.threads + 1)
    assert other.info.threads == runner.info.threads == open_runtime(7).threads
    read(other, 0, 0, PROMPT)
    other.close()


def test_a_shorter_context_is_kept_to(tiny_program: Path) -> None:
    runner = load(tiny_program, context_tokens=100)
    assert runner.info.context_tokens == 100
    read(runner, 0, 0, PROMPT)
    with pytest.raises(EngineError, match="more than the context of 100"):
        read(runner, 0, 80, PROMPT[:21])
    runner.close()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"context_tokens": CONTEXT + 1}, rf"exported for a context of {CONTEXT}.*--context {CONTEXT + 1}"),
        ({"adapters": {"poet": "poet.gguf"}}, "poet.*leave them out"),
    ],
)
def test_what_it_cannot_do_is_refused(tiny_program: Path, fields: dict[str, object], words: str) -> None:
    with pytest.raises(LoadFailed, match=words):
        load(tiny_program, **fields)


def test_more_answers_at_once_than_there_is_room_for(tiny_program: Path) -> None:
    with pytest.raises(NoRoom, match="lower --parallel"):
        load(tiny_program, max_jobs=10**7)


def test_other_bytes_than_the_stored_are_refused(tiny_program: Path) -> None:
    with pytest.raises(IntegrityError, match=r"tiny\.pte is damaged.*localllm repair"):
        load(tiny_program, sha256="0" * 64)


def test_progress_is_told(tiny_program: Path) -> None:
    told: list[float] = []
    load_runner(plan(tiny_program), told.append).close()
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_closing_twice_is_fine(tiny_program: Path) -> None:
    runner = load(tiny_program)
    runner.close()
    runner.close()
    with pytest.raises(EngineError, match="slot 0"):
        read(runner, 0, 0, PROMPT)


class Spy:
    """Stands in the place of native code and counts what comes through to it."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, inputs: Sequence[Tensor], clone_outputs: bool = True) -> Sequence[Tensor]:
        self.calls += 1
        raise RuntimeError("native code was called")


def rows(slot: int, *tokens_at: tuple[int, list[int]]) -> Batch:
    batch = Batch(CONTEXT * 2)
    for start, tokens in tokens_at:
        batch.add(slot, start, tokens, logits=1)
    return batch


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        (rows(0, (80, [259])), "from 0 to 258"),
        (rows(0, (80, [5, -1, 5])), "from 0 to 258"),
        (rows(0, (80, [2**31 - 1])), "from 0 to 258"),
        (rows(0, (-1, [5])), "holds 80 tokens"),
        (rows(0, (79, [5])), "holds 80 tokens"),
        (rows(0, (81, [5])), "holds 80 tokens"),
        (rows(1, (5, [5])), "holds 0 tokens"),
        (rows(3, (0, [5])), "slot 3 of 3"),
        (rows(-1, (0, [5])), "slot -1 of 3"),
    ],
)
def test_what_would_end_the_process_never_comes_to_native_code(
    runner: ExecuTorchRunner, monkeypatch: pytest.MonkeyPatch, batch: Batch, words: str
) -> None:
    read(runner, 0, 0, PROMPT)
    read(runner, 1, 0, PROMPT)
    runner.trim(1, 0)
    spy = Spy()
    for program in runner._programs[:2]:
        monkeypatch.setattr(program, "_forward", spy)
    with pytest.raises(EngineError, match=words):
        runner.decode(batch)
    assert spy.calls == 0


def test_the_end_of_the_context_never_comes_to_native_code(
    runner: ExecuTorchRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner.decode(rows(0, (0, [5] * CONTEXT)))
    spy = Spy()
    program = runner._programs[0]
    monkeypatch.setattr(program, "_forward", spy)
    with pytest.raises(EngineError, match=f"more than the context of {CONTEXT}"):
        runner.decode(rows(0, (CONTEXT, [5])))
    assert spy.calls == 0


@pytest.mark.parametrize("count", [0, 1000])
def test_a_call_has_tokens_and_not_too_many(runner: ExecuTorchRunner, count: int) -> None:
    program = runner._programs[0]
    assert program is not None
    with pytest.raises(EngineError, match=f"{count} tokens came at once"):
        program.step(np.zeros(count, np.int32), 0)


def test_a_batch_without_rows_brings_none(runner: ExecuTorchRunner) -> None:
    assert runner.decode(Batch(8)).shape == (0, runner.tokenizer.vocab_size)


def test_what_native_code_raises_is_an_engine_error(runner: ExecuTorchRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner._programs[0], "_forward", Spy())
    with pytest.raises(EngineError, match="at token 0 of a text: native code was called"):
        read(runner, 0, 0, PROMPT)


@pytest.mark.parametrize(
    ("knows", "tokens"),
    [(259, 259), (259, 196), (49_152, 49_152), (51_200, 50_295), (151_936, 151_665), (256_000, 255_029)],
)
def test_a_model_may_know_a_few_tokens_more_than_its_tokenizer(knows: int, tokens: int) -> None:
    """The last ones are Phi-2, Qwen2.5 and Command R."""
    runner_module._check_vocabularies(facts(knows), tokens)


@pytest.mark.parametrize(("knows", "tokens"), [(259, 260), (259, 195), (49_152, 49_153), (151_936, 128_256)])
def test_a_tokenizer_of_another_model_is_refused(knows: int, tokens: int) -> None:
    with pytest.raises(LoadFailed, match=f"has {tokens} tokens and the program knows {knows}"):
        runner_module._check_vocabularies(facts(knows), tokens)


def facts(vocab_size: int) -> ProgramFacts:
    return ProgramFacts(
        vocab_size=vocab_size,
        context_tokens=512,
        most_tokens=256,
        token_type="int64",
        position_type="int64",
        takes_all_positions=False,
    )


@pytest.mark.anyio
async def test_a_worker_answers(tiny_program: Path) -> None:
    handle = await WorkerHandle.start(plan(tiny_program), lambda _: None)
    try:
        assert handle.info.engine == "executorch"
        request, sampling = TextRequest(prompt="one two"), Sampling(max_tokens=5, ignore_eos=True)
        deltas = [delta async for group in handle.run(request, sampling) for delta in group]
        assert deltas[-1].usage is not None
        assert deltas[-1].usage.completion_tokens == 5
    finally:
        await handle.close()


@pytest.mark.anyio
async def test_a_worker_says_why_it_cannot(tiny_program: Path, tmp_path: Path) -> None:
    broken = tmp_path / PROGRAM
    broken.write_bytes((tiny_program / PROGRAM).read_bytes()[:-1])
    with pytest.raises(LoadFailed, match=r"tiny\.pte.* ends early"):
        await WorkerHandle.start(plan(tiny_program, path=str(broken)), lambda _: None)


def test_no_cache_is_kept_on_disk(tiny_program: Path, tmp_path: Path) -> None:
    scheduling = Scheduling(cache_path=str(tmp_path), cache_bytes=10**9)
    whole = msgspec.structs.replace(plan(tiny_program, max_jobs=1), identity="tiny", scheduling=scheduling)
    engines = assemble(whole, lambda _: None)
    ask(engines.engine, "a prompt that would be worth keeping " * 8, max_tokens=2)
    while engines.engine.idle():
        pass
    engines.engine.close()
    assert list(tmp_path.iterdir()) == []
