"""Real faults of the server, the network, the disk and users: no downloaded byte is lost.

Most of these tests download two small archives: boxes, whose MD5 is in the list, and part labels, whose is not.
A fault is done to the requests of the downloader that is tested; axel's are recognised by its User-Agent.
"""

import contextlib
import io
import itertools
import os
import re
import shutil
import signal
import subprocess
import tarfile
from pathlib import Path

import pytest
from helpers.archives import small_archive, small_release
from helpers.disks import grow, nobody_may_write
from helpers.downloads import Downloads, bytes_there, interrupt
from helpers.faulty_site import Plan, Request, faulty_site, made_certificate
from helpers.marks import BOTH, BOTH_AXEL_SLOW, needs_axel, slow
from helpers.processes import axels_at
from helpers.scripts import finish, wait_until

from demo.site import LOGIN_PAGE
from h36m.dataset import BOXES, PART_LABELS, Archive
from h36m.download.partial import PartialDownload
from h36m.download.ranges import SMALLEST_RANGE

SCRIPT = "download_seg_mat_gt_pl.py"
NAMES = ("Segments_mat_gt_bb_S1", "Segments_mat_gt_pl_S1")
SIZE = 300_000  # axel opens a connection for each 100 kB
LARGE = 3_000_000  # enough for axel to open all of its 24


def listed_release(folder: Path, size: int = SIZE) -> Path:
    """Write the two archives and the list of MD5s, in which, as in the real one, part labels are missing."""
    small_release(folder, kinds=[BOXES, PART_LABELS], subjects=["S1"], size=size)
    lines = (folder / "checksums.txt").read_text().splitlines(keepends=True)
    (folder / "checksums.txt").write_text("".join(line for line in lines if PART_LABELS not in line))
    return folder


@pytest.fixture
def release(tmp_path):
    return listed_release(tmp_path / "site")


def is_by(downloader: str, request: Request) -> bool:
    return request.is_archive and request.is_by_axel == (downloader == "axel")


def faults(downloader: str, fault: str, numbers=(1,)) -> Plan:
    """Return a plan that does a fault to some of a downloader's requests for archives, counted from 1."""
    counter = itertools.count(1)
    return lambda request: fault if is_by(downloader, request) and next(counter) in numbers else None


def count(site, fault: str) -> int:
    return sum(request.fault == fault for request in site.requests)


def logins(site) -> int:
    return sum(request.page == "checklogin.php" for request in site.requests)


def first_bytes(site, archive: str) -> list[int]:
    """Return where in an archive the requests for it began."""
    ranges = [request.range for request in site.requests if request.archive == f"{archive}.tgz"]
    return [int(text.removeprefix("bytes=").partition("-")[0]) for text in ranges]


def bytes_lacking(downloads: Downloads) -> int:
    """Return how many bytes of the first archive a later run will download, by the files next to it."""
    size = (downloads.site.archives / f"{NAMES[0]}.tgz").stat().st_size
    partial = PartialDownload(downloads.part(NAMES[0]))
    is_known = partial.size is not None and partial.missing is not None  # axel may just be writing its state
    return size - partial.bytes_done if is_known else size


def wait_for_share(downloads: Downloads, share: float) -> int:
    """Wait until a run has a share of the first archive for good; return how many bytes it lacks then, at most.

    What axel has not noted yet does not count: at times it crashes (signal 11 was seen), or does not heed SIGTERM.
    """
    size = (downloads.site.archives / f"{NAMES[0]}.tgz").stat().st_size
    wait_until(lambda: bytes_lacking(downloads) <= size * (1 - share), f"{share} of the archive")
    return int(size * (1 - share))


def assert_all_right(downloads: Downloads, ended) -> None:
    assert ended.returncode == 0, ended.text
    assert all(downloads.is_right(name) for name in NAMES), ended.text
    assert downloads.leftovers() == []
    assert "Traceback" not in ended.text


def assert_one_line(ended, *words: str, status: int = 1) -> None:
    """The run failed, with one line that contains these words."""
    assert ended.returncode == status, ended.text
    assert len(ended.stderr.splitlines()) == 1, ended.stderr
    assert all(word in ended.stderr for word in words), ended.stderr


# -- site and session --------------------------------------------------------------------------------------------------


