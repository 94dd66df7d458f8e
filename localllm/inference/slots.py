"""What every slot holds, and which one a job gets."""

from array import array

from msgspec import Struct

from localllm.inference.packing import Move, next_move, places
from localllm.inference.prefix_tree import PrefixTree
from localllm.inference.sequence import Scope, Sequence

COPY_WORTH_TOKENS = 64  # fewer shared tokens are cheaper to compute again than to copy
WAIT_WORTH_TOKENS = 8  # or, where another job is just reading them, than to wait for
TAIL_TOKENS = 8  # at the end of a prompt a template may write otherwise in the next turn
KEEP_WORTH_TOKENS = 64  # KV of fewer is read again in no time: its slot is as good as empty


class Shared(Struct, frozen=True):
    """What the slots have in common with a prompt: tokens by slot in KV now, and the most that will be there once
    running jobs have read their own prompts."""

    ready: dict[int, int]
    coming: int

    @property
    def most(self) -> int:
        """Tokens in the slot that has the most of them now."""
        return max(self.ready.values(), default=0)

    @property
    def is_worth_waiting(self) -> bool:
        """Whether to let another job read first, and copy from it then."""
        return self.coming >= COPY_WORTH_TOKENS and self.coming - self.most >= WAIT_WORTH_TOKENS


class Placement(Struct, frozen=True):
    """Use `slot`, whose first `tokens` match; copy them from `source` first, unless that is the slot itself."""

    slot: int
    source: int
    tokens: int


