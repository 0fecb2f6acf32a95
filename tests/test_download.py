"""The download scripts with a well-behaved server: what they download, skip, verify and print."""

import ast
import gzip
import hashlib
import io
import json
import os
import re
import shlex
import shutil
import stat
import struct
import subprocess
import tarfile
from pathlib import Path

import pytest
from helpers.archives import small_archive, small_release, spoil, write_checksums
from helpers.downloads import Downloads, bytes_there
from helpers.faulty_site import faulty_site
from helpers.marks import BOTH, BOTH_AXEL_SLOW, needs_axel
from helpers.scripts import PROJECT, RECORD_OPENS, run_script, wait_until

from h36m.dataset import BOXES, KIND_FACTS, KINDS, PART_LABELS, POSES_2D, VIDEOS, Archive, kinds_of_script


@pytest.fixture
def release(tmp_path):
    return small_release(tmp_path / "site", kinds=[POSES_2D, VIDEOS, BOXES, PART_LABELS], subjects=["S1", "S5"])


@pytest.fixture
def one(tmp_path):
    """A release of one subject."""
    return small_release(tmp_path / "site", subjects=["S1"])


def without_checksums(release: Path) -> Path:
    """Make the list of MD5s an empty one."""
    (release / "checksums.txt").write_text("")
    return release


@BOTH
def test_every_archive_is_downloaded_and_verified(tmp_path, downloader):
    """Each has the bytes of the site, and a line names the downloader."""
    release = small_release(tmp_path / "site", subjects=["S1", "S11"])
    with faulty_site(release) as site:
        downloads = Downloads(tmp_path / "root", site, downloader)
        ended = downloads.run("--subjects", "S1", "S11")
        assert ended.returncode == 0, ended.text
        names = [f"{kind}_{subject}" for kind in KINDS[:5] for subject in ("S1", "S11")]
        assert sorted(path.stem for path in downloads.archives.glob("*.tgz")) == sorted(names)
        assert all(downloads.is_right(name) for name in names)
        assert downloads.leftovers() == []
        assert ended.stdout.count(f"downloaded with {downloader}, MD5 verified") == 10

        options = ["--subjects", "S1", "S11", "S1", "--kinds", PART_LABELS, BOXES, PART_LABELS, "--jobs", "4"]
        ended = downloads.run(*options, script="download_seg_mat_gt_pl.py")
        assert ended.returncode == 0, ended.text
        assert "\n4 archives: 4 downloaded; " in ended.stdout, "what is named twice is one archive"
        assert downloads.is_right("Segments_mat_gt_bb_S11") and downloads.is_right("Segments_mat_gt_pl_S1")
        assert len(list(downloads.archives.glob("*.tgz"))) == 14
        posts = [request for request in site.requests if request.page == "checklogin.php"]
        assert len(posts) == 1, "the second script uses the session that the first one saved"


@needs_axel
def test_auto_is_axel_where_installed_and_requests_elsewhere(tmp_path, one):
    with faulty_site(one) as site:
        ended = Downloads(tmp_path / "with", site, "auto").run("--subjects", "S1")
        assert ended.stdout.count("downloaded with axel") == 5, ended.text
        ended = Downloads(tmp_path / "without", site, "auto").run("--subjects", "S1", PATH="")
        assert ended.stdout.count("downloaded with requests") == 5, ended.text
        same = [(tmp_path / root / "archives/Videos_S1.tgz").read_bytes() for root in ("with", "without")]
        assert same[0] == same[1]


def test_axel_asked_for_and_not_installed_is_wrong_configuration(tmp_path, one):
    with faulty_site(one) as site:
        ended = Downloads(tmp_path / "root", site, "axel").run("--subjects", "S1", PATH="")
    assert ended.returncode == 2 and len(ended.stderr.splitlines()) == 1 and "not installed" in ended.stderr


def test_the_two_download_scripts_differ_in_docstring_and_kinds_only():
    first, second = ("download_all.py", "download_seg_mat_gt_pl.py")
    code = [ast.unparse(ast.Module(ast.parse((PROJECT / name).read_text()).body[1:], [])) for name in (first, second)]
    assert code[0].replace(first, second) == code[1] and first in code[0]


