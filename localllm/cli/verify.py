"""`localllm verify`: whether the bytes on disk are still right."""

from typing import Annotated

import typer

from localllm.cli import options
from localllm.config import load_settings

NAME = "verify"
EPILOG = """\b
Examples:
  localllm verify
  localllm verify smollm2:135m
"""


def command(
    models: Annotated[list[str] | None, typer.Argument(help="Models on this disk. [default: all]")] = None,
    json: options.Json = False,
) -> None:
    """Read every byte of models again, and say which files are broken."""
    import msgspec

    from localllm.cli.compose import check_models, named_or_all
    from localllm.cli.talk import raise_all
    from localllm.errors import IntegrityError
    from localllm.runtime.library import Library

    library = Library(load_settings())
    manifests, failures = named_or_all(library, models)
    checks = []
    for check in check_models(library, manifests):
        checks.append(check)
        if not json:
            print(f"{check.name}: {'; '.join(file.words for file in check.broken) or 'every file is right'}")
    if json:
        print(msgspec.json.encode(checks).decode())
    broken = [check.name for check in checks if check.broken]
    if broken:
        names = ", ".join(broken)
        failures.append(IntegrityError(f"broken: {names}. Mend with: localllm repair {' '.join(broken)}"))
    raise_all(failures)
