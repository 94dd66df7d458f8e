"""What a chat template can do, told from the names in it. It is parsed, never run."""

import re
from collections.abc import Iterable, Iterator

from jinja2 import TemplateError, nodes
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from msgspec import Struct

MAX_PARSED_CHARS = 2**18  # ten times the longest in use
_TOOL_NAMES = {"tools", "tool_calls", "custom_tools"}
_REASONING_NAMES = {"enable_thinking", "reasoning_content", "reasoning_effort", "thinking", "thinking_budget"}
_VISION_NAMES = {"image", "images", "image_url", "input_image"}
_REASONING_MARKS = re.compile(r"</?(?:seed:)?think(?:ing)?>|\[/?THINK\]|<\|channel\|?>", re.IGNORECASE)
_VISION_MARKS = re.compile(
    r"<\|?(?:image|image_pad|image_start|vision_start|start_of_image|img)\|?>|\[IMG\]", re.IGNORECASE
)
_WORD = re.compile(r"\w+")
_COMMENT = re.compile(r"\{#.*?#\}", re.DOTALL)


class Features(Struct, frozen=True, kw_only=True):
    """What the template knows how to write into a prompt."""

    tools: bool = False
    reasoning: bool = False
    vision: bool = False


def template_features(template: str) -> Features:
    """The features of a Jinja2 chat template. Where it does not parse, its bare words decide; raises nothing."""
    try:
        names, texts = _read(template)
    except (TemplateError, ArithmeticError, RecursionError, SyntaxError, ValueError):
        bare = _COMMENT.sub("", template)  # ValueError: a number of 5000 digits
        names, texts = set(_WORD.findall(bare)), [bare]
    return Features(
        tools=not names.isdisjoint(_TOOL_NAMES),
        reasoning=not names.isdisjoint(_REASONING_NAMES) or _any_match(_REASONING_MARKS, texts),
        vision=not names.isdisjoint(_VISION_NAMES) or _any_match(_VISION_MARKS, texts),
    )


def _read(template: str) -> tuple[set[str], list[str]]:
    """The names that a template asks for (variables, attributes, keys and strings it compares), and its texts."""
    if len(template) > MAX_PARSED_CHARS:
        raise ValueError("too long to parse")
    tree = ImmutableSandboxedEnvironment(extensions=[loopcontrols]).parse(template)
    texts = [data.data for data in tree.find_all(nodes.TemplateData)]
    strings = [const.value for const in tree.find_all(nodes.Const) if isinstance(const.value, str)]
    return {*_names(tree), *strings}, texts + strings


def _names(tree: nodes.Template) -> Iterator[str]:
    for name in tree.find_all(nodes.Name):
        if name.ctx == "load":
            yield name.name
    for attribute in tree.find_all(nodes.Getattr):
        yield attribute.attr


def _any_match(pattern: re.Pattern[str], texts: Iterable[str]) -> bool:
    return any(pattern.search(text) for text in texts)
