"""Parts of one model are put in order by their numbers; what is not all there is no model."""

from pathlib import Path

import pytest

from localllm.models.scan.found import FoundFile
from localllm.models.scan.parts import complete_sets
from localllm.models.scan.survey import Survey


def files(*names: str) -> list[FoundFile]:
    return [FoundFile(path=Path(name), size_bytes=1, sha256=None) for name in names]


def test_parts_come_in_the_order_of_their_numbers() -> None:
    names = ("a-00002-of-00003.gguf", "a-00003-of-00003.gguf", "a-00001-of-00003.gguf", "b.gguf")
    survey = Survey()
    found = complete_sets(files(*names), survey)
    assert {stem.name: [file.path.name for file in parts] for stem, parts in found.items()} == {
        "a": ["a-00001-of-00003.gguf", "a-00002-of-00003.gguf", "a-00003-of-00003.gguf"],
        "b": ["b.gguf"],
    }
    assert survey.skipped == []


@pytest.mark.parametrize(
    "names",
    [
        ("a-00001-of-00002.gguf",),
        ("a-00002-of-00002.gguf",),
        ("a-00001-of-00002.gguf", "a-00002-of-00003.gguf"),
        ("a-00001-of-00002.gguf", "b-00002-of-00002.gguf"),
        ("x/a-00001-of-00002.gguf", "y/a-00002-of-00002.gguf"),
        ("a-00001-of-99999.gguf",),
    ],
)
def test_parts_that_are_not_all_there_are_no_model(names: tuple[str, ...]) -> None:
    survey = Survey()
    assert complete_sets(files(*names), survey) == {}
    assert len(survey.skipped) == len({one.path for one in survey.skipped}) > 0


def test_a_single_part_is_a_whole_model() -> None:
    assert list(complete_sets(files("a-00001-of-00001.gguf"), Survey())) == [Path("a")]
