"""`localllm quantize`: from a checkpoint or a GGUF to a smaller model or a program, measured against it."""

from typing import Annotated, Literal

import typer

from localllm.cli import options
from localllm.config import load_settings

NAME = "quantize"
EPILOG = """\b
Examples:
  localllm quantize org/repo                      a checkpoint of the hub, to Q4_K_M
  localllm quantize ./checkpoint --type IQ4_NL --evaluate
  localllm quantize ./model-f16.gguf --type auto  try them all here, and say which to take
  localllm quantize org/repo --calibrate notes.txt --keep-output q8_0
  localllm quantize org/repo --to executorch      to a program (.pte) with 4-bit weights
  localllm quantize org/repo --to mlc --device cuda   by MLC LLM's own tools, where it is installed
  localllm quantize --from-card my-model:q4_k_m   make it again, bit for bit
"""


def command(
    source: Annotated[
        str | None,
        typer.Argument(help="A checkpoint's folder or repository, a .gguf, or a model on this disk.", metavar="SOURCE"),
    ] = None,
    type_: Annotated[
        str | None,
        typer.Option(
            "--type",
            help="Q4_K_M, IQ4_NL, Q8_0 …; auto: measure what suits this machine; of a program 8da4w, 8da8w, fp32; "
            "of MLC q4f16_1, q4f32_1, q0f16 … [default: Q4_K_M; 8da4w; q4f16_1]",
            metavar="TYPE",
        ),
    ] = None,
    to: Annotated[Literal["gguf", "executorch", "mlc"], typer.Option(help="Format of the result.")] = "gguf",
    context: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Most tokens of prompt and answer that a program, or a model of MLC, holds. "
            "[default: 2048, or what the model knows; of MLC what it knows]",
            metavar="TOKENS",
        ),
    ] = None,
    delegate: Annotated[
        str | None,
        typer.Option(
            help="What runs a program: xnnpack (any CPU), openvino, coreml, vulkan, qualcomm. [default: xnnpack]",
            metavar="NAME",
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            help="What a model of MLC is compiled for: auto, cuda, rocm, metal, vulkan, opencl, cpu. [default: auto]",
            metavar="NAME",
        ),
    ] = None,
    calibrate: Annotated[
        str | None,
        typer.Option(
            help="Text that shows what matters: a file, default, or none; or an importance matrix made before. "
            "[default: default, below 6 bits]",
            metavar="TEXT",
        ),
    ] = None,
    evaluate: Annotated[bool, typer.Option("--evaluate", help="Measure quality and speed, before and after.")] = False,
    text: Annotated[
        str | None, typer.Option(help="Text to evaluate on: a file. [default: default]", metavar="TEXT")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="What to call the result. [default: from the source]", metavar="NAME")
    ] = None,
    keep_output: Annotated[str, typer.Option(help="Type of the output layer, such as q8_0.", metavar="TYPE")] = "",
    embedding: Annotated[str, typer.Option(help="Type of the token embedding.", metavar="TYPE")] = "",
    override: Annotated[
        list[str] | None,
        typer.Option(help="Type of the tensors whose names match a regex; repeatable.", metavar="REGEX=TYPE"),
    ] = None,
    pure: Annotated[bool, typer.Option("--pure", help="Every matrix in the one type.")] = False,
    prune_layers: Annotated[str, typer.Option(help="Layers to leave out, such as 20,21.", metavar="N,N,…")] = "",
    allow_requantize: Annotated[
        bool, typer.Option("--allow-requantize", help="Also from weights that are quantized already; quality suffers.")
    ] = False,
    calibration_chunks: Annotated[
        int | None, typer.Option(min=1, help="Pieces of 512 tokens to calibrate with. [default: 16]", metavar="N")
    ] = None,
    evaluation_chunks: Annotated[
        int | None, typer.Option(min=1, help="Pieces of 512 tokens to evaluate on. [default: 12]", metavar="N")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would come out, to the byte.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With auto: keep what is recommended, unasked.")] = False,
    from_card: Annotated[
        str | None, typer.Option(help="Make a model again from its card: a README.md, or a model.", metavar="CARD")
    ] = None,
    threads: options.Threads = None,
    offline: options.Offline = None,
    json: options.Json = False,
) -> None:
    """Make a smaller model from a checkpoint or a GGUF file.

    The result is a version of a model in the store, with a card that says how it was made.
    """
    from localllm.cli.extras import require_extra
    from localllm.cli.quantizing import Session
    from localllm.errors import InvalidRequest
    from localllm.quantize.order import Options
    from localllm.runtime.library import Library

    if to == "executorch":
        require_extra(to)
    if to == "mlc":
        from localllm.engines.mlc.native import require_installed

        require_installed()
    options_ = Options(
        type=type_,
        format=to,
        context=context,
        delegate=delegate,
        device=device,
        calibrate=calibrate,
        evaluate=evaluate,
        text=text,
        output_type=keep_output,
        embedding_type=embedding,
        overrides=tuple(override or ()),
        is_pure=pure,
        prune_layers=prune_layers,
        allow_requantize=allow_requantize,
        calibration_chunks=calibration_chunks,
        evaluation_chunks=evaluation_chunks,
        is_dry=dry_run,
    )
    settings = load_settings(offline=offline, threads=threads)
    session = Session(Library(settings), settings, json=json)
    if from_card is not None:
        options_.require_none()
        session.again(from_card, source=source, name=name, calibrate=calibrate)
        return
    if source is None:
        raise InvalidRequest("name a source, or a card with --from-card; see: localllm quantize --help")
    session.follow(source, options_.order(name=name, threads=session.threads), is_dry=dry_run, keeps=yes)
