"""Compare `localllm serve` with other servers on this machine: same model file, same requests, taken in turn.

Peers: llama_cpp.server and xllamacpp from .venv-bench, and a llama-server binary when its path is given.
All of them run with the same context for each stream and the same slots; all stay loaded throughout.
"""

import argparse
import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import httpx2
import msgspec
from rich.console import Console

from localllm.bench.client import Target, find_target, first_target
from localllm.bench.load import LoadPlan, run_load
from localllm.bench.tables import level_line, load_table
from localllm.cli.compose import bring
from localllm.config import load_settings
from localllm.devices.cpu import usable_cores
from localllm.errors import RemoteError
from localllm.models.local import LocalModel

ROOT = Path(__file__).parent.parent
PEER_PYTHON = ROOT / ".venv-bench" / "bin" / "python"
START_SECONDS = 120.0

XLLAMACPP = """
import sys, time, xllamacpp
path, port, context, slots, threads = sys.argv[1:]
params = xllamacpp.CommonParams()
params.model.path = path
params.hostnames = ["127.0.0.1"]
params.port = int(port)
params.n_ctx = int(context) * int(slots)
params.n_parallel = int(slots)
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = int(threads)
params.n_gpu_layers = 0
server = xllamacpp.Server(params)
while True:
    time.sleep(60)
"""

Command = Callable[[argparse.Namespace, LocalModel, int], list[str]]


def ours(args: argparse.Namespace, model: LocalModel, port: int) -> list[str]:
    """`localllm serve`, of this checkout."""
    options = f"--port {port} --context {args.context} --parallel {args.slots}"
    threads = ["--threads", str(args.threads)] if args.threads else []  # else it chooses, as it does for users
    return [sys.executable, "-m", "localllm", "serve", "--model", model.id, *options.split(), *threads]


def llama_cpp_server(args: argparse.Namespace, model: LocalModel, port: int) -> list[str]:
    """llama-cpp-python's own server. It serialises requests; without the last option a second request would
    kill the first one's stream."""
    threads = args.threads or usable_cores()
    options = f"--port {port} --n_ctx {args.context} --n_threads {threads} --n_threads_batch {threads}"
    return [
        *(str(PEER_PYTHON), "-m", "llama_cpp.server", "--model", model.path, "--interrupt_requests", "False"),
        *("--flash_attn", "True", *options.split()),
    ]


def xllamacpp(args: argparse.Namespace, model: LocalModel, port: int) -> list[str]:
    """llama-server as a Python extension."""
    numbers = map(str, (port, args.context, args.slots, args.threads or usable_cores()))
    return [str(PEER_PYTHON), "-c", XLLAMACPP, model.path, *numbers]


def llama_server(args: argparse.Namespace, model: LocalModel, port: int) -> list[str]:
    """llama.cpp's server, a binary of your own."""
    threads = args.threads or usable_cores()
    options = f"--port {port} -c {args.context * args.slots} -np {args.slots} -t {threads} -ngl 0"
    return [args.llama_server, "-m", model.path, *options.split()]


SERVERS: dict[str, Command] = {"localllm": ours, "llama_cpp.server": llama_cpp_server, "xllamacpp": xllamacpp}


def main() -> None:
    """Start the servers, measure, print."""
    args = _arguments()
    model = bring(args.model, load_settings())
    servers = {name: SERVERS[name] for name in args.servers.split(",")}
    if args.llama_server:
        servers["llama-server"] = llama_server
    plan = LoadPlan(
        levels=tuple(int(level) for level in args.streams.split(",")),
        repeats=args.repeats,
        prompt_tokens=args.prompt_tokens,
        answer_tokens=args.answer_tokens,
    )
    with ExitStack() as stack:
        processes = [_start(stack, name, command, args, model) for name, command in servers.items()]
        targets = [asyncio.run(_ready(*process)) for process in processes]
        targets += [asyncio.run(find_target(text)) for text in args.url]
        results = asyncio.run(run_load(targets, plan, lambda result: print(level_line(result), file=sys.stderr)))
    Console(width=130, highlight=False).print(load_table(results))
    if args.json:
        Path(args.json).write_bytes(msgspec.json.encode(results))


def _start(
    stack: ExitStack, name: str, command: Command, args: argparse.Namespace, model: LocalModel
) -> tuple[str, str, subprocess.Popen[bytes], Path]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    log = stack.enter_context((folder / "log").open("wb"))
    process = subprocess.Popen(
        command(args, model, port), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ
    )
    stack.callback(process.wait)
    stack.callback(process.terminate)
    return name, f"http://127.0.0.1:{port}/v1", process, folder / "log"


async def _ready(name: str, url: str, process: subprocess.Popen[bytes], log: Path) -> Target:
    """The server once it lists its models; a llama-server does so while it still loads, so /health is asked too."""
    deadline = time.monotonic() + START_SECONDS
    async with httpx2.AsyncClient(trust_env=False, timeout=5) as client:
        while process.poll() is None and time.monotonic() < deadline:
            try:
                health = await client.get(url.removesuffix("/v1") + "/health")
                if health.status_code != 503:
                    return await first_target(client, name, url)
            except (RemoteError, httpx2.HTTPError):
                pass
            await asyncio.sleep(0.2)
    raise SystemExit(f"{name} did not start: {log.read_text(errors='replace')[-2000:]}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2:135m")
    parser.add_argument("--servers", default=",".join(SERVERS), help="comma separated; the first is the reference")
    parser.add_argument("--llama-server", metavar="PATH", help="also a llama-server binary")
    parser.add_argument(
        "--url", metavar="NAME=URL", action="append", default=[], help="also a server that runs already; repeatable"
    )
    parser.add_argument("--streams", default="1,4,8", help="streams at once, comma separated")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--prompt-tokens", type=int, default=32)
    parser.add_argument("--answer-tokens", type=int, default=96)
    parser.add_argument("--context", type=int, default=2048, help="tokens for each stream")
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--threads", type=int, help="default: all cores; localllm then gives up those in use")
    parser.add_argument("--json", metavar="FILE", help="also every single result")
    return parser.parse_args()


main()
