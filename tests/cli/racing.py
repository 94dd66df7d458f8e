"""Engines to choose between: a package with an entry point for each, which the processes of models find, too."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from localllm.engines import registry

MODULE = '''
"""Engines that run models of echo, each in its own way."""

import os

from msgspec.structs import replace

from localllm.engines.back_ends import EngineReport
from localllm.engines.echo import EchoRunner
from localllm.errors import LoadFailed


class Quick:
    name, formats, rate, is_usable = "quick", frozenset({"echo"}), "", True

    def report(self):
        return EngineReport(engine=self.name, is_usable=self.is_usable, reason="" if self.is_usable else "it is broken")

    def load(self, plan, on_progress):
        runner = EchoRunner(replace(plan, path=self.rate))
        runner.info = replace(runner.info, engine=self.name)
        return runner


class Slow(Quick):
    name, rate = "slow", "20"


class Unusable(Quick):
    name, is_usable = "unusable", False


class Refusing(Quick):
    name = "refusing"

    def load(self, plan, on_progress):
        raise LoadFailed("no such layer")


class Aborting(Quick):
    name = "aborting"

    def load(self, plan, on_progress):
        os.abort()


class Borrowing(Quick):
    name = "borrowing"

    def load(self, plan, on_progress):
        return EchoRunner(plan)


class Foreign(Quick):
    name, formats = "foreign", frozenset({"another"})
'''
NAMES = ("quick", "slow", "unusable", "refusing", "aborting", "borrowing", "foreign")


def write_package(folder: Path, version: str = "1.0") -> Path:
    """The package in a folder, to be put on Python's path."""
    (folder / "racing_engines.py").write_text(MODULE, "utf-8")
    for old in folder.glob("racing_engines-*.dist-info"):
        for path in old.iterdir():
            path.unlink()
        old.rmdir()
    about = folder / f"racing_engines-{version}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: racing-engines\nVersion: {version}\n", "utf-8")
    points = "".join(f"{name} = racing_engines:{name.title()}\n" for name in NAMES)
    (about / "entry_points.txt").write_text(f"[{registry.GROUP}]\n{points}", "utf-8")
    return folder


@pytest.fixture
def racing(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package is installed, as far as anyone can tell."""
    folder = write_package(tmp_path_factory.mktemp("racing"))
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    registry.registered.cache_clear()
    yield folder
    registry.registered.cache_clear()
