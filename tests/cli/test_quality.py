"""Measured models on a terminal: whole lines in any width, the same without colour, and nothing that drives it."""

import io
import random

import msgspec
import pytest
from rich.cells import cell_len
from rich.console import Console

from localllm.cli.quality import MARKS, chart_lines, print_advice, print_evaluation
from localllm.quantize.advice.candidates import LeftOut
from localllm.quantize.advice.frontier import Advice, Candidate, advise
from localllm.quantize.evaluation import Rates
from tests.quantize.examples import EVALUATION, MADE, REAL, candidate_of, renamed

replace = msgspec.structs.replace
LEFT_OUT = (LeftOut("IQ4_XS", "every tensor comes out as in IQ4_NL"),)
WIDTHS = [60, 79, 80, 100, 200]


def console(width: int, *, encoding: str = "utf-8", color: bool = False) -> Console:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    return Console(file=file, width=width, highlight=False, force_terminal=color, color_system="256" if color else None)


def shown(target: Console) -> list[str]:
    file = target.file
    file.flush()
    assert isinstance(file, io.TextIOWrapper)
    data = file.buffer.getvalue()
    return str(data, file.encoding).splitlines()


def advice_lines(advice: Advice, width: int, *, encoding: str = "utf-8") -> list[str]:
    target = console(width, encoding=encoding)
    print_advice(advice, LEFT_OUT, target)
    return shown(target)


def chart(advice: Advice, columns: int = 60) -> str:
    return "\n".join(chart_lines(advice, columns, is_ascii=True))


