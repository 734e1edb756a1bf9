"""How the memory allocator treats the buffers of files and sockets."""

import contextlib
import ctypes

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8
_MIB = 2**20


def keep_buffers() -> None:
    """Make glibc reuse the memory of buffers instead of mapping each one again.

    asyncio receives into a new 256 KiB buffer each time and files are read by the MiB;
    glibc maps and unmaps blocks of that size, and the kernel zeroes each page on the way,
    which halves what one core gets through (mallopt(3)). Few arenas keep the threads from
    holding such blocks apart. Without glibc, nothing happens.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(_ARENA_MAX, 2)
        mallopt(_MMAP_THRESHOLD, 8 * _MIB)
        mallopt(_TOP_PAD, _MIB)
        mallopt(_TRIM_THRESHOLD, 16 * _MIB)
