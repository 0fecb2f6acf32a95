"""axel, the download accelerator: let it complete a partial download, watch that its file grows, and stop it.

Its state file is read and written in h36m.download.partial.

axel syncs nothing, while its state file reaches the disk within seconds. After a power cut the state would claim up to
half a minute of bytes that are not there, and the archive would have to be downloaded again. So its file is synced here
while it grows, which also leaves little to wait for when the archive is complete.
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
from collections.abc import Callable, Mapping
from pathlib import Path

from h36m.cli import Progress, RunStoppedError
from h36m.download.partial import PartialDownload
from h36m.download.proxies import ca_bundle, find_proxy
from h36m.download.ranges import SMALLEST_RANGE
from h36m.download.response import STALL_SECONDS, ArchiveResponse
from h36m.download.transfer import QUIET_SECONDS, SessionState, Transfer
from h36m.storage import sync

# When axel's many connections do not finish an archive, it gets these few, and then requests goes on.
FEW_CONNECTIONS = 4
WATCH_SECONDS = 0.2  # how often a running axel's file is looked at
SYNC_SECONDS = 1  # between two syncs: little to lose, and few interruptions for a disk that has to seek
STOP_SECONDS = 5  # axel writes its state when it is asked to stop, and needs no time for it

# The folder of an .axelrc of ours: the user's own could name a proxy, to which axel sends the cookie in clear text.
HOME = Path(__file__).resolve().parent / "axel_home"
# The variables that axel needs to be found and loaded; LD_PRELOAD is how programs such as proxychains wrap others.
PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH", "DYLD_INSERT_LIBRARIES", "SYSTEMROOT")


def can_axel_continue(transfer: Transfer, response: ArchiveResponse) -> bool:
    """Return whether axel can download what is missing; if not, requests does.

    axel opens as many connections as its state file has ranges, so it cannot use fewer than the ranges it left.
    """
    partial, connections = transfer.partial, transfer.connections
    has_ranges = response.has_ranges and response.size is not None and bool(partial.missing)
    is_possible = transfer.uses_axel and has_ranges and response.is_own_host and connections > 1
    is_possible = is_possible and not find_proxy(response.url)  # axel would show it the cookie
    return is_possible and (len(partial.missing or []) <= connections or partial.bytes_done == 0)


def download_with_axel(transfer: Transfer, url: str, session: str | None, bar: Progress) -> None:
    """Let axel download what is missing; if it does not finish, it gets fewer connections next time.

    A site may send a login page with status 200 once the session has expired, and axel takes that for the archive. So
    the site is asked about the session all along, and what axel wrote after the last good answer does not count.

    Args:
        url: of the archive at the site itself.
        session: the PHPSESSID.

    Raises:
        RunStoppedError: `transfer.stop` was set.
    """
    partial, connections = transfer.partial, transfer.connections
    size, missing, before = partial.version.size, partial.missing, partial.bytes_done
    assert size is not None and missing is not None, "see can_axel_continue"
    if before:
        partial.split(connections, SMALLEST_RANGE)
        partial.note()
    else:
        version = partial.version
        partial.discard()  # axel creates a file of its own, and accepts none that is there without its state
        partial.set_version(version)
    good, is_expired = missing, False

    def show(on_disk: int) -> None:
        bar.update(max(0, min(on_disk, size) - bar.n))  # a file's last block counts in full

    def is_session_expired(is_quiet: bool) -> bool:
        nonlocal good, is_expired
        missing_before_answer = PartialDownload(partial.path).missing  # None while axel just writes its state
        state = transfer.ask_about_session(session)
        if state is SessionState.VALID and missing_before_answer is not None:
            good = missing_before_answer
        is_expired = transfer.renew_expired_session(session, is_quiet, state)
        return is_expired

    partial.close()
    run_axel(
        url,
        partial.path,
        cookie=session,
        connections=connections,
        verify_tls=transfer.site.configuration.verify_tls,
        stall_seconds=STALL_SECONDS,
        check_seconds=QUIET_SECONDS,
        stop=transfer.stop,
        progress=show,
        is_useless=is_session_expired,
    )
    if transfer.stop.is_set():
        raise RunStoppedError
    partial.reload()
    if not partial.has_state and partial.length not in (0, size):
        partial.discard()  # axel has finished something else, such as a login page
    if is_expired or is_session_expired(is_quiet=False):
        partial.mark_missing(good)
        return
    if partial.bytes_done > before:
        transfer.note_downloader("axel")
    if not partial.is_complete:
        has_fewer_left = connections > FEW_CONNECTIONS
        then = f"retrying with {FEW_CONNECTIONS}" if has_fewer_left else "continuing with requests"
        transfer.say(f"{transfer.file_name}: axel did not finish with {connections} connections; {then}")
        transfer.connections, transfer.uses_axel = min(connections, FEW_CONNECTIONS), has_fewer_left


def bytes_on_disk(part: Path) -> int:
    """Return how many bytes of a file with holes are there: what grows while axel makes progress."""
    try:
        return part.stat().st_blocks * 512  # POSIX counts in units of 512 whatever the disk's blocks are
    except FileNotFoundError:
        return 0


def axel_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment to run axel in: no proxies, no secrets, and the certificates that requests trusts.

    axel 2.17 knows no CONNECT: with `http_proxy` or `HTTP_PROXY` it sends an https request, cookie included, to the
    proxy in clear text, whatever `no_proxy` says. (Found by experiment.)

    Args:
        environment: of the script.
    """
    bundle = ca_bundle()
    # OpenSSL looks into a file and a folder; the one that requests does not use is a place without certificates.
    certificates = {
        "SSL_CERT_FILE": str(HOME / ".axelrc") if Path(bundle).is_dir() else bundle,
        "SSL_CERT_DIR": bundle if Path(bundle).is_dir() else str(HOME),
    }
    passed_on = {name: environment[name] for name in PASSED_ON if name in environment}
    return passed_on | certificates | {"HOME": str(HOME), "LANG": "C"}


