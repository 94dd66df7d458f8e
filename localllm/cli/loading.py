"""Loading the default model, with a bar for the person at the terminal."""

from contextlib import aclosing

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from localllm.cli.talk import stderr
from localllm.service import ChatService


async def load(service: ChatService) -> None:
    """Load it, or wait until it is loaded. Raises LocalLLMError."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn())
    with Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as progress:
        task = progress.add_task(f"Loading {(await service.models())[0].id}", total=1.0)
        async with aclosing(service.load()) as steps:
            async for step in steps:
                progress.update(task, completed=step.fraction)
