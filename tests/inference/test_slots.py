"""Slots: one run of neighbours, and the KV that is already there."""

import random
from array import array

import pytest

from localllm.engines.echo import EchoTokenizer
from localllm.engines.job import Job
from localllm.inference.packing import Move
from localllm.inference.sequence import FRESH_TOKENS, Sequence
from localllm.inference.slots import COPY_WORTH_TOKENS, KEEP_WORTH_TOKENS, TAIL_TOKENS, Placement, SlotTable
from localllm.types import AdapterUse, Client, Sampling


def sequence(tokens: list[int], client: Client = Client(), adapters: tuple[AdapterUse, ...] = ()) -> Sequence:
    job = Job(id=1, tokens=tuple(tokens), sampling=Sampling(), client=client, adapters=adapters)
    return Sequence(job, EchoTokenizer(), 4096)


def place(table: SlotTable, tokens: list[int]) -> Placement | None:
    return table.place(table.shared(sequence(tokens)))


def occupy(table: SlotTable, tokens: list[int], *, is_read: bool = True, client: Client = Client()) -> Sequence:
    """Place, take, and pretend that the whole prompt is in KV."""
    taken = sequence(tokens, client)
    placement = table.place(table.shared(taken))
    assert placement is not None
    taken.admit(placement.slot, placement.tokens)
    table.take(taken)
    if is_read:
        taken.position = len(tokens)
    return taken


def test_jobs_are_packed_from_the_first_slot() -> None:
    table = SlotTable(4)
    assert [occupy(table, [i, i, i]).slot for i in range(4)] == [0, 1, 2, 3]
    assert table.free_count == 0
    assert place(table, [9]) is None


def test_a_gap_is_filled_first() -> None:
    table = SlotTable(8)
    running = [occupy(table, [i, i, i]) for i in range(5)]
    table.release(running[2])
    assert occupy(table, [7, 7]).slot == 2


def test_a_lone_chat_goes_back_to_its_own_slot() -> None:
    table = SlotTable(4)
    first, second = occupy(table, [1, 1, 1, 1]), occupy(table, [2, 2, 2, 2])
    table.release(first)
    table.release(second)
    assert place(table, [2, 2, 2, 2, 5, 5]) == Placement(1, 1, 4)
    assert place(table, [1, 1, 1, 1, 5, 5]) == Placement(0, 0, 4)


def test_the_last_tokens_are_always_read() -> None:
    table = SlotTable(2)
    table.release(occupy(table, [1, 2, 3, 4]))
    assert place(table, [1, 2, 3, 4]) == Placement(0, 0, 4 - FRESH_TOKENS)
    assert place(table, [1]) == Placement(1, 1, 0)


def test_a_new_prompt_spares_the_slot_of_another_chat() -> None:
    table = SlotTable(2)
    table.release(occupy(table, [1, 1, 1]))
    assert place(table, [2, 2]) == Placement(1, 1, 0)


def test_without_an_empty_slot_the_oldest_of_equals_is_overwritten() -> None:
    table = SlotTable(2)
    first, second = occupy(table, [1, 1, 1]), occupy(table, [2, 2, 2])
    table.release(second)
    table.release(first)
    placement = place(table, [9])
    assert placement is not None
    assert placement.slot == second.slot


def test_a_long_prefix_elsewhere_is_copied_next_to_the_running_ones() -> None:
    table = SlotTable(6)
    shared = list(range(COPY_WORTH_TOKENS + 10))
    running = [occupy(table, [i + 1000] * 3) for i in range(3)]
    far = occupy(table, shared)
    for done in (running[1], running[2], far):
        table.release(done)
    assert place(table, [*shared, 5, 5]) == Placement(1, 3, len(shared))  # slot 0 runs, so slot 1 is next to it


def test_a_running_job_shares_its_prefix() -> None:
    table = SlotTable(3)
    shared = list(range(COPY_WORTH_TOKENS + 1))
    occupy(table, [*shared, 1])
    assert place(table, [*shared, 2, 2]) == Placement(1, 0, len(shared))


def test_what_a_running_job_has_yet_to_read_is_coming() -> None:
    table, shared = SlotTable(3), list(range(100))
    reader = occupy(table, [*shared, 1], is_read=False)
    found = table.shared(sequence([*shared, 2, 2]))
    assert (found.most, found.coming) == (0, 100)
    reader.position = 60
    found = table.shared(sequence([*shared, 2, 2]))
    assert (found.most, found.coming) == (60, 100)


