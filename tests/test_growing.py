"""process_all.py on finished sequences: without --replace they only grow, and users' files stay whatever is asked."""

import dataclasses
import itertools
import os
import shutil

import numpy as np
import pytest
from helpers.facts import CAMERAS
from helpers.marks import slow
from helpers.releases import contents, linked, make_extracted
from helpers.scripts import process

import process_all
from demo.release import Recording, write_cdf
from h36m.dataset import (
    BOXES,
    IMAGES,
    PART_LABELS,
    POSES_2D,
    POSES_3D,
    POSES_3D_UNIVERSAL,
    POSES_3D_WORLD,
    VIDEOS,
    sequence_folder,
    unpacked_file,
)
from h36m.files.poses import read_poses
from h36m.metadata import load_metadata
from h36m.process import sequence
from h36m.process.annotations import read_attributes, read_frames
from h36m.process.record import Outcome, image_names
from h36m.process.selection import FrameRule, chosen_frames, rule_of_options
from h36m.sequences import chosen_sequences

METADATA = load_metadata()
[SEQUENCE] = chosen_sequences(METADATA, ["S1"], ["Walking-1"])
ONE = ("--subjects", "S1", "--actions", "Walking-1")
FRAMES = 7


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """A root with one unpacked sequence: do not write there."""
    return make_extracted(tmp_path_factory.mktemp("release"), [Recording("S1", "Walking-1", FRAMES)])


@pytest.fixture
def root(release, tmp_path):
    return linked(release, tmp_path / "a root")


def run(root, *options, rule=None, metadata=METADATA):
    """Process the sequence in this process; return the outcome."""
    arguments = process_all.build_parser().parse_args(["--root", str(root), *options])
    options = process_all.read_options(arguments, METADATA)
    return process_all.process(SEQUENCE, options._replace(rule=rule) if rule else options, metadata)


def frames_in(root) -> dict[str, list[int]]:
    """Return the frames of each camera: of annot.h5, with which the images agree."""
    folder = sequence_folder(root, SEQUENCE)
    frames = read_frames(folder / "annot.h5")
    images = {image.relative_to(folder).as_posix() for image in folder.glob("imageSequence/[0-9]*/img_*.jpg")}
    assert images == {*image_names(frames, IMAGES)}
    return frames


# -- growing -----------------------------------------------------------------------------------------------------------


def test_a_finished_sequence_only_grows(root):
    """What is asked for step by step is what one run makes that asks for all of it."""
    assert process(root, *ONE, "--every", "3", "--cameras", CAMERAS[1], "--no-segments").returncode == 0
    assert frames_in(root) == {CAMERAS[1]: [0, 3, 6]}
    assert process(root, *ONE, "--every", "3", "--cameras", CAMERAS[2], "--no-segments").returncode == 0
    assert frames_in(root) == {CAMERAS[1]: [0, 3, 6], CAMERAS[2]: [0, 3, 6]}
    before = contents(root / "processed")
    for less in ((), ("--cameras", CAMERAS[1])):
        ended = process(root, *ONE, "--every", "3", "--cameras", CAMERAS[2], "--no-segments", *less)
        assert (ended.returncode, ended.errors) == (0, []) and ended.stdout.startswith("nothing to do: 1 sequence is ")
    ended = process(root, *ONE, "--every", "6", "--cameras", CAMERAS[1])
    assert ended.errors == [
        "process_all.py: 1 sequence would lose 2 images (every 3rd frame); add --replace, or rename processed/ first"
    ]
    assert (ended.returncode, ended.stdout) == (1, "") and contents(root / "processed") == before

    assert process(root, *ONE, "--every", "3", "2", "--preview").returncode == 0
    assert frames_in(root) == {camera: [0, 2, 3, 4, 6] for camera in CAMERAS}
    grown = contents(root / "processed")
    shutil.rmtree(root / "processed")
    assert process(root, *ONE, "--every", "2", "3", "--preview").returncode == 0
    assert contents(root / "processed") == grown


