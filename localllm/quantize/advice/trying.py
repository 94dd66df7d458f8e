"""`--type auto`: make the types worth trying, measure them all, and say which one to take."""

from collections.abc import Sequence

from msgspec import Struct

from localllm.quantize.advice.candidates import LeftOut, worth_trying
from localllm.quantize.advice.frontier import Advice, advise, candidate
from localllm.quantize.evaluation import Evaluation
from localllm.quantize.making import MadeFile, Making
from localllm.quantize.measuring import Measuring


class Tried(Struct, frozen=True, kw_only=True):
    """What was tried, what was found, and what is recommended."""

    advice: Advice
    left_out: tuple[LeftOut, ...]
    made: dict[str, MadeFile]  # by type
    evaluations: dict[str, Evaluation]  # likewise


def try_types(making: Making, measuring: Measuring, types: Sequence[str], room_bytes: int) -> Tried:
    """Make and measure those of `types` that fit `room_bytes` of memory. Nothing is published.

    Raises NoRoom where none fits, or where the disk has no room for all of them, and as `Making.make` and
    `Measuring.evaluate` do.
    """
    if types:
        making.check(types[0])
    measuring.read_source()
    plans = {type_: making.dry_run(type_) for type_ in types}
    source_bytes = making.source_bytes
    trial = worth_trying(plans, room_bytes, source_bytes=source_bytes)
    making.bench.require_room(sum(plans[type_].size_bytes for type_ in trial.types))
    made = {type_: making.make(type_) for type_ in trial.types}
    compared = {type_: measuring.compare(file) for type_, file in made.items()}
    speeds = measuring.speeds({"the source": making.gguf} | {type_: file.path for type_, file in made.items()})
    evaluations = {
        type_: measuring.evaluation(file, compared[type_], speeds[type_], speeds["the source"])
        for type_, file in made.items()
    }
    candidates = [candidate(type_, evaluation.after) for type_, evaluation in evaluations.items()]
    advice = advise(candidates, room_bytes=room_bytes)
    return Tried(advice=advice, left_out=trial.left_out, made=made, evaluations=evaluations)
