"""Names of models: what they let through, what never gets as far as a path, and which are the same."""

from itertools import combinations

import pytest

from localllm.errors import ModelNotFound
from localllm.models.digest import is_plain
from localllm.models.names import ModelName, is_model_name
from tests.models.test_digest import UNFIT

GOOD = [
    "smollm2:135m",
    "a:b",
    "A:B",
    "llama-3.2_x:1b-q4",
    "some-org/Tiny-GGUF:Q4_K_M",
    "a/b:c",
    "a.b/c_d:e-f",
    f"{'x' * 89}:{'y' * 90}",
    f"{'x' * 59}/{'y' * 59}:{'z' * 60}",
]


@pytest.mark.parametrize("text", GOOD)
def test_a_model_name(text: str) -> None:
    name = ModelName(text)
    assert name == text
    assert f"{name.family}:{name.tag}" == text
    assert is_plain(name.folder)
    assert is_plain(f"{name.folder}.json.12345.part")
    assert ModelName.of_folder(name.folder) == text.lower()


@pytest.mark.parametrize(
    "text",
    [
        *(text for text in UNFIT if text not in {"C:x", "file:stream"}),  # which name models
        *(f"{part}:tag" for part in UNFIT if part not in {"a/b"}),
        *(f"tiny:{part}" for part in UNFIT),
        *(f"{part}/tiny:1m" for part in UNFIT),
        *(f"org/{part}:1m" for part in UNFIT),
        *("tiny", ":", "tiny:", ":1m", "a:b:c", "tiny :1m", "tiny:1m\n", "\ntiny:1m", "größe:1m", "tiny:¹", "ti+ny:1m"),
        *("a/b/c:d", "/a:b", "a/:b", "a/b", "a//b:c", "../../etc:passwd", "tiny:../x", "tiny:a/b", "/:x", "a\0:b"),
        *("con:1", "tiny:nul", "aux/tiny:1m", "org/com1.x:1m", "tiny:1.", "\u017f:1m", "\u212a:1m"),
        *(f"{'x' * 90}:{'y' * 90}", "x" * 2**20, "a:" * 2**19, "/" * 2**20),
    ],
)
def test_nothing_else_is_a_model_name(text: str) -> None:
    assert not is_model_name(text)
    with pytest.raises(ModelNotFound, match="is no model name") as caught:
        ModelName(text)
    assert len(caught.value.message) < 2500  # a control character takes up to ten to quote
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("text", ["org/repo:q4", "ORG/REPO:Q4", "Org/Repo:q4"])
def test_case_tells_no_models_apart_on_any_file_system(text: str) -> None:
    assert ModelName(text).folder == ModelName("Org/Repo:Q4").folder == "org+repo+q4"


def test_different_names_never_share_a_folder() -> None:
    names = [
        "a/b:c",
        "a.b:c",
        "a-b:c",
        "ab:c",
        "a:b-c",
        "a:bc",
        "a_b:c",
        "a/b:c.json",
        "b:c",
        "a:c",
        "a/b:c-d",
        "a/b-c:d",
    ]
    for one, other in combinations(names, 2):
        assert ModelName(one).folder != ModelName(other).folder


@pytest.mark.parametrize(
    "folder", ["", "tiny", ".DS_Store", "+", "+1m", "tiny+", "Tiny+1m", "a+b+c+d", "tiny:1m", "a/b+c", "con+1", "..+x"]
)
def test_other_folders_are_not_ours(folder: str) -> None:
    with pytest.raises(ModelNotFound):
        ModelName.of_folder(folder)
