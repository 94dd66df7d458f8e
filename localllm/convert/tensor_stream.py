"""A tensor on its way from a checkpoint to a GGUF file, a piece at a time."""

from collections.abc import Iterator

import numpy as np

from localllm.convert.numbers import F16, Bits, FloatFormat, count_infinite, first_unusable, is_nan, narrowed, widened
from localllm.convert.plan import PlannedTensor
from localllm.convert.slabs import Slab, slabs_of
from localllm.convert.weight_reader import WeightReader
from localllm.errors import LoadFailed
from localllm.models.gguf.metadata import quoted


def streamed(tensor: PlannedTensor, form: FloatFormat) -> Iterator[Bits]:
    """The pieces, in `form`, arranged as ggml wants them.

    Raises LoadFailed, naming the tensor, for a file that changes, for values that are no finite numbers, and at the
    end where some do not fit `form`.
    """
    overflows = 0
    with tensor.source.file.opened() as reader:
        for slab in slabs_of(tensor.rule.shape, tensor.rule.paired_heads):
            bits = slab.arranged(_read(reader, tensor, slab))
            if form is not tensor.form or tensor.rule.added:
                bits = _changed(bits, tensor, form)
                overflows += count_infinite(bits, form)
            yield bits
    if overflows:
        advice = "convert to BF16 or F32 instead" if form is F16 else "convert to F32 instead"
        raise LoadFailed(
            f"{overflows} values of the tensor {quoted(tensor.name)} are too large for {form.name}; {advice}"
        )


def _changed(bits: Bits, tensor: PlannedTensor, form: FloatFormat) -> Bits:
    """The rule's constant added in float32, then rounded to `form`; what does not fit becomes infinite."""
    values = widened(bits, tensor.form)
    with np.errstate(over="ignore"):  # they are counted
        return narrowed(values + np.float32(tensor.rule.added) if tensor.rule.added else values, form)


def _read(reader: WeightReader, tensor: PlannedTensor, slab: Slab) -> Bits:
    """The values of a piece, [starts, values], as they are in the checkpoint."""
    bits = np.empty((len(slab.starts), slab.values), tensor.form.bits)
    for part, start in zip(bits, slab.starts, strict=True):
        reader.fill(tensor.source.stored.offset + start * tensor.form.size_bytes, part.view(np.uint8).data)
        place = first_unusable(part, tensor.form)
        if place is not None:
            where = [int(index) for index in np.unravel_index(start + place, tensor.rule.shape)]
            kind = "NaN" if is_nan(int(part[place]), tensor.form) else "infinite"
            name = quoted(tensor.name)
            raise LoadFailed(f"the tensor {name} is {kind} at {where}; such a model answers nonsense, take another")
    return bits
