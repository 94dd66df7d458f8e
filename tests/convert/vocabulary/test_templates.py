"""Chat templates, from wherever a checkpoint has them."""

import json
from pathlib import Path

import gguf
import pytest

from tests.convert.vocabulary.byte_pair_files import Json, byte_pair_json, size_of, write_files
from tests.convert.vocabulary.tokenizers_at_work import read_folder, tokenizing, write_model

GPT_2: Json = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
SEVERAL = [{"name": "default", "template": "main"}, {"name": "tool use", "template": "tools"}]


@pytest.mark.parametrize(
    ("settings", "others", "expected"),
    [
        ({}, {}, (None, {})),
        ({"chat_template": "config"}, {}, ("config", {})),
        ({"chat_template": SEVERAL}, {}, ("main", {"tool use": "tools"})),
        ({"chat_template": SEVERAL[1:]}, {}, (None, {"tool use": "tools"})),
        ({"chat_template": "config"}, {"chat_template.jinja": "jinja é"}, ("jinja é", {})),
        ({"chat_template": SEVERAL}, {"chat_template.jinja": "jinja"}, ("jinja", {"tool use": "tools"})),
        ({"chat_template": "config"}, {"chat_template.json": '{"chat_template": "json"}'}, ("config", {})),
        ({}, {"chat_template.json": '{"chat_template": "json"}'}, ("json", {})),
        ({}, {"chat_template.json": json.dumps({"chat_template": SEVERAL})}, ("main", {"tool use": "tools"})),
        ({"chat_template": ""}, {}, (None, {})),
    ],
)
def test_the_template_is_the_one_that_transformers_takes(
    settings: Json, others: dict[str, str], expected: tuple[str | None, dict[str, str]], tmp_path: Path
) -> None:
    document = byte_pair_json(pre_tokenizer=GPT_2)
    files = write_files(tmp_path, document, **settings)
    for name, text in others.items():
        (files / name).write_text(text, "utf-8")
    vocabulary = read_folder(files, size_of(document))
    assert (vocabulary.chat_template, vocabulary.chat_templates) == expected


def test_the_file_has_all_of_them(tmp_path: Path) -> None:
    document = byte_pair_json(pre_tokenizer=GPT_2)
    vocabulary = read_folder(write_files(tmp_path / "files", document, chat_template=SEVERAL), size_of(document))
    reader = gguf.GGUFReader(write_model(vocabulary, tmp_path / "model.gguf"))
    assert reader.fields["tokenizer.chat_template"].contents() == "main"
    assert reader.fields["tokenizer.chat_templates"].contents() == ["tool_use"]
    assert reader.fields["tokenizer.chat_template.tool_use"].contents() == "tools"
    with tokenizing(vocabulary, tmp_path) as ours:
        assert ours.chat_template == "main"
