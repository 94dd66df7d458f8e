"""Refusals: what a checkpoint can be and llama.cpp's graph of its architecture cannot."""

from localllm.errors import LoadFailed


def refusal(architecture: str, what: str) -> LoadFailed:
    """The error that says so; `what` is a clause such as "attention_bias is true"."""
    return LoadFailed(
        f"config.json: {what}, which a GGUF of the architecture {architecture} cannot hold; "
        "convert another checkpoint, or use this one with another program"
    )