def test_nobody_waits_for_a_job_of_lower_rank() -> None:
    table, shared = SlotTable(3), list(range(100))
    occupy(table, [*shared, 1], is_read=False, client=Client("", "batch"))
    assert table.shared(sequence([*shared, 2, 2])).coming == 0
    assert table.shared(sequence([*shared, 2, 2], Client("", "batch"))).coming == 100


def test_scopes_share_nothing() -> None:
    table, tokens = SlotTable(3), [1, 2, 3, 4, 5]
    table.release(occupy(table, tokens, client=Client("a")))
    assert table.shared(sequence([*tokens, 6, 6], Client("a"))).most == 5
    assert table.shared(sequence([*tokens, 6], Client("b"))).most == 0
    assert table.shared(sequence([*tokens, 6], Client("a"), (AdapterUse("x"),))).most == 0
    other = occupy(table, tokens, client=Client("b"))
    assert other.slot != 0  # an empty one is taken first
    table.release(other)
    assert table.shared(sequence(tokens, Client("b"))).ready == {other.slot: 5 - FRESH_TOKENS}


def test_a_move_takes_tokens_along_and_can_swap() -> None:
    table = SlotTable(6)
    running = [occupy(table, [i + 10] * 5) for i in range(6)]
    for gone in (1, 2, 3, 4):
        table.release(running[gone])
    move = table.next_move()
    assert move is not None
    assert move.source in (0, 5)
    mover, kept = running[move.source], list(table.kept(move.target))
    table.moved(move, is_swapped=True)
    assert mover.slot == move.target
    assert table.running(move.target) is mover
    assert list(table.kept(move.source)) == kept
    assert table.shared(sequence(kept)).ready == {move.source: 5 - FRESH_TOKENS}
    assert table.next_move() is None


def test_what_is_not_on_disk_is_known() -> None:
    table = SlotTable(4)
    first, second = occupy(table, [1] * 10), occupy(table, [2] * 20)
    table.release(second)
    table.release(first)
    assert table.unsaved(5) == first.slot  # the latest used
    assert table.unsaved(15) == second.slot
    table.saved(second.slot)
    assert table.unsaved(15) is None
    occupy(table, [1] * 10 + [7])
    assert table.unsaved(5) is None  # running again
    table.moved(Move(first.slot, 3), is_swapped=True)
    assert table.unsaved(1) is None


def test_running_slots_stay_one_run_whatever_comes_and_goes() -> None:
    source = random.Random(2)
    table, running = SlotTable(8), list[Sequence]()
    for _ in range(2000):
        while (move := table.next_move()) is not None:
            table.moved(move, is_swapped=source.random() < 0.5)
        slots = sorted(each.slot for each in running)
        assert not slots or slots[-1] - slots[0] == len(slots) - 1
        assert all(table.running(each.slot) is each for each in running)
        if running and (len(running) == 8 or source.random() < 0.5):
            gone = running.pop(source.randrange(len(running)))
            table.release(gone)
            assert table.kept(gone.slot) == array("i", gone.tokens)
        else:
            running.append(occupy(table, [source.randrange(4) for _ in range(source.randrange(1, 6))]))


def apart(count: int) -> SlotTable:
    return SlotTable(count, can_copy=False)


def chat(first: int, tokens: int = 2 * KEEP_WORTH_TOKENS) -> list[int]:
    """Tokens that no other chat has, worth keeping."""
    return list(range(first * 1000, first * 1000 + tokens))


def test_without_copies_nothing_of_a_running_job_is_shared() -> None:
    table, shared = apart(3), chat(1)
    occupy(table, [*shared, 1])
    found = table.shared(sequence([*shared, 2, 2]))
    assert (found.ready, found.coming, found.is_worth_waiting) == ({}, 0, False)
    assert place(table, [*shared, 2, 2]) == Placement(1, 1, 0)
    reading = occupy(table, [*shared, 2], is_read=False)
    assert table.shared(sequence([*shared, 2, 2])).coming == 0
    table.release(reading)
    assert place(table, [*shared, 2, 2]) == Placement(1, 1, 0)


