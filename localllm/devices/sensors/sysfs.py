"""Small files that the kernel answers from: /sys and /proc."""

from pathlib import Path


def read_text(path: Path) -> str:
    """What stands there, without blanks around it; "" where it cannot be read."""
    try:
        return path.read_bytes().decode("utf-8", "replace").strip()
    except (OSError, ValueError):
        return ""


def read_int(path: Path) -> int | None:
    """A whole number; None where there is none."""
    try:
        return int(read_text(path))
    except ValueError:
        return None


def names_in(folder: Path) -> list[str] | None:
    """What lies in a folder, sorted; None where it cannot be read."""
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except OSError:
        return None
