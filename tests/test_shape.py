"""The house keeps its shape: small modules, small functions, names that say what is inside."""

import ast
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted((ROOT / "localllm").rglob("*.py"))
MOST_LINES = 400
MOST_MEDIAN_LINES = 150
MOST_FUNCTION_LINES = 40
VAGUE = {"utils", "util", "helpers", "helper", "common", "misc", "core", "manager", "stuff"}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def lines_of(path: Path) -> int:
    return len(path.read_text("utf-8").splitlines())


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_is_small_and_opens_with_what_it_is_for(path: Path) -> None:
    assert lines_of(path) <= MOST_LINES
    assert ast.get_docstring(ast.parse(path.read_text("utf-8")))
    assert path.stem not in VAGUE


def test_the_median_module_is_smaller_still() -> None:
    assert len(MODULES) > 50
    assert statistics.median(map(lines_of, MODULES)) < MOST_MEDIAN_LINES


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_functions_are_small(path: Path) -> None:
    assert [
        f"{function.name}: {lines}"
        for function in functions(path)
        if (lines := body_lines(function)) > MOST_FUNCTION_LINES
    ] == []


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of code: the list of parameters and the docstring are no work to read."""
    first = function.body[1] if ast.get_docstring(function) and len(function.body) > 1 else function.body[0]
    return (function.end_lineno or 0) - first.lineno + 1


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_the_environment_is_read_in_one_place(path: Path) -> None:
    text = path.read_text("utf-8")
    assert path.name == "config.py" or ("os.environ" not in text and "getenv" not in text)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_input_is_not_checked_by_assert(path: Path) -> None:
    assert not [node.lineno for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Assert)]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_public_is_typed_any(path: Path) -> None:
    """The one alias of Any stands for ctypes objects, inside the llama.cpp engine."""
    if name_of(path) == "localllm/engines/llama_cpp/native.py":
        return
    names = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Name)]
    assert "Any" not in {name.id for name in names}


def test_every_room_stands_in_the_map() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    rooms = {path.name for path in (ROOT / "localllm").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert [room for room in sorted(rooms) if f"\n    {room} " not in text] == []
