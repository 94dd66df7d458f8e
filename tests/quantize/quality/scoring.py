"""Steps of measuring quality, with what tests rarely vary left out."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from localllm.engines.base import Runner
from localllm.engines.plan import LoadPlan
from localllm.engines.registry import load_runner
from localllm.quantize.quality.base import score_base
from localllm.quantize.quality.comparison import compare
from localllm.quantize.steps import BaseScored, Compare, Compared, Progress, ScoreBase

CHUNK_TOKENS = 64
LINE = "The miller's three sons divided what he left: a mill, an ass, and a cat. "
TEXT = "".join(f"{number}. {LINE}" for number in range(200))


def silent(_progress: Progress) -> None:
    """Reports to nobody."""


def write_text(folder: Path, text: str = TEXT) -> Path:
    path = folder / "text.txt"
    path.write_text(text, "utf-8")
    return path


def score(
    model: Path,
    target: Path,
    *,
    text: Path | None = None,
    chunks: int = 4,
    chunk_tokens: int = CHUNK_TOKENS,
    report: Callable[[Progress], None] = silent,
) -> BaseScored:
    step = ScoreBase(
        model=str(model),
        text=str(text or write_text(target.parent)),
        target=str(target),
        chunks=chunks,
        chunk_tokens=chunk_tokens,
        threads=1,
    )
    return score_base(step, report)


def compared(model: Path, base: Path, report: Callable[[Progress], None] = silent) -> Compared:
    return compare(Compare(model=str(model), base=str(base), threads=1), report)


@contextmanager
def running(path: Path, *, context_tokens: int = 512, engine: str = "llama_cpp") -> Generator[Runner, None, None]:
    """A runner with one slot."""
    plan = LoadPlan(
        engine=engine,
        path=str(path) if engine != "echo" else "",
        max_jobs=1,
        threads=1,
        context_tokens=context_tokens,
    )
    runner = load_runner(plan, lambda _: None)
    try:
        yield runner
    finally:
        runner.close()


def wanting_bos(model: Path, target: Path) -> Path:
    """A copy of a tiny model that wants BOS before a text."""
    data = bytearray(model.read_bytes())
    key = b"tokenizer.ggml.add_bos_token"
    place = data.index(key) + len(key) + 4  # behind the type, which is bool
    assert data[place] == 0
    data[place] = 1
    target.write_bytes(data)
    return target
