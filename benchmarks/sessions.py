#!/usr/bin/env python3
"""Measure what a session that expires during a download costs, with either downloader:

    python3 benchmarks/sessions.py

downloads 28 archives over loopback, all kinds of four subjects, first from a site whose sessions last and then from one
whose sessions end at their 80th request. Prints the seconds lost per expiry: the difference of the two wall times,
divided by the number of expiries. `--shown-as` chooses how the site treats requests after the end of their session.
"""

import argparse
import math
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Sequence
from pathlib import Path

from limited_site import PASSWORD, USERNAME, write_configuration
from machine import ROOT, machine
from transfer import verdict, write_release

from demo.site import LOGIN_PAGE, Handler, serve
from h36m.dataset import ARCHIVES, KINDS

SUBJECTS = ("S1", "S5", "S6", "S7")  # with seven kinds each: 28 archives
SCRIPTS = ("download_all.py", "download_seg_mat_gt_pl.py")
REQUESTS_PER_SESSION = 80
SECONDS_PER_EXPIRY = 15  # the target, from the contract
MOST_RUNS = 5  # of a script; a session that ends twice within one archive costs the archive that run
SHOWN_AS = {
    "redirect": "a redirect to the login page, as the real site answers",
    "page": "the login page with status 200",
    "compressed": "the same page compressed",
    "silence": "no answer for an archive, and a redirect for everything else",
}
SILENCE_SECONDS = 300  # longer than any client waits


class ExpiringHandler(Handler):
    """Ends the session at its last request; requests without a session do not count."""

    requests_per_session: int | None
    shown_as: str
    lock = threading.Lock()
    requests = 0
    expiries = 0

    def do_GET(self):
        self.count_request()
        is_page_of_members = "/filebrowser.php" in self.path
        if not is_page_of_members or self.is_logged_in() or self.shown_as == "redirect":
            super().do_GET()
        elif self.shown_as == "page":
            self.send_page(LOGIN_PAGE)
        elif self.shown_as == "compressed":
            compressor = zlib.compressobj(wbits=31)  # with a gzip header
            page = compressor.compress(LOGIN_PAGE) + compressor.flush()
            self.send_page(page, headers={"Content-Encoding": "gzip", "Content-Length": str(len(page))})
        elif "download=" in self.path:
            time.sleep(SILENCE_SECONDS)
            self.close_connection = True
        else:
            self.redirect("login.php")

    def count_request(self) -> None:
        site = type(self)
        with self.lock:
            if not self.is_logged_in():
                return
            site.requests += 1
            if self.requests_per_session and site.requests % self.requests_per_session == 0:
                site.expiries += 1
                self.server.sessions.clear()


def download(release: Path, root: Path, downloader: str, requests_per_session: int | None, shown_as: str):
    """Download all archives into an empty folder; return wall seconds, expiries, and requests within sessions."""
    settings = {"requests_per_session": requests_per_session, "shown_as": shown_as}
    handler = type("Expiring", (ExpiringHandler,), settings)
    with serve(release, USERNAME, PASSWORD, handler) as site:
        config = write_configuration(root, site.base_url, downloader)
        options = ["--root", root, "--config", config, "--checksums", release / "checksums.txt", "--quiet"]
        started = time.perf_counter()
        for script in SCRIPTS:
            run_until_done([sys.executable, ROOT / script, *options, "--subjects", *SUBJECTS])
        seconds = time.perf_counter() - started
    there = list((root / ARCHIVES).glob("*.tgz"))
    assert len(there) == len(SUBJECTS) * len(KINDS), "the script said that it has all"
    return seconds, handler.expiries, handler.requests


class NotDownloadedError(Exception):
    """A script did not download everything, however often it was run."""


def run_until_done(command: Sequence) -> None:
    for _ in range(MOST_RUNS):
        ended = subprocess.run([*map(str, command)], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if ended.returncode == 0:
            return
        first, *others = ended.stderr.strip().splitlines() or [""]
        print(
            f"status {ended.returncode}, running again: {first} (and {len(others)} more)", file=sys.stderr, flush=True
        )
    raise NotDownloadedError(f"{Path(command[1]).name} did not download everything in {MOST_RUNS} runs")


def measure(release: Path, folder: Path, downloader: str, shown_as: str, repeats: int) -> float | None:
    """Print one line of the table; return the median of the seconds lost per expiry, None without an expiry."""
    lost, walls, expiries, requests = [], [], 0, 0
    for repeat in range(repeats):
        root = folder / f"{downloader} {shown_as} {repeat}"
        lasting, _, _ = download(release, root / "lasting", downloader, None, shown_as)
        wall, expiries, requests = download(release, root / "expiring", downloader, REQUESTS_PER_SESSION, shown_as)
        walls.append((lasting, wall))
        if expiries:
            lost.append((wall - lasting) / expiries)
    without, with_expiries = (statistics.median(each) for each in zip(*walls, strict=True))
    per_expiry = statistics.median(lost) if lost else None
    figures = f"{without:.1f} | {with_expiries:.1f} | {requests} | {expiries}"
    print(
        f"| {downloader} | {shown_as} | {figures} | {'-' if per_expiry is None else f'{per_expiry:.2f}'} |", flush=True
    )
    return per_expiry


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ways = "; ".join(f"{name}: {meaning}" for name, meaning in SHOWN_AS.items())
    parser.add_argument(
        "--shown-as", nargs="+", choices=SHOWN_AS, default=list(SHOWN_AS), help=f"{ways} (default: all)"
    )
    parser.add_argument("--downloaders", nargs="+", choices=("axel", "requests"), default=["axel", "requests"])
    parser.add_argument("--megabytes", type=int, default=3, help="of an archive (default: 3)")
    parser.add_argument("--repeats", type=int, default=3, help="medians are of so many runs (default: 3)")
    arguments = parser.parse_args()
    print(machine())
    print(f"{len(SUBJECTS) * len(KINDS)} archives of {arguments.megabytes} MB, medians of {arguments.repeats}\n")
    print("| downloader | expiry shown as | s without | s with | requests | expiries | s lost per expiry |")
    print("|---|---|---|---|---|---|---|", flush=True)
    met, lines = True, []
    with tempfile.TemporaryDirectory(prefix="h36m-sessions-") as name:
        folder = Path(name)
        release = folder / "release"
        size = arguments.megabytes * 1_000_000
        write_release(release, {(kind, subject): size for kind in KINDS for subject in SUBJECTS})
        for shown_as in arguments.shown_as:
            for downloader in arguments.downloaders:
                try:
                    per_expiry = measure(release, folder, downloader, shown_as, arguments.repeats)
                except NotDownloadedError as error:
                    print(f"| {downloader} | {shown_as} | {error} | | | | |", flush=True)
                    per_expiry = math.inf
                lines.append((f"{downloader}, {shown_as}, seconds per expiry", per_expiry))
    print()
    for what, per_expiry in lines:
        met &= per_expiry is None or verdict(what, per_expiry, SECONDS_PER_EXPIRY)
    raise SystemExit(0 if met else 1)


if __name__ == "__main__":
    main()
