"""What process_all writes of the demo's release, against plain numpy on its CDF files by the rules of the dataset."""

import os
import shlex
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers.demos import ACTION_OPTIONS, SUBJECT_OPTIONS
from helpers.facts import CAMERAS, FACTS
from helpers.releases import contents, times_of_files
from helpers.scripts import PROJECT, process
from PIL import Image

from demo.figure import read_frame_number
from demo.release import DEMO
from h36m.files.cdf import pycdf

BASES = {
    ("S1", "Greeting-2"): "Greeting",
    ("S1", "Walking-1"): "Walking 1",
    ("S9", "Greeting-2"): "Greeting",
    ("S9", "Walking-1"): "Walking 1",
}
ACTIONS = {"Greeting": 5, "Walking": 14}


def cdf_poses(root: Path, subject: str, kind: str, stem: str, coordinates: int) -> np.ndarray:
    with pycdf.CDF(str(root / "extracted" / subject / kind / f"{stem}.cdf")) as cdf:
        return cdf["Pose"][...].astype(np.float64)[0].reshape(-1, 32, coordinates)


def by_the_rule(subject: str, universal: np.ndarray) -> list[int]:
    """The rule of formats.md, frame by frame."""
    if subject in ("S9", "S11"):
        return list(range(0, len(universal), 64))
    kept = [0]
    for frame in range(1, len(universal)):
        if np.linalg.norm(universal[frame] - universal[kept[-1]], axis=1).max() >= 40:
            kept.append(frame)
    return kept


def least_squares(pose_2d: np.ndarray, pose_3d: np.ndarray) -> list[float]:
    """Fit fx, cx, fy, cy by the normal equations of formats.md's two lines."""
    x, y, z = pose_3d.reshape(-1, 3).T
    found = []
    for axis, other in ((0, x), (1, y)):
        target = pose_2d[..., axis].ravel() * z
        found += np.linalg.solve(
            [[other @ other, other @ z], [other @ z, z @ z]], [other @ target, z @ target]
        ).tolist()
    return found


def expected_datasets(root: Path, subject: str, name: str) -> tuple[dict, dict[str, list[int]]]:
    """Everything of an annot.h5 but boxes, and the chosen frames of each camera."""
    base = BASES[subject, name]
    parts = {key: [] for key in ("pose/2d", "pose/3d", "pose/3d-univ", "pose/3d-world", "frame", "camera")}
    expected, chosen = {}, {}
    world = cdf_poses(root, subject, "Poses_D3_Positions", base, 3)
    for camera in CAMERAS:
        stem = f"{base}.{camera}"
        pose_2d = cdf_poses(root, subject, "Poses_D2_Positions", stem, 2)
        pose_3d = cdf_poses(root, subject, "Poses_D3_Positions_mono", stem, 3)
        universal = cdf_poses(root, subject, "Poses_D3_Positions_mono_universal", stem, 3)
        frames = chosen[camera] = by_the_rule(subject, universal)
        parts["pose/2d"].append(pose_2d[frames])
        parts["pose/3d"].append(pose_3d[frames])
        parts["pose/3d-univ"].append(universal[frames])
        parts["pose/3d-world"].append(world[frames])
        parts["frame"].append(np.array(frames) + 1)
        parts["camera"].append(np.full(len(frames), int(camera)))
        expected[f"intrinsics/{camera}"] = least_squares(pose_2d, pose_3d)
        expected[f"intrinsics-univ/{camera}"] = least_squares(pose_2d, universal)
    expected |= {key: np.concatenate(values) for key, values in parts.items()}
    action, _, subaction = name.partition("-")
    rows = len(expected["frame"])
    expected["subject"] = np.full(rows, int(subject[1:]))
    expected["action"] = np.full(rows, ACTIONS[action])
    expected["subaction"] = np.full(rows, int(subaction))
    return expected, chosen


@pytest.fixture(params=[(recording.subject, recording.name) for recording in DEMO], ids=" ".join)
def sequence(request):
    return request.param


def test_annotations_equal_what_plain_numpy_makes_of_the_cdf_files(demo_run, sequence):
    root = demo_run / "data"
    expected, _ = expected_datasets(root, *sequence)
    with h5py.File(root.joinpath("processed", *sequence, "annot.h5")) as annotations:
        for name, values in expected.items():
            found = annotations[name][...]
            if name.startswith("intrinsics"):
                assert found.dtype == np.float64 and found.shape == (4,)
                np.testing.assert_allclose(found, values, rtol=1e-9)
            else:
                assert found.dtype == (np.float64 if name.startswith("pose/") else np.int64), name
                np.testing.assert_array_equal(found, values, strict=False, err_msg=name)
                assert found.shape == np.shape(values), name


def test_images_are_those_of_the_chosen_frames_and_no_others(demo_run, sequence):
    root = demo_run / "data"
    _, chosen = expected_datasets(root, *sequence)
    images = root.joinpath("processed", *sequence, "imageSequence")
    assert sorted(folder.name for folder in images.iterdir()) == sorted(CAMERAS)
    for camera, frames in chosen.items():
        assert sorted(image.name for image in (images / camera).iterdir()) == [f"img_{n + 1:06d}.jpg" for n in frames]


def test_each_image_shows_the_frame_that_its_name_says(demo_run, sequence):
    images = sorted(demo_run.joinpath("data", "processed", *sequence, "imageSequence").glob("*/*.jpg"))
    assert images
    for file in images:
        with Image.open(file) as image:
            assert read_frame_number(np.asarray(image)) == int(file.stem.removeprefix("img_")) - 1
            height, width = FACTS["image_sizes_hw"][sequence[0]][CAMERAS.index(file.parent.name)]
            assert image.size == (width, height)


@pytest.mark.slow
def test_another_directory_with_root_gives_the_same(demo_run, root, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    relative = os.path.relpath(root, elsewhere)
    options = ["--subjects", "S9", *ACTION_OPTIONS, "--preview"]
    ended = process(relative, *options, cwd=elsewhere)
    assert ended.returncode == 0, ended.stderr
    assert contents(root / "processed" / "S9") == contents(demo_run / "data" / "processed" / "S9")
    assert not list(elsewhere.iterdir())


def test_second_run_writes_nothing_and_says_so(demo_run):
    root = demo_run / "data"
    before = times_of_files(root / "processed")
    ended = process(root, *SUBJECT_OPTIONS, *ACTION_OPTIONS)
    assert (ended.returncode, ended.errors) == (0, [])
    nothing, next_line = ended.stdout.splitlines()
    assert nothing == f"nothing to do: 4 sequences are already processed in {(root / 'processed').resolve()}"
    assert next_line.startswith("next: python3 ") and shlex.split(next_line)[2:4] == [
        str(PROJECT / "export_all.py"),
        "FORMAT",
    ]
    assert before == times_of_files(root / "processed")
