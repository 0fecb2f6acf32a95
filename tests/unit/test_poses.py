"""h36m/files/poses.py and h36m/cameras.py: poses from real CDF files, and cameras against formulas written out here."""

import datetime

import numpy as np
import pytest

from demo.release import write_cdf
from h36m.cameras import Camera, project, rotation_matrix, to_camera
from h36m.errors import TaskError
from h36m.files.cdf import pycdf
from h36m.files.poses import fit_intrinsics, read_poses


def random_poses(frames: int, coordinates: int) -> np.ndarray:
    """Return (frames, 32, coordinates) float64 that float32 holds exactly, the last coordinate far from 0."""
    poses = np.random.default_rng(frames).integers(-4000, 4000, (frames, 32, coordinates)) / 4.0
    poses[..., -1] += 5000
    return poses


def write_shape(file, shape, variable="Pose"):
    """Write a CDF file whose variable has any shape."""
    with pycdf.CDF(str(file), create=True) as cdf:
        cdf.new(variable, data=np.ones(shape), type=pycdf.const.CDF_FLOAT)


# -- read_poses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coordinates", [2, 3])
def test_poses_are_read_frame_by_frame_and_joint_by_joint(tmp_path, coordinates):
    poses = random_poses(5, coordinates)
    write_cdf(tmp_path / "a.cdf", poses)
    found = read_poses(tmp_path / "a.cdf", coordinates)
    np.testing.assert_array_equal(found, poses)
    assert found.dtype == np.float64


@pytest.mark.parametrize("shape", [(1, 5, 64), (1, 5, 97), (2, 5, 96), (5, 96), (96,), (1, 5, 32, 3)], ids=str)
def test_poses_of_another_shape_are_an_error_with_that_shape(tmp_path, shape):
    write_shape(tmp_path / "a.cdf", shape)
    with pytest.raises(TaskError) as raised:
        read_poses(tmp_path / "a.cdf", coordinates=3)
    assert "a.cdf" in str(raised.value) and str(shape) in str(raised.value)


@pytest.mark.parametrize("type_name", ["CDF_CHAR", "CDF_EPOCH", "CDF_TIME_TT2000", "CDF_INT4"])
def test_poses_of_another_type_are_an_error_with_that_type(tmp_path, type_name):
    shape = (1, 5, 96)
    values = {"CDF_CHAR": "a", "CDF_INT4": 1}.get(type_name, datetime.datetime(2026, 1, 1))
    with pycdf.CDF(str(tmp_path / "a.cdf"), create=True) as cdf:
        cdf.new("Pose", data=np.full(shape, values).tolist(), type=getattr(pycdf.const, type_name))
    with pytest.raises(TaskError, match=rf"a\.cdf: expected poses of type CDF_FLOAT, found {type_name}"):
        read_poses(tmp_path / "a.cdf", coordinates=3)


def test_poses_in_double_precision_are_read(tmp_path):
    poses = random_poses(5, 3)
    with pycdf.CDF(str(tmp_path / "a.cdf"), create=True) as cdf:
        cdf.new("Pose", data=poses.reshape(1, 5, 96), type=pycdf.const.CDF_DOUBLE)
    np.testing.assert_array_equal(read_poses(tmp_path / "a.cdf", coordinates=3), poses)


def test_more_poses_than_any_memory_holds_are_an_error(tmp_path):
    """A file of some hundred bytes claims them."""
    with pycdf.CDF(str(tmp_path / "a.cdf"), create=True) as cdf:
        cdf.new("Pose", type=pycdf.const.CDF_FLOAT, dims=[1, 10**9, 96], recVary=False)
    with pytest.raises(TaskError, match=r"1 to 100000 frames, 96.*1000000000"):
        read_poses(tmp_path / "a.cdf", coordinates=3)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [1e300, -3.5e38])
def test_numbers_that_float32_cannot_hold_are_no_poses(tmp_path, value):
    poses = random_poses(6, 3)
    poses[4, 7, 1] = value
    with pycdf.CDF(str(tmp_path / "a.cdf"), create=True) as cdf:
        cdf.new("Pose", data=poses.reshape(1, 6, 96), type=pycdf.const.CDF_DOUBLE)
    with pytest.raises(TaskError, match=r"\b1 of 6 poses is .* 4; unpack it again"):
        read_poses(tmp_path / "a.cdf", coordinates=3)


def test_poses_that_are_not_numbers_are_counted(tmp_path):
    poses = random_poses(6, 3)
    poses[3, 31, 2], poses[5, 0, 0] = np.nan, -np.inf
    write_cdf(tmp_path / "a.cdf", poses)
    with pytest.raises(TaskError, match=r"\b2 of 6 poses .* 3; unpack it again"):
        read_poses(tmp_path / "a.cdf", coordinates=3)