def test_with_replace_a_sequence_is_what_the_options_say(root):
    assert process(root, *ONE, "--all-frames", "--preview").returncode == 0
    options = ("--every", "4", "--cameras", CAMERAS[3], "--no-segments", "--replace")
    assert process(root, *ONE, *options).returncode == 0
    found = contents(root / "processed")
    assert frames_in(root) == {CAMERAS[3]: [0, 4]}
    assert "nothing to do" in process(root, *ONE, *options).stdout
    shutil.rmtree(root / "processed")
    assert process(root, *ONE, *options).returncode == 0
    assert contents(root / "processed") == found


def test_preview_of_a_finished_sequence_is_drawn_and_said_where(root):
    assert process(root, *ONE, "--every", "4").returncode == 0
    ended = process(root, *ONE, "--every", "4", "--preview")
    assert (ended.returncode, ended.errors) == (0, []) and (root / "processed/S1/Walking-1/preview.jpg").is_file()
    assert f"previews: {root.resolve()}/processed/*/*/preview.jpg" in ended.stdout


@pytest.mark.parametrize("kind", [VIDEOS, slow(POSES_3D), BOXES, slow(PART_LABELS), POSES_3D_WORLD])
def test_what_is_unpacked_later_makes_a_sequence_grow(root, kind):
    run(root, "--every", "4")
    whole = contents(root / "processed")
    shutil.rmtree(root / "processed")
    file = unpacked_file(root, SEQUENCE, kind, CAMERAS[0])
    file.rename(file.with_suffix(".away"))
    run(root, "--every", "4")
    assert contents(root / "processed") != whole
    file.with_suffix(".away").rename(file)
    assert run(root, "--every", "4").problems == []
    assert contents(root / "processed") == whole


@pytest.mark.parametrize(
    ("kind", "options", "lacks"),
    [
        (VIDEOS, (), f"camera {CAMERAS[2]}"),
        (VIDEOS, ("--replace",), f"camera {CAMERAS[2]}"),
        (POSES_3D, ("--no-images",), f"camera {CAMERAS[2]}"),
        (PART_LABELS, (), f"partLabels/{CAMERAS[2]}/img_000001.png"),
    ],
)
def test_what_could_not_be_made_again_stays(root, kind, options, lacks):
    """A file was damaged since then, with the size and time stamp that it had."""
    no_images = [option for option in options if option == "--no-images"]
    run(root, "--every", "4", *no_images)
    before = contents(root / "processed")
    file = unpacked_file(root, SEQUENCE, kind, CAMERAS[2])
    state = file.stat()
    file.unlink()
    file.write_bytes(bytes(state.st_size))
    os.utime(file, ns=(state.st_mtime_ns, state.st_mtime_ns))
    damage, stay = run(root, "--all-frames", *options).problems
    assert damage.startswith(f"S1 Walking-1 {CAMERAS[2]}: ")
    assert stay == f"S1 Walking-1: the earlier result stays, as {lacks} could not be made again"
    assert contents(root / "processed") == before


@pytest.mark.parametrize("cameras", [CAMERAS[:2], CAMERAS[1:2]])
def test_poses_of_another_version_are_processed_again(root, cameras):
    """With the frames that the same rule chooses of them, and with the cameras that are there.

    The first camera chooses the frames, also where it is left out.
    """
    run(root, "--movement", "40", "--cameras", *cameras)
    before = frames_in(root)
    file = unpacked_file(root, SEQUENCE, POSES_3D_UNIVERSAL, CAMERAS[0])
    still = read_poses(file, coordinates=3)[:1].repeat(FRAMES, axis=0)
    file.unlink()
    write_cdf(file, still)
    run(root, "--movement", "40", "--cameras", CAMERAS[1])
    assert before != frames_in(root) == {camera: [0] for camera in cameras}


# -- poses without images ----------------------------------------------------------------------------------------------


