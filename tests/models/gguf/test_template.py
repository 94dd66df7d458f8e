"""What templates can do, told from the ways in which real ones are written."""

import random

import pytest

from localllm.models.gguf.template import MAX_PARSED_CHARS, Features, template_features
from tests.tiny import TEMPLATE

NONE = Features()
TOOLS = Features(tools=True)
REASONING = Features(reasoning=True)
VISION = Features(vision=True)


@pytest.mark.parametrize(
    ("template", "features"),
    [
        pytest.param("", NONE, id="empty"),
        pytest.param(TEMPLATE, NONE, id="plain"),
        pytest.param("Tools and an image, thinking of tool_calls.", NONE, id="words in a text"),
        pytest.param("{# tools <think> image #}{{ messages }}", NONE, id="comment"),
        pytest.param("{%- if tools %}{{ tools | tojson }}{% endif %}", TOOLS, id="tools"),
        pytest.param("{% if tools is defined and tools is not none %}{% endif %}", TOOLS, id="tools is defined"),
        pytest.param("{% for tool in tools %}{% break %}{% endfor %}", TOOLS, id="loop controls"),
        pytest.param("{% if custom_tools %}{% set tools = custom_tools %}{% endif %}", TOOLS, id="llama 3.1"),
        pytest.param("{% if message.tool_calls %}{% endif %}", TOOLS, id="attribute"),
        pytest.param("{% if message['tool_calls'] %}{% endif %}", TOOLS, id="key"),
        pytest.param("{% if 'tool_calls' in message %}{% endif %}", TOOLS, id="test for a key"),
        pytest.param("{% if enable_thinking is false %}<x>{% endif %}", REASONING, id="qwen3"),
        pytest.param("{{ message.content.split('</think>')[-1] }}", REASONING, id="deepseek r1"),
        pytest.param("assistant\n<think>\n", REASONING, id="text"),
        pytest.param("{{ '[THINK]' }}", REASONING, id="magistral"),
        pytest.param("{{ '<|channel|>analysis' }}", REASONING, id="gpt-oss"),
        pytest.param("{{ message.reasoning_content }}", REASONING, id="reasoning_content"),
        pytest.param("{% if content.type == 'image' %}{% endif %}", VISION, id="image part"),
        pytest.param("{% if 'image_url' in item %}{% endif %}", VISION, id="image_url"),
        pytest.param("{{ '<|vision_start|><|image_pad|><|vision_end|>' }}", VISION, id="qwen2-vl"),
        pytest.param("{{ '<start_of_image>' }}", VISION, id="gemma3"),
        pytest.param("<image>", VISION, id="llava"),
        pytest.param("{% if tools %}<think>{{ images }}{% endif %}", Features(tools=True, reasoning=True, vision=True)),
        pytest.param("{% generation %}{{ tools }}{% endgeneration %}", TOOLS, id="tag of trainers: words decide"),
        pytest.param("{% if tools", TOOLS, id="broken: words decide"),
        pytest.param("{% if tools_of_mine", NONE, id="broken: whole words"),
        pytest.param("{# tools #}{% if <think>", REASONING, id="broken: without comments"),
        pytest.param("{{ tools | no_such_filter }}", TOOLS, id="unknown filter"),
        pytest.param("{{ tools + " + "9" * 5000 + " }}", TOOLS, id="a number of 5000 digits"),
        pytest.param("{{ tools + " + "(" * 5000 + "1" + ")" * 5000 + " }}", TOOLS, id="5000 parentheses"),
        pytest.param("{{ tools }}" + "{% if a %}" * 2000 + "{% endif %}" * 2000, TOOLS, id="2000 ifs"),
        pytest.param("{{ tools }}" + " " * MAX_PARSED_CHARS, TOOLS, id="too long to parse"),
        pytest.param("{{ '\\N{nothing}' ~ tools }}", TOOLS, id="unknown character"),
    ],
)
def test_features_are_told_from_names(template: str, features: Features) -> None:
    assert template_features(template) == features


def test_a_template_is_not_run() -> None:
    endless = "{% for a in range(10**9) %}{% for b in range(10**9) %}{{ tools }}{% endfor %}{% endfor %}"
    assert template_features(endless + "{{ 9 ** 9 ** 9 ** 9 }}") == TOOLS


def test_shuffled_templates_raise_nothing() -> None:
    pieces = ["{%", "%}", "{{", "}}", "{#", "#}", " if ", " for ", " in ", "'", "(", "[", "tools", "1e999", "\\x", "|"]
    source = random.Random(0)
    found = [template_features("".join(source.choices(pieces, k=source.randrange(40)))) for _ in range(2000)]
    assert {feature.tools for feature in found} == {True, False}
