"""Recipes, sources and tools: what is refused, and how two sets of tools differ in words."""

import importlib.metadata
from collections.abc import Callable

import msgspec
import pytest

from localllm.errors import InvalidRequest
from localllm.quantize.provenance.recipe import (
    Program,
    Recipe,
    Tools,
    check_names,
    check_recipe,
    differences,
    features_of,
    tools_here,
    with_exporter,
)
from localllm.quantize.steps import TypeOverride
from tests.quantize.examples import MADE, PROGRAM

Change = Callable[[Recipe], Recipe]


def test_a_recipe_crosses_json_unchanged() -> None:
    assert msgspec.json.decode(msgspec.json.encode(MADE.recipe), type=Recipe) == MADE.recipe


@pytest.mark.parametrize("key", ["recipe", "source", "tools", "outcome"])
def test_unknown_fields_are_refused(key: str) -> None:
    part = getattr(MADE, key)
    values = msgspec.to_builtins(part) | {"later": 1}
    with pytest.raises(msgspec.ValidationError, match="later"):
        msgspec.convert(values, type(part))


def test_a_good_recipe_passes() -> None:
    check_recipe(MADE.recipe)
    check_recipe(Recipe(type="IQ4_NL"))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"type": "Q4_K_XXL"}, "type"),
        ({"type": "q4_k_m"}, "type"),
        ({"type": ""}, "type"),
        ({"converted_type": "Q8_0"}, "converted_type"),
        ({"output_type": "Q4_K_M"}, "output_type"),  # of files, not of tensors
        ({"embedding_type": "\x1b[2J"}, "embedding_type"),
        ({"overrides": (TypeOverride("ffn", "Q4_K_M"),)}, "overrides"),
        ({"overrides": (TypeOverride("", "Q8_0"),)}, "overrides"),
        ({"overrides": (TypeOverride("a" * 1001, "Q8_0"),)}, "overrides"),
        ({"overrides": (TypeOverride("a", "Q8_0"),) * 1001}, "overrides"),
    ],
)
def test_what_is_wrong_with_a_recipe_is_named(changes: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_recipe(msgspec.structs.replace(MADE.recipe, **changes))
    assert caught.value.param == field
    assert len(caught.value.message) < 200
    assert caught.value.message.isprintable()


def test_a_good_recipe_of_a_program_passes() -> None:
    check_recipe(PROGRAM.recipe)
    assert msgspec.json.decode(msgspec.json.encode(PROGRAM.recipe), type=Recipe) == PROGRAM.recipe


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"type": "Q4_K_M"}, "type"),
        ({"format": "gguf"}, "type"),
        ({"format": "gguf", "type": "Q4_K_M"}, "program"),
        ({"program": None}, "program"),
        ({"program": Program(delegate="cuda", context_tokens=1)}, "program"),
    ],
)
def test_a_program_and_its_format_belong_together(changes: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_recipe(msgspec.structs.replace(PROGRAM.recipe, **changes))
    assert caught.value.param == field


def test_what_programs_are_made_with_is_told_of_them_alone() -> None:
    tools = tools_here(llama_cpp="0c1e57098", features=[])
    assert (tools.executorch, tools.torch, tools.torchao) == ("", "", "")
    exporting = with_exporter(tools)
    assert exporting.executorch != ""
    later = msgspec.structs.replace(exporting, executorch="1.6.0", torch="2.14.0")
    assert [line.partition(":")[0] for line in differences(exporting, later)] == ["ExecuTorch", "PyTorch"]


@pytest.mark.parametrize("name", ["model.gguf", "a b.gguf", "folder/model.safetensors", "größe.gguf", "..gguf", "a..b"])
def test_names_inside_a_folder_pass(name: str) -> None:
    check_names([name])


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../a", "/etc/passwd", "a/../../b", "a//b", "a/", "..\\a", "\\\\host\\a", "C:\\a", "c:a"]
)
def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_names(["good.gguf", name])
    assert caught.value.param == "files"


def test_these_tools_are_the_installed_ones() -> None:
    tools = tools_here(llama_cpp="0c1e57098", features=["FMA", "AVX2"])
    assert tools.numpy == importlib.metadata.version("numpy")
    assert tools.gguf == importlib.metadata.version("gguf")
    assert tools.llama_cpp_python == importlib.metadata.version("llama-cpp-python")
    assert tools.features == ("AVX2", "FMA")
    assert tools.machine


def test_features_are_those_that_are_on() -> None:
    words = "CPU : SSE3 = 1 | AVX2 = 1 | AVX512 = 0 | AMX_INT8 = 0 | SVE_CNT = 16 | "
    assert features_of(words) == ("AVX2", "SSE3", "SVE_CNT")
    assert features_of("") == ()


def test_the_same_tools_do_not_differ() -> None:
    assert differences(MADE.tools, MADE.tools) == []
    other_order = msgspec.structs.replace(MADE.tools, features=("FMA", "AVX2"))
    assert differences(MADE.tools, other_order) == []


def test_differences_say_what_was_and_what_is() -> None:
    now = msgspec.structs.replace(
        MADE.tools, llama_cpp="fffffffff", numpy="2.5.0", machine="", features=("AVX2", "AVX512", "VNNI")
    )
    assert differences(MADE.tools, now) == [
        "llama.cpp: 0c1e57098 then, fffffffff now",
        "numpy: 2.4.6 then, 2.5.0 now",
        "processor architecture: x86_64 then, unknown now",
        "processor features: now without FMA and with AVX512, VNNI",
    ]


@pytest.mark.parametrize("field", [field.name for field in msgspec.structs.fields(Tools)])
def test_no_field_of_the_tools_is_forgotten(field: str) -> None:
    other: object = ("OTHER",) if field == "features" else "other"
    assert len(differences(MADE.tools, msgspec.structs.replace(MADE.tools, **{field: other}))) == 1