def test_poses_without_images_need_no_videos_and_get_images_later(root, tmp_path):
    """The rest of annot.h5 is the same."""
    run(root, "--every", "4")
    whole = contents(root / "processed")
    shutil.rmtree(root / "processed")
    videos = root / "extracted/S1/Videos"
    videos.rename(tmp_path / "away")
    for _ in range(2):
        ended = process(root, *ONE, "--every", "4", "--no-images")
        assert (ended.returncode, ended.errors) == (0, [])
        assert contents(root / "processed") == {name: value for name, value in whole.items() if "/annot.h5/" in name}
    assert ended.stdout.startswith("nothing to do: ")
    (tmp_path / "away").rename(videos)
    run(root, "--every", "4")
    assert contents(root / "processed") == whole
    assert run(root, "--every", "4", "--no-images") == Outcome(0, 0, [], [])
    assert run(root, "--every", "4", "--no-images", "--replace").views == 4
    assert not list(root.rglob("img_*"))


def test_boxes_without_videos_and_published_sizes_are_those_of_the_masks(root):
    run(root, "--every", "4", "--no-images")
    whole = contents(root / "processed")
    shutil.rmtree(root / "processed")
    assert (
        run(root, "--every", "4", "--no-images", metadata=dataclasses.replace(METADATA, image_sizes={})).problems == []
    )
    assert contents(root / "processed") == whole and any(name.endswith("/bbox") for name in whole)


# -- one choice of frames ----------------------------------------------------------------------------------------------

STEPS = 40  # of 40 mm each, to within the rounding of float32


@pytest.fixture
def rounded(tmp_path):
    """A root with poses that move by 40 mm from frame to frame, seen by four cameras; and the choice of each camera."""
    rule, choices = rule_of_options([], 40, print), {}
    for camera in CAMERAS:
        place = METADATA.cameras["S1", camera]
        world = np.zeros((STEPS, 32, 3)) + np.arange(STEPS)[:, None, None] * [40.0, 0, 0]
        for kind in (POSES_2D, POSES_3D, POSES_3D_UNIVERSAL):
            file = unpacked_file(tmp_path, SEQUENCE, kind, camera)
            file.parent.mkdir(parents=True, exist_ok=True)
            poses = world @ place.rotation.T + place.translation
            write_cdf(file, poses[..., :2] if kind == POSES_2D else poses)
        choices[camera] = chosen_frames(rule, "S1", read_poses(file, coordinates=3)).tolist()
    assert len(set(map(tuple, choices.values()))) > 1, "expected rounding to matter"
    return tmp_path, choices


BY_MOVEMENT = ("--movement", "40", "--no-images")
HARMS = {
    "whole": lambda poses: poses,
    "missing": None,
    "damaged": lambda poses: np.full_like(poses, np.nan),
    "shorter": lambda poses: poses[:-1],
}


@pytest.mark.parametrize("kind", [POSES_3D_UNIVERSAL, POSES_2D])
@pytest.mark.parametrize("harm", HARMS)
def test_all_views_have_the_frames_of_the_first_camera_with_good_poses(rounded, harm, kind):
    """Whatever --cameras says; a file that appears later changes no frames."""
    root, choices = rounded
    file = unpacked_file(root, SEQUENCE, kind, CAMERAS[0])
    file.rename(file.with_suffix(".away"))
    if HARMS[harm]:
        write_cdf(file, HARMS[harm](read_poses(file.with_suffix(".away"), coordinates=2 if kind == POSES_2D else 3)))
    first = CAMERAS[harm != "whole"]
    for cameras in ((CAMERAS[3],), CAMERAS):
        run(root, *BY_MOVEMENT, "--cameras", *cameras)
        found = read_frames(sequence_folder(root, SEQUENCE) / "annot.h5")
        assert found == {camera: choices[first] for camera in cameras if camera >= first}
    file.unlink(missing_ok=True)
    file.with_suffix(".away").rename(file)
    run(root, *BY_MOVEMENT)
    annotations = sequence_folder(root, SEQUENCE) / "annot.h5"
    assert read_frames(annotations) == {camera: choices[first] for camera in CAMERAS}
    assert read_attributes(annotations)["frame_selection_camera"] == first


