"""`localllm bench`."""

NAME = "bench"
EPILOG = ""


def command() -> None:
    """Measure."""