def test_session_expired_within_an_archive_is_renewed(tmp_path, release):
    """The partial download is kept. For axel see test_download_sessions.py."""
    with faulty_site(release, faults("requests", "session dies under it")) as site:
        downloads = Downloads(tmp_path / "root", site)
        ended = downloads.run("--subjects", "S1", script=SCRIPT)
        assert_all_right(downloads, ended)
        assert count(site, "session dies under it") == 1 and logins(site) == 2
        assert "restarting" not in ended.stdout
        assert first_bytes(site, NAMES[0])[1] > SIZE // 3
        (session,) = site.sessions
        assert f"PHPSESSID = {session}\n" in downloads.config.read_text()


def test_session_that_expires_again_and_again_is_renewed(tmp_path, release):
    """As often as there was progress since the last login; without any, see tests/unit/test_ranges.py."""
    with faulty_site(release, faults("requests", "session dies under it", range(1, 4))) as site:
        downloads = Downloads(tmp_path / "root", site, Connections="1")
        ended = downloads.run("--subjects", "S1", script=SCRIPT)
        assert_all_right(downloads, ended)
        assert logins(site) == 3 and ended.stdout.count("the session has expired; logging in again") == 2


@BOTH
def test_a_wrong_password_ends_the_run_at_once(tmp_path, release, downloader):
    with faulty_site(release) as site:
        downloads = Downloads(tmp_path / "root", site, downloader, Password="not the one")
        ended = downloads.run("--subjects", "S1", script=SCRIPT)
        assert_one_line(ended, "wrong user name or password; check config.ini", status=2)
        assert logins(site) == 1, "tried again and again, a site may lock the account"
        assert site.archives_asked() == [] and list(downloads.archives.glob("*.tgz*")) == []
        ended = downloads.run("--subjects", "S1", script=SCRIPT, H36M_PASSWORD="not this one")
        assert_one_line(ended, "wrong user name or password; check H36M_PASSWORD and config.ini", status=2)


def test_password_changed_during_the_run_ends_it(tmp_path, release):
    """The partial download is kept."""

    def plan(request):
        if request.archive == f"{NAMES[1]}.tgz":
            site.password = "another"
            return "session dies under it"
        return None

    with faulty_site(release, plan) as site:
        downloads = Downloads(tmp_path / "root", site)
        ended = downloads.run("--subjects", "S1", script=SCRIPT)
        assert_one_line(ended, "wrong user name or password", "1 archive is still missing", status=2)
        assert downloads.is_right(NAMES[0]) and downloads.part(NAMES[1]).stat().st_size > SIZE // 3


@BOTH
@pytest.mark.parametrize("fault", ["login page", "to login page", slow("in circles")])
def test_page_in_place_of_an_archive_is_not_accepted(tmp_path, release, downloader, fault):
    with faulty_site(release, faults(downloader, fault, [1, 2, 3])) as site:
        downloads = Downloads(tmp_path / "root", site, downloader)
        assert_all_right(downloads, downloads.run("--subjects", "S1", script=SCRIPT))
        assert count(site, fault) >= 2 and logins(site) == 1, "the site says that the session is valid"


@pytest.mark.parametrize(
    "downloader, fault",
    [
        *itertools.product(["requests"], ["500", "503", "429", "503 after 0", "503 after 1", "503 after a date"]),
        slow("requests", "429 after 1"),
        pytest.param("axel", "500", marks=needs_axel),
        pytest.param("axel", "429 after 1", marks=[needs_axel, pytest.mark.slow]),
    ],
)
def test_temporary_server_errors_are_retried(tmp_path, release, downloader, fault):
    with faulty_site(release, faults(downloader, fault, [1, 2])) as site:
        downloads = Downloads(tmp_path / "root", site, downloader)
        ended = downloads.run("--subjects", "S1", script=SCRIPT)
        assert_all_right(downloads, ended)
        assert count(site, fault) == 2
        if downloader == "requests":
            asked = [request.time for request in site.requests if request.archive == f"{NAMES[0]}.tgz"]
            pauses = [later - earlier for earlier, later in itertools.pairwise(asked)]
            assert ended.stdout.count(f"tgz: HTTP {fault[:3]} ") == 2
            if fault[-1] in "1e":
                assert min(pauses) >= 1 and len(re.findall("retrying in [12] s", ended.stdout)) == 2
            else:
                assert pauses[1] >= 0.02, "each pause is longer than the one before"


