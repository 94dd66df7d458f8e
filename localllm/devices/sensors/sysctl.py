"""What macOS says of itself: sysctlbyname(3), without a program to start for it."""

import ctypes
import platform


def sysctl_bytes(name: str) -> bytes | None:
    """The value of a name such as hw.optional.avx2_0; None where there is none."""
    if platform.system() != "Darwin":
        return None
    library = ctypes.CDLL(None)
    size = ctypes.c_size_t(0)
    if library.sysctlbyname(name.encode(), None, ctypes.byref(size), None, ctypes.c_size_t(0)):
        return None
    buffer = ctypes.create_string_buffer(size.value + 1)
    if library.sysctlbyname(name.encode(), buffer, ctypes.byref(size), None, ctypes.c_size_t(0)):
        return None
    return buffer.raw[: size.value]


def sysctl_text(name: str) -> str:
    """A text such as machdep.cpu.brand_string; "" where there is none."""
    return (sysctl_bytes(name) or b"").split(b"\0")[0].decode("utf-8", "replace").strip()


def sysctl_flag(name: str) -> bool | None:
    """A number that stands for yes or no; None where there is none."""
    value = sysctl_bytes(name)
    return None if not value else any(value)
