"""Code edits: answers that mostly repeat their prompt."""

import bisect
import colorsys
import inspect
import random
import sched
from types import ModuleType

from msgspec.structs import replace

from localllm.bench.client import Sample, Target
from localllm.bench.rates import decode_rate
from localllm.bench.scenario import Reading
from localllm.bench.together import Request, together

LINES = 60
_EDITS: tuple[tuple[ModuleType, str, str], ...] = (
    (bisect, "insort_right", "insert_right"),
    (colorsys, "rgb_to_yiq", "convert_to_yiq"),
    (sched, "enterabs", "enter_at"),
)


async def code_edit(target: Target, source: random.Random, quick: bool) -> Reading:
    """Repeat a Python file of 60 lines with one function renamed: three files one after another, up to 400 tokens
    each, greedy. The texts must be the same with and without guessing ahead."""
    target = replace(target, extra={})  # an answer ends where the model ends it: what follows would be babble
    samples: list[Sample] = []
    faults: list[str] = []
    for module, old, new in _EDITS[:1] if quick else _EDITS:
        prompt = _prompt(module, old, new, source)
        outcome = await together(target, [Request.of(prompt, 40 if quick else 400)])
        samples += outcome.samples
        faults += outcome.faults
    rates = [decode_rate([sample]) for sample in samples]
    values = {"decode_rate": len(rates) / sum(1 / rate for rate in rates)} if rates and all(rates) else {}
    return Reading(values=values, faults=faults, texts=[sample.text for sample in samples])


def _prompt(module: ModuleType, old: str, new: str, source: random.Random) -> str:
    lines = inspect.getsource(module).splitlines()[:LINES]
    file = "\n".join([f"# revision {source.getrandbits(32):08x}", *lines])
    return (
        f"Repeat this file exactly, but rename the function {old} to {new}. Answer with the file only.\n\n"
        f"```python\n{file}\n```"
    )
