"""Stop strings never leak, wherever the token borders fall."""

import random

import pytest

from localllm.inference.stops import StopMatcher


def run(stops: tuple[str, ...], pieces: list[str]) -> tuple[str, bool]:
    matcher, shown = StopMatcher(stops), ""
    for piece in pieces:
        text, is_stopped = matcher.feed(piece)
        shown += text
        if is_stopped:
            return shown, True
    return shown + matcher.flush(), False


@pytest.mark.parametrize(
    ("stops", "pieces", "shown", "is_stopped"),
    [
        ((), ["a", "b"], "ab", False),
        (("END",), ["say EN", "D and more"], "say ", True),
        (("END",), ["E", "N", "D"], "", True),
        (("END",), ["E", "NX"], "ENX", False),
        (("END",), ["EEN", "D"], "E", True),
        (("aab",), ["aaa", "ab"], "aa", True),
        (("\n\n",), ["one\n", "two\n", "\nthree"], "one\ntwo", True),
        (("abc", "b"), ["xab", "c"], "xa", True),
        (("日本",), ["x日", "本y"], "x", True),
        (("stop",), ["this sto"], "this sto", False),
    ],
)
def test_stop(stops: tuple[str, ...], pieces: list[str], shown: str, is_stopped: bool) -> None:
    assert run(stops, pieces) == (shown, is_stopped)


def test_any_cutting_gives_the_same_text() -> None:
    source = random.Random(0)
    for _ in range(3000):
        text = "".join(source.choice("ab\n") for _ in range(source.randrange(24)))
        stops = tuple("".join(source.choice("ab\n") for _ in range(source.randrange(1, 4))) for _ in range(2))
        cuts = sorted(source.randrange(len(text) + 1) for _ in range(4))
        pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        ends = [at for stop in stops if (at := text.find(stop)) >= 0]
        shown, is_stopped = run(stops, pieces)
        assert is_stopped == bool(ends)
        if ends:
            assert not any(stop in shown for stop in stops)
            assert text.startswith(shown)
        else:
            assert shown == text


def test_what_is_shown_early_never_has_to_be_taken_back() -> None:
    matcher = StopMatcher(("<|end|>",))
    assert matcher.feed("hello <|") == ("hello ", False)
    assert matcher.feed("en") == ("", False)
    assert matcher.feed("d|> tail") == ("", True)
