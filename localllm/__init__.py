"""localllm: an assistant runtime for the machine in front of you."""

__version__ = "0.1.0"