def extreme(numbers: random.Random) -> list[Candidate]:
    """Candidates of any size and quality, as far from each other as can be, or in one place."""
    return [
        candidate_of(
            kind,
            numbers.choice((0.001, 90, 91, 120, 999_000)),
            numbers.choice((-1e-7, 0.0, 1e-5, 0.03, 0.031, 0.05, 3.0, 12.0, float("nan"), float("inf"))),
            *numbers.choice(((), (100, 10), (123456.7, 12345.6), (0, 0))),
            memory_bytes=numbers.choice((0, 10**12)),
        )
        for kind in numbers.sample(["Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "IQ4_NL", "MXFP4_MOE"], numbers.randint(1, 6))
    ]


def test_the_candidates_on_sixty_columns() -> None:
    assert advice_lines(advise(REAL), 60)[:9] == [
        "   TYPE      SIZE      KL  KL P99    SAME  READ  WRITE",
        "o  IQ4_NL   92 MB  0.0862   0.431  90.0 %  1240    121",
        "x  Q4_0     92 MB   0.139   0.697  90.0 %  1250    122",
        "x  Q4_1     98 MB   0.120   0.600  90.0 %   350    110",
        "o  Q4_K_S  102 MB  0.0363   0.181  90.0 %   530    107",
        "*  Q4_K_M  106 MB  0.0333   0.167  90.0 %   515    104",
        "o  Q5_K_M  112 MB  0.0160  0.0800  90.0 %   430   95.0",
        "o  Q6_K    138 MB  0.0050  0.0250  90.0 %   560   85.0",
        "o  Q8_0    145 MB  0.0036  0.0180  90.0 %   620   88.0",
    ]


def test_wide_terminals_get_more_columns() -> None:
    assert advice_lines(advise(REAL), 100)[0].split() == (
        ["TYPE", "SIZE", "BITS", "KL", "KL", "P99", "SAME", "READ", "WRITE", "MEMORY"]
    )


@pytest.mark.parametrize("width", WIDTHS)
def test_no_line_is_too_wide_or_broken(width: int) -> None:
    lines = advice_lines(advise(REAL), width)
    assert max(map(cell_len, lines)) <= width
    for ranked in advise(REAL).ranked:
        row = [line for line in lines if line.startswith(f"{MARKS[ranked.state]}  {ranked.candidate.type} ")]
        assert len(row) == 1
        assert "…" not in row[0]


def test_what_is_said_beside_the_table() -> None:
    words = " ".join(line.strip() for line in advice_lines(advise(REAL), 60))
    assert "Beaten: Q4_0 by IQ4_NL, Q4_1 by IQ4_NL." in words
    assert "Not tried: IQ4_XS: every tensor comes out as in IQ4_NL." in words
    assert advise(REAL).reason in words
    assert "rates within 5 % count as equal" in words


def test_the_chart() -> None:
    assert chart_lines(advise(REAL), 59, is_ascii=False) == [
        "mean divergence",
        "       │   Q4_0",
        "       │ x     x Q4_1",
        "   0.1 │ o IQ4_NL",
        "       │",
        "  0.05 │- - - - - - - - - - - - - - - - - - - - - - - - - -",
        "       │   Q4_K_S o  * Q4_K_M",
        "       │                   o Q5_K_M",
        "  0.01 │",
        "       │",
        " 0.005 │                                           o Q6_K",
        "       │                                            Q8_0 o",
        "       │",
        "       └───────────────────────────────────────────────────",
        "        92 MB                 118 MB                 145 MB",
        "* recommended  o unbeaten  x beaten  - - hardly worse below",
    ]


def test_ascii_terminals_get_an_ascii_chart() -> None:
    target = console(60, encoding="ascii")
    lines = chart_lines(advise(REAL), 59, is_ascii=target.options.ascii_only)
    assert target.options.ascii_only
    assert all(line.isascii() for line in lines)
    assert "   0.1 | o IQ4_NL" in lines


def test_a_candidate_stands_on_its_side_of_the_bound() -> None:
    lines = chart(advise([candidate_of("Q4_0", 90, 0.0501), candidate_of("Q4_1", 100, 0.0499)])).split("\n")
    bound = next(place for place, line in enumerate(lines) if "- - - -" in line)
    assert ["Q4_0" in line for line in lines].index(True) < bound < ["Q4_1" in line for line in lines].index(True)


def test_a_single_candidate_has_a_chart() -> None:
    text = chart(advise([REAL[0]]))
    assert "* Q8_0" in text
    assert "145 MB" in text


def test_candidates_in_one_place_are_all_named() -> None:
    equals = [replace(REAL[0], type=kind) for kind in ("Q8_0", "Q6_K", "Q5_K_M")]
    text = chart(advise(equals))
    assert all(kind in text for kind in ("Q8_0", "Q6_K", "Q5_K_M"))


def test_a_crowd_is_named_below_the_chart() -> None:
    crowd = [replace(REAL[0], type=f"TYPE_{place:02}") for place in range(30)]
    text = chart(advise(crowd), 40)
    assert "without room for a name: " in text
    assert all(f"TYPE_{place:02}" in text for place in range(30))


def test_there_may_be_nothing_to_draw() -> None:
    assert chart(advise([candidate_of("Q4_0", 90, float("nan"))])) == "There is no divergence to draw."


def test_the_chart_has_marks_where_the_figures_are() -> None:
    """Further down is closer, further right is larger."""
    lines = chart(advise(REAL)).split("\n")
    places = {each.type: next((row, line.index(each.type)) for row, line in enumerate(lines) if each.type in line)
              for each in REAL}  # fmt: skip
    assert places["Q8_0"][0] > places["Q5_K_M"][0] > places["IQ4_NL"][0]
    assert places["Q6_K"][1] > places["Q5_K_M"][1] > places["IQ4_NL"][1]


def test_any_candidates_can_be_shown() -> None:
    for seed in range(20):
        numbers = random.Random(seed)
        candidates = extreme(numbers)
        advice = advise(candidates)
        for width in (60, 100):
            lines = advice_lines(advice, width)
            assert max(map(cell_len, lines)) <= width
            table = lines[1 : 1 + len(candidates)]
            assert [line.split()[1] for line in table] == [each.candidate.type for each in advice.ranked]
            assert [line[0] for line in table] == [MARKS[each.state] for each in advice.ranked]
            drawn = lines[lines.index("mean divergence") :] if "mean divergence" in lines else []
            for each in candidates:
                is_drawn = any(each.type in line for line in drawn)
                assert is_drawn or not abs(each.divergence.mean) < 1e9


def test_colour_adds_nothing() -> None:
    plain, colourful = console(60), console(60, color=True)
    for target in (plain, colourful):
        print_advice(advise(REAL), LEFT_OUT, target)
        print_evaluation(EVALUATION, target)
    coloured = "\n".join(shown(colourful)).replace("\x1b[1m", "").replace("\x1b[0m", "")
    assert coloured.splitlines() == shown(plain)


def test_before_and_after_on_sixty_columns() -> None:
    target = console(60)
    print_evaluation(EVALUATION, target)
    lines = shown(target)
    assert lines[:5] == [
        "                         BEFORE            AFTER   RATIO",
        "size                     271 MB           105 MB   0.39×",
        "bits per weight           16.00             6.17   0.39×",
        "perplexity         15.20 ± 0.87     15.66 ± 0.91  1.031×",
        "divergence, mean              –  0.0333 ± 0.0012        ",
    ]
    words = " ".join(line.strip() for line in lines[11:])
    assert "Quality on 2560 tokens of the text default; ± is the standard error" in words
    assert "Speed of one stream on Some | CPU (R), 2 threads: 512 tokens read, 64 written, medians of 3." in words


@pytest.mark.parametrize("width", WIDTHS)
def test_the_largest_figures_fit(width: int) -> None:
    after = EVALUATION.after
    assert after.perplexity is not None
    large = replace(
        after,
        size_bytes=2 * 10**15,
        perplexity=replace(after.perplexity, value=123456.7, error=98765.4),
        rates=Rates(prefill_rate=123456.7, decode_rate=12345.6, peak_memory_bytes=10**15),
    )
    target = console(width)
    print_evaluation(replace(EVALUATION, before=replace(large, divergence=None), after=large), target)
    lines = shown(target)
    assert max(map(cell_len, lines)) <= width
    assert len([line for line in lines if "×" in line]) == 6
    assert "…" not in "".join(lines)


def test_what_was_not_measured_is_said() -> None:
    target = console(60)
    print_evaluation(replace(EVALUATION, after=replace(EVALUATION.after, rates=None), bench=None), target)
    assert "Not measured: speed and memory." in shown(target)


@pytest.mark.parametrize("text", ["[bold]x[/bold]", "[/nothing]", "\x1b[2J\x07", "a\nb", "\udcff", "", "😀" * 50])
def test_a_strangers_text_is_shown_as_it_is(text: str) -> None:
    evaluation = renamed(MADE, text).evaluation
    assert evaluation is not None
    target = console(60)
    print_evaluation(evaluation, target)
    lines = shown(target)
    assert not any("\x1b" in line or "\x07" in line for line in lines)
    assert max(map(cell_len, lines)) <= 60
    if text.startswith("["):
        assert text in " ".join(lines)


def test_the_structs_are_the_json() -> None:
    advice = advise([candidate_of("Q4_0", 90, float("nan")), *REAL])
    assert msgspec.json.decode(msgspec.json.encode(advise(REAL)), type=Advice) == advise(REAL)
    assert b'"type":"Q4_K_M"' in msgspec.json.encode(advice)