def test_several_archives_at_a_time(tmp_path, release):
    small_release(release, subjects=["S1", "S5"])
    with faulty_site(release) as site:
        downloads = Downloads(tmp_path / "root", site)
        ended = downloads.run("--subjects", "S1", "S5", "--jobs", "4")
        assert ended.returncode == 0 and len(list(downloads.archives.glob("*.tgz"))) == 10, ended.text


def hook_that_records_opens(tmp_path: Path) -> Path:
    """Return a folder for PYTHONPATH that has scripts write down which archives they open."""
    hooks = tmp_path / "hooks"
    hooks.mkdir(exist_ok=True)
    (hooks / "sitecustomize.py").write_text(RECORD_OPENS)
    return hooks


def test_second_run_sends_no_request_opens_no_archive_and_says_so(tmp_path, one):
    hooks = str(hook_that_records_opens(tmp_path))
    with faulty_site(one) as site:
        downloads = Downloads(tmp_path / "root", site)
        assert downloads.run("--subjects", "S1", PYTHONPATH=hooks).returncode == 0
        opened = downloads.root / "opened.txt"
        assert opened.read_text(), "the hook does not see opened archives"
        opened.unlink()
        asked = len(site.requests)
        ended = downloads.run("--subjects", "S1", PYTHONPATH=hooks)
        nothing, following = ended.stdout.splitlines()
        assert (ended.returncode, nothing) == (0, "nothing to do: all 5 archives are downloaded and verified")
        assert following.startswith("next: ") and shlex.split(following)[2:] == [
            str(PROJECT / "extract_all.py"),
            "--subjects",
            "S1",
        ]
        assert len(site.requests) == asked and not opened.exists()


def test_second_run_over_all_listed_archives_opens_none(tmp_path):
    """Archives that were put there by hand are read by the first run and by no later one; the site is never asked."""
    release = small_release(tmp_path / "site", size=1000)
    with faulty_site(release) as site:
        downloads = Downloads(tmp_path / "root", site)
        shutil.copytree(release, downloads.archives)
        opened = downloads.root / "opened.txt"
        for script, count in (("download_all.py", 35), ("download_seg_mat_gt_pl.py", 14)):
            hooked = {"script": script, "PYTHONPATH": str(hook_that_records_opens(tmp_path))}
            assert downloads.run(**hooked).returncode == 0
            assert len({line for line in opened.read_text().splitlines() if line.endswith(".tgz")}) == count
            opened.unlink()
            ended = downloads.run(**hooked)
            assert (ended.returncode, "nothing to do" in ended.stdout, opened.exists()) == (0, True, False)
        assert site.requests == []


def test_only_missing_archives_are_downloaded(tmp_path, one):
    with faulty_site(one) as site:
        downloads = Downloads(tmp_path / "root", site)
        ended = downloads.run("--subjects", "S1", "--kinds", VIDEOS, POSES_2D)
        some = {f"{VIDEOS}_S1.tgz", f"{POSES_2D}_S1.tgz"}
        assert ended.returncode == 0 and set(site.archives_asked()) == some, ended.text
        assert all(kind in ended.stdout for kind in (VIDEOS, POSES_2D))
        assert not any(f"{kind}_S1" in ended.text for kind in KINDS[1:4]), "other kinds are not named"
        site.requests.clear()
        ended = downloads.run("--subjects", "S1")
        assert ended.returncode == 0 and set(site.archives_asked()) == {f"{kind}_S1.tgz" for kind in KINDS[1:4]}
        assert "2 already present, 3 downloaded" in ended.stdout


