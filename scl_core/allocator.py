"""The system's allocator told to keep what tensors freed, for on a CPU fresh pages cost more than the arithmetic."""

import ctypes
import sys

# glibc's malloc.h: what mallopt's numbers mean
TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3
GIBIBYTE = 1 << 30
OPTIONS = {MMAP_THRESHOLD: GIBIBYTE, TRIM_THRESHOLD: 2 * GIBIBYTE - 1, TOP_PAD: 64 << 20}


def keep_freed_memory() -> bool:
    """Let blocks below 1 GiB come from the heap, and the heap keep what is freed; False where the system has no glibc.

    By default glibc maps each large block anew and gives it back at once, so every step faults its pages in again.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return all([mallopt(option, value) for option, value in OPTIONS.items()])
