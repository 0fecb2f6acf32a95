"""The plan of a download run, `--dry-run`, and archives that were deleted once they were unpacked."""

import os
import shutil
from pathlib import Path

import pytest
from helpers.archives import small_release
from helpers.downloads import Downloads
from helpers.faulty_site import faulty_site
from helpers.screens import Terminal
from helpers.scripts import run_script

from h36m.dataset import KINDS, POSES_2D, POSES_3D, POSES_3D_UNIVERSAL, POSES_3D_WORLD, VIDEOS


@pytest.fixture
def one(tmp_path):
    """A release of one subject, of 20 kB for each archive."""
    return small_release(tmp_path / "site", KINDS[:5], ["S1"])


def tree(folder: Path) -> dict[str, tuple]:
    """Return the state of each file and folder below a folder."""
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
        for path in [folder, *folder.rglob("*")]
    }


def extract(downloads: Downloads, *options):
    return run_script("extract_all.py", "--root", downloads.root, "--subjects", "S1", *options)


def test_dry_run_prints_the_whole_plan_and_writes_nothing(tmp_path, one):
    """In a folder with an archive in each state; it logs in, and does not save the session."""
    with faulty_site(one) as site:
        downloads = Downloads(tmp_path / "root", site)
        nothing = tree(downloads.root)
        ended = downloads.run("--subjects", "S1", "--dry-run")
        assert ended.returncode == 0 and tree(downloads.root) == nothing, ended.text
        assert ended.stdout.startswith("plan: 5 archives: 5 to download\n      102 kB to download; ")

        assert downloads.run("--subjects", "S1", "--kinds", POSES_2D, VIDEOS).returncode == 0
        assert extract(downloads, "--kinds", VIDEOS, "--delete-archives").returncode == 0
        shutil.copy(one / f"{POSES_3D}_S1.tgz", downloads.archives)
        whole = (one / f"{POSES_3D_WORLD}_S1.tgz").read_bytes()
        downloads.part(f"{POSES_3D_WORLD}_S1").write_bytes(whole[:9_000])
        (downloads.archives / f"{POSES_3D}_S1.tgz.part.123.tmp").touch()  # a leftover stays too
        site.requests.clear()
        before = tree(downloads.root)
        ended = downloads.run("--subjects", "S1", "--dry-run")
        assert tree(downloads.root) == before and site.archives_asked() == []
    lines = ended.stdout.splitlines()
    free = lines[1].partition("; ")[2]
    assert ended.returncode == 0 and lines == [
        "plan: 5 archives: 1 already present, 1 already unpacked (archive deleted), 1 to verify, 2 to download",
        f"      20.4 kB to verify, 40.7 kB to download, of which 9.00 kB are already there; {free}",
        f"{POSES_2D}_S1.tgz: already present",
        f"{POSES_3D_WORLD}_S1.tgz: to download, 20.3 kB, of which 9.00 kB are already there",
        f"{POSES_3D}_S1.tgz: to verify, 20.4 kB",
        f"{POSES_3D_UNIVERSAL}_S1.tgz: to download, 20.4 kB",
        f"{VIDEOS}_S1.tgz: already unpacked (archive deleted)",
    ]
    assert free.endswith(" free in archives")


@pytest.mark.parametrize(
    "trouble, status, line",
    [
        ("wrong password", 2, "wrong user name or password"),
        ("no account", 0, "5 archives of unknown size"),
        ("expired session", 0, "5 archives of unknown size"),
        ("not reachable", 1, "connection refused"),
        ("down", 1, "HTTP 503"),
    ],
)
def test_dry_run_asks_nothing_and_says_what_it_cannot(tmp_path, one, trouble, status, line):
    settings = {
        "wrong password": {"Password": "wrong"},
        "no account": {"Username": "", "Password": ""},
        "expired session": {"Username": "", "Password": "", "PHPSESSID": "abc123"},
        "not reachable": {"BaseURL": "http://127.0.0.1:9/"},
        "down": {},
    }[trouble]
    with faulty_site(one, lambda request: "503" if trouble == "down" else None) as site:
        downloads = Downloads(tmp_path / "root", site, **settings)
        options = downloads.options("--subjects", "S1", "--dry-run")
        terminal = Terminal(120, "download_all.py", *options, cwd=downloads.root, HOME=str(downloads.root))
        text = "\n".join(terminal.finish())
    assert (terminal.run.returncode, line in text) == (status, True), text
    assert ("\nVideos_S1.tgz: to download, size unknown" in text) == (status < 2), text


