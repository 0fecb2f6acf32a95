"""What a download run shows: the plan, the bars in a terminal, prompts and Ctrl-C among them, the lines without one."""

import re
import time

import pytest
from helpers.archives import small_release, spoil, write_checksums
from helpers.downloads import Downloads
from helpers.faulty_site import PASSWORD, USERNAME, faulty_site
from helpers.marks import slow
from helpers.screens import Terminal
from helpers.scripts import wait_until

from h36m.dataset import KINDS, Archive

# Of the bar of the whole work; in narrow terminals it loses its first words.
WHOLE = re.compile(r"(?P<done>[\d.]+) of (?P<total>[\d.]+) MB(, (?P<rate>[\d.]+ [kM]B/s), (?P<left>[\d:]+) left)?")
BAR = r"\|[█▉▊▋▌▍▎▏]* *\|"


@pytest.fixture
def release(tmp_path):
    """Three archives of two subjects each, of 0.6 MB: one request for each."""
    return small_release(tmp_path / "site", KINDS[:3], ["S1", "S5"], 600_000)


def open_terminal(downloads: Downloads, columns: int, *options) -> Terminal:
    downloads.site.bytes_per_second = 200_000
    options = downloads.options("--subjects", "S1", "S5", "--kinds", *KINDS[:3], *options)
    return Terminal(columns, "download_all.py", *options, cwd=downloads.root, HOME=str(downloads.root))


def bars(terminal: Terminal) -> list[str]:
    """Return all that was drawn of bars."""
    return [piece for piece in terminal.pieces() if re.search("[kM]B(/s|, )", piece) and "free" not in piece]


def assert_lines_are_whole(screen: list[str], *more: str) -> None:
    """Compare each line with those that a run may print."""
    lines = [
        *(r"logged in at .*; the session is saved in config\.ini", r"plan: \d archives: .*", r"      .* free in .*"),
        *(r"\w+\.tgz: downloaded with requests, MD5 verified", r"\d archives: .* downloaded in \d\d:\d\d", "next: .*"),
        *more,
    ]
    for line in screen:
        assert any(re.fullmatch(pattern, line) for pattern in lines), "\n".join(screen)


@pytest.mark.parametrize("columns", [80, 60])
def test_bar_of_all_downloads_moves_and_fits(tmp_path, release, columns):
    with faulty_site(release, lambda request: "slow") as site:
        terminal = open_terminal(Downloads(tmp_path / "root", site), columns, "--jobs", "3")
        screen = terminal.finish()
    drawn = bars(terminal)
    assert max(map(len, drawn)) <= columns, "\n".join(drawn)
    whole = [match for match in map(WHOLE.search, drawn) if match and match["left"]]
    done = [float(match["done"]) for match in whole]
    assert done == sorted(done) and len(set(done)) >= 10, "\n".join(drawn)
    assert {match["total"] for match in whole} == {"3.60"}
    assert any(re.search(rf"^Poses_\S*…\S*_S1\.tgz +{BAR} ", line) for line in drawn), "of one archive"
    assert_lines_are_whole(screen, rf"{BAR} 6 of 6 archives, 3\.60 of 3\.60 MB, [\d.]+ [kM]B/s")
    assert "6 archives: 6 downloaded; 3.60 MB downloaded in" in "".join(screen)


FAULTS = {
    "not on the site": lambda request: "404" if request.archive == "Poses_D2_Positions_S1.tgz" else "slow",
    "damaged at first": None,
    "sends no size": lambda request: "no length",
    "restarts": lambda request: "no ranges cut" if request.number == 1 else "slow",
}


@pytest.mark.parametrize("fault", [slow("not on the site"), slow("damaged at first"), "sends no size", "restarts"])
def test_total_of_all_downloads_is_true(tmp_path, release, fault):
    """An archive that fails, is downloaded twice or begins again, and sizes that become known late."""
    bad = spoil((release / "Poses_D2_Positions_S1.tgz").read_bytes(), "flipped bit")
    good = (release / "Poses_D2_Positions_S1.tgz").read_bytes()

    def mend(request):
        if request.archive == "Poses_D2_Positions_S1.tgz":
            (release / request.archive).write_bytes(bad if request.number == 1 else good)
        return "slow"

    with faulty_site(release, FAULTS[fault] or mend) as site:
        if fault == "sends no size":
            site.size_fault = "404"
        downloads = Downloads(tmp_path / "root", site, Connections="1")
        terminal = open_terminal(downloads, 80, "--jobs", "3")
        screen = terminal.finish()
    last = [line for line in screen if "6 of 6 archives" in line]
    done = "3.00 of 3.00 MB" if fault == "not on the site" else "3.60 of 3.60 MB"
    failed = ", 1 failed" if fault == "not on the site" else ""
    assert len(last) == 1 and f" 6 of 6 archives{failed}, {done}, " in last[0], "\n".join(screen)
    if fault == "sends no size":
        assert "      6 archives of unknown size; " in "".join(screen)
        unknown = [line for line in bars(terminal) if line.startswith("|") and "0 of 6" in line]
        assert unknown and not any(" left" in line for line in unknown)


