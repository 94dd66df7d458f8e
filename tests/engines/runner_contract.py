"""What every runner must do. A test module for a runner subclasses `RunnerContract`, or `RewindingContract` where KV
stays in its slot, and gives the runner."""

import numpy as np

from localllm.engines.base import Batch, Logits, Runner

PROMPT = list(range(10, 90))
TOLERANCE = 2e-2  # of logits around ±5: rows computed among others, and flash attention, round differently


def read(runner: Runner, slot: int, start: int, tokens: list[int], *, logits: int = 1) -> Logits:
    """Decode tokens of one slot alone: the logits after the last `logits` of them."""
    batch = Batch(128)
    batch.add(slot, start, tokens, logits=logits)
    rows: Logits = runner.decode(batch).copy()
    return rows


def is_close(left: Logits, right: Logits) -> bool:
    return left.shape == right.shape and np.allclose(left, right, atol=TOLERANCE)


class RewindingContract:
    """The tests of every runner that can rewind. `runner` is fresh, with at least 3 slots and 256 tokens of context."""

    def test_a_trimmed_slot_goes_on_as_a_fresh_one_would(self, runner: Runner) -> None:
        fresh = read(runner, 0, 0, PROMPT)
        assert runner.trim(0, 40) == 40
        assert is_close(read(runner, 0, 40, PROMPT[40:]), fresh)

    def test_trimming_says_what_is_left(self, runner: Runner) -> None:
        read(runner, 1, 0, PROMPT)
        assert runner.trim(1, 1000) == len(PROMPT)
        assert runner.trim(1, 0) == 0
        assert runner.trim(2, 5) == 0

    def test_several_rows_of_a_slot_have_logits_in_order(self, runner: Runner) -> None:
        one_by_one = [read(runner, 0, position, [token])[0] for position, token in enumerate(PROMPT[:12])]
        together = read(runner, 1, 0, PROMPT[:12], logits=5)
        assert is_close(together, np.stack(one_by_one[-5:]))

    def test_rows_of_several_slots_come_in_row_order(self, runner: Runner) -> None:
        prompts = {2: PROMPT[20:50], 0: PROMPT[:17], 1: PROMPT[40:70]}
        counts = {2: 3, 0: 1, 1: 4}
        alone = [read(runner, slot, 0, prompts[slot], logits=counts[slot]) for slot in prompts]
        batch = Batch(128)
        for slot, prompt in prompts.items():
            runner.trim(slot, 0)
            batch.add(slot, 0, prompt, logits=counts[slot])
        assert is_close(runner.decode(batch), np.concatenate(alone))

    def test_a_batch_may_want_no_logits(self, runner: Runner) -> None:
        assert read(runner, 0, 0, PROMPT, logits=0).shape == (0, runner.tokenizer.vocab_size)

    def test_streams_and_a_prompt_in_one_batch_keep_their_rows_in_order(self, runner: Runner) -> None:
        alone = []
        for slot in (0, 2):
            read(runner, slot, 0, PROMPT[slot:])
            alone.append(read(runner, slot, len(PROMPT) - slot, [5 + slot])[0])
            runner.trim(slot, len(PROMPT) - slot)
        alone.insert(1, read(runner, 1, 0, PROMPT[:30])[0])
        runner.trim(1, 0)
        batch = Batch(128)
        batch.add(0, len(PROMPT), [5], logits=1)
        batch.add(1, 0, PROMPT[:30], logits=1)
        batch.add(2, len(PROMPT) - 2, [7], logits=1)
        rows = runner.decode(batch)
        assert rows.shape[0] == 3
        for row, expected in zip(rows, alone, strict=True):
            assert is_close(row, expected)
        batch.clear()
        batch.add(0, len(PROMPT) + 1, [6], logits=1)
        batch.add(1, 30, PROMPT[30:], logits=0)  # a piece that is not the last wants nothing
        together = runner.decode(batch)
        assert together.shape[0] == 1


class RunnerContract(RewindingContract):
    """The tests of one that also copies and saves KV."""

    def test_a_copied_prefix_is_as_good_as_a_computed_one(self, runner: Runner) -> None:
        fresh = read(runner, 0, 0, PROMPT)
        read(runner, 2, 0, PROMPT[::-1])  # what the target held before is gone
        assert runner.copy_prefix(0, 2, 60) == 60
        assert is_close(read(runner, 2, 60, PROMPT[60:]), fresh)
        assert is_close(read(runner, 0, len(PROMPT), [7]), read(runner, 2, len(PROMPT), [7]))

    def test_a_long_prefix_is_copied_too(self, runner: Runner) -> None:
        for start in (0, 80, 160):
            read(runner, 0, start, PROMPT)
        assert runner.copy_prefix(0, 1, 239) == 239
        assert runner.copy_prefix(1, 2, 238) == 238  # from a copy that may still be on its way
        fresh = read(runner, 0, 240, [7])
        assert is_close(read(runner, 1, 239, [PROMPT[-1], 7]), fresh)
        assert is_close(read(runner, 2, 238, [*PROMPT[-2:], 7]), fresh)

    def test_the_copy_is_of_what_the_source_held_then(self, runner: Runner) -> None:
        read(runner, 0, 0, PROMPT)
        fresh = read(runner, 0, 80, PROMPT)
        assert runner.copy_prefix(0, 1, 159) == 159
        runner.trim(0, 0)
        read(runner, 0, 0, PROMPT[::-1])
        assert is_close(read(runner, 1, 159, [PROMPT[-1]]), fresh)

    def test_a_restored_slot_goes_on_like_the_original(self, runner: Runner) -> None:
        read(runner, 0, 0, PROMPT)
        state = runner.save(0)
        assert state
        expected = read(runner, 0, len(PROMPT), [5, 6, 7], logits=3)
        read(runner, 2, 0, PROMPT[::-1])
        assert runner.restore(2, state) == len(PROMPT)
        assert np.array_equal(read(runner, 2, len(PROMPT), [5, 6, 7], logits=3), expected)

    def test_a_restored_slot_can_be_trimmed_and_saved(self, runner: Runner) -> None:
        fresh = read(runner, 0, 0, PROMPT)
        assert runner.restore(1, runner.save(0) or b"") == len(PROMPT)
        assert runner.restore(2, runner.save(1) or b"") == len(PROMPT)
        assert np.array_equal(read(runner, 2, len(PROMPT), [5]), read(runner, 0, len(PROMPT), [5]))
        assert runner.trim(1, 30) == 30
        assert is_close(read(runner, 1, 30, PROMPT[30:]), fresh)

    def test_an_empty_slot_has_no_state(self, runner: Runner) -> None:
        assert runner.save(1) is None

    def test_a_damaged_state_leaves_the_slot_empty(self, runner: Runner) -> None:
        read(runner, 0, 0, PROMPT)
        state = runner.save(0) or b""
        for damaged in (b"", b"\xff", state[:-1], b"\xff\xff" + state[2:], b"\xff" * len(state)):
            assert runner.restore(0, damaged) == 0
            assert runner.trim(0, 99) == 0
        read(runner, 0, 0, PROMPT)
