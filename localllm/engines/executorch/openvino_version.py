"""Which OpenVINO a program of ExecuTorch can be run with."""

from importlib.metadata import PackageNotFoundError, version

BELOW = 2026  # tried with ExecuTorch 1.5.1: 2025.4 runs programs, 2026.4 ends the process


def installed_openvino() -> str:
    """Its version; "" where it is not installed."""
    try:
        return version("openvino")
    except PackageNotFoundError:
        return ""


def is_too_new(found: str) -> bool:
    """Whether ExecuTorch is built for an older one. What has no year in its version is tried."""
    year = found.partition(".")[0]
    return year.isdigit() and int(year) >= BELOW
