"""What a site sends when the session has expired: it is renewed at once, and no page is taken for an archive."""

import itertools
from http import HTTPStatus

import pytest
from helpers.archives import small_release
from helpers.downloads import Downloads
from helpers.faulty_site import faulty_site
from helpers.marks import BOTH, BOTH_AXEL_SLOW, needs_axel, slow

from h36m.dataset import BOXES, PART_LABELS

SCRIPT = "download_seg_mat_gt_pl.py"
NAMES = ("Segments_mat_gt_bb_S1", "Segments_mat_gt_pl_S1")
LARGE = 3_000_000  # several connections are opened for it
# Silence is noticed soon, and the stall limit never: what does not notice the first runs into the test's own limit.
NEVER_STALLED = {"H36M_QUIET_SECONDS": "0.5", "H36M_STALL_SECONDS": "300", "seconds": 30}


@pytest.fixture
def release(tmp_path):
    """Return a site's folder: the MD5 of boxes is published, as in the real list that of part labels is not."""
    folder = small_release(tmp_path / "site", kinds=[BOXES, PART_LABELS], subjects=["S1"], size=LARGE)
    lines = (folder / "checksums.txt").read_text().splitlines(keepends=True)
    (folder / "checksums.txt").write_text("".join(line for line in lines if PART_LABELS not in line))
    return folder


def logins(site) -> int:
    return sum(request.page == "checklogin.php" for request in site.requests)


def axel_connections_in_last_session(site) -> int:
    """Return how many connections axel opened for the first archive in the session of its last request."""
    by_axel = [request for request in site.requests if request.is_by_axel]
    return sum((each.archive, each.cookie) == (f"{NAMES[0]}.tgz", by_axel[-1].cookie) for each in by_axel)


def run(downloads: Downloads, **options):
    return downloads.run("--subjects", "S1", script=SCRIPT, **options)


def assert_all_right(downloads: Downloads, ended) -> None:
    assert ended.returncode == 0, ended.text
    assert all(downloads.is_right(name) for name in NAMES) and downloads.leftovers() == []


# Of the pages that differ from all of those that show an expired session.
OTHER_PAGES = ("in circles", "archive as a page", "page 410", "page 203", "echo")


@pytest.mark.parametrize("expired", ["login page", "compressed page", slow("to login page"), slow("page 403")])
@BOTH_AXEL_SLOW
def test_saved_session_that_has_expired_is_replaced(tmp_path, release, downloader, expired):
    with faulty_site(release) as site:
        site.expired = expired
        downloads = Downloads(tmp_path / "root", site, downloader, PHPSESSID="deadbeef")
        ended = run(downloads)
        assert_all_right(downloads, ended)
        assert "the saved session has expired; logging in" in ended.stdout and logins(site) == 1
        (session,) = site.sessions
        assert f"PHPSESSID = {session}\n" in downloads.config.read_text()


@pytest.mark.parametrize(
    "fault, words",
    [
        *((f"page {status}", f"login: HTTP {status} {HTTPStatus(status).phrase}; ") for status in (403, 404, 405, 451)),
        ("503", "login: HTTP 503 Service Unavailable; 7 attempts failed, run again later"),
        ("to login page", "redirected to /human3.6m/login.php without a valid session; "),
        (
            "maintenance",
            "sends one page for all requests: it is an HTML page: 'Down for maintenance'; 7 attempts",
        ),
    ],
)
def test_login_that_fails_is_named_as_what_it_is(tmp_path, release, fault, words):
    """Only the site can say that a password is wrong; maintenance concerns all of its pages."""

    def plan(request):
        return fault if "maintenance" in (fault, request.page) or request.page == "checklogin.php" else None

    with faulty_site(release, plan) as site:
        ended = run(Downloads(tmp_path / "root", site))
        assert ended.returncode == 1 and len(ended.stderr.splitlines()) == 1, ended.text
        assert words in ended.stderr and "wrong" not in ended.text
        assert logins(site) == (1 if "page" in fault else 7)


def test_login_refused_during_the_run_costs_one_archive(tmp_path, release):
    """The other archive needs no session."""

    def plan(request):
        if request.page == "checklogin.php" and request.number > 1:
            return "page 403"
        return "login page" if request.archive == f"{NAMES[0]}.tgz" else None

    with faulty_site(release, plan) as site:
        site.needs_login = False
        downloads = Downloads(tmp_path / "root", site)
        ended = run(downloads)
        assert ended.returncode == 1 and len(ended.stderr.splitlines()) == 1, ended.text
        assert "login: HTTP 403 Forbidden; " in ended.stderr and downloads.is_right(NAMES[1])


@BOTH
@pytest.mark.parametrize("expired", ["login page", slow("page 403"), slow("silence")])
def test_session_expired_during_a_silent_download_is_renewed(tmp_path, release, downloader, expired):
    """Its connections stay open without data: the run does not wait for the stall limit."""

    def plan(request):
        is_by_downloader = request.is_archive and request.is_by_axel == (downloader == "axel")
        is_first = request.archive == f"{NAMES[0]}.tgz" and logins(site) == 1
        return "session dies silently" if is_by_downloader and is_first else None

    with faulty_site(release, plan) as site:
        site.expired = expired
        downloads = Downloads(tmp_path / "root", site, downloader)
        ended = run(downloads, **NEVER_STALLED)
        assert_all_right(downloads, ended)
        assert any(request.fault == "session dies silently" for request in site.requests)
        assert logins(site) == 2, ended.text
        if downloader == "axel":  # not by its output: at times axel crashes, and requests continues
            assert axel_connections_in_last_session(site) > 8


