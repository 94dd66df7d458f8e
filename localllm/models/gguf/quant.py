"""How a model's weights are stored, as users call it: Q4_K_M, Q8_0, F16."""

from collections import Counter
from collections.abc import Iterable

from localllm.models.gguf.tensors import TensorInfo

GUESSED = 1024  # a flag in the file type of files that did not say it

# general.file_type: llama.cpp's enum llama_ftype, without LLAMA_FTYPE_MOSTLY_.
FILE_TYPES = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    19: "IQ2_XXS",
    20: "IQ2_XS",
    21: "Q2_K_S",
    22: "IQ3_XS",
    23: "IQ3_XXS",
    24: "IQ1_S",
    25: "IQ4_NL",
    26: "IQ3_S",
    27: "IQ3_M",
    28: "IQ2_S",
    29: "IQ2_M",
    30: "IQ4_XS",
    31: "IQ1_M",
    32: "BF16",
    36: "TQ1_0",
    37: "TQ2_0",
    38: "MXFP4_MOE",
    39: "NVFP4",
    40: "Q1_0",
    41: "Q2_0",
}


def quant_label(file_type: int | None, tensors: Iterable[TensorInfo]) -> str:
    """The file type's name; where it is not said or not known, the type that most bytes are of, "" without any."""
    if file_type is not None and (label := FILE_TYPES.get(file_type & ~GUESSED)):
        return label
    sizes: Counter[str] = Counter()
    for tensor in tensors:
        sizes[tensor.type_name] += tensor.size_bytes
    return max(sizes, key=sizes.__getitem__, default="")
