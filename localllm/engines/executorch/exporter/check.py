"""What is refused before an export begins."""

from collections.abc import Sequence

from localllm.engines.executorch.exporter.delegates.base import Delegate
from localllm.engines.executorch.exporter.delegates.registry import delegate_of
from localllm.engines.executorch.exporter.layout import EMBEDDING, OUTPUT, ROPE_FACTORS, Place, layout_of
from localllm.engines.executorch.exporter.order import ExportOrder
from localllm.engines.executorch.exporter.schemes import SCHEMES, Scheme, scheme_of
from localllm.engines.executorch.exporter.shape import Shape, shape_of, unfit
from localllm.errors import EngineUnavailable, InvalidRequest
from localllm.models.gguf.facts import facts_of
from localllm.models.gguf.header import GgufHeader

LEAST_CONTEXT = 16  # programs take up to so many tokens a call, less one; exporting needs more than three


def check_order(headers: Sequence[GgufHeader], order: ExportOrder) -> None:
    """Raises LoadFailed for a model that cannot be exported, InvalidRequest for what is asked of it, and
    EngineUnavailable where the delegate's libraries are not here. `headers` are those of `order.sources`."""
    scheme, delegate = scheme_of(order.scheme), delegate_of(order.delegate)
    shape = shape_of(headers)
    _check_context(headers, shape, order.context_tokens)
    _check_tensors(headers, shape)
    if scheme.name not in delegate.schemes:
        raise InvalidRequest(
            f"{delegate.name} takes no type {scheme.name}; it takes {', '.join(delegate.schemes)}", param="type"
        )
    _check_groups(shape, scheme, delegate)
    if missing := delegate.missing():
        raise EngineUnavailable(missing)


def _check_context(headers: Sequence[GgufHeader], shape: Shape, tokens: int) -> None:
    if tokens < LEAST_CONTEXT:
        raise InvalidRequest(
            f"a context of {tokens} tokens is too short; {LEAST_CONTEXT} are the least", param="context"
        )
    if shape.trained_tokens and tokens > shape.trained_tokens:
        raise InvalidRequest(
            f"a context of {tokens} tokens is more than the {shape.trained_tokens} that this model was trained for",
            param="context",
        )
    window = facts_of(headers).attention.sliding_window
    if 0 < window < tokens:
        raise InvalidRequest(
            f"this model looks back {window} tokens only, and programs here know no sliding window; "
            f"take a context of {window} tokens at most, or quantize it to a GGUF file instead",
            param="context",
        )


def _check_tensors(headers: Sequence[GgufHeader], shape: Shape) -> None:
    wanted = {place.source: place.shape for place in layout_of(shape)}
    if shape.has_rope_factors:
        wanted[ROPE_FACTORS] = (shape.head_width // 2,)
    found = {tensor.name: tensor.shape[::-1] for header in headers for tensor in header.tensors}
    for name in found.keys() - wanted.keys():
        raise unfit(f"has a tensor {name[:80]!r}, which ExecuTorch's {shape.architecture.name} does not have")
    for name, size in wanted.items():
        if name not in found:
            raise unfit(f"has no tensor {name!r}")
        if found[name] != size:
            raise unfit(f"has a tensor {name!r} of {found[name]} where {size} is its shape")


def _check_groups(shape: Shape, scheme: Scheme, delegate: Delegate) -> None:
    if not scheme.group_size:
        return
    for place in layout_of(shape):
        if _is_grouped(place) and place.shape[1] % scheme.group_size:
            others = ", ".join(name for name in delegate.schemes if not SCHEMES[name].group_size)
            raise InvalidRequest(
                f"the rows of {place.source} have {place.shape[1]} weights, which groups of {scheme.group_size} do not "
                f"divide; take one of {others}",
                param="type",
            )


def _is_grouped(place: Place) -> bool:
    return len(place.shape) == 2 and place.source not in (EMBEDDING, OUTPUT)
