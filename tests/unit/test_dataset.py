"""h36m/dataset.py: the names of folders and files, and what is known about the kinds of archive."""

import csv
import subprocess
import sys

import pytest
from helpers.scripts import PROJECT

from h36m.dataset import (
    FRAMES_WITHOUT_POSE,
    KIND_FACTS,
    KINDS,
    POSES_3D_WORLD,
    POSES_OF_LONGER_VIDEOS,
    SUBJECTS_WITH_GROUND_TRUTH,
    VIDEOS,
    Archive,
    Sequence,
    archive_file,
    image_name,
    kinds_of_script,
    sequence_folder,
    subject_of_member,
    unpacked_file,
    unpacked_folder,
)
from h36m.metadata import load_metadata
from h36m.sequences import file_names

WALKING = Sequence("S9", 14, 1, "Walking-1", "Walking")


def test_paths_are_those_of_the_contract(tmp_path):
    def relative(path):
        return path.relative_to(tmp_path).as_posix()

    assert Archive(VIDEOS, "S1").name == "Videos_S1"
    assert relative(archive_file(tmp_path, Archive(VIDEOS, "S1"))) == "archives/Videos_S1.tgz"
    assert relative(unpacked_folder(tmp_path, Archive(VIDEOS, "S1"))) == "extracted/S1/Videos"
    assert relative(unpacked_file(tmp_path, WALKING, VIDEOS, "54138969")) == "extracted/S9/Videos/Walking.54138969.mp4"
    world = unpacked_file(tmp_path, WALKING, POSES_3D_WORLD, "54138969")
    assert relative(world) == "extracted/S9/Poses_D3_Positions/Walking.cdf"
    assert relative(sequence_folder(tmp_path, WALKING)) == "processed/S9/Walking-1"
    assert str(WALKING) == "S9 Walking-1"


@pytest.mark.parametrize("kind", KIND_FACTS)
def test_file_names_are_those_of_all_sequences_and_cameras(tmp_path, kind):
    names = file_names(Archive(kind, "S1"))
    files = {
        unpacked_file(tmp_path, sequence, kind, camera).name
        for sequence in load_metadata().sequences_of("S1")
        for camera in load_metadata().camera_ids
    }
    without_views = (POSES_3D_WORLD, "Poses_D3_Angles", "Poses_RawAngles")
    assert set(names.values()) == files and len(files) == (30 if kind in without_views else 120)
    assert all(name.lower() == key for key, name in names.items())
    assert file_names(Archive(kind, "S5")) != names and file_names(Archive(kind, "S99")) == {}


def test_scripts_that_download_and_unpack_do_not_import_numpy():
    """It takes 0.2 s, at each start."""
    command = "import sys, download_all, extract_all; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command], cwd=PROJECT).returncode == 0


def test_number_in_an_images_name_is_the_frames_index_plus_1():
    assert [image_name(0), image_name(999_999)] == ["img_000001.jpg", "img_1000000.jpg"]
    assert image_name(63, ".png") == "img_000064.png"


@pytest.mark.parametrize(
    ("member", "subject"),
    [("S1", "S1"), ("./S11/a", "S11"), ("Videos/S1/a", "S1"), ("S1/S5/a", "S1")]
    + [(name, None) for name in ("S1x/a", "xS1/a", "s1/a", "S/a", "")],
)
def test_subject_of_a_member_is_its_outermost_folder(member, subject):
    """The outermost that is named like one: an archive packed again may have another folder around."""
    assert subject_of_member(member) == subject


def test_each_kind_is_downloaded_by_one_script():
    by_script = [kinds_of_script(script) for script in ("download_all.py", "download_seg_mat_gt_pl.py")]
    assert [len(kinds) for kinds in by_script] == [5, 2]
    assert sorted(sum(by_script, ())) == sorted(KINDS)
    assert kinds_of_script("extract_all.py") == ()


def test_sequences_with_fewer_poses_than_frames_are_those_of_the_counts():
    with (PROJECT / "benchmarks" / "frame_counts.tsv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["subject"] in SUBJECTS_WITH_GROUND_TRUTH]
    names = {sequence[:3]: sequence.name for row in rows for sequence in load_metadata().sequences_of(row["subject"])}
    expected = {}
    for row in rows:
        poses, frames = int(row["poses"]), max(int(value) for camera, value in row.items() if camera.isdecimal())
        if frames > poses + FRAMES_WITHOUT_POSE:
            name = names[row["subject"], int(row["action"]), int(row["subaction"])]
            expected[row["subject"], name] = poses
    assert expected == POSES_OF_LONGER_VIDEOS