def test_permanent_server_errors_cost_only_their_archive(tmp_path, release):
    def plan(request):
        return "503" if request.archive == f"{NAMES[0]}.tgz" else None

    with faulty_site(release, plan) as site:
        downloads = Downloads(tmp_path / "root", site)
        ended = downloads.run("--subjects", "S1", script=SCRIPT)
        assert_one_line(ended, f"{NAMES[0]}.tgz: HTTP 503", "run again later")
        assert count(site, "503") == 7 and downloads.is_right(NAMES[1])


@pytest.mark.parametrize("fault", ["503", "disconnect", slow("stall before")])
def test_server_errors_during_login_are_retried(tmp_path, release, fault):
    def plan(request):
        return fault if request.page == "checklogin.php" and request.number <= 2 else None

    with faulty_site(release, plan) as site:
        downloads = Downloads(tmp_path / "root", site)
        assert_all_right(downloads, downloads.run("--subjects", "S1", script=SCRIPT))
        assert count(site, fault) == 2


@BOTH
@pytest.mark.parametrize("fault", ["reset", slow("cut"), "stall", "disconnect", slow("stall before")])
def test_broken_or_stalled_connection_resumes(tmp_path, release, downloader, fault):
    with faulty_site(release, faults(downloader, fault, [1, 2])) as site:
        downloads = Downloads(tmp_path / "root", site, downloader)
        ended = downloads.run("--subjects", "S1", script=SCRIPT)
        assert_all_right(downloads, ended)
        assert count(site, fault) == 2 and "restarting" not in ended.stdout
        if downloader == "requests":
            starts = first_bytes(site, NAMES[0])
            assert len(starts) == 3 and starts == sorted(starts)
            if fault in ("reset", "cut", "stall"):
                assert starts[0] < starts[1] < starts[2], "each goes on where the one before broke"


@pytest.mark.parametrize("fault", ["ETag alternates", "ETag weak and strong", "date now"])
def test_validators_that_vary_are_no_change_of_the_archive(tmp_path, release, fault):
    """Whether it has a published MD5 or not."""
    with faulty_site(release, faults("requests", f"{fault} cut", range(1, 9))) as site:
        site.plan = lambda request, cut=site.plan: cut(request) or fault
        downloads = Downloads(tmp_path / "root", site)
        ended = downloads.run("--subjects", "S1", script=SCRIPT, seconds=20)
        assert_all_right(downloads, ended)
        assert "restarting" not in ended.stdout and "again" not in ended.stdout
        starts = first_bytes(site, NAMES[0])
        assert len(starts) > 4 and starts == sorted(set(starts))


@BOTH
def test_without_byte_ranges_one_connection_restarts(tmp_path, release, downloader):
    def plan(request):
        return "no ranges cut" if request.is_archive and request.number == 1 else "no ranges"

    with faulty_site(release, plan) as site:
        downloads = Downloads(tmp_path / "root", site, downloader)
        ended = downloads.run("--subjects", "S1", script=SCRIPT)
        assert_all_right(downloads, ended)
        assert count(site, "no ranges cut") == 2
        assert ended.stdout.count("does not support resuming (no byte ranges); restarting") == 2
        assert not any(request.is_by_axel for request in site.requests), "axel has nothing to win there"


@BOTH
def test_without_a_length_an_archive_is_read_to_its_end_and_checked(tmp_path, release, downloader):
    with faulty_site(release, lambda request: "no length" if request.is_archive else None) as site:
        downloads = Downloads(tmp_path / "root", site, downloader)
        assert_all_right(downloads, downloads.run("--subjects", "S1", script=SCRIPT))
        assert count(site, "no length") == 2


def test_without_a_length_a_body_that_breaks_off_is_found_out(tmp_path, release):
    def plan(request):
        return "no length cut" if request.is_archive and request.number == 1 else "no length"

    with faulty_site(release, plan) as site:
        downloads = Downloads(tmp_path / "root", site)
        ended = downloads.run("--subjects", "S1", script=SCRIPT)
        assert_all_right(downloads, ended)
        assert ended.stdout.count("is truncated") == 2 == count(site, "no length cut")


