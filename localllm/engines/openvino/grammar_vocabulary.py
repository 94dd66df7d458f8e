"""A model's vocabulary in the form in which OpenVINO compiles grammars for it: a detokenizer, and nothing else.

OpenVINO takes the texts of tokens from the constants of the detokenizer beside a model (its VocabDecoder). This one has
those that this project's tokenizer gives, so that both mean the same by a token; control tokens have none, so that no
grammar lets them into an answer. What OpenVINO itself makes of a GGUF's vocabulary takes seconds, is of byte pairs
only, and has control tokens by their names.
"""

from pathlib import Path

import numpy as np
import openvino as ov
import openvino_genai as genai
from openvino import Node
from openvino import opset13 as op
from openvino_tokenizers import _get_factory

from localllm.engines.base import Tokenizer
from localllm.engines.openvino.folder import DETOKENIZER


def grammar_tokenizer(tokenizer: Tokenizer, folder: Path) -> genai.Tokenizer:
    """OpenVINO's tokenizer object, good for grammars alone; it is written to `folder` on its way. Raises RuntimeError
    of OpenVINO's."""
    pieces = [tokenizer.piece(token) for token in range(tokenizer.vocab_size)]
    ov.serialize(_detokenizer(pieces), str(folder / DETOKENIZER))
    return genai.Tokenizer(str(folder))


def _detokenizer(pieces: list[bytes]) -> ov.Model:
    """Token ids int64 [batch, tokens] to texts [batch]."""
    make = _get_factory().create
    tokens = op.parameter([-1, -1], np.int64, name="input_ids")
    ends = np.cumsum([len(piece) for piece in pieces], dtype=np.int32)
    begins = np.concatenate([np.zeros(1, np.int32), ends[:-1]])
    letters = np.frombuffer(b"".join(pieces) or b" ", np.uint8)
    texts: list[Node] = [op.constant(begins), op.constant(ends), op.constant(letters)]
    decoded = make("VocabDecoder", [op.convert(tokens, "i32").output(0), *(text.output(0) for text in texts)])
    decoded.set_friendly_name("VocabDecoder")
    whole = make("FuzeRagged", [decoded.output(place) for place in range(4)])
    packed = make("StringTensorPack", [whole.output(0), whole.output(1), decoded.output(4)])
    return ov.Model([op.result(packed.output(0))], [tokens], "detokenizer")
