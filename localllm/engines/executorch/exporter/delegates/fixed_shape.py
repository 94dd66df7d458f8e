"""Models for back ends that know no sizes but those they were compiled for."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def fix_shape(model: "nn.Module") -> "nn.Module":
    """Have it take one token a call, in place: where its keys and values go is then looked up by the position, where
    it would otherwise be a slice whose size nobody knows before it runs."""
    model.rope.params.enable_dynamic_shape = False
    for module in model.modules():
        if hasattr(module, "enable_dynamic_shape"):
            module.enable_dynamic_shape = False
    return model
