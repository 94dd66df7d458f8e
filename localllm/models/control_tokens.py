"""Control tokens known by their text, as llama.cpp knows them (src/llama-vocab.cpp, `llama_vocab::impl::load`).

Files do not always say what a token is for. Where an answer ends is told by these names beside what the files say.
"""

import re
from collections.abc import Container

_TURN_ENDS = frozenset(
    {
        "<|eot_id|>",
        "<|eom_id|>",
        "<|im_end|>",
        "<|end|>",
        "<|return|>",
        "<|call|>",
        "<|calls|>",
        "<|flush|>",
        "<end_of_turn>",
        "<turn|>",
        "<|tool_response>",
        "<|endoftext|>",
        "<|end_of_text|>",
        "<end_of_utterance>",
        "<｜end▁of▁sentence｜>",
        "</s>",
        "<eos>",
        "<EOT>",
        "_<EOT>",
        "[EOT]",
        "[EOS]",
        "[e~[",
    }
)
# Of models that fill in what is missing inside a text: what comes before another file ends one, and so does padding.
_FILE_ENDS = frozenset(
    {
        *("<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"),
        *("<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"),
        "<|file_sep|>",
    }
)
_INFILL = frozenset(
    {
        *("<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<｜fim▁begin｜>", "<PRE>", "▁<PRE>"),
        *("<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<｜fim▁hole｜>", "<SUF>", "▁<SUF>"),
        *("<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<｜fim▁end｜>", "<MID>", "▁<MID>"),
        *("<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>", "<|prefix|>", "<|suffix|>", "<|middle|>"),
    }
)
# gpt-oss writes the parts of an answer between these, and whoever reads it wants to see them.
_SHOWN = frozenset({"<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"})
# In models that have one of each, an answer has several messages: it goes on behind the end of one.
_MESSAGE_END, _CALLS, _ANSWER_ENDS = "<|end|>", ("<|call|>", "<|calls|>"), ("<|return|>", "<|flush|>")
_STRIKETHROUGH = "</s>"  # in HTML; a plain token of Gemma 4 and PLaMo

# What llama.cpp's converter takes for control tokens (conversion/base.py, `does_token_look_special`).
_SPECIAL_TEXTS = frozenset({"<pad>", "<mask>", "<2mass>", "[@BOS@]"})
_SPECIAL_FORMS = re.compile(r"<\|.*\|>|<｜.*｜>|<unused.*>", re.DOTALL)


def looks_special(text: str) -> bool:
    """Whether a token is a control token by the look of it, though its checkpoint lists it as plain."""
    return text in _SPECIAL_TEXTS or _SPECIAL_FORMS.fullmatch(text) is not None


def ends_among(texts: Container[str]) -> frozenset[str]:
    """Those tokens of a vocabulary that end an answer."""
    found = frozenset(text for text in _TURN_ENDS | _FILE_ENDS if text in texts)
    return found - shown_among(texts) - plain_among(texts)


def control_among(texts: Container[str]) -> frozenset[str]:
    """Those that are control tokens, whatever the file says."""
    return ends_among(texts) | frozenset(text for text in _INFILL if text in texts)


def shown_among(texts: Container[str]) -> frozenset[str]:
    """Those that are part of the text of an answer, though the file may say that they are control tokens."""
    goes_on = any(text in texts for text in _CALLS) and any(text in texts for text in _ANSWER_ENDS)
    found = {text for text in _SHOWN if text in texts}
    return frozenset(found | {_MESSAGE_END} if goes_on and _MESSAGE_END in texts else found)


def plain_among(texts: Container[str]) -> frozenset[str]:
    """Those that are words like others, though elsewhere their text is that of a control token."""
    is_plain = _STRIKETHROUGH in texts and ("<|tool_response>" in texts or "<|plamo:eos|>" in texts)
    return frozenset({_STRIKETHROUGH} if is_plain else ())