@BOTH
@pytest.mark.parametrize("expired", ["login page", slow("silence")])
def test_session_expired_between_archives_is_renewed(tmp_path, release, downloader, expired):
    """The first request for an archive is the one that gets no answer."""

    def plan(request):
        return "session ends" if request.archive == f"{NAMES[1]}.tgz" and request.number == 1 else None

    with faulty_site(release, plan) as site:
        site.expired = expired
        downloads = Downloads(tmp_path / "root", site, downloader)
        ended = run(downloads, **NEVER_STALLED)
        assert_all_right(downloads, ended)
        reason = "no response about the session" if expired == "silence" else "the session has expired"
        assert f"{reason}; logging in again" in ended.stdout and logins(site) == 2
        assert "downloading it again" not in ended.stdout, "a page is not the beginning of the archive"


@BOTH_AXEL_SLOW
def test_slow_site_with_a_valid_session_is_waited_for(tmp_path, release, downloader):
    """The site is asked about the session, and the download continues."""
    numbers = itertools.count(1)
    with faulty_site(release, lambda request: "pause" if request.is_archive and next(numbers) < 6 else None) as site:
        site.pause_seconds = 1.2
        downloads = Downloads(tmp_path / "root", site, downloader, Connections="4")
        assert_all_right(downloads, run(downloads, **NEVER_STALLED))
        assert logins(site) == 1


def test_silence_without_a_password_is_waited_for(tmp_path, release):
    """There is no password prompt while the site is only slow; the stall limit ends the download as usual."""
    silent = []

    def plan(request):
        if request.is_archive and request.number == 1:
            silent.append(request)
            return "stall before"
        return "stall before" if silent and request.page == "filebrowser.php" and not request.is_archive else None

    with faulty_site(release, plan) as site:
        session = site.log_in()
        downloads = Downloads(tmp_path / "root", site, Username="", Password="", PHPSESSID=session)
        ended = run(downloads, H36M_QUIET_SECONDS="0.3", H36M_STALL_SECONDS="1.5")
        assert_all_right(downloads, ended)
        assert len(silent) == 2 and logins(site) == 0


@BOTH_AXEL_SLOW
@pytest.mark.parametrize("page", [*("login page", "page as a range", "page 404"), *map(slow, OTHER_PAGES)])
def test_page_that_stays_is_named_and_never_an_archive(tmp_path, release, downloader, page):
    """The site sends it to all clients, whose sessions are valid. No secret in it is shown."""
    with faulty_site(release, lambda request: page if request.is_archive else None) as site:
        downloads = Downloads(tmp_path / "root", site, downloader)
        ended = run(downloads)
        assert ended.returncode == 1 and len(ended.stderr.splitlines()) == 2, ended.text
        assert logins(site) == 1 and "expired" not in ended.text
        words = {
            "in circles": "circles",
            "page 404": "404",
            "echo": "its text contains a secret",
            "page 203": "203",
        }
        assert ended.stderr.count(words.get(page, "410" if "410" in page else "HTML page")) >= 2, ended.stderr
        assert list(downloads.archives.glob("*.tgz*")) == [], "nothing of it is kept, or offered to be accepted"


@pytest.mark.parametrize("page", [slow("login page"), "page with ranges", "page as a range", slow("compressed page")])
def test_page_in_the_middle_costs_no_downloaded_byte(tmp_path, release, page):
    """After half of the archive the site sends pages, until the script logs in again."""

    def plan(request):
        return "session dies under it" if request.archive == f"{NAMES[0]}.tgz" and request.number == 1 else None

    with faulty_site(release, plan) as site:
        site.expired = page
        downloads = Downloads(tmp_path / "root", site, Connections="1")
        ended = downloads.run("--subjects", "S1", script=SCRIPT)
        assert_all_right(downloads, ended)
        first = [request for request in site.requests if request.archive == f"{NAMES[0]}.tgz"]
        starts = [int(request.range.removeprefix("bytes=").partition("-")[0]) for request in first]
        assert starts[-1] > LARGE // 3, "it goes on where the cut was"
        assert "downloading it again" not in ended.stdout and "restarting" not in ended.stdout


def test_without_a_password_a_404_costs_its_archive_only(tmp_path, release):
    """There is nothing to log in with, and no need to: the session is valid."""
    with faulty_site(release, lambda request: "page 404" if request.archive == f"{NAMES[0]}.tgz" else None) as site:
        session = site.log_in()
        downloads = Downloads(tmp_path / "root", site, Username="", Password="", PHPSESSID=session)
        ended = run(downloads)
        assert ended.returncode == 1 and len(ended.stderr.splitlines()) == 1, ended.text
        assert "404" in ended.stderr and downloads.is_right(NAMES[1])
        assert "no user name and password to log in with: the run will stop when the session expires" in ended.stdout


@needs_axel
def test_expired_session_does_not_cost_axel_its_connections(tmp_path, release):
    """axel ends by itself when a session expires; afterwards it goes on with as many connections as before."""

    def plan(request):
        if request.is_by_axel and logins(site) == 1 and request.archive == f"{NAMES[0]}.tgz":
            return "session dies under it"
        return None

    with faulty_site(release, plan) as site:
        downloads = Downloads(tmp_path / "root", site, "axel")
        ended = run(downloads)
        assert_all_right(downloads, ended)
        assert logins(site) == 2 and axel_connections_in_last_session(site) > 8
