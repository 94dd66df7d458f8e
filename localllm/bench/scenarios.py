"""The scenarios, and what each is to show.

`wanted` ratios are ours to the peer's: llama-server's; for `restart` the first start's; for `lookup` and
`lookup-always` the server's that does not guess; for `loop` llama-batched-bench's.
"""

from localllm.bench.edits import long_edit, short_edit
from localllm.bench.reading import first_token, long_arrival, shared_prefix
from localllm.bench.scenario import Goal, Scenario
from localllm.bench.streams import after_burst, remains, single, sixteen

LOOP_LEVELS = (1, 4, 16)

SERVER_SCENARIOS = (
    Scenario(
        name="single",
        slots=16,
        context=1024,
        play=single,
        goals=(Goal(work="1 stream, decode", value="decode_rate", wanted=1.0),),
    ),
    Scenario(
        name="after-burst",
        slots=16,
        context=1024,
        play=after_burst,
        goals=(Goal(work="4 streams after a burst of 16, decode", value="decode_rate", wanted=1.5),),
    ),
    Scenario(
        name="remains",
        slots=16,
        context=1024,
        play=remains,
        goals=(Goal(work="the 4 that remain of 16, decode", value="decode_rate", wanted=1.5),),
    ),
    Scenario(
        name="sixteen",
        slots=16,
        context=1024,
        play=sixteen,
        goals=(
            Goal(work="16 streams, decode", value="decode_rate"),
            Goal(work="16 streams, all in all", value="total_rate", wanted=1.05),
        ),
    ),
    Scenario(
        name="shared-prefix",
        slots=16,
        context=1024,
        play=shared_prefix,
        goals=(
            Goal(work="8 that share 600 tokens, all in all", value="total_rate", wanted=2.5),
            Goal(
                work="8 that share 600 tokens, first token",
                value="first_token_seconds",
                wanted=0.35,
                is_lower_better=True,
            ),
        ),
    ),
    Scenario(
        name="long-arrival",
        slots=17,
        context=4608,
        play=long_arrival,
        goals=(
            Goal(
                work="16 streams while 4000 tokens are read, pause p99",
                value="gap_p99_seconds",
                wanted=1.5,
                is_lower_better=True,
            ),
            Goal(work="… longest pause", value="gap_max_seconds", is_lower_better=True),
            Goal(work="… first token of the long prompt", value="first_token_seconds", is_lower_better=True),
            Goal(work="… deltas of the 16 a second meanwhile", value="meanwhile_rate"),
        ),
    ),
)
RESTART = Scenario(
    name="restart",
    slots=4,
    context=2048,
    play=first_token,
    goals=(
        Goal(
            work="1000 tokens after a restart, first token",
            value="first_token_seconds",
            wanted=0.1,
            is_lower_better=True,
        ),
    ),
)
LOOKUP = Scenario(
    name="lookup",
    slots=4,
    context=2048,
    play=short_edit,
    goals=(Goal(work="short code edit with lookup, decode", value="decode_rate", wanted=1.3),),
)
LOOKUP_ALWAYS = Scenario(
    name="lookup-always",
    slots=4,
    context=2048,
    play=long_edit,
    goals=(Goal(work="long code edit with lookup, decode", value="decode_rate", wanted=1.3),),
)
SCENARIOS = (*SERVER_SCENARIOS, RESTART, LOOKUP, LOOKUP_ALWAYS)
LOOP_GOALS = {
    streams: Goal(work=f"loop in process, {streams} streams, decode", value="decode_rate", wanted=0.95)
    for streams in LOOP_LEVELS
}
LOOP_WORDS = (
    "No HTTP: our batcher decodes 1, 4 and 16 greedy streams (64 tokens read, 96 decoded), against "
    "llama-batched-bench with whichever of its flags are the fastest at that level (tried first, and told)."
)


def goals_by_scenario() -> dict[str, tuple[Goal, ...]]:
    """Every figure there is to show, in the order to show them."""
    by_name = {scenario.name: scenario.goals for scenario in SCENARIOS}
    return by_name | {loop_name(streams): (goal,) for streams, goal in LOOP_GOALS.items()}


def loop_name(streams: int) -> str:
    """A level of `loop`, as its results are named."""
    return f"loop-{streams}"
