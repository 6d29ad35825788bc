"""Keep freed memory in the process instead of giving it back to the system after every layer.

glibc gives large freed tensors back to the system, and the next one of the same size costs a page fault per 4 KiB. How
many depends on the order of sizes (`tests/test_allocator.py` counts those of a small network in batches of 256). The
process keeps the memory of its largest moment until it ends. For programs of our own only: a library does not change
the allocator of the program that imports it.
"""

from __future__ import annotations

import ctypes
import sys

#: <malloc.h>: M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX and what they are set to.
_SETTINGS = ((-1, 2**31 - 1), (-2, 64 << 20), (-4, 0))


def keep_freed_memory() -> bool:
    """Tell glibc's allocator to keep freed memory; return whether there was one to tell (Linux with glibc)."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all(mallopt(name, value) == 1 for name, value in _SETTINGS)
