"""process_all.py on finished sequences: without --replace they only grow, and users' files stay whatever is asked."""

import itertools
import shutil

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
    POSES_3D,
    POSES_3D_UNIVERSAL,
    POSES_3D_WORLD,
    VIDEOS,
    sequence_folder,
    unpacked_file,
)
from h36m.files.poses import read_poses
from h36m.metadata import load_metadata
from h36m.process.annotations import read_frames
from h36m.process.record import image_names
from h36m.process.sequence import process_sequence
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


def run(root, *options, rule=None):
    """Process the sequence in this process; return the outcome."""
    arguments = process_all.build_parser().parse_args(["--root", str(root), *options])
    options = process_all.read_options(arguments, METADATA)
    return process_sequence(SEQUENCE, options._replace(rule=rule) if rule else options, METADATA)


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


@pytest.mark.parametrize("kind", [VIDEOS, POSES_3D, BOXES, PART_LABELS, POSES_3D_WORLD])
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


@pytest.mark.parametrize("options", [(), ("--replace",)])
def test_images_that_could_not_be_made_again_stay(root, options):
    """A view whose video was damaged since then; its size and time stamp are as they were."""
    run(root, "--every", "4")
    before = contents(root / "processed")
    video = unpacked_file(root, SEQUENCE, VIDEOS, CAMERAS[2])
    video.unlink()
    video.write_bytes(b"damaged")
    outcome = run(root, "--all-frames", *options)
    damage, stay = outcome.problems
    assert damage.startswith(f"S1 Walking-1 {CAMERAS[2]}: ") and "its earlier images stay" in stay
    assert contents(root / "processed") == before


def test_poses_of_another_version_are_processed_again(root):
    """With the frames that the same rule chooses of them, and with the cameras that are there."""
    run(root, "--movement", "40", "--cameras", *CAMERAS[:2])
    before = frames_in(root)
    file = unpacked_file(root, SEQUENCE, POSES_3D_UNIVERSAL, CAMERAS[0])
    still = read_poses(file, coordinates=3)[:1].repeat(FRAMES, axis=0)
    file.unlink()
    write_cdf(file, still)
    run(root, "--movement", "40", "--cameras", CAMERAS[1])
    assert before != frames_in(root) == {CAMERAS[0]: [0], CAMERAS[1]: [0]}


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
