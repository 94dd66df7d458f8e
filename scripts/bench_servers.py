"""Starting the servers that are compared: ours and its peers."""

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2
from msgspec import Struct

from localllm.bench.client import Target, first_target
from localllm.devices.cpu import usable_cores
from localllm.errors import RemoteError
from localllm.models.local import LocalModel

ROOT = Path(__file__).parent.parent
PEER_PYTHON = ROOT / ".venv-bench" / "bin" / "python"
START_SECONDS = 120.0
STOP_SECONDS = 60.0

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


class ServerPlan(Struct, frozen=True, kw_only=True):
    """What all servers have in common. `context` is for each slot; without `threads` ours chooses, as it does for
    users, and the others get all cores."""

    model: LocalModel
    context: int
    slots: int
    threads: int | None = None
    llama_server: str | None = None  # path of the binary


Command = Callable[[ServerPlan, int], list[str]]


def ours(plan: ServerPlan, port: int, options: Sequence[str] = ()) -> list[str]:
    """`localllm serve`, of this checkout. It keeps nothing on disk unless the options say so: it would write when it
    is idle, which is when a peer is measured."""
    numbers = f"--port {port} --context {plan.context} --parallel {plan.slots} --cache-bytes 0".split()
    threads = ["--threads", str(plan.threads)] if plan.threads else []
    return [*(sys.executable, "-m", "localllm", "serve", "--model", plan.model.path), *numbers, *threads, *options]


def ours_by_openvino(plan: ServerPlan, port: int) -> list[str]:
    """The same with the engine OpenVINO, which needs its extra."""
    return ours(plan, port, ("--engine", "openvino"))


def llama_cpp_server(plan: ServerPlan, port: int) -> list[str]:
    """llama-cpp-python's own server. It serialises requests; without the last option a second request would
    kill the first one's stream."""
    threads = plan.threads or usable_cores()
    options = f"--port {port} --n_ctx {plan.context} --n_threads {threads} --n_threads_batch {threads}"
    return [
        *(str(PEER_PYTHON), "-m", "llama_cpp.server", "--model", plan.model.path, "--interrupt_requests", "False"),
        *("--flash_attn", "True", *options.split()),
    ]


def xllamacpp(plan: ServerPlan, port: int) -> list[str]:
    """llama-server as a Python extension."""
    numbers = map(str, (port, plan.context, plan.slots, plan.threads or usable_cores()))
    return [str(PEER_PYTHON), "-c", XLLAMACPP, plan.model.path, *numbers]


def llama_server(plan: ServerPlan, port: int) -> list[str]:
    """llama.cpp's server, a binary of your own."""
    threads = plan.threads or usable_cores()
    options = f"--port {port} -c {plan.context * plan.slots} -np {plan.slots} -t {threads} -ngl 0"
    return [plan.llama_server or "llama-server", "-m", plan.model.path, *options.split()]


SERVERS: dict[str, Command] = {
    "localllm": ours,
    "localllm+openvino": ours_by_openvino,
    "llama_cpp.server": llama_cpp_server,
    "xllamacpp": xllamacpp,
    "llama-server": llama_server,
}


@contextmanager
def running(name: str, command: Command, plan: ServerPlan, home: str | None = None) -> Iterator[Target]:
    """A server that answers, until the end of the block; `home` is ours to keep things in.

    Raises RemoteError when it does not start.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("wb") as log:
        process = subprocess.Popen(
            command(plan, port),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | ({"LOCALLLM_HOME": home} if home else {}),
        )
        try:
            yield asyncio.run(_ready(name, f"http://127.0.0.1:{port}/v1", process, Path(log.name)))
        finally:
            _stop(process)


@contextmanager
def running_all(names: Sequence[str], plan: ServerPlan) -> Iterator[list[Target]]:
    """Several of SERVERS at once; ours with an empty home, so that it remembers nothing of an earlier run."""
    with ExitStack() as stack:
        home = stack.enter_context(tempfile.TemporaryDirectory())
        yield [stack.enter_context(running(name, SERVERS[name], plan, home)) for name in names]


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


async def _ready(name: str, url: str, process: "subprocess.Popen[bytes]", log: Path) -> Target:
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
    raise RemoteError(f"{name} did not start: {log.read_text(errors='replace')[-2000:]}")
