"""Prompt pieces: fixed when alone, short beside streams, and not too short to be read well."""

import pytest

from localllm.inference.pacing import BATCH_STEP_SECONDS, STEP_SECONDS, PrefillPacer

Costs = dict[int, float]  # seconds by size of piece


def settled(seconds: Costs, *, is_for_batch: bool = False) -> int:
    """The size that is chosen again and again on a machine like that."""
    pacer, size = PrefillPacer(max(seconds)), 0
    for _ in range(100):
        size = pacer.budget(is_alone=False, is_for_batch=is_for_batch)
        pacer.measured(size, 0, seconds[size])
    return size


def test_alone_a_piece_has_one_size_whatever_was_measured() -> None:
    pacer = PrefillPacer(256)
    pacer.measured(256, 0, 100.0)
    assert pacer.budget(is_alone=True) == 256


@pytest.mark.parametrize(
    ("seconds", "size"),
    [
        ({32: 0.02, 64: 0.04, 128: 0.08, 256: 0.16}, 256),
        ({32: 0.04, 64: 0.08, 128: 0.16, 256: 0.32}, 128),
        ({32: 0.11, 64: 0.15, 128: 0.35, 256: 0.64}, 64),
        ({32: 0.19, 64: 0.38, 128: 0.76, 256: 1.52}, 32),
        ({32: 1.6, 64: 3.2, 128: 6.4, 256: 12.8}, 32),  # a large model: longer pieces are no more efficient
        ({32: 0.85, 64: 0.87, 128: 1.21, 256: 2.36}, 128),  # a long context: they are
    ],
)
def test_beside_streams_the_largest_short_piece_or_the_best_compromise(seconds: Costs, size: int) -> None:
    assert settled(seconds) == size


def test_pieces_for_batch_jobs_are_shorter() -> None:
    seconds = {32: 0.02, 64: 0.04, 128: 0.08, 256: 0.16}
    assert (
        seconds[settled(seconds, is_for_batch=True)] <= BATCH_STEP_SECONDS < seconds[settled(seconds)] <= STEP_SECONDS
    )


def test_what_was_learnt_in_a_long_context_does_not_stay() -> None:
    pacer = PrefillPacer(256)
    long, short = {32: 0.85, 64: 0.87, 128: 1.21, 256: 2.36}, {32: 0.03, 64: 0.04, 128: 0.08, 256: 0.16}
    for machine, expected in ((short, 256), (long, 128), (short, 256)):
        for _ in range(30):
            size = pacer.budget(is_alone=False)
            pacer.measured(size, 0, machine[size])
        assert size == expected


def test_short_pieces_teach_nothing() -> None:
    pacer = PrefillPacer(256)
    pacer.measured(2, 0, 0.000001)
    assert pacer.budget(is_alone=False) == 32
    assert pacer.seconds(1000) == 0


def test_the_time_of_the_streams_beside_is_not_the_prompts() -> None:
    pacer = PrefillPacer(256)
    pacer.measured(0, 16, 0.16)
    for _ in range(50):
        pacer.measured(256, 16, 0.36)
    assert pacer.seconds(1280) == pytest.approx(1.0)
    assert pacer.budget(is_alone=False) == 256