def version(path: Path, content: int, size: int = SIZE) -> bytes:
    """Put an archive of part labels in place of another; those of one size have as many bytes. Return its bytes."""
    new = path.with_suffix(".new")
    with tarfile.open(new, "w:gz", compresslevel=0) as archive:
        member = tarfile.TarInfo("S1/MySegmentsMat/Walking.54138969.mat")
        member.size = size
        archive.addfile(member, io.BytesIO(bytes([content]) * size))
    os.utime(new, (1e9 + content, 1e9 + content))  # HTTP's dates count in seconds
    new.replace(path)
    return path.read_bytes()


@BOTH
@pytest.mark.parametrize(
    "what, hidden", [("ETag", ""), ("date", "no ETag"), ("size", "no ETag no date")], ids=["ETag", "date", "size"]
)
def test_archive_changed_between_two_ranges_restarts(tmp_path, release, downloader, what, hidden):
    path = release / f"{NAMES[1]}.tgz"
    old = version(path, 1)
    versions = []
    numbers = itertools.count(1)

    def plan(request):
        if request.archive != path.name or not is_by(downloader, request):
            return hidden
        number = next(numbers)
        if number == 3:
            versions.append(version(path, 2, SIZE + 100_000 * (what == "size")))
        return f"{hidden} cut" if number in (1, 2) else hidden

    with faulty_site(release, plan) as site:
        downloads = Downloads(tmp_path / "root", site, downloader)
        ended = downloads.run("--subjects", "S1", script=SCRIPT)
        assert_all_right(downloads, ended)
        assert count(site, f"{hidden} cut") == 2 and len(versions) == 1
        assert (len(versions[0]) == len(old)) == (what != "size")
        assert (downloads.archives / path.name).read_bytes() == versions[0]
        # Only a new size shows during the download, and only to requests; the check at the end finds the others.
        is_seen = downloader == "requests" and what == "size"
        line = "changed on the server during the download; restarting" if is_seen else "downloading it again"
        assert line in ended.stdout


def test_an_archive_that_keeps_changing_is_given_up(tmp_path, release):
    path = release / f"{NAMES[1]}.tgz"
    contents = itertools.count(1)

    def plan(request):
        if request.archive != path.name:
            return None
        number = next(contents)
        version(path, number, SIZE + 1000 * number)
        return "cut"

    with faulty_site(release, plan) as site:
        downloads = Downloads(tmp_path / "root", site)
        ended = downloads.run("--subjects", "S1", script=SCRIPT)
        assert_one_line(ended, path.name, "keeps changing on the server during the download")
        assert downloads.is_right(NAMES[0]) and not (downloads.archives / path.name).exists()


@BOTH_AXEL_SLOW
def test_untrusted_certificate_ends_the_run_naming_verifytls(tmp_path, release, downloader):
    """With the certificate's authority trusted, or VerifyTLS = no, the run succeeds."""
    tls, certificate = made_certificate(tmp_path)
    with faulty_site(release, tls=tls) as site:
        downloads = Downloads(tmp_path / "root", site, downloader)
        ended = downloads.run("--subjects", "S1", script=SCRIPT)
        assert_one_line(ended, "certificate is not trusted", "VerifyTLS = no", "config.ini")
        assert site.requests == [], "nothing was sent, least of all the password"

        ended = downloads.run("--subjects", "S1", script=SCRIPT, REQUESTS_CA_BUNDLE=str(certificate))
        assert_all_right(downloads, ended)

        trusting = Downloads(tmp_path / "trusting", site, downloader, VerifyTLS="no")
        ended = trusting.run("--subjects", "S1", script=SCRIPT)
        assert_all_right(trusting, ended)
        assert ended.stdout.count(f"downloaded with {downloader}") == 2 and "Warning" not in ended.text


@BOTH
def test_a_host_that_is_not_found_ends_the_run_at_once(tmp_path, release, downloader):
    with faulty_site(release) as site:
        downloads = Downloads(tmp_path / "root", site, downloader, BaseURL="https://no-such-host.invalid/human3.6m/")
        ended = downloads.run("--subjects", "S1", script=SCRIPT)
        assert_one_line(ended, "no-such-host.invalid", "host not found", "BaseURL")


