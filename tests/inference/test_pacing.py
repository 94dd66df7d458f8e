"""Prompt pieces: fixed when alone, short beside streams."""

from localllm.inference.pacing import MIN_TOKENS, PrefillPacer


def test_alone_a_piece_has_one_size_whatever_was_measured() -> None:
    pacer = PrefillPacer(256)
    pacer.measured(256, 0, 100.0)
    assert pacer.budget(is_alone=True) == 256


def test_beside_streams_a_piece_takes_about_the_step_time() -> None:
    pacer = PrefillPacer(256)
    assert pacer.budget(is_alone=False) == MIN_TOKENS
    for _ in range(50):
        pacer.measured(256, 0, 0.512)  # 500 tokens a second
    assert 95 <= pacer.budget(is_alone=False) <= 100
    for _ in range(50):
        pacer.measured(256, 0, 0.001)
    assert pacer.budget(is_alone=False) == 256


def test_short_pieces_teach_nothing() -> None:
    pacer = PrefillPacer(256)
    pacer.measured(2, 0, 0.000001)
    assert pacer.budget(is_alone=False) == MIN_TOKENS


def test_the_time_of_the_streams_beside_is_not_the_prompts() -> None:
    pacer = PrefillPacer(256)
    pacer.measured(0, 16, 0.16)
    for _ in range(50):
        pacer.measured(100, 16, 0.36)  # 100 tokens in 0.2 seconds
    assert 95 <= pacer.budget(is_alone=False) <= 100
