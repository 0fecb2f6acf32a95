"""Run axel, the download accelerator, on a partial download; watch that its file grows, and stop it.

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
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from h36m.download.partial import PartialDownload
from h36m.download.proxies import ca_bundle, find_proxy
from h36m.download.ranges import SMALLEST_RANGE
from h36m.download.response import STALL_SECONDS, ArchiveResponse
from h36m.download.retry import NotAnArchiveError
from h36m.download.transfer import QUIET_SECONDS, Transfer
from h36m.errors import RunStoppedError
from h36m.progress import Progress
from h36m.storage import sync

WATCH_SECONDS = 0.2  # interval of checks on a running axel's file
SYNC_SECONDS = 1  # between two syncs: little to lose, and few interruptions for a disk that has to seek
STOP_SECONDS = 5  # axel writes its state at once when it is terminated

# Contains our .axelrc: the user's own could name a proxy, to which axel would send the cookie in clear text.
HOME = Path(__file__).resolve().parent / "axel_home"
# The variables that axel needs to be found and loaded; LD_PRELOAD is how programs such as proxychains wrap others.
PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH", "DYLD_INSERT_LIBRARIES", "SYSTEMROOT")


def can_axel_continue(transfer: Transfer, response: ArchiveResponse) -> bool:
    """Return whether axel can download what is missing; if not, requests does.

    axel opens as many connections as its state file has ranges, so it cannot use fewer than the ranges it left.
    """
    partial, connections = transfer.partial, transfer.axel_connections
    has_ranges = response.has_ranges and response.size is not None and bool(partial.missing)
    is_possible = connections > 1 and has_ranges and response.is_own_host
    is_possible = is_possible and not find_proxy(response.url)  # axel would show it the cookie
    return is_possible and (len(partial.missing or []) <= connections or partial.bytes_done == 0)


def download_with_axel(transfer: Transfer, url: str, session: str | None, bar: Progress) -> None:
    """Let axel download what is missing; if it does not finish, requests continues.

    A site may send a login page with status 200 once the session has expired, and axel takes that for the archive. So
    the session is checked meanwhile, and what axel wrote after the last successful check does not count.

    Raises:
        RunStoppedError: `transfer.stop` was set.
        NotAnArchiveError: the session has expired.
    """
    partial, connections = transfer.partial, transfer.axel_connections
    size, missing, before = partial.size, partial.missing, partial.bytes_done
    assert size is not None and missing is not None, "see can_axel_continue"
    if before:
        partial.split(connections, SMALLEST_RANGE)
        partial.note()
    else:
        partial.discard()  # axel creates a file of its own, and accepts none that is there without its state
        partial.set_size(size)
    good, is_expired = missing, False

    def is_session_expired(is_quiet: bool) -> bool:
        nonlocal good, is_expired
        missing_before_answer = PartialDownload(partial.path).missing  # None while axel is writing its state
        answer = transfer.is_session_expired(session, is_quiet)
        if answer is False and missing_before_answer is not None:
            good = missing_before_answer
        is_expired = bool(answer)
        return is_expired

    partial.close()
    run_axel(transfer, url, session, bar, is_session_expired)
    if transfer.stop.is_set():
        raise RunStoppedError
    partial.reload()
    if not partial.has_state and partial.length not in (0, size):
        partial.discard()  # axel has downloaded something else, such as a login page
    if is_expired or is_session_expired(is_quiet=False):
        partial.mark_missing(good)
        raise NotAnArchiveError(f"{transfer.site.host} no longer sends {transfer.file_name}")
    if partial.bytes_done > before:
        transfer.downloaders["axel"] = None
    if not partial.is_complete:
        transfer.say(
            f"{transfer.file_name}: axel did not finish with {connections} connections; continuing with requests"
        )
        transfer.axel_connections = 0


def bytes_on_disk(part: Path) -> int:
    """Return how many bytes of a file with holes are allocated, which grows while axel makes progress."""
    try:
        return part.stat().st_blocks * 512  # POSIX counts in units of 512 whatever the disk's blocks are
    except FileNotFoundError:
        return 0


def axel_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment to run axel in: no proxies, no secrets, and the certificates that requests trusts.

    axel 2.17 knows no CONNECT: with `http_proxy` or `HTTP_PROXY` it sends an https request, cookie included, to the
    proxy in clear text, whatever `no_proxy` says. (Found by experiment.)
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
    transfer: Transfer,
    url: str,
    session: str | None,
    bar: Progress,
    is_useless: Callable[[bool], bool],
) -> None:
    """Run axel on an unfinished file until it ends, stalls, or the run is stopped.

    Its exit status is ignored (axel exits with 0 on a login page, too): check the file that it left. It follows no
    redirects, since it would send the cookie along, which it accepts on its command line only.

    Args:
        url: of the file itself.
        session: the PHPSESSID.
        is_useless: called every QUIET_SECONDS; returns whether axel receives no more bytes of the archive and must be
            stopped. Its argument says whether no byte has arrived since the last call.
    """
    part, stop = transfer.partial.path, transfer.stop
    command = ["axel", "--quiet", "--no-proxy", "--max-redirect=0", f"--num-connections={transfer.axel_connections}"]
    command += [f"--timeout={max(1, round(STALL_SECONDS))}", f"--output={part.resolve()}"]
    command += [] if transfer.site.configuration.verify_tls else ["--insecure"]
    command += [f"--header=Cookie: PHPSESSID={session}"] if session else []
    axel = subprocess.Popen(
        [*command, url],
        env=axel_environment(os.environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the script, which then stops axel
        restore_signals=False,  # SIGPIPE stays ignored: it would kill axel with its state unsaved
        preexec_fn=functools.partial(_die_with_parent, os.getpid()) if sys.platform == "linux" else None,
    )
    try:
        grown = checked = synced = time.monotonic()
        last = bytes_on_disk(part)
        while not stop.is_set() and time.monotonic() - grown < STALL_SECONDS:
            with contextlib.suppress(subprocess.TimeoutExpired):
                axel.wait(WATCH_SECONDS)
            now = bytes_on_disk(part)
            if now != last:
                if time.monotonic() - synced > SYNC_SECONDS:
                    sync(part)
                    synced = time.monotonic()
                grown, last = time.monotonic(), now  # after the sync: a slow disk is not a stalled download
                # A file's last block counts in full.
                bar.update(max(0, min(now, transfer.partial.size or now) - bar.n))
            if axel.returncode is not None:
                break
            if time.monotonic() - checked >= QUIET_SECONDS:
                if is_useless(time.monotonic() - grown >= QUIET_SECONDS):
                    break
                checked = time.monotonic()
    finally:
        _end(axel)
    if part.exists():
        sync(part)


def _end(axel: subprocess.Popen) -> None:
    """Terminate axel, which makes it write its state; kill it if that does not help."""
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
    if os.getppid() != parent:  # the script had already ended
        os._exit(1)
