"""Code edits: answers that mostly repeat their prompt, greedy, of which two servers may have to give the same text."""

import bisect
import colorsys
import inspect
import random
import sched
from collections.abc import Sequence
from types import ModuleType

from msgspec.structs import replace

from localllm.bench.client import Sample, Target
from localllm.bench.rates import decode_rate
from localllm.bench.scenario import Reading
from localllm.bench.together import Request, together

LINES = 60
ANSWER_TOKENS = 400
SHORT_ANSWER_TOKENS = 120
QUICK_TOKENS = 40
_MODULES: tuple[tuple[ModuleType, str, str], ...] = (
    (bisect, "insort_right", "insert_right"),
    (colorsys, "rgb_to_yiq", "convert_to_yiq"),
    (sched, "enterabs", "enter_at"),
)
_FUNCTIONS: tuple[tuple[str, str, str], ...] = (
    (
        "total_price",
        "price_of_all",
        """def total_price(items, rate):
    total = 0
    for item in items:
        total += item.price * item.count
    return round(total * (1 + rate), 2)""",
    ),
    (
        "read_lines",
        "lines_of",
        """def read_lines(path):
    lines = []
    with open(path) as file:
        for line in file:
            if line.strip():
                lines.append(line.rstrip())
    return lines""",
    ),
    (
        "longest_word",
        "find_longest",
        """def longest_word(text):
    best = ""
    for word in text.split():
        if len(word) > len(best):
            best = word
    return best""",
    ),
    (
        "mean_of",
        "average",
        """def mean_of(values):
    if not values:
        raise ValueError("no values")
    total = sum(values)
    return total / len(values)""",
    ),
    (
        "count_words",
        "word_counts",
        """def count_words(text):
    counts = {}
    for word in text.lower().split():
        counts[word] = counts.get(word, 0) + 1
    return counts""",
    ),
    (
        "clamp",
        "limit",
        """def clamp(value, low, high):
    if low > high:
        raise ValueError("low is above high")
    return max(low, min(value, high))""",
    ),
)


async def short_edit(target: Target, source: random.Random, quick: bool) -> Reading:
    """Repeat a short Python function renamed, up to the end of the code block: six functions one after another. Prompt
    and answer have less than 256 tokens. The texts must be the same with and without guessing ahead."""
    prompts = [_prompt(code, old, new, source) for old, new, code in _FUNCTIONS[: 2 if quick else None]]
    tokens = QUICK_TOKENS if quick else SHORT_ANSWER_TOKENS
    return await _edits(replace(target, extra={"stop": ["\n```"]}), prompts, tokens)


async def long_edit(target: Target, source: random.Random, quick: bool) -> Reading:
    """Repeat a Python file of 60 lines with one function renamed: three files one after another, up to 400 tokens
    each. Guesses are always allowed, so texts may differ from those without."""
    prompts = []
    for module, old, new in _MODULES[: 1 if quick else None]:
        code = "\n".join(inspect.getsource(module).splitlines()[:LINES])
        prompts.append(_prompt(code, old, new, source))
    # an answer ends where the model ends it: what follows would be babble
    return await _edits(replace(target, extra={}), prompts, QUICK_TOKENS if quick else ANSWER_TOKENS)


async def _edits(target: Target, prompts: Sequence[str], tokens: int) -> Reading:
    samples: list[Sample] = []
    faults: list[str] = []
    for prompt in prompts:
        outcome = await together(target, [Request.of(prompt, tokens)])
        samples += outcome.samples
        faults += outcome.faults
    rates = [decode_rate([sample]) for sample in samples]
    values = {"decode_rate": len(rates) / sum(1 / rate for rate in rates)} if rates and all(rates) else {}
    return Reading(values=values, faults=faults, texts=[sample.text for sample in samples])


def _prompt(code: str, old: str, new: str, source: random.Random) -> str:
    return (
        f"Repeat this code exactly, but rename {old} to {new}. Answer with the code only.\n\n"
        f"```python\n# revision {source.getrandbits(16):04x}\n{code}\n```"
    )