@BOTH
@pytest.mark.slow
def test_server_that_stops_midway_costs_no_downloaded_byte(tmp_path, downloader):
    release = listed_release(tmp_path / "site", LARGE)
    with faulty_site(release, lambda request: "slow" if request.is_archive else None) as site:
        site.bytes_per_second = LARGE // (100 if downloader == "axel" else 25)
        downloads = Downloads(tmp_path / "root", site, downloader)
        process = downloads.start("--subjects", "S1", script=SCRIPT)
        lacking = wait_for_share(downloads, 0.2)
        base_url = site.base_url
    site.server_close()
    ended = finish(process)
    assert ended.returncode == 1 and len(ended.stderr.splitlines()) == 2, ended.text
    assert "cannot be reached" in ended.stderr and "The partial download is kept" in ended.stderr
    assert bytes_lacking(downloads) <= lacking
    with faulty_site(release) as site:
        downloads.config.write_text(downloads.config.read_text().replace(base_url, site.base_url))
        ended = downloads.run("--subjects", "S1", script=SCRIPT)
        assert_all_right(downloads, ended)
        assert "restarting" not in ended.stdout


# -- axel itself, with the behaviour that the runs depend on -----------------------------------------------------------


def axel_alone(site, output: Path) -> subprocess.Popen:
    """Start axel as a user would, without this project."""
    query = "download=1&filepath=Segments/mat_gt_bb&filename=SubjectSpecific_1.tgz&downloadname=S1"
    words = ["axel", "--quiet", "--num-connections=24", "--timeout=1", f"--output={output}"]
    words += [f"--header=Cookie: PHPSESSID={site.log_in()}", f"{site.base_url}filebrowser.php?{query}"]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def status_of_axel(release: Path, pages: range, output: Path) -> int:
    """Run axel alone until it ends, and return its status; up to five times, because it crashes at times.

    Args:
        pages: which of its requests get the login page, counted from 1.
    """
    for _ in range(5):
        for file in output.parent.glob(f"{output.name}*"):
            file.unlink()
        with faulty_site(release, faults("axel", "login page", pages)) as site:
            status = axel_alone(site, output).wait(60)
        if status >= 0:
            break
    return status


@needs_axel
def test_axel_accepts_a_login_page_and_exits_0(tmp_path):
    """Why axel's exit status is ignored, and why an archive that it downloaded wrong is downloaded with requests."""
    release = listed_release(tmp_path / "site", LARGE)
    right = (release / f"{NAMES[0]}.tgz").read_bytes()
    assert status_of_axel(release, range(1, 100), tmp_path / "page") == 0
    assert (tmp_path / "page").read_bytes() == LOGIN_PAGE
    assert status_of_axel(release, range(10, 15), tmp_path / "mixed") == 0
    mixed = (tmp_path / "mixed").read_bytes()
    assert len(mixed) == len(right) and mixed != right


@needs_axel
def test_axel_retries_endlessly_with_an_expired_session(tmp_path):
    """Why a run asks about the session. At times axel ends before, complete or by a crash: then it is started again."""
    release = listed_release(tmp_path / "site", LARGE)
    for number in range(5):
        output = tmp_path / str(number)
        with faulty_site(release, faults("axel", "session dies under it", [10])) as site:
            axel = axel_alone(site, output)
            try:
                wait_until(lambda: len(site.requests) > 200 or axel.poll() is not None, "axel asking again and again")  # noqa: B023
                if axel.poll() is not None:
                    continue
                came = bytes_there(output)
                wait_until(lambda: len(site.requests) > 400, "axel asking again and again")
                assert bytes_there(output) == came and axel.poll() is None
                return
            finally:
                axel.kill()
                axel.wait()
    pytest.fail("axel ended each time")


@needs_axel
def test_archive_mixed_up_by_axel_is_repeated_over_one_connection(tmp_path):
    """The site answers some of axel's connections with the login page, as 200."""
    release = listed_release(tmp_path / "site", LARGE)

    def plan(request):
        return "login page" if request.is_by_axel and request.number % 20 == 0 else None

    for number in range(5):
        with faulty_site(release, plan) as site:
            downloads = Downloads(tmp_path / f"root {number}", site, "axel")
            # axel has to exit by itself: on a busy machine a second without a byte proves nothing.
            ended = downloads.run("--subjects", "S1", script=SCRIPT, H36M_STALL_SECONDS="20")
            assert_all_right(downloads, ended)
        # It crashes at times; what it did not finish is resumed, and may then come without a page.
        if "axel did not finish with" not in ended.stdout:
            break
    assert "axel did not finish with" not in ended.stdout and count(site, "login page") >= 2
    assert ended.stdout.count("downloading it again") == 2
    assert ended.stdout.count("downloaded with requests") == 2


