"""Which tensor of a checkpoint becomes which of a GGUF file, and in which format."""

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from localllm.convert.checkpoint import CONFIG, Checkpoint, PlacedTensor
from localllm.convert.families.base import Layout, TensorRule
from localllm.convert.json_object import AGAIN
from localllm.convert.numbers import BF16, F16, F32, FORMATS, FloatFormat
from localllm.errors import LoadFailed
from localllm.models.gguf.metadata import quoted

_BUFFERS = ".rotary_emb.inv_freq"  # end of names of what older versions of transformers saved and anyone can compute
_WIDER = ("F64", "C64")
_QUANTIZED = "as in checkpoints that are quantized already; take the original one, in BF16, F16 or F32"


class PlannedTensor(Struct, frozen=True, kw_only=True):
    """A tensor of the checkpoint and what becomes of it."""

    name: str  # in the checkpoint
    rule: TensorRule
    source: PlacedTensor
    form: FloatFormat  # in the checkpoint


def plan_tensors(layout: Layout, checkpoint: Checkpoint) -> list[PlannedTensor]:
    """Every tensor of the layout with its place, in the order of the layout.

    Raises LoadFailed, naming the tensor, for one that is missing, not as it should be, or neither in the layout nor
    known to be of no use.
    """
    names = _names_by_source(layout, checkpoint.tensors)
    _check_formats({name: checkpoint.tensors[name] for name in names.values()})
    sources = {rule.source for rule in layout.tensors}
    _refuse_missing(rule.source for rule in layout.tensors if not rule.is_optional and rule.source not in names)
    _refuse_unknown(name for source, name in names.items() if source not in sources)
    return [_planned(rule, names[rule.source], checkpoint) for rule in layout.tensors if rule.source in names]


def common_format(tensors: Sequence[PlannedTensor]) -> FloatFormat:
    """What a file keeps these in so that it is not larger than it need be: BF16 or F16 where there is any of it."""
    forms = {tensor.form.name for tensor in tensors}
    return next((form for form in (BF16, F16) if form.name in forms), F32)


def format_in_file(target: str, shape: tuple[int, ...], chosen: FloatFormat) -> FloatFormat:
    """Vectors, norms and biases stay F32, as llama.cpp's operations want them; the others are as chosen."""
    is_small = len(shape) < 2 or target.endswith("_norm.weight") or not target.endswith(".weight")
    return F32 if is_small else chosen


def _names_by_source(layout: Layout, tensors: Iterable[str]) -> dict[str, str]:
    """The checkpoint's names by those that the layout has for them, without what may be left out."""
    names: dict[str, str] = {}
    sources = {rule.source for rule in layout.tensors}
    for name in tensors:
        source = layout.source(name)
        if source not in sources and (name.endswith(_BUFFERS) or name.startswith(layout.dropped)):
            continue
        if source in names:
            raise LoadFailed(
                f"the checkpoint has the same tensor as {quoted(names[source])} and {quoted(name)}; {AGAIN}"
            )
        names[source] = name
    return names


def _planned(rule: TensorRule, name: str, checkpoint: Checkpoint) -> PlannedTensor:
    placed = checkpoint.tensors[name]
    shape = placed.stored.shape
    what = f"the tensor {quoted(name)} has the shape {list(shape)}"
    if shape != rule.shape:
        raise LoadFailed(f"{what}, {CONFIG} makes it {list(rule.shape)}; {AGAIN}")
    if rule.paired_heads and shape[0] % (2 * rule.paired_heads):
        raise LoadFailed(f"{what}, whose rows are no pairs for each of {rule.paired_heads} heads; {AGAIN}")
    return PlannedTensor(name=name, rule=rule, source=placed, form=FORMATS[placed.stored.dtype])


def _check_formats(tensors: Mapping[str, PlacedTensor]) -> None:
    for name, placed in tensors.items():
        dtype = placed.stored.dtype
        if dtype not in FORMATS:
            advice = "which no model needs; save it as F32" if dtype in _WIDER else _QUANTIZED
            raise LoadFailed(f"{placed.file.name}: the tensor {quoted(name)} is of the type {dtype}, {advice}")


def _refuse_missing(names: Iterable[str]) -> None:
    missing = list(names)
    if missing:
        raise LoadFailed(f"the checkpoint lacks the tensor {_listed(missing)}; {AGAIN}")


def _refuse_unknown(names: Iterable[str]) -> None:
    unknown = sorted(names)
    if unknown:
        raise LoadFailed(
            f"the checkpoint has the tensor {_listed(unknown)}, which models of this kind do not have, "
            "so it would not be the same model without it; take another checkpoint"
        )


def _listed(names: Sequence[str]) -> str:
    return quoted(names[0]) + (f" and {len(names) - 1} more" if len(names) > 1 else "")