def test_without_copies_a_chat_comes_back_to_its_own_slot_wherever_the_others_run() -> None:
    table = apart(6)
    running = [occupy(table, chat(i)) for i in range(6)]
    for gone in (1, 3, 4):
        table.release(running[gone])
    assert place(table, [*chat(4), 5, 5]) == Placement(4, 4, len(chat(4)))
    assert place(table, [*chat(1), 5, 5]) == Placement(1, 1, len(chat(1)))
    assert table.next_move() is None


def test_without_copies_the_slot_with_more_of_the_prompt_is_taken_though_others_have_some() -> None:
    table, system = apart(3), chat(9)
    for taken in [occupy(table, [*system, i, i, i]) for i in range(3)]:
        table.release(taken)
    assert place(table, [*system, 1, 1, 1, 7, 7]) == Placement(1, 1, len(system) + 3)
    assert place(table, [*system, 5, 5, 5]) == Placement(0, 0, len(system))  # much gained, little dropped


def test_without_copies_a_system_prompt_takes_nobodys_chat() -> None:
    table, system = apart(2), chat(9)
    table.release(occupy(table, [*system, *chat(1, 500)]))
    assert place(table, [*system, 5, 5]) == Placement(1, 1, 0)
    table.release(occupy(table, chat(2)))
    assert place(table, [*system, 5, 5]) == Placement(0, 0, len(system))  # now one of them must go


@pytest.mark.parametrize("drops", range(TAIL_TOKENS))
def test_without_copies_the_next_turn_finds_its_chat_though_a_long_answer_was_shortened(drops: int) -> None:
    table, prompt = apart(2), chat(1, 40)
    answered = occupy(table, prompt)
    answered.tokens.extend(chat(2, 500))  # thoughts, say
    answered.position = len(answered.tokens)
    table.release(answered)
    known = len(prompt) - drops
    assert place(table, [*prompt[:known], *chat(3)]) == Placement(0, 0, known)
    assert place(table, prompt) == Placement(0, 0, len(prompt) - FRESH_TOKENS)
    assert place(table, [*prompt[:20], *chat(3)]) == Placement(1, 1, 0)


def test_without_copies_a_new_prompt_takes_an_emptied_slot_then_an_unused_one_then_the_oldest() -> None:
    table = apart(4)
    first, second = occupy(table, chat(1)), occupy(table, chat(2, KEEP_WORTH_TOKENS - 1))
    table.release(second)
    table.release(first)
    slots = [occupy(table, chat(i)).slot for i in (3, 4, 5)]
    assert slots == [1, 2, 3]
    assert [occupy(table, chat(6)).slot, place(table, chat(7))] == [0, None]


def test_without_copies_the_oldest_chat_is_overwritten() -> None:
    table = apart(3)
    running = [occupy(table, chat(i)) for i in range(3)]
    for slot in (1, 2, 0):
        table.release(running[slot])
    assert [occupy(table, chat(i)).slot for i in (5, 6, 7)] == [1, 2, 0]


def test_without_copies_a_question_asked_otherwise_stays_where_most_of_it_is() -> None:
    table, history = apart(2), chat(1, 100)
    table.release(occupy(table, [*history, *chat(2, 99)]))
    assert place(table, [*history, *chat(3)]) == Placement(0, 0, 100)
    assert place(table, [*history[:99], *chat(3)]) == Placement(1, 1, 0)


def test_without_copies_what_must_be_overwritten_is_what_shares_enough_though_it_be_the_newer() -> None:
    table, system = apart(2), chat(9)
    old, new = occupy(table, chat(1)), occupy(table, [*system, *chat(2, 500)])
    table.release(old)
    table.release(new)
    assert place(table, [*system, *chat(3)]) == Placement(new.slot, new.slot, len(system))
    assert place(table, [*system[: COPY_WORTH_TOKENS - 1], *chat(3)]) == Placement(old.slot, old.slot, 0)


def test_what_is_known_is_used_up_to_a_tile() -> None:
    table = SlotTable(2, can_copy=False, tile_tokens=64)
    used = sequence(list(range(200)))
    used.admit(0, 0)
    table.take(used)
    used.position = 200
    table.release(used)
    assert place(table, list(range(200))) == Placement(0, 0, 192)
    assert place(table, list(range(130))) == Placement(0, 0, 128)
    assert place(table, list(range(129))) == Placement(0, 0, 64)  # the last two are always read
