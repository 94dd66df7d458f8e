"""Small tokenizers of sentencepiece, and the tokenizer.json that transformers makes of such."""

import io
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as proto

from tests.convert.vocabulary.byte_pair_files import Json, added_token
from tests.convert.vocabulary.texts import MARKS, TEXTS

SPACE = "▁"
USER_DEFINED = ("<tool>", SPACE * 3, "\n\n", "<table>")
UNKNOWN, BEGIN, END = "<unk>", "<s>", "</s>"


@cache
def trained(user_defined: Sequence[str] = (), **options: object) -> bytes:
    """A tokenizer.model of byte pairs that merges across words, digits and scripts."""
    written = io.BytesIO()
    choices: dict[str, object] = {
        "model_type": "bpe",
        "vocab_size": 700,
        "byte_fallback": True,
        "character_coverage": 0.98,
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
        "add_dummy_prefix": True,
        "split_by_whitespace": False,
        "split_by_number": False,
        "split_by_unicode_script": False,
        "max_sentencepiece_length": 6,
        "num_threads": 1,
        "minloglevel": 2,
        "user_defined_symbols": list(user_defined),
    }
    sentences = [line for text in (*TEXTS, *MARKS) for line in text.splitlines() if line.strip()] * 2
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_writer=written,
        **(choices | options),  # type: ignore[arg-type]
    )
    return written.getvalue()


def ranked_json(model: bytes, normalizer: Json | None, pre_tokenizer: Json | None, *, special: Sequence[str]) -> Json:
    """Its tokenizer.json, with merges as transformers' generate_merges finds and ranks them."""
    pieces = proto.ModelProto.FromString(model).pieces
    vocab = {piece.piece: place for place, piece in enumerate(pieces)}
    plain = [piece for piece in pieces if piece.type == piece.NORMAL]
    merges: list[tuple[str, str]] = []
    for piece in sorted(plain, key=lambda piece: -piece.score):
        text = piece.piece
        cuts = [(text[:cut], text[cut:]) for cut in range(1, len(text))]
        local = [(left, right) for left, right in cuts if left in vocab and right in vocab]
        merges += sorted(local, key=lambda pair: (vocab[pair[0]], vocab[pair[1]]))
    user_defined = [piece.piece for piece in pieces if piece.type == piece.USER_DEFINED]
    return {
        "added_tokens": [added_token(vocab[text], text, special=True) for text in special]
        + [added_token(vocab[text], text, special=False) for text in user_defined],
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "model": {
            "type": "BPE",
            "unk_token": UNKNOWN,
            "fuse_unk": True,
            "byte_fallback": True,
            "vocab": vocab,
            "merges": merges,
        },
    }


def write_model(folder: Path, model: bytes, **documents: object) -> Path:
    """tokenizer.model and JSON files by their names without the suffix."""
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.model").write_bytes(model)
    for name, document in documents.items():
        (folder / f"{name}.json").write_text(json.dumps(document), "utf-8")
    return folder
