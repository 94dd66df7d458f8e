"""Measured models and recipes for tests; figures like those of a small model on a small machine."""

import msgspec

from localllm.quantize.advice.frontier import Candidate
from localllm.quantize.evaluation import (
    Bench,
    Divergence,
    Estimate,
    Evaluation,
    EvaluationText,
    Measurement,
    Rates,
)
from localllm.quantize.provenance.card import Made, Outcome
from localllm.quantize.provenance.recipe import Calibration, FileFacts, Program, Recipe, Source, Tools
from localllm.quantize.steps import TypeOverride

SHA = "0123456789abcdef" * 4
MB = 1_000_000


def candidate_of(
    kind: str,
    megabytes: float,
    mean: float,
    reading: float | None = None,
    writing: float | None = None,
    *,
    error: float = 0.001,
    memory_bytes: int = 0,
) -> Candidate:
    """A candidate; without rates where `reading` is None."""
    rates = None
    if reading is not None:
        rates = Rates(prefill_rate=reading, decode_rate=writing or 0.0, peak_memory_bytes=memory_bytes)
    return Candidate(
        type=kind,
        size_bytes=int(megabytes * MB),
        bits_per_weight=megabytes / 17,
        divergence=Divergence(mean=mean, error=error, p99=5 * mean, max=50 * mean, same_top=0.9),
        rates=rates,
    )


REAL = (
    candidate_of("Q8_0", 144.8, 0.0036, 620, 88),
    candidate_of("Q6_K", 138.4, 0.0050, 560, 85),
    candidate_of("Q5_K_M", 112.1, 0.0160, 430, 95),
    candidate_of("Q4_K_M", 105.5, 0.0333, 515, 104),
    candidate_of("Q4_K_S", 102.0, 0.0363, 530, 107),
    candidate_of("IQ4_NL", 91.7, 0.0862, 1240, 121),
    candidate_of("Q4_1", 98.4, 0.1200, 350, 110),
    candidate_of("Q4_0", 91.9, 0.1393, 1250, 122),
)

EVALUATION = Evaluation(
    before=Measurement(
        size_bytes=270_900_000,
        bits_per_weight=16.0,
        perplexity=Estimate(value=15.195, error=0.87),
        rates=Rates(prefill_rate=301.2, decode_rate=44.1, peak_memory_bytes=420 * MB),
    ),
    after=Measurement(
        size_bytes=105_454_432,
        bits_per_weight=6.17,
        perplexity=Estimate(value=15.66, error=0.91),
        divergence=Divergence(mean=0.0333, error=0.0012, p99=0.212, max=2.31, same_top=0.8992),
        rates=Rates(prefill_rate=515.04, decode_rate=104.3, peak_memory_bytes=250 * MB),
    ),
    text=EvaluationText(name="default", sha256=SHA, chunks=10, chunk_tokens=512, positions=2560),
    bench=Bench(processor="Some | CPU (R)", threads=2, prompt_tokens=512, answer_tokens=64, repeats=3),
)

MADE = Made(
    recipe=Recipe(
        type="Q4_K_M",
        converted_type="auto",
        overrides=(TypeOverride(r"blk\.(0|1)\.ffn_down", "Q8_0"),),
        output_type="Q6_K",
        prune_layers=(3, 5),
        calibration=Calibration(
            text="default", text_sha256=SHA, chunks=24, chunk_tokens=512, threads=2, importance_sha256=SHA
        ),
        name="Tiny",
        metadata={"general.license": "apache-2.0"},
    ),
    source=Source(
        reference="hf.co/some-org/Tiny-1M",
        name="tiny:1m",
        format="safetensors",
        files={
            "model.safetensors": FileFacts(sha256=SHA, size_bytes=270 * MB),
            "config.json": FileFacts(sha256=SHA[::-1], size_bytes=812),
        },
        revision="a" * 40,
        license="apache-2.0",
        base_model="some-org/Tiny-1M",
    ),
    tools=Tools(
        localllm="0.1.0",
        llama_cpp_python="0.3.36",
        llama_cpp="0c1e57098",
        gguf="0.19.0",
        numpy="2.4.6",
        python="3.11.7",
        machine="x86_64",
        features=("AVX2", "FMA"),
    ),
    outcome=Outcome(
        files={"Tiny-Q4_K_M.gguf": FileFacts(sha256=SHA, size_bytes=105_454_432)},
        parameters=134_515_008,
        bits_per_weight=6.17,
        tensor_types={"Q5_0": 180, "F32": 61, "Q4_K": 31},
        fallbacks=180,
    ),
    evaluation=EVALUATION,
)


PROGRAM = msgspec.structs.replace(
    MADE,
    recipe=Recipe(
        type="8da4w",
        format="pte",
        program=Program(delegate="xnnpack", context_tokens=2048),
        converted_type="auto",
        name="Tiny",
        metadata={"general.license": "apache-2.0"},
    ),
    tools=msgspec.structs.replace(MADE.tools, executorch="1.5.1", torch="2.13.0+cpu", torchao="0.18.0"),
    outcome=Outcome(
        files={
            "Tiny-pte.pte": FileFacts(sha256=SHA, size_bytes=118_000_000),
            "tokenizer.json": FileFacts(sha256=SHA[::-1], size_bytes=2_100_000),
        },
        parameters=134_515_008,
        bits_per_weight=7.02,
        tensor_types={"int4": 210, "fp32": 61, "int8": 2},
    ),
)


def renamed(made: Made, text: str) -> Made:
    """The same with a stranger's text wherever one can stand."""
    replace = msgspec.structs.replace
    assert made.recipe.calibration is not None
    assert made.evaluation is not None
    assert made.evaluation.text is not None
    assert made.evaluation.bench is not None
    return replace(
        made,
        recipe=replace(
            made.recipe,
            name=text,
            metadata={text: text},
            overrides=(TypeOverride(text or ".", "Q8_0"),),
            calibration=replace(made.recipe.calibration, text=text),
        ),
        source=replace(made.source, reference=text, name=text, revision=text, license=text, base_model=text),
        tools=replace(made.tools, machine=text, python=text, features=(text, text)),
        evaluation=replace(
            made.evaluation,
            text=replace(made.evaluation.text, name=text),
            bench=replace(made.evaluation.bench, processor=text),
        ),
    )
