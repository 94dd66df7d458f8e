"""The types that `--type auto` tries, and which of them are worth the time for one model on one machine."""

from collections.abc import Mapping

from msgspec import Struct

from localllm.errors import InvalidRequest, NoRoom
from localllm.models.quant import needed_bytes, rank
from localllm.quantize.steps import Quantized
from localllm.units import size_words

# Best first. Below four bits even models of 8 billion parameters leave the bound of frontier.py.
AUTO_TYPES = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_K_S", "IQ4_NL", "IQ4_XS", "Q4_1", "Q4_0")


class LeftOut(Struct, frozen=True):
    """A type that is not tried, and why."""

    type: str
    reason: str


class Trial(Struct, frozen=True):
    """What to try, best quality by its name first, and what not."""

    types: tuple[str, ...]
    left_out: tuple[LeftOut, ...] = ()


def worth_trying(plans: Mapping[str, Quantized], room_bytes: int, *, source_bytes: int | None = None) -> Trial:
    """The types of `plans` (dry runs by type) that fit `room_bytes` of memory and differ from each other.

    Where every tensor comes out alike, as where no row fits the blocks of a type, the type that says so is kept: the
    one with the fewest fallbacks. With `source_bytes`, types that would make the file no smaller are left out, too.

    Raises NoRoom if none fits, InvalidRequest if there is none to try for another reason.
    """
    if not plans:
        raise InvalidRequest("there is no type to try; name one with --type", param="type")
    reasons = {kind: _unusable(plan, room_bytes, source_bytes) for kind, plan in plans.items()}
    usable = sorted(
        (kind for kind in plans if not reasons[kind]), key=lambda kind: (plans[kind].fallbacks, rank(kind), kind)
    )
    if not usable:
        raise _nothing(plans, room_bytes, source_bytes)
    first: dict[frozenset[tuple[str, str]], str] = {}
    for kind in usable:
        like = first.setdefault(_content(plans[kind]), kind)
        if like != kind:
            reasons[kind] = f"every tensor comes out as in {like}"
    order = sorted(plans, key=lambda kind: (rank(kind), kind))
    return Trial(
        tuple(kind for kind in order if not reasons[kind]),
        tuple(LeftOut(kind, reasons[kind]) for kind in order if reasons[kind]),
    )


def _unusable(plan: Quantized, room_bytes: int, source_bytes: int | None) -> str:
    """Why a type cannot be used here, "" if it can."""
    if source_bytes is not None and plan.size_bytes >= source_bytes:
        return f"{size_words(plan.size_bytes)}, no smaller than the source"
    if needed_bytes(plan.size_bytes) > room_bytes:
        return f"needs {size_words(needed_bytes(plan.size_bytes))} of memory, {size_words(room_bytes)} are free"
    return ""


def _content(plan: Quantized) -> frozenset[tuple[str, str]]:
    return frozenset((tensor.name, tensor.type) for tensor in plan.tensors)


def _nothing(plans: Mapping[str, Quantized], room_bytes: int, source_bytes: int | None) -> NoRoom | InvalidRequest:
    smallest = min(plans, key=lambda kind: (plans[kind].size_bytes, kind))
    size_bytes = plans[smallest].size_bytes
    if source_bytes is not None and size_bytes >= source_bytes:
        return InvalidRequest(
            f"the smallest type to try, {smallest}, would take {size_words(size_bytes)}, no less than the source's "
            f"{size_words(source_bytes)}; name a smaller type with --type, such as Q3_K_M",
            param="type",
        )
    return NoRoom(
        f"the smallest type to try, {smallest}, needs {size_words(needed_bytes(size_bytes))} of memory and "
        f"{size_words(room_bytes)} are free; close other programs or name a smaller type with --type"
    )
