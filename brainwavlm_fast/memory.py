"""The process's memory: what it took at most, what is left, and a setting of the C library for long CPU work."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from pathlib import Path

GIB = 1 << 30  # bytes
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_KEEP_BYTES = 2**31 - 1


def keep_freed_memory() -> bool:
    """Tell glibc to reuse freed memory instead of returning it to the kernel; True if that was set.

    Training and feature extraction allocate and free the same large arrays over and over; glibc gives each one back
    and faults its pages in again, which made the convolutional front end up to three times slower here.

    For programs, not for libraries: the command line calls it once. Does nothing outside glibc, or when any
    ``MALLOC_`` or ``GLIBC_TUNABLES`` variable says that the user has chosen already.
    """
    if not sys.platform.startswith("linux") or any(k.startswith(("MALLOC_", "GLIBC_TUNABLES")) for k in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl, or no dynamic symbol table
        return False
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, _KEEP_BYTES))


def peak_memory() -> int:
    """Bytes of memory that this process has held at most."""
    try:  # getrusage would count the parent's memory too, if this process was started by a large one
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.split("VmHWM:")[1].split()[0])
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def available_memory() -> int:
    """Bytes of memory that new work can have without swapping."""
    try:
        status = Path("/proc/meminfo").read_text()
        return 1024 * int(status.split("MemAvailable:")[1].split()[0])
    except (OSError, IndexError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
