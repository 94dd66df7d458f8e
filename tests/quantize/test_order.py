"""What a user asks for is checked before any work begins."""

from pathlib import Path

import pytest

from localllm.errors import InvalidRequest
from localllm.quantize.order import AUTO, Options, Order
from localllm.quantize.programs import ProgramWish
from localllm.quantize.steps import TypeOverride
from tests.quantize.matrices import write_matrix


def order(**options: object) -> Order:
    return Options(**options).order(name=None, threads=2)  # type: ignore[arg-type]


@pytest.fixture
def text(tmp_path: Path) -> str:
    path = tmp_path / "notes.txt"
    path.write_text("one line\n" * 100, "utf-8")
    return str(path)


def test_what_is_meant_where_nothing_is_said() -> None:
    found = order()
    assert (found.type, found.is_auto, found.text, found.name) == ("Q4_K_M", False, None, None)
    assert found.wish.calibration is not None
    assert found.wish.calibration.name == "default"
    assert (found.wish.calibration_chunks, found.wish.calibration_threads) == (16, 2)
    assert found.wish.is_plain


@pytest.mark.parametrize(
    ("type_", "is_calibrated"),
    [("q8_0", False), ("Q6_K", False), ("q5_k_m", True), ("IQ4_NL", True), ("f16", False), ("auto", True)],
)
def test_calibration_comes_by_itself_where_weights_are_rounded_much(type_: str, *, is_calibrated: bool) -> None:
    found = order(type=type_)
    assert (found.wish.calibration is not None) is is_calibrated
    assert found.type == (AUTO if type_ == "auto" else type_.upper())
    assert (found.text is not None) is found.is_auto


def test_every_option_is_honoured(text: str) -> None:
    found = order(
        type="Q4_K",
        calibrate=text,
        evaluate=True,
        output_type="q6_k",
        embedding_type=" q8_0",
        overrides=("ffn_down=q6_k", r"attn_(q|k)=.*=iq4_nl"),
        is_pure=True,
        prune_layers="5,3,5",
        allow_requantize=True,
        calibration_chunks=3,
        evaluation_chunks=4,
    )
    wish = found.wish
    assert (found.type, found.evaluation_chunks, wish.calibration_chunks) == ("Q4_K_M", 4, 3)
    assert wish.overrides == (TypeOverride("ffn_down", "Q6_K"), TypeOverride("attn_(q|k)=.*", "IQ4_NL"))
    assert (wish.output_type, wish.embedding_type, wish.prune_layers) == ("Q6_K", "Q8_0", (3, 5))
    assert wish.is_pure
    assert wish.allow_requantize
    assert not wish.is_plain
    assert (wish.calibration and wish.calibration.name, found.text and found.text.name) == ("notes.txt", "default")


def test_one_text_for_both_is_cut(text: str) -> None:
    found = order(calibrate=text, evaluate=True, text=text)
    assert found.wish.calibration is not None
    assert found.text is not None
    assert found.wish.calibration.text + found.text.text == Path(text).read_text("utf-8")


def test_a_matrix_that_is_there_takes_the_place_of_a_calibration(tmp_path: Path) -> None:
    matrix = write_matrix(tmp_path / "some.imatrix")
    found = order(calibrate=str(matrix))
    assert (found.wish.calibration, found.wish.importance) == (None, matrix)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"type": "Q4_KM"}, "perhaps Q4_K_M"),
        ({"type": ""}, "there is no type"),
        ({"calibrate": ""}, "cannot read the text"),
        ({"calibrate": "/nowhere/notes.txt"}, "cannot read the text /nowhere/notes.txt"),
        ({"overrides": ("ffn_down",)}, "--override takes REGEX=TYPE"),
        ({"overrides": ("=Q8_0",)}, "--override takes REGEX=TYPE"),
        ({"overrides": ("ffn_down=",)}, "--override takes REGEX=TYPE"),
        ({"overrides": ("ffn_down=Q4_K_M",)}, "there is no type Q4_K_M for a tensor"),
        ({"output_type": "Q9"}, "there is no type Q9 for a tensor"),
        ({"embedding_type": "Q9"}, "there is no type Q9 for a tensor"),
        ({"prune_layers": "-1"}, "--prune-layers takes numbers"),
        ({"prune_layers": "1,"}, "--prune-layers takes numbers"),
        ({"prune_layers": "99999"}, "--prune-layers takes numbers"),
        ({"prune_layers": "1\n"}, "--prune-layers takes numbers"),
        ({"text": "notes.txt"}, "--text is for what is evaluated; add --evaluate"),
        ({"evaluation_chunks": 3}, "--evaluation-chunks is for what is evaluated; add --evaluate"),
        ({"calibration_chunks": 3, "calibrate": "none"}, "nothing is calibrated"),
        ({"calibration_chunks": 3, "type": "Q8_0"}, "nothing is calibrated"),
        ({"calibrate": "default", "type": "F16"}, "F16 is not quantized, so nothing is calibrated"),
        ({"evaluate": True, "is_dry": True}, "leave out --evaluate"),
    ],
)
def test_what_cannot_be_is_refused_by_name(options: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        order(**options)
    assert caught.value.param
    assert "\n" not in caught.value.message.replace("1\n", "")


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"type": "Q8_0"}, "--type"),
        ({"output_type": "q8_0"}, "--keep-output"),
        ({"embedding_type": "q8_0"}, "--embedding"),
        ({"overrides": ("a=q8_0",)}, "--override"),
        ({"is_pure": True}, "--pure"),
        ({"is_dry": True}, "--dry-run"),
        ({"allow_requantize": True}, "--allow-requantize"),
        ({"evaluate": True}, "--evaluate"),
        ({"calibration_chunks": 1}, "--calibration-chunks"),
    ],
)
def test_with_a_card_nothing_else_is_chosen(options: dict[str, object], option: str) -> None:
    with pytest.raises(InvalidRequest, match=f"leave out {option}$"):
        Options(**options).require_none()  # type: ignore[arg-type]
    Options(calibrate="notes.txt").require_none()


