"""The grammar of references, and what is none."""

from pathlib import Path

import pytest

from localllm.errors import ModelNotFound
from localllm.models.reference import (
    EchoReference,
    HubReference,
    NameReference,
    PathReference,
    Reference,
    parse,
    shown,
)

ORG = "some-org/Tiny-GGUF"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
HOSTILE = ["\0", "\n", "\r\n", "a\x1b[2Jb", "\u202e", "\udc80", "ß", "%00", "%0a", " ", "--", "..", "a" * 2**20]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def hub(
    repository: str = ORG, *, revision: str | None = None, quant: str | None = None, path: str | None = None
) -> HubReference:
    return HubReference(repository=repository, revision=revision, quant=quant, path=path)


@pytest.mark.parametrize("text", ["echo", "echo:", "echo:50", "echo:a/b.gguf"])
def test_the_echo_engine(text: str) -> None:
    assert parse(text) == EchoReference(text=text)


@pytest.mark.parametrize(
    "text", ["smollm2:135m", "smollm2", "qwen3:1.7b-q8_0", "echoes", "ECHO", "-x", "", "tiny 1m", "a:b:c", "größe"]
)
def test_names(text: str) -> None:
    assert parse(text) == NameReference(name=text)


@pytest.mark.parametrize(
    "text",
    [
        "x.gguf",
        "X.GGUF",
        "x.pte",
        "./x",
        "../x",
        ".",
        "..",
        ".hidden",
        "/",
        "/models/x",
        "~/x.gguf",
        "~",
        "folder/x.gguf",
        "folder/x.pte",
        "C:\\models\\x.gguf",
        "C:/models/x",
        "c:x.gguf",
        ".\\x",
        "folder\\x",
        "\\\\server\\share\\x",
    ],
)
def test_paths(text: str) -> None:
    assert parse(text) == PathReference(path=text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ORG, hub()),
        (f"{ORG}/", hub()),
        (f"{ORG}:Q4_K_M", hub(quant="Q4_K_M")),
        (f"{ORG}:q4_k_m", hub(quant="q4_k_m")),
        (f"{ORG}@main", hub(revision="main")),
        (f"{ORG}@v1.0:Q8_0", hub(revision="v1.0", quant="Q8_0")),
        (f"{ORG}@{COMMIT}", hub(revision=COMMIT)),
        (f"{ORG}@main/x.gguf", hub(revision="main", path="x.gguf")),
        (f"{ORG}@main/Q4_K_M/x-00001-of-00002.gguf", hub(revision="main", path="Q4_K_M/x-00001-of-00002.gguf")),
        (f"{ORG}/x.gguf", hub(path="x.gguf")),
        (f"{ORG}/deep/x.gguf", hub(path="deep/x.gguf")),
        (f"{ORG}:x.gguf", hub(path="x.gguf")),
        (f"{ORG}:X.Q4_0.GGUF", hub(path="X.Q4_0.GGUF")),
        (f"{ORG}@refs/pr/12", hub(revision="refs/pr/12")),
        (f"{ORG}@refs/pr/12/x.gguf", hub(revision="refs/pr/12", path="x.gguf")),
        (f"{ORG}@refs%2Fconvert%2Fgguf:Q8_0", hub(revision="refs/convert/gguf", quant="Q8_0")),
        (f"{ORG}@feature%2Fnew/x.gguf", hub(revision="feature/new", path="x.gguf")),
    ],
)
def test_repositories(text: str, expected: HubReference) -> None:
    for prefix in ("", "hf.co/", "hf://", "huggingface.co/", "https://huggingface.co/", "HTTPS://www.HF.co/"):
        assert parse(prefix + text) == expected


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("", hub()),
        ("/", hub()),
        ("?library=llama-cpp-python#top", hub()),
        ("/tree/main", hub(revision="main")),
        ("/tree/refs%2Fpr%2F1", hub(revision="refs/pr/1")),
        ("/tree/refs/pr/1", hub(revision="refs/pr/1")),
        ("/tree/main/UD-Q4_K_XL", hub(revision="main", quant="UD-Q4_K_XL")),
        ("/tree/main/x.gguf", hub(revision="main", path="x.gguf")),
        ("/resolve/main/x.gguf?download=true", hub(revision="main", path="x.gguf")),
        ("/resolve/main/deep/x.gguf", hub(revision="main", path="deep/x.gguf")),
        (f"/blob/{COMMIT}/x.gguf", hub(revision=COMMIT, path="x.gguf")),
        ("/raw/v1/x%2Ey.gguf", hub(revision="v1", path="x.y.gguf")),
        ("/blob/feature%2Fnew/x.gguf#L1", hub(revision="feature/new", path="x.gguf")),
    ],
)
def test_addresses_of_pages(page: str, expected: HubReference) -> None:
    assert parse(f"https://huggingface.co/{ORG}{page}") == expected


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("https://example.com/x.gguf", "no address of the hub"),
        ("file:///x.gguf", "no address of the hub"),
        ("https://huggingface.co/", "names no model"),
        ("https://huggingface.co/some-org", "names no model"),
        ("https://huggingface.co/datasets/some-org/data", "names no model"),
        ("https://huggingface.co/spaces/some-org/demo", "names no model"),
        (f"https://huggingface.co/{ORG}/tree/main/folder", "is a folder"),
        ("hf.co/x.gguf", "names no model"),
        ("a//b", "names no model"),
        ("-a/b", "names no model"),
        ("a/-b", "names no model"),
        ("_a/b", "names no model"),
        ("con/b", "names no model"),
        ("a/b.git", "names no model"),
        ("a" * 60 + "/" + "b" * 60, "names no model"),
        (f"{ORG}:", "names no model"),
        (f"{ORG}:a:b", "names no model"),
        (f"{ORG}:-q", "names no model"),
        (f"{ORG}:" + "q" * 81, "names no model"),
        (f"{ORG}@", "names no model"),
        (f"{ORG}@--help", "no revision"),
        (f"{ORG}@..", "no revision"),
        (f"{ORG}@a%2F..%2Fb", "no revision"),
        (f"{ORG}/../../x.gguf", "no path"),
        (f"{ORG}/..%2f..%2fx.gguf", "no path"),
        (f"{ORG}//etc/passwd", "no path"),
        (f"{ORG}/a b.gguf", "no path"),
        (f"{ORG}/.hidden.gguf", "no path"),
        (f"{ORG}/nul.gguf", "no path"),
        (f"{ORG}:nul.gguf", "no path"),
        (f"{ORG}/{'a' * 500}.gguf", "no path"),
    ],
)
def test_what_is_no_reference(text: str, word: str) -> None:
    with pytest.raises(ModelNotFound, match=word) as caught:
        parse(text)
    assert caught.value.message.isprintable()
    assert caught.value.param == "model"


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda text: ascii(text[:8]))
@pytest.mark.parametrize(
    "form", ["{}", "./{}", "{}.gguf", "{}/{}", "a/{}", "a/b:{}", "a/b@{}/x.gguf", "a/b/{}", "hf.co/{}"]
)
def test_hostile_texts_have_a_meaning_or_one_line_of_refusal(form: str, hostile: str) -> None:
    found = parsed(form.format(hostile, hostile))
    if isinstance(found, ModelNotFound):
        assert found.message.isprintable()
        assert len(found.message) < 1000
    elif isinstance(found, HubReference):
        parts = [found.repository, found.revision or "", found.quant or "", found.path or ""]
        assert all(part.isascii() and part.isprintable() and ".." not in part for part in parts)


