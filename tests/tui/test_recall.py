"""Bringing back earlier messages."""

from localllm.tui.recall import Recall


def recall(*texts: str) -> Recall:
    recall = Recall()
    for text in texts:
        recall.add(text)
    return recall


def test_older_ones_come_first_to_last() -> None:
    walk = recall("one", "two")
    assert [walk.move(-1, shown) for shown in ("", "two", "one")] == ["two", "one", None]


def test_the_draft_comes_back() -> None:
    walk = recall("one", "two")
    walk.move(-1, "my draft")
    walk.move(-1, "two")
    assert walk.move(1, "one") == "two"
    assert walk.move(1, "two") == "my draft"
    assert walk.move(1, "my draft") is None


def test_there_may_be_nothing() -> None:
    assert recall().move(-1, "draft") is None
    assert recall().move(1, "draft") is None


def test_the_same_message_twice_is_kept_once() -> None:
    walk = recall("one", "two", "two")
    assert [walk.move(-1, ""), walk.move(-1, "two")] == ["two", "one"]


def test_sending_begins_the_walk_anew() -> None:
    walk = recall("one", "two")
    walk.move(-1, "")
    walk.move(-1, "two")
    walk.add("three")
    assert walk.move(-1, "") == "three"