@pytest.mark.parametrize(
    ("options", "quant", "is_fine"),
    [
        ({}, "", True),
        ({}, "F16", True),
        ({}, "BF16", True),
        ({}, "Q8_0", False),
        ({"allow_requantize": True}, "Q8_0", True),
        ({"type": "Q8_0"}, "Q8_0", False),  # a copy of itself
        ({"type": "Q8_0", "prune_layers": "1"}, "Q8_0", True),  # no weight is rounded again
        ({"type": "auto"}, "UD-Q4_K_XL", False),
    ],
)
def test_what_is_quantized_already(options: dict[str, object], quant: str, *, is_fine: bool) -> None:
    if is_fine:
        order(**options).check_quant(quant, "some:model")
        return
    words = rf"some:model is quantized already \({quant}\); .*--allow-requantize"
    with pytest.raises(InvalidRequest, match=words) as caught:
        order(**options).check_quant(quant, "some:model")
    assert caught.value.param == "allow_requantize"


def test_what_is_meant_of_a_program() -> None:
    found = order(format="executorch")
    assert (found.type, found.label, found.text, found.wish.calibration) == ("8da4w", "pte", None, None)
    assert found.program == ProgramWish(context_tokens=None, delegate="xnnpack")
    found = order(format="executorch", type="FP32", context=512, evaluate=True, evaluation_chunks=2, calibrate="none")
    assert (found.type, found.label, found.evaluation_chunks) == ("fp32", "pte-fp32", 2)
    assert found.program == ProgramWish(context_tokens=512)
    assert found.text is not None
    assert found.takes_long
    assert order(format="gguf").label == "Q4_K_M"


@pytest.mark.parametrize(
    ("options", "param", "words"),
    [
        ({"type": "auto"}, "type", "auto measures types of GGUF files"),
        ({"type": "Q4_K_M"}, "type", "there are 8da4w, 8da8w, fp32"),
        ({"delegate": "cuda"}, "delegate", "xnnpack"),
        ({"calibrate": "default"}, "calibrate", "--calibrate is for GGUF files"),
        ({"output_type": "q8_0"}, "output_type", "--keep-output is for GGUF files"),
        ({"overrides": ("a=Q8_0",)}, "overrides", "--override is for GGUF files"),
        ({"is_pure": True}, "is_pure", "--pure is for GGUF files"),
        ({"prune_layers": "1"}, "prune_layers", "--prune-layers is for GGUF files"),
        ({"calibration_chunks": 4}, "calibration_chunks", "--calibration-chunks is for GGUF files"),
        ({"text": "notes.txt"}, "evaluate", "add --evaluate"),
        ({"evaluate": True, "is_dry": True}, "evaluate", "leave out --evaluate"),
    ],
)
def test_what_a_program_does_not_have_is_refused(options: dict[str, object], param: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        order(format="executorch", **options)
    assert caught.value.param == param


@pytest.mark.parametrize("options", [{"context": 512}, {"delegate": "xnnpack"}])
def test_what_only_programs_have_is_refused_for_a_gguf(options: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest, match=r"is for programs of ExecuTorch; add --to executorch"):
        order(**options)
