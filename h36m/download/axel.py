"""axel, the download accelerator: run it, watch that its file grows, and stop it.

Its state file is read and written in h36m.download.partial.
"""

import contextlib
import ctypes
import functools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

WATCH_SECONDS = 0.2  # how often a running axel's file is looked at
STOP_SECONDS = 5  # axel writes its state when it is asked to stop, and needs no time for it


def bytes_on_disk(part: Path) -> int:
    """Return how many bytes of a file with holes are there: what grows while axel makes progress."""
    try:
        return part.stat().st_blocks * 512  # POSIX counts in units of 512 whatever the disk's blocks are
    except FileNotFoundError:
        return 0


def run_axel(
    url: str,
    part: Path,
    *,
    cookie: str | None,
    connections: int,
    verify_tls: bool,
    stall_seconds: float,
    quiet_seconds: float,
    stop: threading.Event,
    progress: Callable[[int], None],
    is_useless: Callable[[], bool],
) -> None:
    """Let axel work on an unfinished file until it ends, does not get on, or `stop` is set.

    How it ended tells nothing (axel exits with 0 on a login page, too): look at what it left behind.

    Args:
        url: an address that answers with the file itself; axel follows no redirect, for it would take the cookie along.
        part: where to put the file, and to go on from its state file.
        cookie: the PHPSESSID; it stands on axel's command line, for axel has no other way to take it.
        stall_seconds: without a new byte for this long axel is stopped; it may be going round without end.
        quiet_seconds: without a new byte for this long `is_useless` is called, and again after as long.
        progress: called with the number of bytes on disk now and then.
        is_useless: returns whether axel will get no more bytes and is to be stopped.
    """
    command = ["axel", "--quiet", "--max-redirect=0", f"--num-connections={connections}"]
    command += [f"--timeout={max(1, round(stall_seconds))}", f"--output={part.resolve()}"]
    command += [] if verify_tls else ["--insecure"]
    command += [f"--header=Cookie: PHPSESSID={cookie}"] if cookie else []
    axel = subprocess.Popen(
        [*command, url],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the script, which then stops axel
        restore_signals=False,  # SIGPIPE stays ignored: axel dies of it, its state unsaved, when the site hangs up
        preexec_fn=functools.partial(_die_with_parent, os.getpid()) if sys.platform == "linux" else None,
    )
    try:
        grown = asked = time.monotonic()
        last = bytes_on_disk(part)
        while not stop.is_set() and time.monotonic() - grown < stall_seconds:
            with contextlib.suppress(subprocess.TimeoutExpired):
                axel.wait(WATCH_SECONDS)
            now = bytes_on_disk(part)
            if now != last:
                grown = asked = time.monotonic()
                last = now
                progress(now)
            if axel.returncode is not None:
                break
            if time.monotonic() - asked >= quiet_seconds:
                if is_useless():
                    break
                asked = time.monotonic()
    finally:
        _end(axel)


def _end(axel: subprocess.Popen) -> None:
    """Ask axel to stop, which makes it write its state, and then make sure."""
    if axel.poll() is None:
        axel.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            axel.wait(STOP_SECONDS)
    if axel.poll() is None:
        axel.kill()
        axel.wait()


if sys.platform == "linux":
    _libc = ctypes.CDLL(None)  # loaded here, since little may be done between fork and exec


def _die_with_parent(parent: int) -> None:
    """Have the kernel kill axel when the script is killed, so that two never write one file."""
    pr_set_pdeathsig = 1  # from the kernel's <linux/prctl.h>
    _libc.prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:  # the script was gone before that
        os._exit(1)
