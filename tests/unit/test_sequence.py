"""h36m/process/views.py, s9.py and annotations.py function by function, on small synthetic views."""

import dataclasses

import numpy as np
import pytest

from h36m.cameras import Camera, project, rotation_matrix
from h36m.dataset import Sequence
from h36m.files.segments import NO_BOX
from h36m.metadata import load_metadata
from h36m.process import annotations
from h36m.process.views import View, compare_views, corrected_view, datasets_of
from h36m.s9 import SHIFT_MM, correct_boxes, correct_camera_poses, correct_world_poses, is_shifted

SEQUENCE = Sequence("S11", 14, 2, "Walking-2", "Walking 1")
SIZE = HEIGHT, WIDTH = 1002, 1000
WORLD_POINT = np.array([50.0, -20.0, 900.0])  # mm, in front of the camera below


@pytest.fixture
def camera():
    """A camera 4 m from the origin, on its own y axis, that looks at it a little from the side."""
    return Camera(
        rotation=rotation_matrix(np.pi / 2, 0, 0.4),
        translation=np.array([0.0, 900.0, 4000.0]),
        focal_length=np.array([1145.0, 1144.0]),
        principal_point=np.array([512.0, 515.0]),
        radial=np.array([-0.2, 0.2, -0.01]),
        tangential=np.array([-0.001, -0.002]),
    )


def make_view(camera_id: str, frames: list[int], boxes=None, seed: int = 0) -> View:
    """Return a view of random numbers, others for each seed."""
    random = np.random.default_rng(seed)
    count = len(frames)
    return View(
        camera=camera_id,
        frames=np.array(frames),
        pose_2d=random.normal(500, 100, (count, 32, 2)),
        pose_3d=random.normal([0, 0, 4000], 300, (count, 32, 3)),
        pose_3d_universal=random.normal([0, 0, 4000], 300, (count, 32, 3)),
        intrinsics=random.normal(size=4),
        intrinsics_universal=random.normal(size=4),
        boxes=boxes,
        size=SIZE,
        pose_count=100,
        problems=[],
        notices=[],
        counts=[],
    )


# -- datasets_of -------------------------------------------------------------------------------------------------------


BOXES = np.array([[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]], dtype=np.int32)


@pytest.fixture
def views():
    first = make_view("55011271", [0, 5, 9], BOXES, seed=1)
    return [first, make_view("54138969", [2, 99], None, seed=2)]


def test_rows_are_one_view_after_the_other_in_order(views):
    datasets = datasets_of(SEQUENCE, views, None, load_metadata())
    assert datasets["frame"].tolist() == [1, 6, 10, 3, 100]
    assert datasets["camera"].tolist() == [55011271] * 3 + [54138969] * 2
    fields = {"pose/2d": "pose_2d", "pose/3d": "pose_3d", "pose/3d-univ": "pose_3d_universal"}
    for name, field in fields.items():
        rows = [row for view in views for row in getattr(view, field)]
        np.testing.assert_array_equal(datasets[name], rows)
    numbers = [set(datasets[name].tolist()) for name in ("subject", "action", "subaction")]
    assert numbers == [{11}, {14}, {2}]


def test_view_without_boxes_has_no_box_in_each_row(views):
    boxes = datasets_of(SEQUENCE, views, None, load_metadata())["bbox"]
    assert boxes.tolist() == [*BOXES.tolist(), list(NO_BOX), list(NO_BOX)] and boxes.dtype == np.int32
    assert "bbox" not in datasets_of(SEQUENCE, [view._replace(boxes=None) for view in views], None, load_metadata())


def test_each_camera_has_its_own_parameters(views):
    metadata = load_metadata()
    datasets = datasets_of(SEQUENCE, views, None, metadata)
    for view in views:
        camera = metadata.cameras["S11", view.camera]
        expected = {
            "intrinsics": view.intrinsics,
            "intrinsics-univ": view.intrinsics_universal,
            "extrinsics": camera.extrinsics,
            "calibration": camera.calibration,
            "distortion": camera.distortion,
        }
        for name, values in expected.items():
            np.testing.assert_array_equal(datasets[f"{name}/{view.camera}"], values)
    assert sum("/5" in name for name in datasets) == 10


def test_datasets_have_the_types_and_shapes_of_the_table(views):
    world = np.zeros((5, 32, 3))
    datasets = datasets_of(SEQUENCE, views, world, load_metadata())
    table = {dataset.name: dataset for dataset in annotations.DATASETS}
    found = {name if name in table else name.rpartition("/")[0] + "/<camera>" for name in datasets}
    assert found == table.keys()
    for name, values in datasets.items():
        row = table.get(name) or table[name.rpartition("/")[0] + "/<camera>"]
        assert (str(values.shape), str(values.dtype)) == (row.shape.replace("N", "5"), row.type), name


def test_world_poses_and_calibration_may_be_missing(views):
    without = dataclasses.replace(load_metadata(), cameras={})
    datasets = datasets_of(SEQUENCE, views, None, without)
    assert "pose/3d-world" not in datasets
    assert {name.partition("/")[0] for name in datasets if "/5" in name} == {"intrinsics", "intrinsics-univ"}