def parsed(text: str) -> Reference | ModelNotFound:
    try:
        return parse(text)
    except ModelNotFound as error:
        return error


@pytest.mark.parametrize("name", ["smollm2", "smollm2:135m", "tiny"])
def test_a_file_that_is_called_like_a_card_is_no_path(empty_folder: Path, name: str) -> None:
    (empty_folder / name).write_bytes(b"GGUF")
    assert parse(name) == NameReference(name=name)


def test_what_is_here_is_a_path(empty_folder: Path) -> None:
    (empty_folder / "some-org/Tiny-GGUF").mkdir(parents=True)
    (empty_folder / "some-org/Tiny-GGUF/deep").mkdir()
    (empty_folder / "some-org/Tiny-GGUF/deep/x.gguf").write_bytes(b"GGUF")
    for text in (ORG, f"{ORG}/", f"{ORG}/deep", f"{ORG}/deep/x.gguf"):
        assert parse(text) == PathReference(path=text)
    assert parse(f"hf.co/{ORG}") == hub()
    assert parse(f"{ORG}:Q4_0") == hub(quant="Q4_0")
    assert parse(f"{ORG}/other/x.gguf") == hub(path="other/x.gguf")


@pytest.mark.parametrize(
    ("text", "most", "expected"),
    [
        ("größe", 300, "größe"),
        ("a\nb\x1b", 300, "a\\nb\\x1b"),
        ("\udc80\u202e", 300, "\\udc80\\u202e"),
        ("abcd", 3, "abc…"),
        (Path("a/b"), 300, str(Path("a/b"))),
    ],
)
def test_what_is_shown_of_a_text_is_one_line(text: object, most: int, expected: str) -> None:
    assert shown(text, most) == expected
