"""Options that several verbs share."""

from typing import Annotated

import typer

Model = Annotated[
    str | None,
    typer.Option("--model", "-m", help="Model name or path to a .gguf. [default: the starter model]", metavar="MODEL"),
]
Context = Annotated[
    int | None, typer.Option("--context", min=1, help="Tokens for a prompt with its answer.", metavar="TOKENS")
]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads.", metavar="N")]
FlashAttention = Annotated[
    bool | None,
    typer.Option(
        "--flash-attention/--no-flash-attention",
        help="Off: on a CPU, greedy answers do not depend on what else is running. [default: on for several at once]",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
