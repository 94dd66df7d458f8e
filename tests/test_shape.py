"""The house keeps its shape: small modules, small functions, names that say what is inside."""

import ast
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import Struct

ROOT = Path(__file__).parent.parent
MOST_LINES = 400
MOST_MEDIAN_LINES = 150
MOST_FUNCTION_LINES = 40
VAGUE = {"utils", "util", "helpers", "helper", "common", "misc", "core", "manager", "stuff"}


class Module(Struct, frozen=True):
    """A module, read once."""

    path: Path
    text: str
    tree: ast.Module
    nodes: list[ast.AST]

    @property
    def name(self) -> str:
        return self.path.relative_to(ROOT).as_posix()

    @property
    def lines(self) -> int:
        return len(self.text.splitlines())

    @property
    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        return (node for node in self.nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.fixture(scope="module")
def modules() -> list[Module]:
    return [module_at(path) for path in sorted((ROOT / "localllm").rglob("*.py"))]


def module_at(path: Path) -> Module:
    text = path.read_text("utf-8")
    tree = ast.parse(text)
    return Module(path, text, tree, list(ast.walk(tree)))


def test_modules_are_small(modules: list[Module]) -> None:
    assert [f"{module.name}: {module.lines}" for module in modules if module.lines > MOST_LINES] == []


def test_a_module_opens_with_what_it_is_for(modules: list[Module]) -> None:
    assert [module.name for module in modules if not ast.get_docstring(module.tree)] == []


def test_a_name_says_what_is_inside(modules: list[Module]) -> None:
    assert [module.name for module in modules if module.path.stem in VAGUE] == []


def test_the_median_module_is_smaller_still(modules: list[Module]) -> None:
    assert len(modules) > 50
    assert statistics.median(module.lines for module in modules) < MOST_MEDIAN_LINES


def test_functions_are_small(modules: list[Module]) -> None:
    assert [
        f"{module.name}, {function.name}: {lines}"
        for module in modules
        for function in module.functions
        if (lines := body_lines(function)) > MOST_FUNCTION_LINES
    ] == []


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of code: the list of parameters and the docstring are no work to read."""
    first = function.body[1] if ast.get_docstring(function) and len(function.body) > 1 else function.body[0]
    return (function.end_lineno or 0) - first.lineno + 1


def test_the_environment_is_read_in_one_place(modules: list[Module]) -> None:
    assert [
        module.name
        for module in modules
        if module.path.name != "config.py" and ("os.environ" in module.text or "getenv" in module.text)
    ] == []


def test_input_is_not_checked_by_assert(modules: list[Module]) -> None:
    assert [
        f"{module.name}:{node.lineno}" for module in modules for node in module.nodes if isinstance(node, ast.Assert)
    ] == []


def test_nothing_public_is_typed_any(modules: list[Module]) -> None:
    """The one alias of Any stands for ctypes objects, inside the llama.cpp engine."""
    assert [
        f"{module.name}:{node.lineno}"
        for module in modules
        if module.name != "localllm/engines/llama_cpp/native.py"
        for node in module.nodes
        if isinstance(node, ast.Name) and node.id == "Any"
    ] == []


def test_every_room_stands_in_the_map() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    rooms = {path.name for path in (ROOT / "localllm").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert [room for room in sorted(rooms) if f"\n    {room} " not in text] == []