def test_kinds_by_name_only_are_downloaded_and_unpacked_when_named(tmp_path):
    """No MD5 of them is published; without --kinds they are neither used nor named."""
    release = small_release(tmp_path / "site", KINDS, ["S1"])
    by_name = sorted(KIND_FACTS.keys() - set(KINDS))
    for kind in by_name:
        small_archive(release / f"{kind}_S1.tgz", Archive(kind, "S1"), 1000)
    with faulty_site(release) as site:
        downloads = Downloads(tmp_path / "root", site)
        for script in ("download_all.py", "download_seg_mat_gt_pl.py"):
            kinds = [kind for kind in by_name if KIND_FACTS[kind].script == script]
            for options in ((), ("--kinds", *kinds)):
                site.requests.clear()
                ended = downloads.run("--subjects", "S1", *options, script=script)
                expected = {f"{kind}_S1.tgz" for kind in (kinds if options else kinds_of_script(script))}
                assert (ended.returncode, set(site.archives_asked())) == (0, expected), ended.text
    for options, kinds in (((), KINDS), (("--kinds", *by_name), by_name)):
        ended = run_script("extract_all.py", "--root", downloads.root, "--subjects", "S1", *options)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert set(re.findall(r"(\w+)_S1.tgz: unpacked", ended.stdout)) == set(kinds)
    assert {path.name for path in (downloads.root / "extracted" / "S1").iterdir()} == {*KINDS, *by_name}
    ended = run_script("extract_all.py", "--root", downloads.root, "--subjects", "S5", "--kinds", "Poses_RawAngles")
    assert ended.returncode == 1 and "run download_all.py --kinds Poses_RawAngles to download" in ended.stderr


def test_hand_placed_archive_is_verified_once_and_used(tmp_path, one):
    with faulty_site(one) as site:
        downloads = Downloads(tmp_path / "root", site)
        downloads.archives.mkdir()
        for path in one.glob("*.tgz"):
            shutil.copy(path, downloads.archives)
        ended = downloads.run("--subjects", "S1")
        assert (
            ended.returncode == 0
            and "Videos_S1.tgz: already present, verifying" in ended.stdout
            and site.requests == []
        )
        assert "nothing to do" in downloads.run("--subjects", "S1").stdout


def test_an_archive_that_changes_after_its_check_is_checked_again(tmp_path, one):
    with faulty_site(one) as site:
        downloads = Downloads(tmp_path / "root", site)
        assert downloads.run("--subjects", "S1").returncode == 0
        (downloads.archives / "Videos_S1.tgz").write_bytes(b"\x1f\x8bnot what it was")
        ended = downloads.run("--subjects", "S1")
        assert ended.returncode == 0 and downloads.is_right("Videos_S1"), ended.text


def test_an_md5_that_is_new_in_the_list_is_looked_at(tmp_path, one):
    with faulty_site(one) as site:
        downloads = Downloads(tmp_path / "root", site)
        listed = (one / "checksums.txt").read_text()
        without_checksums(one)
        ended = downloads.run("--subjects", "S1")
        assert ended.returncode == 0 and "gzip stream verified" in ended.stdout
        (one / "checksums.txt").write_text(listed)
        ended = downloads.run("--subjects", "S1")
        assert ended.returncode == 0 and "Videos_S1.tgz: already present, verifying" in ended.stdout


SPOILT = pytest.mark.parametrize("how", ["truncated", "flipped bit", "login page"])
LISTED = pytest.mark.parametrize("is_listed", [True, False], ids=["MD5 listed", "no MD5 listed"])


@SPOILT
@LISTED
def test_bad_hand_placed_archive_is_renamed_and_downloaded(tmp_path, one, how, is_listed):
    if not is_listed:
        without_checksums(one)
    with faulty_site(one) as site:
        downloads = Downloads(tmp_path / "root", site)
        downloads.archives.mkdir()
        bad = spoil((one / "Videos_S1.tgz").read_bytes(), how)
        (downloads.archives / "Videos_S1.tgz").write_bytes(bad)
        ended = downloads.run("--subjects", "S1")
        assert ended.returncode == 0 and downloads.is_right("Videos_S1"), ended.text
        assert (downloads.archives / "Videos_S1.tgz.rejected").read_bytes() == bad
        reason = {"truncated": "is truncated", "flipped bit": "is damaged", "login page": "is not a gzip file"}[how]
        assert f"Videos_S1.tgz {reason}" in ended.stdout


