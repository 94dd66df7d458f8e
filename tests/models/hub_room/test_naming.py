"""Names of repositories, revisions and files: what may be asked for, and what may be written."""

import pytest

from localllm.errors import InvalidRequest, ModelNotFound
from localllm.models.hub.naming import check_repository, check_revision, is_hidden, is_path, shown

BAD_PARTS = ["", ".", "..", "-x", "x y", "a\\b", "C:", "x\n", "x\x00", "größe", "x\u202ey", "x?y", "x%2e", "x@y"]


@pytest.mark.parametrize("text", ["some-org/Tiny-GGUF", "a/b", "TheBloke/Llama-2-7B.Q4", "_x/y_", f"a/{'x' * 94}"])
def test_a_repository(text: str) -> None:
    check_repository(text)


@pytest.mark.parametrize(
    "text",
    [
        *BAD_PARTS,
        *(f"{part}/name" for part in BAD_PARTS),
        *(f"owner/{part}" for part in BAD_PARTS),
        *(
            "gpt2",
            "a/b/c",
            "a--b/c",
            "a/b..c",
            "a/b.git",
            "a/b-",
            "con/x",
            "a/nul",
            f"a/{'x' * 95}",
            "https://hf.co/a/b",
        ),
    ],
)
def test_nothing_else_is_a_repository(text: str) -> None:
    with pytest.raises(ModelNotFound, match="is no repository of the hub") as caught:
        check_repository(text)
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("text", ["main", "v1.0", "refs/pr/1", "0" * 40, "feature/x-y_z", "2024+fix"])
def test_a_revision(text: str) -> None:
    check_revision(text)


@pytest.mark.parametrize(
    "text", [*BAD_PARTS, "--help", "a/../b", "a..b", "/main", "main/", "a//b", "x" * 201, "a/" * 9 + "a"]
)
def test_nothing_else_is_a_revision(text: str) -> None:
    with pytest.raises(InvalidRequest, match="is no revision"):
        check_revision(text)


@pytest.mark.parametrize("text", ["model.gguf", "Q4_K_M/model-00001-of-00002.gguf", "a/b/c.json", "a+b.txt", "1"])
def test_a_path(text: str) -> None:
    assert is_path(text)


@pytest.mark.parametrize(
    "text",
    [
        *BAD_PARTS,
        *(f"{part}/x.gguf" for part in BAD_PARTS),
        *(f"a/{part}/x.gguf" for part in BAD_PARTS),
        *("/etc/passwd", "../x", "a/../../x", "\\\\server\\share", "//server/share", "C:\\x", "C:/x", "x:stream"),
        *("CON", "nul.gguf", "a/aux.json", "COM1.txt", "x.", "x ", " x", "a./x", "~/x", "$HOME", "-rf", ".hidden"),
        *("x" * 201, "a/" * 200 + "x"),
    ],
)
def test_nothing_else_is_a_path(text: str) -> None:
    assert not is_path(text)


@pytest.mark.parametrize(
    ("text", "expected"), [(".gitattributes", True), ("a/.b/c", True), ("..", False), ("a", False)]
)
def test_hidden_files(text: str, expected: bool) -> None:
    assert is_hidden(text) is expected


def test_what_a_stranger_wrote_does_nothing_to_a_terminal() -> None:
    assert shown("a\x1b[2Jb\u202ec\n") == "a\\x1b[2Jb\\u202ec\\n"
    assert len(shown("x" * 10_000)) == 100
