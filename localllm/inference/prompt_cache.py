"""Prompts that need not be read again: KV is brought from another slot or from disk, and put away for later."""

import msgspec

from localllm.engines.base import Runner
from localllm.inference.packing import Move
from localllm.inference.sequence import Scope, Sequence
from localllm.inference.slots import Placement, SlotTable
from localllm.inference.state_files import StateFiles

SAVE_WORTH_TOKENS = 128  # fewer are read again in no time
LOAD_WORTH_TOKENS = 64  # more than the slots already have
SWAP_WORTH_TOKENS = 64  # KV of fewer tokens is not carried out of the way of a move, but dropped


class PromptCache:
    """What the slots hold is the first tier, files are the second. Only the runner's own thread may call."""

    def __init__(self, runner: Runner, slots: SlotTable, files: StateFiles | None) -> None:
        self._runner = runner
        self._slots = slots
        self._files = files if runner.info.state_key else None

    def fill(self, sequence: Sequence, placement: Placement) -> int:
        """Make a slot hold as much of the sequence's tokens as is known anywhere; returns how many it holds."""
        loaded = self._load(sequence, placement)
        if loaded:
            return loaded
        if placement.source == placement.slot:
            return self._runner.trim(placement.slot, placement.tokens)
        return self._runner.copy_prefix(placement.source, placement.slot, placement.tokens)

    def move(self, move: Move) -> None:
        """Bring a running sequence to a free slot, if the runner can save KV now; what that slot holds goes the
        other way if it is worth it."""
        state = self._runner.save(move.source)
        if state is None:
            return
        is_worth_keeping = len(self._slots.kept(move.target)) >= SWAP_WORTH_TOKENS
        kept = self._runner.save(move.target) if is_worth_keeping else None
        if not self._runner.restore(move.target, state):
            self._slots.lost(move.target)
            return
        is_swapped = kept is not None and self._runner.restore(move.source, kept) > 0
        if not is_swapped:
            self._runner.trim(move.source, 0)
        self._slots.moved(move, is_swapped=is_swapped)

    def save_one(self) -> bool:
        """Put the KV of one free slot on disk; whether there was one to put."""
        if self._files is None:
            return False
        slot = self._slots.unsaved(SAVE_WORTH_TOKENS)
        if slot is None:
            return False
        self._slots.saved(slot)
        state = self._runner.save(slot)
        if state is not None:
            tokens, scope = self._slots.kept(slot), _scope_text(self._slots.scope(slot))
            self._files.put(tokens, scope, state, can_trim=self._runner.info.can_rewind)
        return True

    def _load(self, sequence: Sequence, placement: Placement) -> int:
        """Fill the slot from disk, if that has enough more than the slots; returns how many tokens it then holds."""
        if self._files is None:
            return 0
        can_trim = self._runner.info.can_rewind
        wanted = sequence.tokens[: sequence.reusable_tokens]
        stored = self._files.find(wanted, _scope_text(sequence.scope), can_trim=can_trim)
        if stored is None or stored.tokens - placement.tokens < LOAD_WORTH_TOKENS:
            return 0
        state = self._files.load(stored)
        if state is None or not self._runner.restore(placement.slot, state):
            return 0
        return self._runner.trim(placement.slot, stored.tokens)


def _scope_text(scope: Scope) -> str:
    return msgspec.json.encode(scope).decode()