class SlotTable:
    """Which jobs run where, and what the free slots still hold of earlier ones.

    With `can_copy` False KV stays in the slot that made it: nothing is placed, awaited or moved for the sake of another
    slot's. What such a slot holds is then used up to a multiple of `tile_tokens`: a tile of rows that begins elsewhere
    than it did is rounded otherwise.
    """

    def __init__(self, count: int, *, can_copy: bool = True, tile_tokens: int = 1) -> None:
        self._can_copy = can_copy
        self._tile_tokens = tile_tokens
        self._running: list[Sequence | None] = [None] * count
        self._kept = [array("i") for _ in range(count)]  # tokens in KV of slots that are not running
        self._scopes: list[Scope] = [("", ())] * count  # of what is in the slot
        self._trees: dict[Scope, PrefixTree[int]] = {}  # by scope, of whole prompts and kept answers
        self._unsaved: set[int] = set()
        self._asked = [0] * count  # tokens of the last prompt, without its answer
        self._last_use = [0] * count
        self._clock = 0

    @property
    def free_count(self) -> int:
        """Slots that no job runs in."""
        return self._running.count(None)

    def shared(self, sequence: Sequence) -> Shared:
        """What is known of a sequence's tokens.

        A job only counts on what jobs of its own rank or a higher one are going to read.
        """
        ready: dict[int, int] = {}
        coming = 0
        tree = self._trees.get(sequence.scope)
        for match in tree.longest(sequence.tokens) if tree else ():
            tokens = min(match.tokens, sequence.reusable_tokens)
            holder = self._running[match.holder]
            if holder is not None and not self._can_copy:
                continue
            ready[match.holder] = tokens if holder is None else min(tokens, holder.position)
            if holder is not None and (sequence.is_batch or not holder.is_batch):
                coming = max(coming, tokens)
        return Shared(ready, coming)

    def place(self, shared: Shared) -> Placement | None:
        """The best slot for a prompt, or None when all are taken."""
        if not self._can_copy:
            return self._place_apart(shared.ready)
        taken = [slot for slot, sequence in enumerate(self._running) if sequence is not None]
        candidates = places(taken, len(self._running))
        if not candidates:
            return None
        ready = shared.ready
        best = max(candidates, key=lambda slot: (ready.get(slot, 0), -len(self._kept[slot]), -self._last_use[slot]))
        own, most = ready.get(best, 0), shared.most
        if most - own < COPY_WORTH_TOKENS:
            return Placement(best, best, own)
        source = max(ready, key=ready.__getitem__)
        target = min(candidates, key=lambda slot: (len(self._kept[slot]), self._last_use[slot]))
        return Placement(target, source, most)

    def take(self, sequence: Sequence) -> None:
        """Mark the sequence's slot as running; what it is going to read can be counted on by others."""
        slot = sequence.slot
        self._running[slot] = sequence
        self._hold(slot, array("i"), sequence.scope)
        self._tree(sequence.scope).put(slot, sequence.tokens)

    def release(self, sequence: Sequence) -> None:
        """Free the sequence's slot; what is in KV stays for a later prompt."""
        self._running[sequence.slot] = None
        self._hold(sequence.slot, sequence.tokens[: sequence.position], sequence.scope)
        self._asked[sequence.slot] = len(sequence.job.tokens)
        self._clock += 1
        self._last_use[sequence.slot] = self._clock

    def next_move(self) -> Move | None:
        """What to move to make the running slots neighbours again, if they are not."""
        if not self._can_copy:
            return None
        taken = [slot for slot, sequence in enumerate(self._running) if sequence is not None]
        return next_move(taken, len(self._running), lambda slot: len(self._kept[slot]))

    def running(self, slot: int) -> Sequence | None:
        """Who runs there."""
        return self._running[slot]

    def kept(self, slot: int) -> "array[int]":
        """The tokens that a free slot still holds."""
        return self._kept[slot]

    def moved(self, move: Move, *, is_swapped: bool) -> None:
        """The move was made; with `is_swapped` what the target held is now in the source, else nothing is."""
        sequence = self._running[move.source]
        if sequence is None:
            return
        kept, scope = self._kept[move.target], self._scopes[move.target]
        was_unsaved = move.target in self._unsaved
        sequence.slot = move.target
        self._running[move.source] = None
        self._running[move.target] = sequence
        self._hold(move.target, array("i"), sequence.scope)
        self._tree(sequence.scope).put(move.target, sequence.tokens)
        self._hold(move.source, kept if is_swapped else array("i"), scope)
        if not was_unsaved:
            self._unsaved.discard(move.source)

    def emptiest(self) -> int:
        """The free slot that holds the fewest tokens; one must be free."""
        free = [slot for slot, sequence in enumerate(self._running) if sequence is None]
        return min(free, key=lambda slot: len(self._kept[slot]))

    def lost(self, slot: int) -> None:
        """A free slot holds nothing any more."""
        self._hold(slot, array("i"), self._scopes[slot])

    def unsaved(self, least_tokens: int) -> int | None:
        """A free slot that holds at least so many tokens which are nowhere else; the latest used first."""
        wanted = [slot for slot in self._unsaved if len(self._kept[slot]) >= least_tokens]
        return max(wanted, key=self._last_use.__getitem__, default=None)

    def saved(self, slot: int) -> None:
        """What a slot holds is safe elsewhere, or not worth it."""
        self._unsaved.discard(slot)

    def scope(self, slot: int) -> Scope:
        """Whose KV a slot holds."""
        return self._scopes[slot]

    def _place_apart(self, ready: dict[int, int]) -> Placement | None:
        """The best slot where KV cannot be copied: one that the prompt continues, else one that costs nobody much.

        A prompt continues a slot if it begins with the whole prompt that was asked there, or finds more there than it
        drops: a chat comes back to its own, and takes no other's for the sake of the same system prompt. All others
        spare the chats as long as they can: first a used slot with hardly anything in it, because a slot's first use
        costs a load and its memory; then one never used; then the one not used for longest, among those that share
        about as much with the prompt.
        """
        free = [slot for slot, sequence in enumerate(self._running) if sequence is None]
        if not free:
            return None

        def cost(slot: int) -> tuple[int, ...]:
            own, held, used = ready.get(slot, 0), len(self._kept[slot]), self._last_use[slot]
            if own and (own >= self._asked[slot] - TAIL_TOKENS or own > held - own):
                return 0, -own, held, used
            if used and held < KEEP_WORTH_TOKENS:
                return 1, held, used
            if not used:
                return 2, slot
            return 3, -(own // COPY_WORTH_TOKENS), used

        best = min(free, key=cost)
        own = ready.get(best, 0)
        return Placement(best, best, own - own % self._tile_tokens)

    def _hold(self, slot: int, kept: "array[int]", scope: Scope) -> None:
        if self._scopes[slot] != scope:
            self._forget(slot)
        self._scopes[slot] = scope
        self._kept[slot] = kept
        if kept:
            self._tree(scope).put(slot, kept)
            self._unsaved.add(slot)
        else:
            self._forget(slot)

    def _forget(self, slot: int) -> None:
        self._unsaved.discard(slot)
        tree = self._trees.get(self._scopes[slot])
        if tree is not None:
            tree.drop(slot)
            if not len(tree):
                del self._trees[self._scopes[slot]]

    def _tree(self, scope: Scope) -> PrefixTree[int]:
        return self._trees.setdefault(scope, PrefixTree())
