"""Quantizations: what file names tell, the order of quality, and the choice for a machine."""

import pytest

from localllm.errors import ModelError, NoRoom
from localllm.models.quant import (
    BITS_PER_WEIGHT,
    bits_per_weight,
    canonical_quant,
    choose_quant,
    estimated_bytes,
    needed_bytes,
    quant_of,
    rank,
    split_of,
)

GB = 10**9
LARGE = {
    "F16": 3_400_000_000,
    "Q8_0": 1_800_000_000,
    "Q6_K": 1_410_000_000,
    "Q4_K_S": 1_060_000_000,
    "Q4_K_M": 1_110_000_000,
    "IQ4_XS": 1_010_000_000,
    "Q3_K_M": 940_000_000,
    "Q2_K": 780_000_000,
    "Q4_0_4_4": 1_000_000_000,
}
SMALL = {"BF16": 1_200_000_000, "Q8_0": 639_000_000, "Q5_K_M": 444_000_000, "Q4_K_M": 397_000_000}


@pytest.mark.parametrize(
    ("filename", "quant"),
    [
        ("Qwen3-4B-Q4_K_M.gguf", "Q4_K_M"),
        ("qwen2.5-coder-1.5b-instruct-q5_k_m.gguf", "Q5_K_M"),
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "Q4_1"),
        ("gemma-4-E2B_q4_0-it.gguf", "Q4_0"),
        ("model-IQ4_NL.gguf", "IQ4_NL"),
        ("model-iq2_xxs.gguf", "IQ2_XXS"),
        ("model.Q8_0.gguf", "Q8_0"),
        ("model-f16.gguf", "F16"),
        ("model-fp16.gguf", "F16"),
        ("model-BF16.gguf", "BF16"),
        ("model-f32.gguf", "F32"),
        ("Qwen3-4B-UD-Q4_K_XL.gguf", "UD-Q4_K_XL"),
        ("CLOUD-Q4_K_M.gguf", "Q4_K_M"),
        ("gpt-oss-20b-mxfp4.gguf", "MXFP4"),
        ("gpt-oss-20b-MXFP4_MOE.gguf", "MXFP4_MOE"),
        ("model-Q4_0_4_4.gguf", "Q4_0_4_4"),
        ("model-IQ4_NL_4_4.gguf", "IQ4_NL_4_4"),
        ("model-TQ1_0.gguf", "TQ1_0"),
        ("model-Q6_K_L.gguf", "Q6_K_L"),
        ("model-Q6_K.gguf", "Q6_K"),
        ("model-Q8_0-00001-of-00003.gguf", "Q8_0"),
        ("BF16/model-00001-of-00002.gguf", "BF16"),
        ("f16-trained-Q4_0.gguf", "Q4_0"),  # the last one counts
        ("Q4_K_M", "Q4_K_M"),
        ("Qwen3-8B.gguf", None),
        ("model-Q4_K_X.gguf", None),
        ("model-Q9_0.gguf", None),
        ("xQ4_0.gguf", None),
        ("Q4_0x.gguf", None),
        ("tokenizer.json", None),
        ("", None),
    ],
)
def test_a_file_name_tells_the_quantization(filename: str, quant: str | None) -> None:
    assert quant_of(filename) == quant


@pytest.mark.parametrize(
    ("text", "quant"),
    [("q4_k_m", "Q4_K_M"), ("fp16", "F16"), ("ud-iq1_s", "UD-IQ1_S"), ("Q4_0 ", None), ("4b", None), ("", None)],
)
def test_the_spelling_of_a_quantization(text: str, quant: str | None) -> None:
    assert canonical_quant(text) == quant


@pytest.mark.parametrize(
    ("filename", "split"),
    [
        ("model-Q8_0-00002-of-00003.gguf", ("model-Q8_0", 2, 3)),
        ("BF16/model-00001-of-00001.gguf", ("BF16/model", 1, 1)),
        ("MODEL-00001-OF-00002.GGUF", ("MODEL", 1, 2)),
        ("model-00004-of-00003.gguf", None),
        ("model-00000-of-00003.gguf", None),
        ("model-1-of-3.gguf", None),
        ("-00001-of-00002.gguf", None),
        ("model-00001-of-00002.gguf.part", None),
        ("model.gguf", None),
    ],
)
def test_a_file_name_tells_the_part_of_a_split_model(filename: str, split: tuple[str, int, int] | None) -> None:
    assert split_of(filename) == split


def test_quality_goes_down_with_the_rank() -> None:
    names = ["Q2_K", "Q8_0", "IQ3_M", "Q4_0", "F16", "Q4_K_M", "Q6_K", "Q5_K_M"]
    assert sorted(names, key=rank) == ["F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0", "IQ3_M", "Q2_K"]
    assert rank("UD-Q4_K_XL") == rank("Q4_K_XL") < rank("Q4_K_M") == rank("Q4_K")
    assert rank("Q1_0") == len(BITS_PER_WEIGHT) > max(map(rank, BITS_PER_WEIGHT))


