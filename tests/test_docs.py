"""The documents say what the program does."""

import re
from pathlib import Path

import msgspec
import pytest

from localllm.api.openai.fields import IGNORED, REFUSED_CHAT, REFUSED_COMPLETION
from localllm.config import ENV_PREFIX, Settings

ROOT = Path(__file__).parent.parent
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]


def paragraph(start: str) -> str:
    """The paragraph of docs/api.md that begins so."""
    text = (ROOT / "docs" / "api.md").read_text("utf-8")
    return next(part for part in text.split("\n\n") if part.startswith(start))


def quoted(text: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", text))


def test_the_ignored_fields_are_those_documented() -> None:
    assert quoted(paragraph("**Ignored")) == IGNORED


def test_the_refused_fields_are_those_documented() -> None:
    chats, _, completions = paragraph("**Refused").partition("in completions")
    assert quoted(chats) == set(REFUSED_CHAT)
    assert quoted(completions) == set(REFUSED_COMPLETION)


def test_every_setting_is_documented() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    table = [line for line in text.splitlines() if line.startswith("| `")]
    documented = {name for line in table for name in quoted(line.split("|")[1])}
    assert documented == {field.name for field in msgspec.structs.fields(Settings)}
    assert all(f"`{ENV_PREFIX}{name.upper()}`" in text for name in documented)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", path.read_text("utf-8"))
    assert [target for target in targets if not (path.parent / target).exists()] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_files_that_documents_name_exist(path: Path) -> None:
    named = re.findall(r"`((?:localllm|tests|scripts|docs|modelcards)/[\w/.-]+)`", path.read_text("utf-8"))
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_changelog_begins_with_what_is_not_yet_released() -> None:
    assert "\n## Unreleased\n" in (ROOT / "CHANGELOG.md").read_text("utf-8")
