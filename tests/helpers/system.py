"""What Linux can change for one thread: no file locks, or another user."""

import ctypes
import errno
import os
import platform
import struct
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

# From linux/prctl.h, linux/seccomp.h, linux/bpf_common.h.
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
RET_ERRNO, RET_ALLOW = 0x00050000, 0x7FFF0000
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
# The number of the system call `flock`, by machine: asm/unistd.h.
FLOCK = {"x86_64": 73, "aarch64": 32}

NOBODY = 65534


def take_locks_away(number: int) -> bool:
    """Let each `flock` of this thread, and of what it starts, fail with an errno; return whether that could be done.

    This is what a program sees on a file system without locks. It cannot be undone.
    """
    if sys.platform != "linux" or platform.machine() not in FLOCK:
        return False
    instructions = b"".join(
        struct.pack("HBBI", *instruction)
        for instruction in (
            (LOAD_WORD, 0, 0, 0),  # the number of the system call
            (JUMP_IF_EQUAL, 0, 1, FLOCK[platform.machine()]),
            (RETURN, 0, 0, RET_ERRNO | number),
            (RETURN, 0, 0, RET_ALLOW),
        )
    )
    program = ctypes.create_string_buffer(struct.pack("HP", 4, ctypes.addressof(buffer := _buffer(instructions))))
    system = ctypes.CDLL(None)
    if system.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        return False
    done = system.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program) == 0
    del buffer
    return done


def _buffer(content: bytes) -> ctypes.Array:
    return ctypes.create_string_buffer(content, len(content))


def in_thread(function: Callable[[], Any]) -> Any:
    """Call a function in a thread of its own; return what it returns, or raise what it raises."""
    results: list[Any] = []

    def call() -> None:
        try:
            results.append((function(), None))
        except BaseException as error:  # pytest's own are none of Exception
            results.append((None, error))

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    [(result, error)] = results
    if error:
        raise error
    return result


def without_locks(function: Callable[[], Any], number: int) -> Any:
    """Call a function in a thread where `flock` fails with an errno."""

    def call() -> Any:
        assert take_locks_away(number)
        return function()

    return in_thread(call)


needs_seccomp = pytest.mark.skipif(
    not in_thread(lambda: take_locks_away(errno.ENOSYS)), reason="this system lets no seccomp filter be set"
)


def as_nobody(function: Callable[[], Any]) -> Any:
    """Call a function in a thread whose files are opened as the user `nobody`; skip the test where that takes root."""
    if sys.platform != "linux" or os.geteuid():
        pytest.skip("only root on Linux can be another user")

    def call() -> Any:
        system = ctypes.CDLL(None)
        system.setfsgid(NOBODY)
        system.setfsuid(NOBODY)
        return function()

    return in_thread(call)