@pytest.mark.parametrize("quant", BITS_PER_WEIGHT)
def test_the_table_holds_proper_names(quant: str) -> None:
    assert canonical_quant(quant) == quant
    assert quant_of(f"model-{quant}.gguf") == quant


@pytest.mark.parametrize(
    ("quant", "bits"),
    [("Q8_0", 8.5), ("UD-Q8_0", 8.5), ("BF16", 16.0), ("Q5_K", 5.7), ("Q1_0", 1.5), ("Q4_0_4_4", 4.5)],
)
def test_bits_per_weight(quant: str, bits: float) -> None:
    assert bits_per_weight(quant) == bits
    assert estimated_bytes(8_000_000, quant) == pytest.approx(bits * 1e6)


def test_a_large_model_is_taken_in_four_bits_though_more_would_fit() -> None:
    choice = choose_quant(LARGE, 50 * GB)
    assert (choice.quant, choice.size_bytes) == ("Q4_K_M", 1_110_000_000)
    assert choice.reason == "Q4_K_M: 1.1 GB, the best balance that fits the 50.0 GB of memory free"


def test_a_small_model_is_taken_in_eight_bits() -> None:
    choice = choose_quant(SMALL, 5 * GB)
    assert choice.quant == "Q8_0"
    assert choice.reason.startswith("Q8_0: 639 MB, hardly worse than the original")


@pytest.mark.parametrize(
    ("sizes", "room_bytes", "quant"),
    [
        (LARGE, needed_bytes(LARGE["Q4_K_M"]), "Q4_K_M"),
        (LARGE, needed_bytes(LARGE["Q4_K_M"]) - 1, "Q4_K_S"),
        (LARGE, needed_bytes(LARGE["Q4_K_S"]) - 1, "IQ4_XS"),
        (LARGE, needed_bytes(LARGE["IQ4_XS"]) - 1, "Q3_K_M"),
        (LARGE, needed_bytes(LARGE["Q2_K"]), "Q2_K"),
        (SMALL, needed_bytes(SMALL["Q8_0"]) - 1, "Q5_K_M"),
        (SMALL, needed_bytes(SMALL["Q5_K_M"]) - 1, "Q4_K_M"),
        ({"Q8_0": 2 * GB, "Q6_K": 1_600_000_000, "Q3_K_M": GB}, 9 * GB, "Q6_K"),  # none of four bits
        ({"Q8_0": 2 * GB, "F16": 4 * GB}, 9 * GB, "Q8_0"),
        ({"F32": 8 * GB, "BF16": 4 * GB}, 20 * GB, "BF16"),
        ({"F16": 100_000_000, "Q2_K": 30_000_000}, 9 * GB, "Q2_K"),  # 16 bits when there is nothing else
        ({"UD-Q4_K_XL": 5 * GB, "Q4_K_S": 4_800_000_000}, 9 * GB, "UD-Q4_K_XL"),
        ({"UD-Q8_K_XL": 844_000_000, "Q8_0": 639_000_000}, 9 * GB, "Q8_0"),
        ({"Q4_0_4_4": 4 * GB, "Q4_0": 4 * GB}, 9 * GB, "Q4_0"),
        ({"Q4_K_M": 400_000_000}, 9 * GB, "Q4_K_M"),  # small, by what the file would have in eight bits
    ],
)
def test_the_best_that_fits(sizes: dict[str, int], room_bytes: int, quant: str) -> None:
    choice = choose_quant(sizes, room_bytes)
    assert (choice.quant, choice.size_bytes) == (quant, sizes[quant])
    assert choice.reason.startswith(f"{quant}: ")
    assert needed_bytes(choice.size_bytes) <= room_bytes


def test_the_order_in_which_quantizations_are_listed_does_not_matter() -> None:
    assert choose_quant(dict(reversed(LARGE.items())), 2 * GB) == choose_quant(LARGE, 2 * GB)


def test_nothing_fits() -> None:
    with pytest.raises(NoRoom) as caught:
        choose_quant(LARGE, GB)
    assert caught.value.message == (
        "the smallest quantization, Q2_K, needs 1.5 GB of memory and 1.0 GB are free; "
        "close other programs or take a smaller model"
    )


@pytest.mark.parametrize("sizes", [{}, {"Q4_0_4_4": GB, "IQ4_NL_4_4": GB}])
def test_nothing_to_choose_from(sizes: dict[str, int]) -> None:
    with pytest.raises(ModelError, match="no quantization to choose from") as caught:
        choose_quant(sizes, 9 * GB)
    assert not isinstance(caught.value, NoRoom)