def run_axel(
    url: str,
    part: Path,
    *,
    cookie: str | None,
    connections: int,
    verify_tls: bool,
    stall_seconds: float,
    check_seconds: float,
    stop: threading.Event,
    progress: Callable[[int], None],
    is_useless: Callable[[bool], bool],
) -> None:
    """Let axel work on an unfinished file until it ends, does not get on, or `stop` is set.

    How it ended tells nothing (axel exits with 0 on a login page, too): look at what it left behind.

    Args:
        url: an address that answers with the file itself; axel follows no redirect, for it would take the cookie along.
        part: where to put the file, and to go on from its state file.
        cookie: the PHPSESSID; it stands on axel's command line, for axel has no other way to take it.
        stall_seconds: without a new byte for this long axel is stopped; it may be going round without end.
        check_seconds: `is_useless` is called this often.
        progress: called with the number of bytes on disk now and then.
        is_useless: returns whether axel gets no more bytes of the archive, and is to be stopped; its argument says
            whether no byte has come for `check_seconds`.
    """
    command = ["axel", "--quiet", "--no-proxy", "--max-redirect=0", f"--num-connections={connections}"]
    command += [f"--timeout={max(1, round(stall_seconds))}", f"--output={part.resolve()}"]
    command += [] if verify_tls else ["--insecure"]
    command += [f"--header=Cookie: PHPSESSID={cookie}"] if cookie else []
    axel = subprocess.Popen(
        [*command, url],
        env=axel_environment(os.environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the script, which then stops axel
        restore_signals=False,  # SIGPIPE stays ignored: axel dies of it, its state unsaved, when the site hangs up
        preexec_fn=functools.partial(_die_with_parent, os.getpid()) if sys.platform == "linux" else None,
    )
    try:
        grown = checked = synced = time.monotonic()
        last = bytes_on_disk(part)
        while not stop.is_set() and time.monotonic() - grown < stall_seconds:
            with contextlib.suppress(subprocess.TimeoutExpired):
                axel.wait(WATCH_SECONDS)
            now = bytes_on_disk(part)
            if now != last:
                if time.monotonic() - synced > SYNC_SECONDS:
                    sync(part)
                    synced = time.monotonic()
                grown, last = time.monotonic(), now  # after the sync, for a slow disk is no stalled download
                progress(now)
            if axel.returncode is not None:
                break
            if time.monotonic() - checked >= check_seconds:
                if is_useless(time.monotonic() - grown >= check_seconds):
                    break
                checked = time.monotonic()
    finally:
        _end(axel)
    if part.exists():
        sync(part)


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
