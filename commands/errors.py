"""Mistakes that a user of the command line can make, and how every error is told."""

import errno

from diffusion_controller import DiffusionControllerError

EXIT_MISTAKE = 2
EXIT_INTERRUPTED = 130
EXIT_DEFECT = 70  # sysexits.h: internal software error


class CommandError(DiffusionControllerError, ValueError):
    """A command line that cannot be run as it was typed."""


def status_and_line(error: BaseException) -> tuple[int, str]:
    """Exit status of a command that an error ended, and the line to print, which may be empty."""
    text = " ".join(str(error).split())
    if isinstance(error, DiffusionControllerError):
        interrupted = isinstance(error, InterruptedError)
        return EXIT_INTERRUPTED if interrupted else EXIT_MISTAKE, text
    if isinstance(error, KeyboardInterrupt):
        return EXIT_INTERRUPTED, "interrupted"
    if isinstance(error, BrokenPipeError):
        return 1, ""
    if isinstance(error, OSError):
        return EXIT_MISTAKE, _explain_os_error(error)
    if isinstance(error, MemoryError):
        return EXIT_MISTAKE, "the memory is full; use a smaller batch, network or data set"
    return EXIT_DEFECT, (
        f"unexpected {type(error).__name__}: {text}; this is a defect, please report it with the "
        "traceback that DPC_DEBUG=1 shows"
    )


def _explain_os_error(error: OSError) -> str:
    where = f" at {error.filename}" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full{where}; free some space and run the same command again"
    if isinstance(error, PermissionError):
        return f"no permission{where}; give another path or change its permissions"
    if error.errno == errno.EROFS:
        return f"the file system is read-only{where}; give another path, for instance out=…"
    return " ".join(str(error).split())