@SPOILT
@LISTED
def test_a_bad_archive_on_the_site_is_never_accepted(tmp_path, one, how, is_listed):
    good = (one / "Videos_S1.tgz").read_bytes()
    if not is_listed:
        without_checksums(one)
    (one / "Videos_S1.tgz").write_bytes(spoil(good, how))
    with faulty_site(one) as site:
        downloads = Downloads(tmp_path / "root", site)
        ended = downloads.run("--subjects", "S1")
        assert ended.returncode == 1 and not (downloads.archives / "Videos_S1.tgz").exists()
        assert len(list(downloads.archives.glob("*.tgz"))) == 4, "one archive's failure costs that archive only"
        last = ended.stderr.splitlines()
        assert len(last) == 1 and "Videos_S1.tgz" in last[0], ended.text
        (one / "Videos_S1.tgz").write_bytes(good)
        assert downloads.run("--subjects", "S1").returncode == 0 and downloads.is_right("Videos_S1")
        assert downloads.leftovers() == []


@LISTED
def test_an_archive_under_a_wrong_subjects_name_is_not_accepted(tmp_path, is_listed):
    release = small_release(tmp_path / "site", subjects=["S1", "S5"])
    if not is_listed:
        without_checksums(release)
    with faulty_site(release) as site:
        downloads = Downloads(tmp_path / "root", site)
        downloads.archives.mkdir()
        shutil.copy(release / "Videos_S5.tgz", downloads.archives / "Videos_S1.tgz")
        ended = downloads.run("--subjects", "S1")
        assert ended.returncode == 0 and downloads.is_right("Videos_S1"), ended.text
        assert "Videos_S1.tgz contains the folder S5, but its name says S1" in ended.stdout
        aside = downloads.archives / "Videos_S1.tgz.rejected"
        assert aside.read_bytes() == (release / "Videos_S5.tgz").read_bytes()


def test_wrong_subject_from_the_site_is_rejected_despite_its_md5(tmp_path, one):
    small_archive(one / "Videos_S1.tgz", Archive(VIDEOS, "S5"), 20_000)
    write_checksums(one)
    with faulty_site(one) as site:
        downloads = Downloads(tmp_path / "root", site)
        ended = downloads.run("--subjects", "S1")
        assert ended.returncode == 1 and "contains the folder S5" in ended.stderr.splitlines()[-1]
        assert not (downloads.archives / "Videos_S1.tgz").exists()


@BOTH_AXEL_SLOW
def test_md5_that_differs_twice_is_kept_as_changed(tmp_path, one, downloader):
    """The line of the message, put into the list, accepts the file without another download."""
    small_archive(
        one / "Videos_S1.tgz", Archive(VIDEOS, "S1"), 30_000
    )  # a new version, and the list has the old one's MD5
    with faulty_site(one) as site:
        downloads = Downloads(tmp_path / "root", site, downloader)
        ended = downloads.run("--subjects", "S1")
        assert ended.returncode == 1 and not (downloads.archives / "Videos_S1.tgz").exists()
        changed = downloads.archives / "Videos_S1.tgz.changed"
        assert changed.read_bytes() == (one / "Videos_S1.tgz").read_bytes()
        assert "downloading it again" in ended.stdout
        line = f"{hashlib.md5(changed.read_bytes()).hexdigest()}  archives/Videos_S1.tgz"
        (last,) = ended.stderr.splitlines()
        assert last.endswith(line) and str(one / "checksums.txt") in last

        site.requests.clear()
        ended = downloads.run("--subjects", "S1")
        assert ended.returncode == 1 and ended.stderr.splitlines()[-1].endswith(line), (
            "reported again, and nothing downloaded again"
        )
        assert site.requests == []

        checksums = one / "checksums.txt"
        others = [text for text in checksums.read_text().splitlines() if "Videos_S1" not in text]
        checksums.write_text("\n".join([*others, line]) + "\n")
        ended = downloads.run("--subjects", "S1")
        assert ended.returncode == 0 and downloads.is_right("Videos_S1") and not changed.exists()
        assert site.requests == []
        assert "nothing to do" in downloads.run("--subjects", "S1").stdout


