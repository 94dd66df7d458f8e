"""Which models a repository has, and what files each of them is made of."""

import pytest

from localllm.models.hub.gguf_files import gguf_models, gguf_sets, projectors
from tests.models.hub_room.holdings import repository_of


def models(*paths: str) -> dict[str, list[str]]:
    return {quant: [file.path for file in files] for quant, files in gguf_models(repository_of(*paths)).items()}


def test_one_file_for_each_quantization() -> None:
    assert models("m-Q4_K_M.gguf", "m.q8_0.gguf", "m-f16.gguf", "README.md", "m-Q4_K_M.gguf.bin") == {
        "Q4_K_M": ["m-Q4_K_M.gguf"],
        "Q8_0": ["m.q8_0.gguf"],
        "F16": ["m-f16.gguf"],
    }


@pytest.mark.parametrize("folder", ["", "Q8_0/", "sub/Q8_0/"])
def test_the_parts_of_a_model_in_order(folder: str) -> None:
    paths = [f"{folder}m-Q8_0-{part:05}-of-00012.gguf" for part in range(1, 13)]
    assert models(*reversed(paths)) == {"Q8_0": paths}


def test_a_folder_alone_can_tell_the_quantization() -> None:
    paths = [f"Q4_K_M/model-{part:05}-of-00002.gguf" for part in (1, 2)]
    assert models(*paths, "BF16/model.gguf") == {"Q4_K_M": paths, "BF16": ["BF16/model.gguf"]}


@pytest.mark.parametrize("parts", [[1], [2], [1, 3], []])
def test_a_model_that_lacks_a_part_is_none(parts: list[int]) -> None:
    assert models("m-Q4_0.gguf", *(f"m-Q8_0-{part:05}-of-00003.gguf" for part in parts)) == {"Q4_0": ["m-Q4_0.gguf"]}


def test_parts_of_two_splits_are_not_mixed() -> None:
    assert models("m-Q8_0-00001-of-00002.gguf", "m-Q8_0-00002-of-00003.gguf") == {}


def test_projectors_and_importance_matrices_are_no_models() -> None:
    paths = ["m-Q8_0.gguf", "mmproj-m-Q8_0.gguf", "sub/mmproj-f16.gguf", "m-imatrix.gguf", "m.imatrix-Q8_0.gguf"]
    assert models(*paths) == {"Q8_0": ["m-Q8_0.gguf"]}
    assert [file.path for file in projectors(repository_of(*paths))] == ["mmproj-m-Q8_0.gguf", "sub/mmproj-f16.gguf"]


def test_of_several_the_plain_one_is_meant() -> None:
    paths = ["a/m-Q8_0.gguf", "m-long-name-Q8_0.gguf", "m-Q8_0.gguf"]
    assert models(*paths) == {"Q8_0": ["m-Q8_0.gguf"]}
    assert [found.stem for found in gguf_sets(repository_of(*paths))] == [
        path[: -len(".gguf")] for path in paths[:1]
    ] + [
        "m-Q8_0",
        "m-long-name-Q8_0",
    ]


def test_a_name_that_tells_no_quantization_is_a_set_without_one() -> None:
    assert models("model.gguf") == {}
    (found,) = gguf_sets(repository_of("model.gguf"))
    assert (found.quant, found.stem, found.size_bytes) == ("", "model", found.files[0].size_bytes)


def test_a_repository_without_models() -> None:
    assert models("model.safetensors", "pytorch_model.bin", "README.md") == {}