def test_views_with_different_numbers_of_poses_are_reported(views):
    first, second = views
    assert compare_views(SEQUENCE, views) == compare_views(SEQUENCE, [first]) == []
    [notice] = compare_views(SEQUENCE, [first, second._replace(pose_count=90)])
    assert "S11 Walking-2: " in notice and "100 in 55011271, 90 in 54138969" in notice


# -- the correction of S9 ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("subject", "name", "shifted"),
    [
        ("S9", "Greeting-2", True),
        ("S9", "SittingDown-2", True),
        ("S9", "Waiting-1", True),
        ("S9", "Greeting-1", False),
        ("S9", "Walking-1", False),
        ("S11", "Greeting-2", False),
    ],
)
def test_three_sequences_of_s9_are_shifted(subject, name, shifted):
    assert is_shifted(Sequence(subject, 5, 2, name, "base")) == shifted


def test_correction_moves_poses_by_minus_200_mm_along_x():
    poses = np.random.default_rng(0).normal(size=(2, 32, 3))
    np.testing.assert_allclose(correct_world_poses(poses) - poses, np.tile([-200.0, 0, 0], (2, 32, 1)))


def test_correction_is_the_same_in_world_and_camera_coordinates(camera):
    world = WORLD_POINT + np.random.default_rng(0).normal(0, 300, (3, 32, 3))
    in_camera = world @ camera.rotation.T + camera.translation
    expected = correct_world_poses(world) @ camera.rotation.T + camera.translation
    np.testing.assert_allclose(correct_camera_poses(in_camera, camera), expected)


def poses_at(camera, *places):
    """Return (N, 32, 3), mm, camera coordinates: all joints of each row at one place of the world."""
    points = np.array(places) @ camera.rotation.T + camera.translation
    return np.repeat(points[:, None], 32, axis=1)


def test_boxes_move_with_the_root_by_whole_pixels(camera):
    published = poses_at(camera, WORLD_POINT, WORLD_POINT + 50)
    published[:, 1:] += 777  # other joints do not matter
    corrected = correct_camera_poses(published, camera)
    step = np.rint(project(corrected[:, 0], camera) - project(published[:, 0], camera)).astype(int)
    assert np.abs(step[:, 0]).min() > 20, "expected a shift that can be seen"
    boxes = np.array([[400, 300, 500, 600], [450, 310, 520, 590]], dtype=np.int32)
    found = correct_boxes(boxes, published, corrected, camera, SIZE)
    for box, moved, (right, down) in zip(boxes.tolist(), found.tolist(), step.tolist(), strict=True):
        assert moved == [box[0] + right, box[1] + down, box[2] + right, box[3] + down]
    assert found.dtype == np.int32


def test_boxes_are_cut_at_the_images_edges_and_vanish_beyond(camera):
    published = poses_at(camera, *[WORLD_POINT] * 4)
    corrected = correct_camera_poses(published, camera)
    [(right, down)] = np.rint(project(corrected[:1, 0], camera) - project(published[:1, 0], camera)).astype(int)
    assert right < 0, "expected a shift to the left"
    boxes = [[0, 10, 300, WIDTH + 2], [0, 10, -right, 50], [0, 10, 1 - right, 50], NO_BOX]
    found = correct_boxes(np.array(boxes, dtype=np.int32), published, corrected, camera, SIZE).tolist()
    assert found[0] == [0, max(10 + down, 0), 300 + right, min(WIDTH + 2 + down, HEIGHT)]
    assert found[1] == list(NO_BOX), "it has left the image"
    assert found[2] == [0, max(10 + down, 0), 1, 50 + down]
    assert found[3] == list(NO_BOX)


def test_corrected_view_has_its_poses_projected_again(camera):
    published = poses_at(camera, WORLD_POINT, WORLD_POINT + 100)
    boxes = np.array([[400, 300, 500, 600], NO_BOX], dtype=np.int32)
    view = make_view("54138969", [0, 1], boxes)._replace(pose_3d=published, pose_3d_universal=published / 1.1)
    found = corrected_view(view, camera)
    shift = camera.rotation @ SHIFT_MM
    np.testing.assert_allclose(found.pose_3d, published + shift)
    np.testing.assert_allclose(found.pose_3d_universal, published / 1.1 + shift)
    np.testing.assert_allclose(found.pose_2d, project(published + shift, camera))
    assert found.boxes[0].tolist() != boxes[0].tolist() and found.boxes[1].tolist() == list(NO_BOX)
    for field in ("camera", "frames", "intrinsics", "intrinsics_universal", "size", "pose_count"):
        assert getattr(found, field) is getattr(view, field)


def test_corrected_view_without_boxes_has_none(camera):
    view = make_view("54138969", [0])._replace(pose_3d=poses_at(camera, WORLD_POINT))
    assert corrected_view(view, camera).boxes is None


# -- annot.h5 ----------------------------------------------------------------------------------------------------------


def test_attributes_read_back_as_they_were_written(tmp_path):
    attributes = {"a": "text", "b": [1, 2], "d": ["one", "two"], "e": True}
    annotations.write_annotations(tmp_path / "annot.h5", {}, attributes)
    found = annotations.read_attributes(tmp_path / "annot.h5")
    assert {name: value.tolist() if hasattr(value, "tolist") else value for name, value in found.items()} == attributes