def test_checksum_mismatch_once_costs_one_more_download(tmp_path, one):
    good = (one / "Videos_S1.tgz").read_bytes()
    other = small_archive(tmp_path / "other.tgz", Archive(VIDEOS, "S1"), 25_000)
    (one / "Videos_S1.tgz").write_bytes(other)

    def plan(request):
        if request.archive == "Videos_S1.tgz" and request.number == 2:
            (one / "Videos_S1.tgz").write_bytes(good)

    with faulty_site(one, plan) as site:
        downloads = Downloads(tmp_path / "root", site)
        ended = downloads.run("--subjects", "S1")
        assert ended.returncode == 0 and downloads.is_right("Videos_S1"), ended.text
        assert downloads.leftovers() == []


def test_hand_placed_new_version_is_kept_as_changed(tmp_path, one):
    version = small_archive(one / "Videos_S1.tgz", Archive(VIDEOS, "S1"), 30_000)
    with faulty_site(one) as site:
        downloads = Downloads(tmp_path / "root", site)
        downloads.archives.mkdir()
        (downloads.archives / "Videos_S1.tgz").write_bytes(version)
        ended = downloads.run("--subjects", "S1")
        assert ended.returncode == 1 and (downloads.archives / "Videos_S1.tgz.changed").read_bytes() == version
        assert site.archives_asked().count("Videos_S1.tgz") == 1, "downloaded once to compare, not twice"


def test_an_archive_that_the_site_does_not_have_costs_that_archive_only(tmp_path, one):
    (one / "Poses_D2_Positions_S1.tgz").unlink()
    with faulty_site(one) as site:
        downloads = Downloads(tmp_path / "root", site)
        ended = downloads.run("--subjects", "S1")
        assert ended.returncode == 1 and len(list(downloads.archives.glob("*.tgz"))) == 4
        assert len(ended.stderr.splitlines()) == 1 and "Poses_D2_Positions_S1.tgz" in ended.stderr


@BOTH
def test_partial_download_without_a_state_file_is_resumed(tmp_path, downloader):
    release = small_release(tmp_path / "site", subjects=["S1"], size=300_000)
    with faulty_site(release) as site:
        downloads = Downloads(tmp_path / "root", site, downloader)
        downloads.archives.mkdir()
        downloads.part("Videos_S1").write_bytes((release / "Videos_S1.tgz").read_bytes()[:200_000])
        ended = downloads.run("--subjects", "S1")
        assert ended.returncode == 0 and downloads.is_right("Videos_S1"), ended.text
        starts = [
            int(request.range.removeprefix("bytes=").partition("-")[0])
            for request in site.requests
            if request.archive == "Videos_S1.tgz" and not (request.is_by_axel and request.range == "bytes=0-")
        ]
        assert min(starts) == 200_000


@BOTH
def test_wrong_partial_download_is_noticed_and_repeated(tmp_path, downloader):
    release = small_release(tmp_path / "site", subjects=["S1"], size=300_000)
    with faulty_site(release) as site:
        downloads = Downloads(tmp_path / "root", site, downloader)
        downloads.archives.mkdir()
        downloads.part("Videos_S1").write_bytes(os.urandom(200_000))
        downloads.part("Poses_D2_Positions_S1").write_bytes(b"x" * 400_000)  # longer than the archive is
        downloads.part("Poses_D3_Positions_S1").write_bytes((release / "Poses_D3_Positions_S1.tgz").read_bytes())
        downloads.part("Poses_D3_Positions_mono_S1").write_bytes(b"")
        downloads.part("Poses_D3_Positions_mono_universal_S1").write_bytes(b"\x1f\x8b")
        (downloads.archives / "Poses_D3_Positions_mono_universal_S1.tgz.part.st").write_bytes(b"\x04\x00\x00")
        ended = downloads.run("--subjects", "S1")
        assert ended.returncode == 0 and downloads.leftovers() == [], ended.text
        assert all(downloads.is_right(f"{kind}_S1") for kind in KINDS[:5])