# -- disk and process --------------------------------------------------------------------------------------------------


def slow_site(release: Path, downloader: str):
    """Run the site so that an archive takes some seconds: time to do something to the run."""
    seconds = 3  # both note what is there every second
    context = faulty_site(release, lambda request: "slow" if request.is_archive else None)

    @contextlib.contextmanager
    def slowed():
        with context as site:
            size = (release / f"{NAMES[0]}.tgz").stat().st_size
            bytes_of_a_connection = 125_000 if downloader == "axel" else SMALLEST_RANGE
            connections = min(24, max(1, size // bytes_of_a_connection))
            site.bytes_per_second = size / seconds / connections
            yield site

    return slowed()


def hurried(site) -> None:
    site.plan = lambda request: None


@BOTH_AXEL_SLOW
@pytest.mark.parametrize("signal_number", [signal.SIGINT, slow(signal.SIGTERM)], ids=["Ctrl-C", "SIGTERM"])
def test_interrupted_run_exits_130_and_keeps_the_partial_download(tmp_path, downloader, signal_number):
    """No axel is left."""
    release = listed_release(tmp_path / "site", LARGE)
    with slow_site(release, downloader) as site:
        downloads = Downloads(tmp_path / "root", site, downloader)
        process = downloads.start("--subjects", "S1", script=SCRIPT)
        lacking = wait_for_share(downloads, 0.2)
        assert bool(axels_at(downloads.archives)) == (downloader == "axel")
        process.send_signal(signal_number)
        ended = finish(process)
        assert_one_line(ended, "interrupted; run again", status=130)
        assert axels_at(downloads.archives) == []
        assert bytes_lacking(downloads) <= lacking
        hurried(site)
        ended = downloads.run("--subjects", "S1", script=SCRIPT)
        assert_all_right(downloads, ended)
        assert "restarting" not in ended.stdout


@pytest.mark.parametrize("fault", ["503 after 300", slow("stall")])
def test_run_interrupted_while_it_waits_ends_soon(tmp_path, release, fault):
    """It waits for the site's data, or before a retry."""
    with faulty_site(release, lambda request: fault if request.is_archive else None) as site:
        downloads = Downloads(tmp_path / "root", site)
        process = downloads.start("--subjects", "S1", script=SCRIPT, H36M_STALL_SECONDS="300")
        if fault == "stall":
            wait_until(lambda: bytes_there(downloads.part(NAMES[0])) > SIZE // 3, "half of the archive")
        else:
            assert any("retrying in 300 s" in process.stdout.readline() for _ in range(4)), "after the plan"
        interrupt(process)
        assert_one_line(finish(process), "interrupted; run again", status=130)
        assert count(site, fault) == 1


@pytest.mark.slow
@BOTH
def test_kill_9_at_any_part_of_a_download_costs_no_archive(tmp_path, downloader):
    release = listed_release(tmp_path / "site", LARGE)
    with slow_site(release, downloader) as site:
        downloads = Downloads(tmp_path / "root", site, downloader)
        for share in (0, 0.3, 0.6):
            asked = len(site.requests)
            process = downloads.start("--subjects", "S1", script=SCRIPT)
            wait_until(lambda asked=asked: len(site.requests) > asked + 1, "a request for the archive")
            lacking = wait_for_share(downloads, share)
            process.kill()
            assert finish(process).returncode == -signal.SIGKILL
            wait_until(lambda: not axels_at(downloads.archives), "axel's end")
            assert bytes_lacking(downloads) <= lacking and not (downloads.archives / f"{NAMES[0]}.tgz").exists()
        hurried(site)
        ended = downloads.run("--subjects", "S1", script=SCRIPT)
        assert_all_right(downloads, ended)
        assert "restarting" not in ended.stdout


# Kills the process before a chosen one of the things it does to the folder: opening, renaming or removing a file.
KILL_BEFORE_A_STEP = """
import os, signal, sys
left = int(os.environ["KILL_BEFORE_STEP"])
def watch(event, arguments):
    global left
    if event in ("open", "os.rename", "os.remove", "os.mkdir") and "archives" in str(arguments[0]):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
"""


def state_of(archives: Path) -> dict[str, object]:
    """Return all that a killed run has left to the next one: files' contents, of records without times and lengths."""
    return {
        path.name: re.sub(rb"\d+", b"", path.read_bytes()) if path.suffix == ".json" else path.read_bytes()
        for path in archives.iterdir()
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "downloader, is_new_version",
    [("requests", False), ("requests", True), pytest.param("axel", False, marks=needs_axel)],
    ids=["requests", "requests, kept as changed", "axel"],
)
def test_kill_9_at_each_step_costs_nothing_and_leaves_nothing(tmp_path, downloader, is_new_version):
    """Steps that leave the same files have one next run, since that knows nothing else of the one before."""
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "sitecustomize.py").write_text(KILL_BEFORE_A_STEP)
    release = listed_release(tmp_path / "site")
    if is_new_version:
        small_archive(release / f"{NAMES[0]}.tgz", Archive(BOXES, "S1"), SIZE + 1)
    states = []
    for step in itertools.count(1):
        with faulty_site(release) as site:
            downloads = Downloads(tmp_path / str(step), site, downloader)
            downloads.archives.mkdir()
            shutil.copy(release / f"{NAMES[1]}.tgz", downloads.archives)
            variables = {"PYTHONPATH": str(hooks), "KILL_BEFORE_STEP": str(step)}
            ended = downloads.run("--subjects", "S1", script=SCRIPT, **variables)
            if ended.returncode != -signal.SIGKILL:
                break
            found = [path.stem for path in downloads.archives.glob("*.tgz")]
            assert all(downloads.is_right(name) for name in found), "whole or not there"
            state = state_of(downloads.archives)
            if state in states:
                continue
            states.append(state)
            ended = downloads.run("--subjects", "S1", script=SCRIPT)
            if is_new_version:
                assert_one_line(ended, "so the file on the server has probably changed")
                assert downloads.leftovers() == [f"{NAMES[0]}.tgz.changed"], step
            else:
                assert_all_right(downloads, ended)
    assert step > 20 and len(states) > 3, "there are many steps to be killed at"
    assert ended.returncode == is_new_version


@BOTH
def test_too_small_disk_is_noticed_before_the_download(tmp_path, downloader, small_disk):
    release = listed_release(tmp_path / "site", 1_400_000)
    disk = small_disk(2)
    with faulty_site(release) as site:
        downloads = Downloads(disk, site, downloader)
        ended = downloads.run("--subjects", "S1", script=SCRIPT)
        free = shutil.disk_usage(disk).free
        size = (release / f"{NAMES[1]}.tgz").stat().st_size
        assert_one_line(ended, f"{NAMES[1]}.tgz", "disk is full", f"{size:,} more bytes are needed", "free some space")
        assert 0 < free < size and downloads.is_right(NAMES[0])
        grow(disk, 4)
        assert_all_right(downloads, downloads.run("--subjects", "S1", script=SCRIPT))


def test_disk_full_within_an_archive_of_unknown_length(tmp_path, small_disk):
    """The partial download is kept and a later run resumes it."""
    release = listed_release(tmp_path / "site", 1_400_000)
    disk = small_disk(2)
    with faulty_site(release, lambda request: "no length" if request.is_archive else None) as site:
        downloads = Downloads(disk, site)
        ended = downloads.run("--subjects", "S1", script=SCRIPT)
        assert_one_line(ended, f"{NAMES[1]}.tgz", "disk is full", "free some space and run again")
        assert shutil.disk_usage(disk).free == 0, "it was written until nothing went in"
        came = downloads.part(NAMES[1]).stat().st_size
        assert downloads.is_right(NAMES[0]) and came > 300_000
        grow(disk, 4)
        hurried(site)
        site.requests.clear()
        assert_all_right(downloads, downloads.run("--subjects", "S1", script=SCRIPT))
        assert first_bytes(site, NAMES[1])[0] == came


@BOTH_AXEL_SLOW
def test_disk_filled_by_others_costs_no_downloaded_byte(tmp_path, downloader, small_disk):
    release = listed_release(tmp_path / "site", LARGE)
    disk = small_disk(4)
    with slow_site(release, downloader) as site:
        downloads = Downloads(disk, site, downloader)
        process = downloads.start("--subjects", "S1", script=SCRIPT)
        lacking = wait_for_share(downloads, 0.2)
        ballast = disk / "ballast"
        with pytest.raises(OSError, match="No space left"), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        ended = finish(process)
        assert ended.returncode == 1 and len(ended.stderr.splitlines()) == 2
        assert ended.stderr.count("disk is full") == 2, ended.text
        assert bytes_lacking(downloads) <= lacking
        ballast.unlink()
        grow(disk, 10)
        hurried(site)
        ended = downloads.run("--subjects", "S1", script=SCRIPT)
        assert_all_right(downloads, ended)
        assert "restarting" not in ended.stdout


def test_the_second_of_two_runs_on_one_root_waits_and_says_so(tmp_path, release):
    with slow_site(release, "requests") as site:
        downloads = Downloads(tmp_path / "root", site)
        first = downloads.start("--subjects", "S1", script=SCRIPT)
        wait_until(lambda: bytes_there(downloads.part(NAMES[0])) > 0, "the first bytes")
        second = downloads.start("--subjects", "S1", script=SCRIPT)
        assert "in use by another run; waiting" in second.stdout.readline()
        assert first.poll() is None
        hurried(site)
        assert_all_right(downloads, finish(first))
        asked = len(site.requests)
        ended = finish(second)
        assert_all_right(downloads, ended)
        assert "\n2 archives: 2 already present; verified in " in ended.stdout and len(site.requests) == asked


def test_run_that_waits_for_another_can_be_interrupted(tmp_path, release):
    """The next one begins when the run with the lock is killed."""
    with slow_site(release, "requests") as site:
        downloads = Downloads(tmp_path / "root", site)
        first = downloads.start("--subjects", "S1", script=SCRIPT)
        wait_until(lambda: bytes_there(downloads.part(NAMES[0])) > 0, "the first bytes")
        second = downloads.start("--subjects", "S1", script=SCRIPT)
        assert "waiting" in second.stdout.readline()
        interrupt(second)
        assert finish(second).returncode == 130
        third = downloads.start("--subjects", "S1", script=SCRIPT)
        assert "waiting" in third.stdout.readline()
        hurried(site)
        first.kill()
        assert finish(first).returncode == -signal.SIGKILL
        assert_all_right(downloads, finish(third))


def test_a_folder_that_cannot_be_written_ends_the_run_in_one_line(tmp_path, release, small_disk):
    disk = small_disk(4)
    with faulty_site(release) as site:
        downloads = Downloads(disk, site)
        for what in ("archives: cannot write there", "cannot lock "):  # without the folder, and with it
            with nobody_may_write(disk):
                ended = downloads.run("--subjects", "S1", script=SCRIPT)
            assert_one_line(ended, what, "archives", "Read-only file system")
            assert site.requests == []
            downloads.archives.mkdir(exist_ok=True)
        assert_all_right(downloads, downloads.run("--subjects", "S1", script=SCRIPT))
        with nobody_may_write(disk):
            ended = downloads.run("--subjects", "S1", script=SCRIPT)
            assert (ended.returncode, "nothing to do" in ended.stdout) == (0, True), "for that nothing is written"


def test_an_archive_that_cannot_be_read_costs_that_archive_only(tmp_path, release):
    with faulty_site(release) as site:
        downloads = Downloads(tmp_path / "root", site)
        (downloads.archives / f"{NAMES[0]}.tgz").mkdir(parents=True)
        ended = downloads.run("--subjects", "S1", script=SCRIPT)
        assert_one_line(ended, f"{NAMES[0]}.tgz", "Is a directory")
        assert downloads.is_right(NAMES[1])


def test_a_configuration_that_cannot_be_written_does_not_stop_the_run(tmp_path, release, small_disk):
    disk = small_disk(4)
    with faulty_site(release) as site:
        downloads = Downloads(tmp_path / "root", site)
        shutil.copy(downloads.config, disk)
        with nobody_may_write(disk):
            ended = downloads.run("--subjects", "S1", "--config", disk / "config.ini", script=SCRIPT)
        assert_all_right(downloads, ended)
        assert "the session could not be saved" in ended.stdout