def test_view_with_too_few_poses_is_an_error_of_that_view(rounded):
    root, choices = rounded
    for kind in (POSES_2D, POSES_3D, POSES_3D_UNIVERSAL):
        file = unpacked_file(root, SEQUENCE, kind, CAMERAS[2])
        poses = read_poses(file, coordinates=2 if kind == POSES_2D else 3)
        file.unlink()
        write_cdf(file, poses[:5])
    (problem,) = run(root, *BY_MOVEMENT).problems
    assert problem.startswith(f"S1 Walking-1 {CAMERAS[2]}: expected at least {choices[CAMERAS[0]][-1] + 1} poses")
    found = read_frames(sequence_folder(root, SEQUENCE) / "annot.h5")
    assert found == {camera: choices[CAMERAS[0]] for camera in CAMERAS if camera != CAMERAS[2]}


def test_edited_rule_is_called_once_for_a_sequence(rounded):
    calls = []
    rule = FrameRule(lambda subject, poses: calls.append(subject) or [0, 3], "the text", "a digest")
    assert run(rounded[0], "--no-images", rule=rule).views == 4 and calls == ["S1"]


def test_other_counts_are_said_once_unless_they_are_known(tmp_path, monkeypatch):
    """Twelve frames without a pose: four videos, four files of masks and four of part labels have them."""
    root = make_extracted(tmp_path, [Recording("S1", "Walking-1", 15)])
    for kind in (POSES_2D, POSES_3D, POSES_3D_UNIVERSAL, POSES_3D_WORLD):
        for file in (root / "extracted/S1" / kind).iterdir():
            poses = read_poses(file, coordinates=2 if kind == POSES_2D else 3)
            file.unlink()
            write_cdf(file, poses[:3])
    outcome = run(root, "--all-frames")
    assert (outcome.views, outcome.problems) == (4, [])
    video = f"Walking 1.{CAMERAS[0]}.mp4"
    count = f"S1 Walking-1: {video} has 16 frames for 3 poses, like 11 other files of this sequence"
    assert outcome.notices == [count]
    monkeypatch.setitem(sequence.POSES_OF_LONGER_VIDEOS, ("S1", "Walking-1"), 3)
    assert run(root, "--all-frames", "--replace", "--cameras", CAMERAS[0]).notices == []


# -- users' files ------------------------------------------------------------------------------------------------------

USERS = (
    "notes.txt",
    "mine/a.npz",
    "imageSequence/mine/img_000001.jpg",
    f"imageSequence/{CAMERAS[0]}/img_000001_keypoints.json",
    f"imageSequence/{CAMERAS[3]}/mine/x",
    f"partLabels/{CAMERAS[0]}/x.png",
)
CHOICES = [
    *itertools.product(
        ("", "--cameras 54138969"),
        ("--every 3", "--every 4"),
        *(("", option) for option in ("--no-segments", "--preview", "--replace")),
    )
]


@pytest.mark.parametrize("state", ["finished", slow("without annot.h5"), slow("without a record")])
def test_a_file_of_the_user_survives_every_combination(root, state):
    """One combination of options after the other: on what the ones before it have left, or on leftovers."""
    folder = sequence_folder(root, SEQUENCE)
    for name in USERS:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    for choice in CHOICES:
        if state != "finished":
            (folder / ("annot.h5" if state == "without annot.h5" else ".done.json")).unlink(missing_ok=True)
        run(root, *" ".join(choice).split())
        assert {name: (folder / name).read_text() for name in USERS} == {name: name for name in USERS}, choice
        found = frames_in(root)
        if "--replace" in choice:
            frames = list(range(0, FRAMES, int(choice[1][-1])))
            assert found == {camera: frames for camera in CAMERAS[: 1 if choice[0] else None]}, choice
            assert (folder / f"partLabels/{CAMERAS[0]}/img_000001.png").exists() != ("--no-segments" in choice)
