"""The terminal screens in docs/reliability.md: each failure really happens, and the page shows what is printed."""

import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.downloads import interrupt
from helpers.faulty_site import PASSWORD, USERNAME, write_configuration
from helpers.releases import copy_of_scripts
from helpers.scripts import PROJECT, Ended, finish, run_script, start_script, wait_until

from demo.site import serve

pytestmark = pytest.mark.slow

PAGE = (PROJECT / "docs" / "reliability.md").read_text(encoding="utf-8")
FOLDER = "/home/me/h36m"  # where the reader of the page works


def screen_in_page(title: str) -> list[str]:
    """Return the lines of a screen in docs/reliability.md."""
    return re.search(rf"^### {re.escape(title)}\n\n```\n(.*?)```", PAGE, re.M | re.S)[1].splitlines()


def screen(ended: Ended, command: str, root: Path) -> list[str]:
    """Return what a terminal shows: the command, the output, and the exit status."""
    text = f"$ python3 {command}\n{ended.text}$ echo $?\n{ended.returncode}"
    text = re.sub(rf"'?{re.escape(str(PROJECT))}/([\w.]+)'?", r"\1", text)  # quoted where it has a blank
    return re.sub(r"127\.0\.0\.1:\d+", "vision.imar.ro", text.replace(str(root), FOLDER)).splitlines()


def screen_of_run(command: str, root: Path) -> list[str]:
    """Run a command in a folder, and return the screen."""
    return screen(run_script(*command.split(), cwd=root), command, root)


def without_numbers(lines: list[str]) -> list[str]:
    return [re.sub(r"[\d,.:]*\d( bytes| [kMGT]B)?", "#", line) for line in lines]


def assert_in_page(found: list[str], title: str) -> None:
    assert without_numbers(found) == without_numbers(screen_in_page(title))


@pytest.fixture
def download(demo_run, tmp_path) -> Callable[..., list[str]]:
    """A function that downloads the videos of S1 from a fake server, and returns the screen."""

    def run(root: Path = tmp_path / "root", **configuration: str) -> list[str]:
        root.mkdir(exist_ok=True)
        with serve(demo_run / "release", USERNAME, PASSWORD) as server:
            write_configuration(root, server.base_url, **configuration)
            command = "download_all.py --subjects S1 --kinds Videos"
            checksums = demo_run / "release" / "checksums.txt"
            ended = run_script(*command.split(), "--checksums", checksums, cwd=root)
            return screen(ended, command, root)

    return run


def test_wrong_password(download):
    found = download(Password="wrong")
    assert_in_page(found, "Wrong password")


def test_expired_session(download):
    found = download(PHPSESSID="0123456789abcdef0123456789")
    assert_in_page(found, "Expired session")


def test_full_disk(download, small_disk):
    found = download(small_disk(1))
    assert_in_page(found, "Full disk")


def test_damaged_archive(demo_run, tmp_path):
    (tmp_path / "archives").mkdir()
    archive = bytearray((demo_run / "release" / "Videos_S1.tgz").read_bytes())
    archive[-6] ^= 1  # of the CRC
    (tmp_path / "archives" / "Videos_S1.tgz").write_bytes(archive)
    command = "extract_all.py --subjects S1 --kinds Videos"
    found = screen_of_run(command, tmp_path)
    assert_in_page(found, "Damaged archive")


def test_missing_folder(tmp_path):
    found = screen_of_run("process_all.py", tmp_path)
    assert_in_page(found, "Missing folder")


def test_interrupted_run(root):
    command = "process_all.py --subjects S1 --actions Walking-1 Greeting-2 --jobs 2 --all-frames"
    process = start_script(*command.split(), cwd=root)
    wait_until(lambda: list(root.glob("processed/S1/*/.making")), "the first sequence")
    interrupt(process)
    found = screen(finish(process), command, root)
    assert_in_page(found, "Ctrl-C")


def test_damaged_video(root):
    [video] = (root / "extracted/S1/Videos").glob("Walking*.58860488.mp4")
    content = bytearray(video.read_bytes())
    video.unlink()
    middle, end = len(content) // 4, len(content) * 3 // 4
    content[middle:end] = random.Random(0).randbytes(end - middle)
    video.write_bytes(content)
    (root / "archives").mkdir()
    (root / "archives" / "Videos_S1.tgz").touch()  # else the folder is to be downloaded again
    command = "process_all.py --subjects S1 --actions Walking-1"
    found = screen_of_run(command, root)
    # What FFmpeg says about the damage depends on its version.
    expected, found = (re.sub(r"\(.*\)", "()", "\n".join(lines)) for lines in (screen_in_page("Damaged video"), found))
    assert without_numbers(found.splitlines()) == without_numbers(expected.splitlines())


def test_edited_rule_that_fails(root, tmp_path):
    script = copy_of_scripts(tmp_path / "scripts", rule="return np.arange(0, len(poses), 10)")
    command = "process_all.py --subjects S1 --actions Walking-1"
    found = screen(run_script(script, *command.split()[1:], cwd=root), command, root)
    assert_in_page(found, "An edited rule that fails")
    assert not list(root.glob("processed/S1/*/annot.h5"))