@pytest.mark.parametrize("damage", ["empty", "text", "another variable"])
def test_file_without_poses_is_an_error_in_one_line(tmp_path, damage):
    file = tmp_path / "a.cdf"
    if damage == "another variable":
        write_shape(file, (1, 5, 96), variable="Poses")
    else:
        file.write_bytes(b"" if damage == "empty" else b"<html>" * 100)
    with pytest.raises(TaskError, match=r"a\.cdf cannot be read as CDF") as raised:
        read_poses(file, coordinates=3)
    assert "\n" not in str(raised.value)


# -- cameras -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def camera():
    """A camera in which all numbers differ, so that none can be mistaken for another."""
    return Camera(
        rotation=rotation_matrix(0.3, -0.5, 1.1),
        translation=np.array([100.0, -250.0, 4000.0]),
        focal_length=np.array([1145.0, 1144.0]),
        principal_point=np.array([512.5, 515.25]),
        radial=np.array([-0.2, 0.25, -0.007]),
        tangential=np.array([-0.0009, -0.0016]),
    )


def test_world_point_in_camera_coordinates_is_r_x_plus_t(camera):
    points = random_poses(2, 3)
    expected = np.einsum("ij,fnj->fni", camera.rotation, points) + camera.translation
    np.testing.assert_allclose(to_camera(points, camera), expected)
    homogeneous = np.concatenate([points, np.ones((2, 32, 1))], axis=-1)
    np.testing.assert_allclose(homogeneous @ camera.extrinsics.T, expected)


def test_rotation_turns_about_z_first_then_y_then_x():
    quarter = np.pi / 2
    # Right-handed: z turns x to y, y turns z to x, x turns y to z.
    np.testing.assert_allclose(rotation_matrix(0, 0, quarter) @ [1, 0, 0], [0, 1, 0], atol=1e-15)
    np.testing.assert_allclose(rotation_matrix(0, quarter, 0) @ [0, 0, 1], [1, 0, 0], atol=1e-15)
    np.testing.assert_allclose(rotation_matrix(quarter, 0, 0) @ [0, 1, 0], [0, 0, 1], atol=1e-15)
    np.testing.assert_allclose(rotation_matrix(quarter, 0, quarter) @ [1, 0, 0], [0, 0, 1], atol=1e-15)
    np.testing.assert_allclose(rotation_matrix(0, quarter, quarter) @ [0, 1, 0], [0, 0, 1], atol=1e-15)


def test_projection_is_human36ms_formula(camera):
    (k1, k2, k3), (p1, p2) = camera.radial, camera.tangential
    (fx, fy), (cx, cy) = camera.focal_length, camera.principal_point
    points = random_poses(1, 3)[0]
    for (x, y, z), found in zip(points, project(points, camera), strict=True):
        u, v = x / z, y / z
        r2 = u * u + v * v
        bracket = 1 + k1 * r2 + k2 * r2 * r2 + k3 * r2 * r2 * r2 + p1 * v + p2 * u
        np.testing.assert_allclose(found, [fx * (u * bracket + p2 * r2) + cx, fy * (v * bracket + p1 * r2) + cy])


def test_calibration_and_distortion_have_opencvs_order(camera):
    assert camera.calibration.tolist() == [[1145, 0, 512.5], [0, 1144, 515.25], [0, 0, 1]]
    assert camera.distortion.tolist() == [-0.2, 0.25, -0.0009, -0.0016, -0.007]


def test_fit_recovers_a_camera_without_distortion(camera):
    pose_3d = random_poses(4, 3)
    (fx, fy), (cx, cy) = camera.focal_length, camera.principal_point
    pose_2d = pose_3d[..., :2] / pose_3d[..., 2:] * [fx, fy] + [cx, cy]
    np.testing.assert_allclose(fit_intrinsics(pose_2d, pose_3d), [fx, cx, fy, cy], rtol=1e-9)


def test_fit_weighs_each_joint_by_its_depth(camera):
    """The fit minimizes the error of pixels times depth, as existing loaders' values do, not of pixels."""
    pose_3d = random_poses(3, 3)
    pose_2d = project(pose_3d, camera)  # distorted: no fit is exact
    x, z, u = pose_3d[..., 0].ravel(), pose_3d[..., 2].ravel(), pose_2d[..., 0].ravel()
    normal = np.array([[x @ x, x @ z], [x @ z, z @ z]])
    expected = np.linalg.solve(normal, [x @ (u * z), z @ (u * z)])
    np.testing.assert_allclose(fit_intrinsics(pose_2d, pose_3d)[:2], expected, rtol=1e-6)
