"""Results as tables for a terminal."""

import statistics
from collections.abc import Callable, Sequence

from rich.table import Table

from localllm.bench.load import LevelResult
from localllm.bench.model import ModelResult
from localllm.bench.workloads import Speeds
from localllm.types import Workload

_WORKLOADS: tuple[Workload, ...] = ("chat", "reading", "serving")


def level_line(result: LevelResult) -> str:
    """One result, for whoever waits for the table."""
    failed = f", {result.failures} failed: {result.failure}" if result.failures else ""
    return f"{result.streams} streams, {result.target}: {result.total_rate:.1f} tokens/s{failed}"


def load_table(results: Sequence[LevelResult]) -> Table:
    """Medians of each target at each level, and their ratio to the first target."""
    table = Table(box=None, pad_edge=False)
    for heading in (
        "STREAMS",
        "SERVER",
        "TOK/S",
        "RATIO",
        "DECODE TOK/S",
        "RATIO",
        "TTFT",
        "GAP P50",
        "GAP P99",
        "FAILED",
    ):
        table.add_column(heading, justify="left" if heading == "SERVER" else "right")
    names = list(dict.fromkeys(result.target for result in results))
    for streams in sorted({result.streams for result in results}):
        for name in names:
            ours = [r for r in results if r.streams == streams and r.target == name]
            base = [r for r in results if r.streams == streams and r.target == names[0]]
            table.add_row(str(streams), name, *_cells(ours, base))
    return table


def model_table(result: ModelResult) -> Table:
    """One model, a figure a row."""
    engine = result.engine
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in (
        ("model", result.model),
        ("engine", f"{engine.engine} ({engine.build}) on {engine.device}, {engine.threads} threads"),
        ("load", f"{result.load_seconds:.2f} s"),
        ("prefill", f"{result.prefill_rate:.1f} tokens/s ({result.prompt_tokens} tokens)"),
        ("decode", f"{result.decode_rate:.1f} tokens/s"),
        ("first token, cold", f"{1000 * result.cold_first_token_seconds:.0f} ms"),
        ("first token, warm", f"{1000 * result.warm_first_token_seconds:.0f} ms"),
        ("peak memory", f"{result.peak_memory_bytes / 2**20:.0f} MiB"),
        ("Python's share", f"{100 * result.python_share:.1f} % of a step"),
    ):
        table.add_row(name, value)
    return table


def speeds_table(results: Sequence[Speeds]) -> Table:
    """Engines on one model, each at every kind of work, and the ratio to the first one. Rates are tokens a second."""
    table = Table(box=None, pad_edge=False)
    for heading in ("ENGINE", "CHAT", "RATIO", "READING", "RATIO", "SERVING", "RATIO", "STREAMS", "DEVICE", "BUILD"):
        table.add_column(heading, justify="left" if heading in {"ENGINE", "DEVICE", "BUILD"} else "right")
    for result in results:
        cells: list[str] = []
        for work in _WORKLOADS:
            cells += _rate_cells(result.rates.get(work), results[0].rates.get(work))
        engine = result.engine
        table.add_row(engine.engine, *cells, str(result.streams), engine.device, engine.build)
    return table


def _rate_cells(rate: float | None, first: float | None) -> tuple[str, str]:
    return f"{rate:.1f}" if rate else "–", f"{rate / first:.2f}" if rate and first else "–"


def _cells(ours: Sequence[LevelResult], base: Sequence[LevelResult]) -> list[str]:
    def rate(get: Callable[[LevelResult], float]) -> tuple[str, str]:
        value, reference = (statistics.median(map(get, rows)) for rows in (ours, base))
        return f"{value:.1f}" if value else "–", f"{value / reference:.2f}" if value and reference else "–"

    def milliseconds(get: Callable[[LevelResult], float]) -> str:
        return f"{1000 * statistics.median(map(get, ours)):.1f} ms"

    return [
        *rate(lambda r: r.total_rate),
        *rate(lambda r: r.decode_rate),
        milliseconds(lambda r: r.first_token_seconds),
        milliseconds(lambda r: r.gap_p50_seconds),
        milliseconds(lambda r: r.gap_p99_seconds),
        str(sum(r.failures for r in ours) or ""),
    ]
