"""Compare the memory that `localllm plan` foretells with what a worker really holds resident (RSS), for each model.

Each worker answers as many prompts at once as it has slots, of up to 600 tokens, before it is looked at. llama.cpp's KV
is resident from the start, and so are its buffers after a piece of a prompt; so longer prompts take no more.

    .venv/bin/python scripts/bench_memory.py MODEL… [--cases 1024x1,2048x4,4096x1:q8_0] [--json FILE]

A case is the context, the answers at once, and llama.cpp's type of KV where it is not f16. A program of ExecuTorch has
one context, and its first case alone is tried.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import cast

import msgspec
import psutil
from msgspec import Struct

from localllm.cli.compose import bring
from localllm.config import Settings, load_settings
from localllm.devices.footprint import Footprint, KvType, fits_kv_type, footprint
from localllm.engines.plan import LoadPlan
from localllm.errors import LocalLLMError
from localllm.models.local import LocalModel
from localllm.runtime.library import Library
from localllm.runtime.program_outlook import ProgramOutlook
from localllm.types import Sampling, TextRequest
from localllm.worker.handle import WorkerHandle

MOST_PROMPT_TOKENS = 600
ANSWER_TOKENS = 4
MIB = 2**20


class Case(Struct, frozen=True, kw_only=True):
    """A context to load a model with."""

    context_tokens: int
    jobs: int
    kv_type: KvType


class Row(Struct, frozen=True, kw_only=True):
    """What was said of it, and what was seen."""

    model: str
    engine: str
    case: Case
    said_bytes: int
    seen_bytes: int

    @property
    def ratio(self) -> float:
        """Above 1 too much was said."""
        return self.said_bytes / self.seen_bytes


def main() -> None:
    """Print a line for each model and case as it comes."""
    arguments = _arguments()
    settings = load_settings(offline=True)
    cases = [_case(text) for text in arguments.cases.split(",")]
    rows: list[Row] = []
    print("MODEL                     ENGINE       CONTEXT  JOBS  KV    SAID MiB  SEEN MiB  SAID/SEEN")
    for reference in arguments.models:
        try:
            rows += [_shown(row) for row in _rows(bring(reference, settings), cases, settings)]
        except LocalLLMError as error:
            sys.exit(f"{reference}: {error.message}")
    ratios = [row.ratio for row in rows]
    print(f"{len(rows)} cases: said/seen from {min(ratios):.2f} to {max(ratios):.2f}")
    if arguments.json:
        arguments.json.write_bytes(msgspec.json.encode(rows))


def _rows(model: LocalModel, cases: Sequence[Case], settings: Settings) -> "list[Row]":
    found = []
    for case in cases[:1] if model.engine == "executorch" else cases:
        said = _said(model, case, settings)
        if said is not None:
            seen_bytes = asyncio.run(_seen_bytes(model, case))
            found.append(
                Row(
                    model=model.id,
                    engine=model.engine,
                    case=case,
                    said_bytes=said.resident_bytes,
                    seen_bytes=seen_bytes,
                )
            )
    return found


def _said(model: LocalModel, case: Case, settings: Settings) -> Footprint | None:
    """None for KV that the model cannot have."""
    wished = msgspec.structs.replace(settings, context=case.context_tokens, parallel=case.jobs)
    outlook = Library(wished).outlook_here(model)
    if isinstance(outlook, ProgramOutlook):
        return outlook.forecast.footprint
    if not fits_kv_type(outlook.shape, case.kv_type):
        return None
    return footprint(
        outlook.shape,
        context_tokens=case.context_tokens,
        jobs=case.jobs,
        flash_attention=case.jobs > 1 or case.kv_type != "f16",
        kv_type=case.kv_type,
    )


async def _seen_bytes(model: LocalModel, case: Case) -> int:
    plan = LoadPlan(
        engine=model.engine,
        path=model.path,
        parts=model.parts,
        beside=model.beside,
        context_tokens=case.context_tokens,
        max_jobs=case.jobs,
        kv_type=case.kv_type,
    )
    handle = await WorkerHandle.start(plan, lambda _: None)
    try:
        await asyncio.gather(*(_answer(handle, job) for job in range(case.jobs)))
        return int(psutil.Process(handle.pid).memory_info().rss)
    finally:
        await handle.close()


async def _answer(handle: WorkerHandle, job: int) -> None:
    length = min(MOST_PROMPT_TOKENS, handle.info.context_tokens - ANSWER_TOKENS)
    prompt = tuple(10 + (place * (job + 7)) % 200 for place in range(length))
    sampling = Sampling(temperature=0.0, max_tokens=ANSWER_TOKENS, ignore_eos=True)
    async with aclosing(handle.run(TextRequest(prompt=prompt), sampling)) as groups:
        async for _ in groups:
            pass


def _shown(row: Row) -> Row:
    case = row.case
    print(
        f"{row.model[:25]:25} {row.engine:12} {case.context_tokens:7} {case.jobs:5}  {case.kv_type:4} "
        f"{row.said_bytes / MIB:9.0f} {row.seen_bytes / MIB:9.0f} {row.ratio:10.2f}",
        flush=True,
    )
    return row


def _case(text: str) -> Case:
    size, _, kv_type = text.partition(":")
    context, _, jobs = size.partition("x")
    if not (context.isdigit() and jobs.isdigit() and kv_type in {"", "f16", "q8_0"}):
        raise SystemExit(f"--cases takes CONTEXTxJOBS or CONTEXTxJOBS:q8_0, not {text!r}")
    return Case(context_tokens=int(context), jobs=int(jobs), kv_type=cast(KvType, kv_type or "f16"))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("models", nargs="+", metavar="MODEL", help="names or paths of models on this disk")
    parser.add_argument("--cases", default="1024x1,2048x4,4096x1:q8_0", help="contexts to load them with")
    parser.add_argument("--json", type=Path, help="write the rows there too")
    return parser.parse_args()


if __name__ == "__main__":
    main()