def test_bytes_that_are_already_there_do_not_count_for_the_rate(tmp_path, release):
    with faulty_site(release, lambda request: "slow") as site:
        downloads = Downloads(tmp_path / "root", site)
        downloads.archives.mkdir()
        for kind in KINDS[:3]:
            name = Archive(kind, "S1").file_name
            (downloads.archives / f"{name}.part").write_bytes((release / name).read_bytes()[:500_000])
        terminal = open_terminal(downloads, 80)
        screen = terminal.finish()
    assert "3.60 MB to download, of which 1.50 MB are already there; " in "".join(screen)
    whole = [match for match in map(WHOLE.search, bars(terminal)) if match and match["left"]]
    assert float(whole[0]["done"]) >= 1.5
    rates = {match["rate"] for match in whole[3:]}
    assert all(rate.endswith("kB/s") and float(rate.split()[0]) < 400 for rate in rates), rates


@pytest.mark.parametrize("answer", [slow("answered"), "Ctrl-C"])
def test_prompt_in_mid_run_is_left_alone(tmp_path, release, answer):
    """A session expires and there is no password: another download goes on, and is shown after the answer."""
    small_release(release, KINDS[:1], ["S1"], 1_500_000)  # it takes until after the prompt
    write_checksums(release)
    with faulty_site(release, lambda request: "slow") as site:
        saved = {"Username": "", "Password": "", "PHPSESSID": site.log_in()}
        downloads = Downloads(tmp_path / "root", site, Connections="1", **saved)
        terminal = open_terminal(downloads, 80, "--jobs", "2")
        wait_until(lambda: len(site.archives_asked()) == 2, "two downloads", of=terminal.run)
        site.sessions.clear()
        terminal.wait_for(r"E-mail registered with \S+:")
        before, n = terminal.screen(), len(terminal.written)
        assert not (downloads.archives / "Poses_D2_Positions_S1.tgz").exists()
        wait_until(lambda: downloads.is_right("Poses_D2_Positions_S1"), "the other download", of=terminal.run)
        time.sleep(1)  # bars are drawn ten times per second
        assert terminal.screen() == before and len(terminal.written) == n
        if answer == "answered":
            terminal.type(f"{USERNAME}\n")
            terminal.wait_for(r"Password at \S+:")
            terminal.type(f"{PASSWORD}\n")
        else:
            terminal.type("\x03")
        screen = terminal.finish()
    prompts = [
        *(r"E-mail registered with \S+: (\S+@\S+|\^C)", r"Password at \S+:"),
        *("no user name and password to .* expires", r"\S+: the session has expired; logging in again"),
    ]
    if answer == "answered":
        assert terminal.run.returncode == 0
        assert_lines_are_whole(screen, rf"{BAR} 6 of 6 archives, .*", *prompts)
        assert "".join(screen).count("MD5 verified") == 6
    else:
        assert terminal.run.returncode == 130
        interrupted = r"download_all\.py: interrupted; run again to resume"
        assert_lines_are_whole(screen, rf"{BAR} \d of 6 archives, .* left", *prompts, interrupted)
        assert re.fullmatch(interrupted, screen[-1]) and any(line.endswith(": ^C") for line in screen)


@pytest.mark.parametrize("columns", [80, 60])
def test_interrupted_bars_end_on_lines_of_their_own(tmp_path, release, columns):
    with faulty_site(release, lambda request: "slow") as site:
        terminal = open_terminal(Downloads(tmp_path / "root", site), columns, "--jobs", "3")
        wait_until(lambda: len(bars(terminal)) > 30, "some progress", of=terminal.run)
        terminal.type("\x03")
        screen = terminal.finish()
    assert terminal.run.returncode == 130
    interrupted = r"download_all\.py: interrupted; run again to resume"
    assert_lines_are_whole(screen, rf"({BAR} )?\d of 6 archives, .* of 3\.60 MB, .* left", interrupted)
    assert re.fullmatch(interrupted, screen[-1]) and "of 3.60 MB" in screen[-2]
    assert "".join(screen).count(" of 3.60 MB") == 1, "the ^C of the terminal moves no bar"
