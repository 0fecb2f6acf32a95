"""process_all.py --slice K/N: several runs on one root at the same time, without communication."""

import re

import pytest
from helpers.demos import ACTION_OPTIONS, SUBJECT_OPTIONS
from helpers.marks import slow
from helpers.releases import contents
from helpers.scripts import finish, process, start_script


def run_at_once(root, shares: list[list[str]]) -> list[str]:
    """Start a run of each share before waiting for any; return what each printed."""
    options = ["--root", root, *SUBJECT_OPTIONS, *ACTION_OPTIONS, "--preview", "--jobs", "1"]
    runs = [start_script("process_all.py", *options, *share, cwd=root) for share in shares]
    said = []
    for run in runs:
        ended = finish(run)
        assert (ended.returncode, ended.errors) == (0, [])
        said.append(ended.stdout)
    return said


def written(said: str) -> tuple[int, int]:
    """Return how many frames and views a run reports as written."""
    frames, views = re.search(r"^(\d+) frames of (\d+) views written ", said, re.MULTILINE).groups()
    return int(frames), int(views)


@pytest.mark.slow
def test_slices_at_once_make_what_one_run_makes(demo_run, root):
    """No sequence is processed twice."""
    said = run_at_once(root, [["--slice", f"{which}/3"] for which in (1, 2, 3)])
    assert contents(root / "processed") == contents(demo_run / "data" / "processed")
    counts = [int(re.search(r"^plan: (\d+) sequences?: ", output, re.MULTILINE)[1]) for output in said]
    assert sorted(counts) == [1, 1, 2], "expected 4 sequences in even shares"
    # Each run counts what it has written itself.
    whole = written((demo_run / "output.txt").read_text())
    assert tuple(map(sum, zip(*map(written, said), strict=True))) == whole


@pytest.mark.slow
def test_the_same_share_run_twice_at_once_is_made_once(demo_run, root):
    said = run_at_once(root, [[], []])
    assert all("4 to process" in output for output in said), "expected the runs to overlap"
    assert contents(root / "processed") == contents(demo_run / "data" / "processed")
    whole = written((demo_run / "output.txt").read_text())
    assert tuple(map(sum, zip(*map(written, said), strict=True))) == whole


def test_slice_depends_on_the_names_alone(root):
    """Not on their order, and not on what is done already."""
    options = ["--every", "60", "--cameras", "54138969", *ACTION_OPTIONS, "--slice", "2/4"]
    ended = process(root, *options, "--subjects", "S1", "S9")
    assert ended.returncode == 0, ended.stderr
    [made] = root.glob("processed/*/*/annot.h5")
    assert made.relative_to(root / "processed").as_posix() == "S1/Walking-1/annot.h5"
    ended = process(root, *options, "--subjects", "S9", "S1")
    assert ended.stdout.startswith(f"nothing to do: 1 sequence is already processed in {root / 'processed'}\n")


@pytest.mark.parametrize("wrong", ["4/3", *map(slow, ["0/3", "1/0", "1", "a/b", "-1/3", ""])])
def test_malformed_share_exits_2(root, wrong):
    ended = process(root, f"--slice={wrong}")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "argument --slice: must be K/N with K from 1 to N" in ended.stderr and len(ended.errors) == 1


def test_longest_sequence_is_processed_first(root):
    """By the size of its poses; otherwise one core would work on it after all others have finished."""

    def size_of_poses(folder) -> int:
        stem = {"Greeting-2": "Greeting", "Walking-1": "Walking 1"}[folder.name]
        poses = list((root / "extracted" / folder.parent.name / "Poses_D2_Positions").glob(f"{stem}.*.cdf"))
        assert len(poses) == 4
        return sum(file.stat().st_size for file in poses)

    options = ["--every", "60", "--jobs", "1", "--no-segments", *SUBJECT_OPTIONS, *ACTION_OPTIONS]
    ended = process(root, *options)
    assert ended.returncode == 0, ended.stderr
    made = sorted(root.glob("processed/*/*/annot.h5"), key=lambda file: file.stat().st_mtime_ns)
    by_size = sorted((file.parent for file in made), key=size_of_poses, reverse=True)
    assert [file.parent for file in made] == by_size != sorted(by_size)
