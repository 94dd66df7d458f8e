"""Compare fetching one large file with curl: from a server on loopback, to the same disk, both synced at the end.

They take turns, round after round; each one's file is removed before the next. A ratio is that of the two times in
one round. Ours includes the check of the SHA-256, which curl does not make; so there is a second ratio, to curl and
then hashing its file. Ours runs in a process of its own,
like curl; the growth of its memory is that from before the fetch to the highest point.

    .venv/bin/python scripts/bench_pull.py [--mib 2048] [--rounds 5] [--json FILE]
"""

import argparse
import hashlib
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
from msgspec import Struct

from localllm.errors import LocalLLMError
from localllm.models.digest import Digest
from localllm.models.transfer.address import Location
from localllm.models.transfer.expected import Expected
from localllm.models.transfer.fetch import fetch
from localllm.models.transfer.options import FetchOptions
from localllm.models.transfer.part import PartFile

_MIB = 2**20


class Round(Struct, frozen=True, kw_only=True):
    """One round."""

    curl_seconds: float
    hash_seconds: float  # of curl's file afterwards
    our_seconds: float
    growth_bytes: int  # of our resident memory

    @property
    def ratio(self) -> float:
        """Our speed to curl's: above 1 we are faster."""
        return self.curl_seconds / self.our_seconds

    @property
    def checked_ratio(self) -> float:
        """The same, where curl's file is hashed too."""
        return (self.curl_seconds + self.hash_seconds) / self.our_seconds


class Ours(Struct, frozen=True, kw_only=True):
    """What our process prints."""

    seconds: float
    growth_bytes: int


class Report(Struct, frozen=True, kw_only=True):
    """All rounds."""

    size_bytes: int
    connections: int
    rounds: list[Round]
    median_ratio: float
    median_checked_ratio: float


def main() -> None:
    """Serve, measure, print."""
    args = _arguments()
    try:
        if args.role == "serve":
            _serve(Path(args.file))
        elif args.role == "fetch":
            ours = _fetch(args.url, Path(args.file), args.sha256, args.mib * _MIB, args.connections)
            print(msgspec.json.encode(ours).decode())
        else:
            _compare(args)
    except LocalLLMError as error:
        raise SystemExit(f"bench: {error}") from error


def _compare(args: argparse.Namespace) -> None:
    if shutil.which("curl") is None:
        raise SystemExit("bench: curl is not installed")
    with tempfile.TemporaryDirectory(dir=args.folder) as name, _file_served(Path(name), args.mib * _MIB) as served:
        url, sha256 = served
        rounds = []
        for number in range(args.rounds):
            rounds.append(_round(Path(name), url, sha256, args, is_curl_first=number % 2 == 0))
            print(f"round {number + 1}: {_words(rounds[-1], args.mib)}", file=sys.stderr)
    ratio = statistics.median(found.ratio for found in rounds)
    growth = max(found.growth_bytes for found in rounds) / _MIB
    checked = statistics.median(found.checked_ratio for found in rounds)
    print(f"our speed to curl's: {ratio:.2f}, to curl's and a hash's: {checked:.2f} (medians of {len(rounds)})")
    print(f"our memory grew by {growth:.0f} MiB at most")
    if args.json:
        report = Report(
            size_bytes=args.mib * _MIB,
            connections=args.connections,
            rounds=rounds,
            median_ratio=ratio,
            median_checked_ratio=checked,
        )
        Path(args.json).write_bytes(msgspec.json.encode(report))


def _words(found: Round, mib: int) -> str:
    return (
        f"curl {mib / found.curl_seconds:.0f} MiB/s, ours {mib / found.our_seconds:.0f} MiB/s, "
        f"ratio {found.ratio:.2f}, memory +{found.growth_bytes / _MIB:.0f} MiB"
    )