@needs_axel
@BOTH_AXEL_SLOW
def test_what_axel_left_under_the_archives_name_is_resumed(tmp_path, downloader):
    """An older tool's axel, killed in the middle: only what is missing is requested."""
    release = small_release(tmp_path / "site", kinds=[VIDEOS], subjects=["S1"], size=3_000_000)
    name = "Videos_S1.tgz"
    with faulty_site(release, lambda request: "slow") as site:
        site.bytes_per_second = 100_000
        downloads = Downloads(tmp_path / "root", site, downloader)
        downloads.archives.mkdir()
        target, state = downloads.archives / name, downloads.archives / f"{name}.st"
        (downloads.root / ".axelrc").write_text("save_state_interval = 1\n")  # it is ten seconds without
        url = (
            f"{site.base_url}filebrowser.php?download=1&filepath=Videos&filename=SubjectSpecific_1.tgz&downloadname=S1"
        )
        command = ["axel", "--quiet", "--num-connections=4", f"--output={target}"]
        command += [f"--header=Cookie: PHPSESSID={site.log_in()}", url]
        axel = subprocess.Popen(command, env=os.environ | {"HOME": str(downloads.root)}, stdout=subprocess.DEVNULL)
        wait_until(lambda: state.exists() and bytes_there(target) > 1_200_000, "axel got on", of=axel)
        axel.kill()
        axel.wait()
        ended = run_script("extract_all.py", "--root", downloads.root, "--subjects", "S1")
        assert f"{name}: an unfinished download (axel's {name}.st is next to it); run download_all.py" in ended.stderr
        site.plan = lambda request: None
        site.requests.clear()
        ended = downloads.run("--subjects", "S1")
        assert downloads.is_right("Videos_S1") and f"{name}: an unfinished axel download" in ended.stdout, ended.text
        assert downloads.leftovers() == []
        starts = [
            int(request.range.removeprefix("bytes=").partition("-")[0])
            for request in site.requests
            if request.archive == name and not (request.is_by_axel and request.range == "bytes=0-")
        ]
        assert min(starts) > 0


@pytest.mark.parametrize(
    "state",
    [
        b"no state",
        struct.pack("<Hqqq", 1, 100, 100, 8000),  # of a shorter file
        pytest.param(struct.pack("<Hq", 0, 9000), marks=pytest.mark.slow),  # nothing is missing
    ],
    ids=["garbage", "shorter", "complete"],
)
def test_a_state_of_axel_that_cannot_be_trusted_is_set_aside(tmp_path, one, state):
    with faulty_site(one) as site:
        downloads = Downloads(tmp_path / "root", site)
        downloads.archives.mkdir()
        cut = (one / "Videos_S1.tgz").read_bytes()[:9000]
        (downloads.archives / "Videos_S1.tgz").write_bytes(cut)
        (downloads.archives / "Videos_S1.tgz.st").write_bytes(state)
        ended = downloads.run("--subjects", "S1")
        assert ended.returncode == 0 and downloads.is_right("Videos_S1"), ended.text
        assert downloads.leftovers() == ["Videos_S1.tgz.rejected", "Videos_S1.tgz.rejected.st"]
        assert (downloads.archives / "Videos_S1.tgz.rejected").read_bytes() == cut
        assert (downloads.archives / "Videos_S1.tgz.rejected.st").read_bytes() == state


def test_run_killed_while_it_adopted_axels_download_loses_no_file(tmp_path, one):
    """The state has its new name, and the file, which has holes, not yet: its bytes do not count as downloaded."""
    with faulty_site(one) as site:
        downloads = Downloads(tmp_path / "root", site)
        downloads.archives.mkdir()
        good = (one / "Videos_S1.tgz").read_bytes()
        holes = good[:5000] + bytes(len(good) - 5000)
        (downloads.archives / "Videos_S1.tgz").write_bytes(holes)
        state = struct.pack("<Hqqq", 1, 5000, 5000, len(good))
        (downloads.archives / "Videos_S1.tgz.part.st").write_bytes(state)
        ended = downloads.run("--subjects", "S1", "--kinds", VIDEOS)
        assert ended.returncode == 0 and downloads.is_right("Videos_S1"), ended.text
        assert downloads.leftovers() == ["Videos_S1.tgz.rejected"]


