"""Room on the disk: asked for before anything is written."""

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from localllm.errors import NoRoom
from localllm.models.disk_space import SPARE_BYTES, check_room


class Usage(NamedTuple):
    """Of a disk."""

    total: int
    used: int
    free: int


@pytest.mark.parametrize(
    ("free", "needed", "fits"),
    [
        (SPARE_BYTES + 100, 100, True),
        (SPARE_BYTES + 99, 100, False),
        (100, 100, False),
        (0, 1, False),
        (0, 0, True),  # all is here
        (0, -5, True),  # a part that is larger than its file: it is dropped
    ],
)
def test_some_is_left_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, needed: int, fits: bool) -> None:
    asked: list[Path] = []

    def tell(path: Path) -> Usage:
        asked.append(path)
        return Usage(free, 0, free)

    monkeypatch.setattr(shutil, "disk_usage", tell)
    if fits:
        check_room(tmp_path / "not" / "yet", needed)
    else:
        with pytest.raises(NoRoom, match="localllm gc --dry-run") as caught:
            check_room(tmp_path / "not" / "yet", needed)
        assert str(tmp_path) in caught.value.message
    assert asked == ([tmp_path] if needed > 0 else [])


def test_a_system_that_does_not_say_refuses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> Usage:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(shutil, "disk_usage", refuse)
    check_room(tmp_path, 2**60)


def test_a_real_disk_has_no_room_for_everything(tmp_path: Path) -> None:
    check_room(tmp_path, 1)
    with pytest.raises(NoRoom):
        check_room(tmp_path, 2**60)
