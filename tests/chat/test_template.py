"""Chat templates, rendered as Hugging Face renders them, and unable to do anything else."""

import pytest

from localllm.chat.template import ChatTemplate
from localllm.errors import TemplateError
from localllm.types import Message

CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are helpful.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
HI = [Message("user", "hi")]


def test_a_chat_without_a_system_prompt_gets_the_templates_own() -> None:
    assert ChatTemplate(CHATML).render(HI) == (
        "<|im_start|>system\nYou are helpful.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    )


def test_turns_keep_their_order_and_text() -> None:
    turns = [
        Message("system", "Be brief."),
        Message("user", " {{ x }} "),
        Message("assistant", "é"),
        Message("user", ""),
    ]
    assert ChatTemplate(CHATML).render(turns) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n {{ x }} <|im_end|>\n"
        "<|im_start|>assistant\né<|im_end|>\n<|im_start|>user\n<|im_end|>\n<|im_start|>assistant\n"
    )


def test_blocks_leave_no_blank_lines() -> None:
    template = "{% for m in messages %}\n    {% if true %}\n[{{ m.content }}]\n    {% endif %}\n{% endfor %}\n"
    assert ChatTemplate(template).render([*HI, *HI]) == "[hi]\n[hi]\n"


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ bos_token }}|{{ eos_token }}", "<s>|</s>"),
        ("{{ {'a': '<é>'} | tojson }}", '{"a": "<é>"}'),
        ("{% for m in [1, 2, 3] %}{% if m == 2 %}{% break %}{% endif %}{{ m }}{% endfor %}", "1"),
        ("{{ strftime_now('%Y') | length }}", "4"),
        ("{{ messages[0].name is defined }}", "False"),
        ("{{ tools is defined }}{{ messages[0]['role'] }}", "Falseuser"),
    ],
)
def test_what_templates_may_rely_on(template: str, text: str) -> None:
    assert ChatTemplate(template, bos="<s>", eos="</s>").render(HI) == text


def test_a_refusal_comes_in_the_templates_words() -> None:
    with pytest.raises(TemplateError, match="roles must alternate") as refused:
        ChatTemplate("{{ raise_exception('roles must alternate') }}").render(HI)
    assert refused.value.param == "messages"


@pytest.mark.parametrize("template", ["{% if %}", "{% for x in y %}", "{{", "{% unknown %}"])
def test_a_broken_template_is_an_error_of_the_model(template: str) -> None:
    with pytest.raises(TemplateError, match="chat template is broken"):
        ChatTemplate(template)


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update({'role': 'system'}) }}",
        "{{ raise_exception.__globals__['json'] }}",
        "{{ 1 / 0 }}",
        "{{ messages[7].content.x.y }}",
        "{{ range(10**9) | list }}",
    ],
)
def test_a_template_cannot_reach_out_or_bring_the_process_down(template: str) -> None:
    with pytest.raises(TemplateError):
        ChatTemplate(template).render(HI)