@pytest.mark.parametrize("fault", ["404", "stall before", "no length", "login page"])
def test_sizes_that_the_site_does_not_say_are_unknown_and_delay_little(tmp_path, one, fault):
    with faulty_site(one) as site:
        site.size_fault = fault
        ended = Downloads(tmp_path / "root", site).run("--subjects", "S1", seconds=30, H36M_STALL_SECONDS="60")
    assert ended.returncode == 0 and "5 archives of unknown size; " in ended.stdout, ended.text


def test_space_that_cannot_suffice_is_part_of_the_plan(tmp_path, one, small_disk):
    small_release(one, [VIDEOS], ["S1"], 3_000_000)
    with faulty_site(one) as site:
        downloads = Downloads(small_disk(1), site)
        for options, status in ((["--dry-run"], 1), ([], 1)):
            ended = downloads.run("--subjects", "S1", "--kinds", VIDEOS, *options)
            assert " MB too few; free some space, or choose fewer --subjects or --kinds\n" in ended.stdout, ended.text
            assert ended.returncode == status and "disk is full" in ended.stderr
        assert site.archives_asked().count("Videos_S1.tgz") == 1, "the run has tried"


def test_archives_that_are_unpacked_and_deleted_are_not_downloaded_again(tmp_path, one):
    """Unless files of them are lost: then that archive is, and unpacked again, and no message leads in a circle."""
    with faulty_site(one) as site:
        downloads = Downloads(tmp_path / "root", site)
        assert "\nnext: " in downloads.run("--subjects", "S1").stdout
        assert extract(downloads, "--delete-archives").returncode == 0
        site.requests.clear()
        nothing = "nothing to do: 5 archives: 5 already unpacked (archive deleted)\n"
        ended = downloads.run("--subjects", "S1")
        assert (ended.returncode, ended.stdout, site.requests) == (0, nothing, []), "and nothing is next"

        for lose in (lambda file: os.truncate(file, 100), os.remove):
            site.requests.clear()
            videos = downloads.root / "extracted" / "S1" / VIDEOS
            (video,) = videos.iterdir()
            keep = videos / "Waiting.54138969.mp4"  # a user's: the folder is not empty
            keep.write_bytes(b"1")
            lose(video)
            ended = downloads.run("--subjects", "S1")
            assert ended.returncode == 0 and set(site.archives_asked()) == {"Videos_S1.tgz"}, ended.text
            assert "plan: 5 archives: 4 already unpacked (archive deleted), 1 to download\n" in ended.stdout
            assert f"downloading it again: extracted/S1/Videos has lost 1 file: {video.name!r}\n" in ended.stdout
            ended = extract(downloads, "--delete-archives")
            assert ended.returncode == 0 and video.exists() and video.stat().st_size == 20_000, ended.text
            assert downloads.run("--subjects", "S1").stdout == nothing


def test_nothing_to_do_names_extracting_where_it_has_work(tmp_path, one):
    with faulty_site(one) as site:
        downloads = Downloads(tmp_path / "root", site)
        assert downloads.run("--subjects", "S1").returncode == 0
        assert extract(downloads).returncode == 0
        nothing = "nothing to do: all 5 archives are downloaded and verified\n"
        assert downloads.run("--subjects", "S1").stdout == nothing
        (video,) = (downloads.root / "extracted" / "S1" / VIDEOS).iterdir()
        os.truncate(video, 100)
        assert downloads.run("--subjects", "S1").stdout.startswith(f"{nothing}next: ")


def test_folder_of_another_kind_of_files_does_not_count_as_unpacked(tmp_path, one):
    with faulty_site(one) as site:
        downloads = Downloads(tmp_path / "root", site)
        (downloads.root / "extracted" / "S1" / VIDEOS / "S1").mkdir(parents=True)
        ended = downloads.run("--subjects", "S1", "--kinds", VIDEOS)
    assert ended.returncode == 0 and downloads.is_right("Videos_S1"), ended.text