def test_near_misses_in_archives_are_named_before_downloading(tmp_path, one):
    with faulty_site(one) as site:
        downloads = Downloads(tmp_path / "root", site)
        downloads.archives.mkdir()
        for near, name in (
            ("Videos_S1 (1).tgz", "Videos_S1.tgz"),
            ("SubjectSpecific_1.tgz", "Poses_D2_Positions_S1.tgz"),
        ):
            shutil.copy(one / name, downloads.archives / near)
        (downloads.archives / "Poses_D3_Positions_S1.tgz").touch()
        (downloads.archives / "Poses_D3_Positions_S1.x3Zk9_aB.tgz.part").write_bytes(b"\x1f\x8b")
        ended = downloads.run("--subjects", "S1")
        assert ended.returncode == 1, ended.text
        lines = ended.stdout.splitlines()
        first = min(number for number, line in enumerate(lines) if "downloaded with" in line)
        assert [line.partition(": ")[0] for line in lines[:first] if "rename it to" in line] == [
            "SubjectSpecific_1.tgz",
            "Videos_S1 (1).tgz",
        ]
        (line,) = ended.stderr.splitlines()
        assert "Poses_D3_Positions_S1.tgz: an unfinished browser download" in line, (
            "Firefox needs the name for its file"
        )
        assert (downloads.archives / "Videos_S1 (1).tgz").exists() and downloads.is_right("Videos_S1")


@pytest.mark.slow
def test_lost_or_damaged_record_is_rebuilt(tmp_path, one):
    with faulty_site(one) as site:
        downloads = Downloads(tmp_path / "root", site)
        assert downloads.run("--subjects", "S1").returncode == 0
        for spoilt in ("{", "[]", '{"Videos_S1.tgz": 3}', json.dumps({"Videos_S1.tgz": {"size": 1}})):
            (downloads.archives / ".checked.json").write_text(spoilt)
            ended = downloads.run("--subjects", "S1")
            assert ended.returncode == 0 and "Videos_S1.tgz: already present, verifying" in ended.stdout, ended.text


def test_gzip_of_several_members_and_names_with_leading_dot_are_accepted(tmp_path, one):
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        member = tarfile.TarInfo("./S1/Videos/Walking.54138969.mp4")
        member.size = 50_000
        archive.addfile(member, io.BytesIO(os.urandom(50_000)))
    data = plain.getvalue()
    (one / "Videos_S1.tgz").write_bytes(gzip.compress(data[:20_000]) + gzip.compress(data[20_000:]))
    without_checksums(one)
    with faulty_site(one) as site:
        downloads = Downloads(tmp_path / "root", site)
        assert downloads.run("--subjects", "S1").returncode == 0 and downloads.is_right("Videos_S1")


@pytest.mark.parametrize(
    "options, word",
    [
        (["--subjects", "S2"], "S2"),
        (["--root", "nowhere"], "nowhere"),
        (["--jobs", "0"], "--jobs"),
        (["--checksums", "nowhere.txt"], "nowhere.txt"),
    ],
)
def test_wrong_use_is_one_line_and_status_2(tmp_path, one, options, word):
    with faulty_site(one) as site:
        ended = Downloads(tmp_path / "root", site).run(*options)
    assert ended.returncode == 2 and len(ended.stderr.splitlines()) == 1 and word in ended.stderr


def test_quiet_prints_nothing_when_all_goes_well(tmp_path, one):
    with faulty_site(one) as site:
        ended = Downloads(tmp_path / "root", site).run("--subjects", "S1", "--quiet")
    assert (ended.returncode, ended.text) == (0, "")


def test_archives_can_be_read_by_the_group_and_the_session_cannot(tmp_path, one):
    with faulty_site(one) as site:
        downloads = Downloads(tmp_path / "root", site)
        assert downloads.run("--subjects", "S1").returncode == 0
        archive = (downloads.archives / "Videos_S1.tgz").stat().st_mode
        assert stat.S_IMODE(archive) == 0o666 & ~current_umask()
        assert stat.S_IMODE(downloads.config.stat().st_mode) == 0o600


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
