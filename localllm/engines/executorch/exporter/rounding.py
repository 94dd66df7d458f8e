"""Rounding the weights of a model with torchao."""

from typing import TYPE_CHECKING

from localllm.engines.executorch.exporter.schemes import Scheme

if TYPE_CHECKING:
    from torch import nn

OUTPUT_NAME, EMBEDDING_NAME = "output", "tok_embeddings"
_FLOAT_BITS = 32


def round_linears(model: "nn.Module", scheme: Scheme) -> "nn.Module":
    """Round the matrices, in place, for 8-bit activations that are rounded while the program runs.

    The 4-bit scales are fitted to the weights (HQQ): plain rounding to the largest weight of a group loses more.
    """
    import torch
    from torchao.quantization import Int8DynamicActivationIntxWeightConfig, quantize_
    from torchao.quantization.granularity import PerAxis, PerGroup

    granularity = PerGroup(scheme.group_size) if scheme.group_size else PerAxis(0)
    four = Int8DynamicActivationIntxWeightConfig(
        weight_dtype=torch.int4, weight_granularity=granularity, intx_choose_qparams_algorithm="hqq_scale_only"
    )
    eight = Int8DynamicActivationIntxWeightConfig(weight_dtype=torch.int8, weight_granularity=PerAxis(0))
    for names_output, bits in ((False, scheme.linear_bits), (True, scheme.output_bits)):
        if bits != _FLOAT_BITS:
            quantize_(
                model,
                four if bits == 4 else eight,
                lambda module, name, wanted=names_output: (
                    isinstance(module, torch.nn.Linear) and (name == OUTPUT_NAME) == wanted
                ),
            )
    return model


def round_embedding(model: "nn.Module", scheme: Scheme) -> "nn.Module":
    """Round the token embedding to 8 bits with one scale a row, in place."""
    if scheme.embedding_bits == _FLOAT_BITS:
        return model
    import torch
    from executorch.examples.models.llama.source_transformation.quantize import QuantizedGroupEmbedding
    from torchao.quantization import IntxWeightOnlyConfig, quantize_
    from torchao.quantization.granularity import PerAxis

    embedding = getattr(model, EMBEDDING_NAME)
    rows, columns = embedding.weight.shape
    config = IntxWeightOnlyConfig(
        weight_dtype=torch.int8, granularity=PerAxis(0), intx_choose_qparams_algorithm="hqq_scale_only"
    )
    quantize_(embedding, config, lambda module, _: module is embedding)
    rounded = QuantizedGroupEmbedding(
        "meta", rows, columns, dtype=torch.float32, scales_precision=torch.float32, bitwidth=8
    )
    rounded.weight = embedding.weight.qdata
    rounded.scales = embedding.weight.scale.squeeze(-1)
    setattr(model, EMBEDDING_NAME, rounded)
    return model
