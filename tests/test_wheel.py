"""The built wheel works by itself in an empty environment."""

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.models.pte.programs import TOKENIZER, program

ROOT = Path(__file__).parent.parent
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]  # pip may have to build llama.cpp once more


def ended(*command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """What became of a command, run away from the checkout with nobody to ask."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return subprocess.run(
        command,
        cwd=folder,
        env=env | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=1400,
        check=False,
    )


def output(*command: str, folder: Path, **environment: str) -> str:
    """What a command prints that must go well."""
    result = ended(*command, folder=folder, **environment)
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build = ("-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT))
    output(sys.executable, *build, folder=folder)
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs of an environment that holds the wheel and what it asks for."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(wheel))
    output(str(programs / "python"), *pip, folder=folder)
    return programs


def test_the_wheel_carries_code_and_cards_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "localllm/modelcards/smollm2-135m-instruct.md" in names
    assert "localllm/tui/chat.tcss" in names
    assert "localllm/py.typed" in names
    roots = {name.split("/")[0] for name in names}
    assert {root for root in roots if not root.endswith(".dist-info")} == {"localllm"}
    assert not [name for name in names if name.endswith((".gguf", ".pyc"))]


def test_it_knows_its_models(installed: Path, tmp_path: Path) -> None:
    listed = output(
        str(installed / "localllm"), "list", "--all", "--json", folder=tmp_path, LOCALLLM_HOME=str(tmp_path)
    )
    assert "smollm2:135m" in json.dumps(json.loads(listed))


@pytest.mark.parametrize("verb", [("run", "--model", "x.pte", "hello"), ("quantize", "x.gguf", "--to", "executorch")])
def test_without_the_extra_it_says_how_to_install_it(installed: Path, tmp_path: Path, verb: tuple[str, ...]) -> None:
    (tmp_path / "x.pte").write_bytes(program())
    (tmp_path / "tokenizer.json").write_bytes(TOKENIZER)
    told = ended(str(installed / "localllm"), *verb, folder=tmp_path, LOCALLLM_HOME=str(tmp_path))
    assert (told.returncode, told.stdout) == (5, "")
    assert told.stderr == 'localllm: ExecuTorch is not installed; install it: pip install "localllm[executorch]"\n'


@pytest.mark.real_model
def test_it_answers(installed: Path, tmp_path: Path, starter_home: Path) -> None:
    answer = output(
        *(str(installed / "localllm"), "run", "--temperature", "0", "What is the capital of France?"),
        folder=tmp_path,
        LOCALLLM_HOME=str(starter_home),
    )
    assert "Paris" in answer
