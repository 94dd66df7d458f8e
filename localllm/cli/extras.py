"""What can be installed beside localllm, asked for when something needs it. Nothing of it is imported here."""

import subprocess
import sys
from importlib import invalidate_caches
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from msgspec import Struct

from localllm.cli.talk import say
from localllm.errors import EngineUnavailable

Name = Literal["executorch", "openvino"]


class _Extra(Struct, frozen=True, kw_only=True):
    """An extra of pyproject.toml."""

    title: str
    packages: tuple[str, ...]  # without any of which it is of no use
    size: str  # on the disk, with what they need


_EXTRAS: dict[Name, _Extra] = {
    "executorch": _Extra(title="ExecuTorch", packages=("executorch", "tokenizers", "torch"), size="1.2 GB"),
    "openvino": _Extra(title="OpenVINO", packages=("openvino-genai",), size="250 MB"),
}


def require_extra(name: Name, *, offline: bool = False) -> None:
    """Go on only where an extra is installed. In a checkout, a person at the terminal is asked whether it shall be, but
    not where `offline` forbids fetching it.

    Raises EngineUnavailable, which says how to install it.
    """
    refusal = missing_words(name)
    if not refusal:
        return
    setup = _setup_program()
    if setup is not None and not offline and _is_attended() and _is_wanted(_EXTRAS[name]):
        _install(name, setup)
        refusal = missing_words(name)
    if refusal:
        raise EngineUnavailable(refusal)


def require_engine(engine: str, *, offline: bool = False) -> None:
    """The same for the extra of an engine, if it has one."""
    for name in _EXTRAS:
        if name == engine:
            require_extra(name, offline=offline)


def missing_words(name: Name) -> str:
    """What is not installed, and what would change that; empty where all is."""
    extra = _EXTRAS[name]
    missing = [package for package in extra.packages if not _is_installed(package)]
    if not missing:
        return ""
    others = f" ({', '.join(missing)} missing)" if len(missing) < len(extra.packages) else ""
    if _setup_program() is None:  # pip may take a torch that is several times as large
        return f'{extra.title} is not installed{others}; install it: pip install "localllm[{name}]"'
    return f"{extra.title} is not installed{others}; install it (about {extra.size}): scripts/setup {name}"


def _is_installed(package: str) -> bool:
    """By what pip wrote down: a folder in the way that has the package's name is not it."""
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def _setup_program() -> Path | None:
    """That of the checkout whose own environment this is; None in any other."""
    root = Path(__file__).resolve().parents[2]
    setup = root / "scripts" / "setup"
    return setup if Path(sys.prefix).resolve() == root / ".venv" and setup.is_file() else None


def _is_attended() -> bool:
    return sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty() and sys.stderr.isatty()


def _is_wanted(extra: _Extra) -> bool:
    question = f"{extra.title} is not installed (about {extra.size}). Install it now? [y/N] "
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _install(name: Name, setup: Path) -> None:
    """Its own words go to the terminal. Raises EngineUnavailable where it fails."""
    try:
        done = subprocess.run([str(setup), name], stdin=subprocess.DEVNULL, check=False)
    except OSError as error:
        raise EngineUnavailable(f"cannot run {setup}: {error.strerror or error}; run it yourself") from error
    if done.returncode != 0:
        raise EngineUnavailable(f"{_EXTRAS[name].title} was not installed; what went wrong stands above")
    invalidate_caches()
    say("Going on with what was asked.")
