"""Packing: which slots keep the running ones together, and what to move when they are not."""

import random

import pytest

from localllm.inference.packing import Move, next_move, places


def free(_slot: int) -> int:
    return 0


@pytest.mark.parametrize(
    ("taken", "count", "expected"),
    [
        ([], 3, [0, 1, 2]),
        ([0], 3, [1]),
        ([1], 3, [0, 2]),
        ([0, 2], 4, [1]),
        ([2, 3], 4, [1]),
        ([0, 1], 2, []),
    ],
)
def test_places(taken: list[int], count: int, expected: list[int]) -> None:
    assert places(taken, count) == expected


@pytest.mark.parametrize("taken", [[], [3], [0, 1, 2], [5, 6]])
def test_a_run_needs_no_move(taken: list[int]) -> None:
    assert next_move(taken, 8, free) is None


def test_the_one_far_away_moves() -> None:
    assert next_move([4, 5, 6, 11], 16, free) in (Move(11, 7), Move(11, 3))


def test_the_cheaper_hole_is_filled() -> None:
    assert next_move([4, 5, 6, 11], 16, lambda slot: {3: 9, 7: 1}.get(slot, 5)) == Move(11, 7)
    assert next_move([4, 5, 6, 11], 16, lambda slot: {3: 1, 7: 9}.get(slot, 5)) == Move(11, 3)


def test_moves_end_in_one_run_and_are_as_few_as_can_be() -> None:
    source = random.Random(1)
    for _ in range(500):
        count = source.randrange(2, 17)
        size = source.randrange(1, count + 1)
        taken = set(source.sample(range(count), size))
        fewest = min(size - len(taken & set(range(start, start + size))) for start in range(count - size + 1))
        moves = 0
        while (move := next_move(sorted(taken), count, free)) is not None:
            assert move.source in taken
            assert move.target not in taken
            taken = taken - {move.source} | {move.target}
            moves += 1
        assert max(taken) - min(taken) == size - 1
        assert moves == fewest
