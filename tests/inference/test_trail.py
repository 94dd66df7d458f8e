"""Log probabilities leave with the text of their tokens."""

from localllm.inference.trail import LogprobTrail
from localllm.types import TokenLogprob


def logprob(piece: str) -> TokenLogprob:
    return TokenLogprob(piece.encode(), -1.0)


def said(trail: LogprobTrail, piece: str) -> None:
    trail.add(logprob(piece))
    trail.reached(len(piece))


def test_they_go_with_their_text() -> None:
    trail = LogprobTrail()
    said(trail, "ab")
    assert trail.shown(2, is_last=False) == (logprob("ab"),)
    assert trail.shown(0, is_last=True) == ()


def test_held_back_text_holds_them_back() -> None:
    trail = LogprobTrail()
    said(trail, "ab")
    said(trail, "c")
    assert trail.shown(1, is_last=False) == ()
    assert trail.shown(2, is_last=False) == (logprob("ab"), logprob("c"))


def test_a_token_cut_by_a_stop_string_counts_as_far_as_it_shows() -> None:
    trail = LogprobTrail()
    for piece in ("ab", "cd", "ef"):
        said(trail, piece)
    assert trail.shown(3, is_last=True) == (logprob("ab"), logprob("cd"))


def test_a_token_without_characters_goes_when_the_text_before_it_is_out() -> None:
    trail = LogprobTrail()
    said(trail, "ab")
    said(trail, "")
    assert trail.shown(1, is_last=False) == ()
    assert trail.shown(1, is_last=False) == (logprob("ab"), logprob(""))
