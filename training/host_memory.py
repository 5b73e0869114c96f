"""Memory of the host that a training step frees and takes again."""

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h
_LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Have the C library keep what this process frees, instead of giving it back to the system.

    A step takes and frees the same blocks every time, gigabytes for a large network. glibc gives
    blocks beyond 32 MB back at once, and the system hands them out again page by page, each of
    them zeroed: a sixth of a step of the published image network on a CPU. It is a setting of the
    whole process, so a program calls this, and no function of this library.

    Returns:
        Whether the C library took it; others than glibc have no such setting.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is None:
        return False
    return bool(set_option(_M_MMAP_MAX, 0) and set_option(_M_TRIM_THRESHOLD, _LARGEST))
