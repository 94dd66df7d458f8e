"""How text is cut before byte pairs are merged: from the steps of a tokenizer.json to the name llama.cpp knows.

`tokenizer.ggml.pre` stands for regular expressions inside llama.cpp (src/llama-vocab.cpp, llm_tokenizer_bpe). A wrong
name loads and answers, only worse, so a name is given for the very steps that the tests found to cut alike, and all
others are refused. One name stands for several where llama.cpp does the same for them: `smollm` also for starcoder,
refact and command-r; `dbrx` also for smaug-bpe; `gpt-2` also for olmo and phi-2.

Where llama.cpp is known to differ from the library `tokenizers`, and converters accept it:
- It does not compose letters (NFC), so text in decomposed form becomes other ids.
- For gpt-4o and tekken it takes letters beyond ASCII for both upper and lower case, and combining marks for none.
- For deepseek-coder it does not cut at spaces beyond ASCII, such as U+3000.
"""

import json
from collections.abc import Callable

from msgspec import Struct

from localllm.convert.vocabulary.tokenizer_json import NAME, Step, flat
from localllm.errors import LoadFailed

_ENGLISH = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_PREFIX = r"[^\r\n\p{L}\p{N}]?"

_LLAMA_3 = rf"{_ENGLISH}|{_PREFIX}\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_SPACES}"
_QWEN_2 = rf"{_ENGLISH}|{_PREFIX}\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_SPACES}"
_QWEN_3_5 = rf"{_ENGLISH}|{_PREFIX}[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_SPACES}"
_GPT_4O = (
    rf"{_PREFIX}{_UPPER}*{_LOWER}+{_ENGLISH}?|{_PREFIX}{_UPPER}+{_LOWER}*{_ENGLISH}?"
    rf"|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}"
)
_TEKKEN = rf"{_PREFIX}{_UPPER}*{_LOWER}+|{_PREFIX}{_UPPER}+{_LOWER}*|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}"
_SEED_CODER = rf"{_ENGLISH}|{_PREFIX}\p{{L}}+|\p{{N}}{{1}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{_SPACES}"
_WHOLE = frozenset({_LLAMA_3, _QWEN_2, _QWEN_3_5, _GPT_4O, _TEKKEN, _SEED_CODER})  # no character goes unmatched
_DEEPSEEK_3 = (
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
    r"""| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
)
_HAN_HANGUL = "[一-龥ࠀ-一가-퟿]+"  # as DeepSeek wrote it


def _split(pattern: str) -> str:
    return _form({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False})


def _form(step: Step) -> str:
    return json.dumps(step, sort_keys=True, ensure_ascii=False)


_BYTES = _form({"type": "ByteLevel", "add_prefix_space": False, "use_regex": False})
_GPT_2 = _form({"type": "ByteLevel", "add_prefix_space": False, "use_regex": True})
_DIGITS = _form({"type": "Digits", "individual_digits": True})


class Cut(Struct, frozen=True, kw_only=True):
    """The steps that a name of llama.cpp stands for."""

    name: str
    steps: tuple[str, ...]
    ignores_merges: bool = False  # a word that is a token stays whole, whatever the merges make of it
    seen_in: str  # a tokenizer.json with these steps; or where their expression is quoted from one


KNOWN = (
    Cut(name="gpt-2", steps=(_GPT_2,), seen_in="GPT-2"),
    Cut(name="smollm", steps=(_DIGITS, _GPT_2), seen_in="SmolLM2, Refact"),
    Cut(name="llama-bpe", steps=(_split(_LLAMA_3), _BYTES), ignores_merges=True, seen_in="Llama 3, Llama 3.1"),
    Cut(name="dbrx", steps=(_split(_LLAMA_3), _BYTES), seen_in="llama-vocab.cpp, for DBRX (cl100k)"),
    Cut(name="qwen2", steps=(_split(_QWEN_2), _BYTES), seen_in="Qwen 2, Qwen 3"),
    Cut(name="qwen35", steps=(_split(_QWEN_3_5), _BYTES), seen_in="llama-vocab.cpp, for Qwen 3.5"),
    Cut(name="gpt-4o", steps=(_split(_GPT_4O), _BYTES), seen_in="GPT-4o, gpt-oss (o200k)"),
    Cut(
        name="tekken", steps=(_split(_TEKKEN), _BYTES), ignores_merges=True, seen_in="llama-vocab.cpp, for Mistral Nemo"
    ),
    Cut(name="seed-coder", steps=(_split(_SEED_CODER), _BYTES), seen_in="llama-vocab.cpp, for Seed-Coder"),
    Cut(
        name="deepseek-coder",
        steps=(
            _split(r"[\r\n]"),
            _split(r"\s?\p{L}+"),
            _split(r"\s?\p{P}+"),
            _split(_HAN_HANGUL),
            _DIGITS,
            _BYTES,
        ),
        seen_in="DeepSeek-Coder 6.7B",
    ),
    Cut(
        name="deepseek-v3",
        steps=(_split(r"\p{N}{1,3}"), _split("[一-龥぀-ゟ゠-ヿ]+"), _split(_DEEPSEEK_3), _BYTES),
        seen_in="DeepSeek V3",
    ),
)


def pre_tokenizer_name(pre_tokenizer: Step | None, *, ignore_merges: bool, merges_reach_all: Callable[[], bool]) -> str:
    """The name for these steps.

    `ignore_merges` is the model's flag of that name. llama.cpp has it inside the name; a name with the other choice
    does only if it makes no difference, that is, if `merges_reach_all`: merging makes every token from its letters.
    Raises LoadFailed for steps that no name stands for.
    """
    steps = tuple(_canonical(step) for step in flat(pre_tokenizer, inner="pretokenizers"))
    alike = [cut for cut in KNOWN if cut.steps == steps]
    if not alike:
        cuts = " | ".join(steps)[:600] or "nothing"
        raise LoadFailed(f"{NAME}: pre_tokenizer cuts text in a way that llama.cpp is not known to do: {cuts}")
    for cut in alike:
        if cut.ignores_merges == ignore_merges:
            return cut.name
    if not merges_reach_all():
        raise LoadFailed(
            f"{NAME}: model.ignore_merges is {str(ignore_merges).lower()}, and llama.cpp does otherwise for "
            f"{alike[0].name}, which would change the ids"
        )
    return alike[0].name


def check_normalizer(normalizer: Step | None) -> None:
    """Raise LoadFailed if the text is changed before it is cut, in a way that llama.cpp does not."""
    for step in flat(normalizer, inner="normalizers"):
        if step.get("type") != "NFC":
            raise LoadFailed(f"{NAME}: normalizer is {_form(step)[:200]}, which llama.cpp does not do for byte pairs")


def _canonical(step: Step) -> str:
    """A step as text: what makes no difference is left out, what is left to default is filled in."""
    kept = {key: value for key, value in step.items() if key != "trim_offsets"}
    if step.get("type") == "ByteLevel":
        kept = {"add_prefix_space": True, "use_regex": True, **kept}
    pattern = step.get("pattern")
    if step.get("type") == "Split" and isinstance(pattern, dict) and isinstance(pattern.get("Regex"), str):
        regex = pattern["Regex"].replace("\r", r"\r").replace("\n", r"\n")
        kept["pattern"] = {"Regex": regex}
        if regex in _WHOLE and (step.get("behavior"), step.get("invert")) == ("Removed", True):
            kept |= {"behavior": "Isolated", "invert": False}  # removing what does not match removes nothing
    return _form(kept)