def _round(folder: Path, url: str, sha256: str, args: argparse.Namespace, is_curl_first: bool) -> Round:
    def curl() -> tuple[float, float]:
        with _gone_afterwards(folder / "curl"):
            return _curl(url, folder / "curl")

    def ours() -> Ours:
        with _gone_afterwards(folder / "ours"):
            command = [sys.executable, __file__, "--role", "fetch", "--url", url, "--sha256", sha256]
            command += ["--file", str(folder / "ours"), "--mib", str(args.mib)]
            command += ["--connections", str(args.connections)]
            done = subprocess.run(command, capture_output=True, check=False)
            if done.returncode:
                raise SystemExit(done.stderr.decode())
            return msgspec.json.decode(done.stdout, type=Ours)

    first = curl() if is_curl_first else None
    found = ours()
    curl_seconds, hash_seconds = first or curl()
    return Round(
        curl_seconds=curl_seconds,
        hash_seconds=hash_seconds,
        our_seconds=found.seconds,
        growth_bytes=found.growth_bytes,
    )


@contextmanager
def _gone_afterwards(path: Path) -> Generator[None, None, None]:
    os.sync()  # what the round before has left to write is not ours
    try:
        yield
    finally:
        with suppress(LocalLLMError):
            PartFile.discard(path)


def _curl(url: str, path: Path) -> tuple[float, float]:
    """Seconds to fetch and sync, and to hash what came."""
    began = time.monotonic()
    subprocess.run(["curl", "--silent", "--fail", "--noproxy", "*", "-o", str(path), url], check=True)  # noqa: S607
    with path.open("rb") as file:
        os.fsync(file.fileno())
        fetched = time.monotonic()
        hashlib.file_digest(file, "sha256")
    return fetched - began, time.monotonic() - fetched


def _fetch(url: str, path: Path, sha256: str, size_bytes: int, connections: int) -> Ours:
    expected = Expected(size_bytes=size_bytes, sha256=Digest(sha256))
    before = _resident_bytes()
    began = time.monotonic()
    with PartFile(path, expected) as part:
        fetch(lambda: Location(url=url), part, FetchOptions(connections=connections), lambda _: None)
    seconds = time.monotonic() - began
    return Ours(seconds=seconds, growth_bytes=_resident_bytes() - before)


def _resident_bytes() -> int:
    """The highest so far."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


@contextmanager
def _file_served(folder: Path, size_bytes: int) -> Generator[tuple[str, str], None, None]:
    """A sparse file, and a process that serves it: the address and the SHA-256."""
    path = folder / "source"
    with path.open("wb") as file:
        file.truncate(size_bytes)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    command = [sys.executable, __file__, "--role", "serve", "--file", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            if process.stdout is None or not (port := process.stdout.readline().strip()):
                raise SystemExit("bench: the server did not start")
            yield f"http://127.0.0.1:{port}/file", sha256
        finally:
            process.kill()


def _serve(path: Path) -> None:
    """HTTP as far as the two ask for it: a GET with or without a range, connections that stay open."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        print(server.getsockname()[1], flush=True)
        while True:
            connection, _ = server.accept()
            threading.Thread(target=_answer_all, args=(connection, path), daemon=True).start()


def _answer_all(connection: socket.socket, path: Path) -> None:
    size_bytes = path.stat().st_size
    with connection, path.open("rb") as file, connection.makefile("rb") as requests, suppress(OSError):
        while asked := requests.readline():
            first, last, status = 0, size_bytes - 1, "200 OK"
            while (line := requests.readline()) not in {b"", b"\r\n"}:
                name, _, value = line.decode("latin-1").partition(":")
                if name.lower() == "range":
                    first, last = map(int, value.strip().removeprefix("bytes=").split("-"))
                    status = f"206 Partial Content\r\nContent-Range: bytes {first}-{last}/{size_bytes}"
            if not asked.startswith(b"GET "):
                return
            connection.sendall(f"HTTP/1.1 {status}\r\nContent-Length: {last + 1 - first}\r\n\r\n".encode())
            connection.sendfile(file, first, last + 1 - first)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--mib", type=int, default=2048, help="size of the file [default: 2048]")
    add("--rounds", type=int, default=5, help="[default: 5]")
    add("--connections", type=int, default=4, help="of ours [default: 4]")
    add("--folder", help="where to write; a disk, not a memory file system [default: the temporary folder]")
    add("--json", metavar="PATH", help="write the figures there")
    for name in ("--role", "--file", "--url", "--sha256"):
        add(name, default="", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
