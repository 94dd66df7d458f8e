"""`localllm repair`: fetch what is broken again, and nothing else."""

from typing import Annotated

import typer

from localllm.cli import options
from localllm.config import load_settings

NAME = "repair"
EPILOG = """\b
Examples:
  localllm repair
  localllm repair smollm2:135m
"""


def command(
    models: Annotated[list[str] | None, typer.Argument(help="Models on this disk. [default: all]")] = None,
    offline: options.Offline = None,
    json: options.Json = False,
) -> None:
    """Fetch broken files of models again.

    Every file is read, and what is broken comes from where it came the first time; nothing else is fetched.
    """
    import msgspec

    from localllm.cli.compose import check_models, named_or_all
    from localllm.cli.talk import download_bar, raise_all, warn
    from localllm.errors import ModelError
    from localllm.runtime.library import Library

    library = Library(load_settings(offline=offline))
    manifests, failures = named_or_all(library, models)
    mended = []
    for manifest, check in zip(manifests, check_models(library, manifests), strict=True):
        broken = [file.filename for file in check.broken]
        words = ", ".join(broken)
        if broken:
            try:
                with download_bar(check.name) as report:
                    library.repair(manifest, check, report, warn)
            except ModelError as error:
                failures.append(error)
                continue
            mended.append({"name": check.name, "files": broken})
        if not json:
            print(f"{check.name}: {f'mended {words}' if broken else 'every file is right'}")
    if json:
        print(msgspec.json.encode(mended).decode())
    raise_all(failures)
