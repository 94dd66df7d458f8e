"""Aliases: what can be one, and that it is found again."""

import pytest

from localllm.errors import InvalidRequest, ModelNotFound
from localllm.models.storage.store import Store
from tests.models.test_digest import UNFIT

FIT = {
    "con",
    "con.gguf",
    "com9.gguf",
    "nul.tar.gz",
    "prn",
    "file:stream",
    "x.",
}  # to be aliases, which never name a file


def test_an_alias_is_found_in_any_case_until_it_is_dropped(store: Store) -> None:
    assert store.aliases.all() == {}
    assert store.aliases.find("fast") is None
    store.aliases.put("fast", "smollm2:135m")
    store.aliases.put("code:big", "some-org/Coder-GGUF:Q4_K_M")
    store.aliases.put("fast", "qwen3:1.7b")
    again = Store(store.root.parent).aliases
    assert again.all() == {"code:big": "some-org/Coder-GGUF:Q4_K_M", "fast": "qwen3:1.7b"}
    assert again.find("FAST") == "qwen3:1.7b"
    assert again.find("Code:Big") == "some-org/Coder-GGUF:Q4_K_M"
    again.drop("Fast")
    assert store.aliases.find("fast") is None
    with pytest.raises(ModelNotFound, match="there is no alias 'fast'"):
        store.aliases.drop("fast")


@pytest.mark.parametrize(
    "alias",
    [
        *(text for text in UNFIT if text not in FIT),
        *("Fast", "a:b:c", "a/b", ":a", "a:", "a b", "größe", "a\n", "x" * 65, "a:" + "x" * 65, "@a", "~"),
    ],
)
def test_what_can_be_no_alias_is_refused(store: Store, alias: str) -> None:
    with pytest.raises(InvalidRequest, match="can be no alias") as caught:
        store.aliases.put(alias, "smollm2:135m")
    assert len(caught.value.message) < 1000
    assert store.aliases.all() == {}


def test_others_may_read_while_one_writes(store: Store) -> None:
    """Each write replaces the file: there is no moment without one."""
    store.aliases.put("fast", "smollm2:135m")
    with (store.root / "aliases.json").open("rb") as reader:
        store.aliases.put("slow", "qwen3:1.7b")
        assert b"slow" not in reader.read()
    assert len(store.aliases.all()) == 2
