"""A smaller model of the same vocabulary that guesses ahead (Leviathan et al. 2023, "Fast Inference from
Transformers via Speculative Decoding"), greedily."""

from array import array

from localllm.engines.base import Batch, Runner, Tokenizer
from localllm.errors import LoadFailed
from localllm.inference.prefix_tree import common_prefix
from localllm.inference.sequence import Sequence


class DraftModel:
    """A Drafter over a runner with as many slots as the model it helps."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._batch = Batch(runner.info.batch_tokens)
        self._held = [array("i") for _ in range(runner.info.slots)]

    def propose(self, sequence: Sequence, most: int) -> list[int]:
        """Up to `most` tokens; fewer at the end of the draft model's context."""
        slot = sequence.slot
        most = min(most, self._runner.info.context_tokens - len(sequence.tokens))
        if most < 1:
            return []
        known = min(common_prefix(self._held[slot], sequence.tokens), len(sequence.tokens) - 1)
        known = self._runner.trim(slot, known)
        held = self._held[slot] = sequence.tokens[:known]
        pending = sequence.tokens[known:]
        draft: list[int] = []
        while len(draft) < most:
            token = self._next(slot, held, pending)
            if token in self._runner.tokenizer.end_tokens:
                break
            draft.append(token)
            pending = array("i", [token])
        return draft

    def _next(self, slot: int, held: "array[int]", pending: "array[int]") -> int:
        """Read `pending` into KV and `held`; the likeliest token after it."""
        while True:
            piece = pending[: self._batch.capacity]
            pending = pending[len(piece) :]
            self._batch.clear()
            self._batch.add(slot, len(held), piece, logits=0 if pending else 1)
            logits = self._runner.decode(self._batch)
            held.extend(piece)
            if not pending:
                return int(logits[0].argmax())

    def close(self) -> None:
        """Free the draft model."""
        self._runner.close()


def check_vocabularies(model: Tokenizer, draft: Tokenizer) -> None:
    """Raises LoadFailed unless both give every token id the same meaning."""
    if model.vocab_size == draft.vocab_size and model.end_tokens == draft.end_tokens:
        differing = next((t for t in range(model.vocab_size) if model.piece(t) != draft.piece(t)), None)
        if differing is None:
            return
        where = f"token {differing} is {model.piece(differing)!r} in one and {draft.piece(differing)!r} in the other"
    else:
        where = f"they have {model.vocab_size} and {draft.vocab_size} tokens, or end answers with different ones"
    raise LoadFailed(f"the draft model's vocabulary is not the model's: {where}; choose a draft of the same family")
