"""What export_all writes, against plain numpy on the CDF files and metadata.xml by the rules of each format.

Nothing here calls h36m.export: each format's arrays are built again, from what its readers expect.
"""

import pickle
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers.exports import (
    DAMAGED,
    HEIGHTS,
    PIXEL_TOLERANCE,
    TEST,
    TRAIN,
    assert_mmpose_npz,
    assert_moon_data,
    assert_old_programs_can_unpickle,
    assert_same,
    files_in,
    loaded_frames,
    mmpose_rows,
    moon_json,
    moon_rows,
    run_export,
)
from helpers.facts import human36m_projection
from helpers.poses import (
    CAMERA,
    CAMERA_IDS,
    J17,
    PIXELS,
    WORLD,
    Sequence,
    calibrations,
    canonical,
    make_poses,
    pose_file,
    read,
    sequences,
    write,
)
from helpers.releases import linked
from helpers.scripts import PROJECT, run_script

SUBJECTS = ("S1", "S5", "S9", "S11")
# Some sequences are long enough for a second frame by the rule for tests, every 64th.
LONG = {("S1", 14, 1): 131, ("S1", 12, 1): 66, ("S9", 5, 2): 65, ("S9", 16, 1): 130, ("S11", 2, 2): 70}


def frames(sequence: Sequence) -> int:
    """Return how many frames a sequence of the release has: from 3 to 8 but for the long ones."""
    return LONG.get(sequence[:3], 3 + (7 * sequence.action + 3 * sequence.subaction + int(sequence.subject[1:])) % 6)


def sequences_in(subjects) -> list[Sequence]:
    """Return the release's sequences of some subjects."""
    return sequences(*[subject for subject in subjects if subject in SUBJECTS])


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    """A root with the poses of all sequences of two subjects to train with and of two to test with."""
    root = tmp_path_factory.mktemp("a release")
    make_poses(root / "extracted", {sequence: frames(sequence) for sequence in sequences(*SUBJECTS)})
    return root


@pytest.fixture(scope="module")
def exported(release, tmp_path_factory):
    """A function that returns the folder of a format's export of the release, made once."""
    made = {}

    def export(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp("exported") / name
            problems = run_export(release, name, made[name], SUBJECTS)
            # 3DMPPE's loader reads images, and without processed/ all of them are missing.
            assert not [line for line in problems if name != "3dmppe" or "images of every" not in line]
        return made[name]

    return export


def projected(points: np.ndarray, camera: dict[str, np.ndarray]) -> np.ndarray:
    """Project points (..., 3) by the columns f, c, k and p that two formats have."""
    (fx, fy), (cx, cy) = camera["f"][:, 0], camera["c"][:, 0]
    matrix, (k1, k2, k3), (p1, p2) = np.array([[fx, 0, cx], [0, fy, cy]]), camera["k"][:, 0], camera["p"][:, 0]
    return human36m_projection(points, matrix, np.array([k1, k2, p1, p2, k3]))


def object_in(file: Path, key: str) -> dict:
    """Return what a 0-dimensional object array of an npz holds."""
    with np.load(file, allow_pickle=True) as arrays:
        assert arrays[key].shape == () and arrays[key].dtype == object
        return arrays[key].item()


# -- videopose3d -------------------------------------------------------------------------------------------------------


def test_videopose3d_world_poses(release, exported):
    """Metres, 32 joints, all frames; S11 Directions is left out; S1's files are named as the others'."""
    out = exported("videopose3d")
    assert files_in(out) == {"data_3d_h36m.npz", "data_2d_h36m_gt.npz"}
    with np.load(out / "data_3d_h36m.npz", allow_pickle=True) as arrays:
        assert arrays.files == ["positions_3d"]
    poses = object_in(out / "data_3d_h36m.npz", "positions_3d")
    assert list(poses) == list(SUBJECTS)
    expected = [sequence for sequence in sequences(*SUBJECTS) if sequence != DAMAGED]
    names = [(subject, base) for subject in poses for base in poses[subject]]
    assert sorted(names) == sorted((sequence.subject, canonical(sequence.base)) for sequence in expected)
    assert "Photo" in poses["S1"] and "WalkDog 1" in poses["S1"] and "Directions 2" in poses["S5"]
    assert [len(poses[subject]) for subject in SUBJECTS] == [30, 30, 30, 29]
    for sequence in expected:
        found = poses[sequence.subject][canonical(sequence.base)]
        assert_same(found, read(release / "extracted", WORLD, sequence) / np.float32(1000))
        assert found.flags.writeable


def test_videopose3d_pixels_of_the_four_cameras(release, exported):
    file = exported("videopose3d") / "data_2d_h36m_gt.npz"
    with np.load(file, allow_pickle=True) as arrays:
        assert sorted(arrays.files) == ["metadata", "positions_2d"]
    assert object_in(file, "metadata") == {
        "num_joints": 17,
        "keypoints_symmetry": [[4, 5, 6, 11, 12, 13], [1, 2, 3, 14, 15, 16]],
    }
    poses = object_in(file, "positions_2d")
    world = object_in(file.with_name("data_3d_h36m.npz"), "positions_3d")
    assert {subject: list(found) for subject, found in poses.items()} == {s: list(found) for s, found in world.items()}
    for sequence in sequences(*SUBJECTS):
        if sequence == DAMAGED:
            continue
        found = poses[sequence.subject][canonical(sequence.base)]
        assert type(found) is list and len(found) == 4
        for view, camera_id in zip(found, CAMERA_IDS, strict=True):
            assert_same(view, read(release / "extracted", PIXELS, sequence, camera_id)[:, J17])


def test_videopose3d_geometry(exported):
    """Its code has the cameras: R transposed as a quaternion, C in metres, and p2 before p1."""
    out = exported("videopose3d")
    world, pixels = (
        object_in(out / "data_3d_h36m.npz", "positions_3d"),
        object_in(out / "data_2d_h36m_gt.npz", "positions_2d"),
    )
    cameras = calibrations()
    for subject, poses in world.items():
        for base, pose in poses.items():
            for view, camera_id in enumerate(CAMERA_IDS):
                camera = cameras[subject, camera_id]
                seen = (pose[:, J17].astype(float) - camera.centre / 1000) @ camera.rotation.T
                projected = by_reversed_tangential(seen, camera, camera.tangential[::-1])
                np.testing.assert_allclose(projected, pixels[subject][base][view], rtol=0, atol=PIXEL_TOLERANCE)


def by_reversed_tangential(points, camera, tangential):
    """VideoPose3D's own order of operations: the tangential term is the sum of products with p2, p1."""
    plane = points[..., :2] / points[..., 2:]
    square = (plane**2).sum(axis=-1, keepdims=True)
    radial = 1 + (camera.radial * np.concatenate([square, square**2, square**3], axis=-1)).sum(axis=-1, keepdims=True)
    sideways = (tangential * plane).sum(axis=-1, keepdims=True)
    return camera.focal * (plane * (radial + sideways) + tangential * square) + camera.principal


def test_videopose3d_opens_in_old_programs(exported):
    for name in ("data_3d_h36m.npz", "data_2d_h36m_gt.npz"):
        with zipfile.ZipFile(exported("videopose3d") / name) as archive:
            for member in archive.infolist():
                with archive.open(member) as file:
                    np.lib.format.read_magic(file)
                    np.lib.format.read_array_header_1_0(file)
                    assert_old_programs_can_unpickle(file.read())


# -- mmpose ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate, step", [("fps50", 1), ("fps10", 5)])
@pytest.mark.parametrize("part, subjects", [("train", TRAIN), ("test", TEST)])
def test_mmpose_rows(release, exported, rate, step, part, subjects):
    file = exported("mmpose") / "annotation_body3d" / rate / f"h36m_{part}.npz"
    expected = mmpose_rows(release, sequences_in(subjects), step)
    assert_mmpose_npz(file, expected)
    names = {
        "S11/S11_Directions.54138969/S11_Directions.54138969_000006.jpg",
        "S9/S9_Greeting.54138969/S9_Greeting.54138969_000001.jpg",
    }
    assert part == "train" or names <= set(expected["imgname"].tolist())
    with zipfile.ZipFile(file) as archive:
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}


@pytest.mark.parametrize("rate, step", [("fps50", 1), ("fps10", 5)])
def test_mmpose_statistics_of_the_train_set(release, exported, rate, step):
    rows = mmpose_rows(release, sequences_in(TRAIN), step)
    for name, poses in (("joint3d", rows["S"][..., :3]), ("joint2d", rows["part"][..., :2])):
        for suffix, values in (("stats", poses), ("rel_stats", poses[:, 1:] - poses[:, :1])):
            content = (exported("mmpose") / "annotation_body3d" / rate / f"{name}_{suffix}.pkl").read_bytes()
            assert_old_programs_can_unpickle(content)
            found = pickle.loads(content)
            assert list(found) == ["mean", "std"]
            assert_same(found["mean"], values.mean(axis=0), 1e-6)
            assert_same(found["std"], np.sqrt(((values - values.mean(axis=0)) ** 2).mean(axis=0)), 1e-6)


def test_mmpose_cameras(exported):
    """All 44, R transposed, the camera's centre in metres; the position of S1's first camera as mmpose publishes it."""
    content = (exported("mmpose") / "annotation_body3d" / "cameras.pkl").read_bytes()
    assert_old_programs_can_unpickle(content)
    cameras, expected = pickle.loads(content), calibrations()
    assert set(cameras) == {(f"S{number}", camera_id) for number in range(1, 12) for camera_id in CAMERA_IDS}
    for (subject, camera_id), camera in cameras.items():
        view, facts = CAMERA_IDS.index(camera_id), expected[subject, camera_id]
        assert set(camera) == {"R", "T", "c", "f", "k", "p", "w", "h", "name", "id"}
        assert_same(camera["R"], facts.rotation.T, 1e-12)
        assert_same(camera["T"], facts.centre.reshape(3, 1) / 1000, 1e-12)
        assert_same(camera["c"], facts.principal.reshape(2, 1))
        assert_same(camera["f"], facts.focal.reshape(2, 1))
        assert_same(camera["k"], facts.radial.reshape(3, 1))
        assert_same(camera["p"], facts.tangential.reshape(2, 1))
        plain = [camera["w"], camera["h"], camera["name"], camera["id"]]
        assert plain == [1000, HEIGHTS[view], f"camera{view + 1}", camera_id]
        assert [type(value) for value in plain] == [int, int, str, str]
    np.testing.assert_allclose(
        cameras["S1", "54138969"]["T"].ravel(), [1.84110703, 4.95528462, 1.5634454], rtol=0, atol=5e-9
    )


def test_mmpose_geometry(release, exported):
    """World poses through R and T by X_cam = R^T (X - T) are S, and projected with f, c, k and p they are `part`."""
    out = exported("mmpose") / "annotation_body3d"
    cameras = pickle.loads((out / "cameras.pkl").read_bytes())
    for part, subjects in (("train", TRAIN), ("test", TEST)):
        with np.load(out / "fps50" / f"h36m_{part}.npz") as arrays:
            pixels, poses = arrays["part"][..., :2], arrays["S"][..., :3]
        start = 0
        for sequence in sequences_in(subjects):
            world = read(release / "extracted", WORLD, sequence)[:, J17].astype(float) / 1000
            for camera_id in CAMERA_IDS:
                camera, rows = cameras[sequence.subject, camera_id], slice(start, start + len(world))
                seen = (world - camera["T"].T) @ camera["R"]
                np.testing.assert_allclose(seen, poses[rows], rtol=0, atol=1e-6)
                found = projected(poses[rows], camera)
                np.testing.assert_allclose(found, pixels[rows], rtol=0, atol=PIXEL_TOLERANCE)
                start += len(world)
        assert start == len(pixels)


def test_mmpose_writes_nothing_else(exported):
    rates = {
        f"annotation_body3d/{rate}/{name}"
        for rate in ("fps10", "fps50")
        for name in (
            "h36m_train.npz",
            "h36m_test.npz",
            *[f"joint{d}d_{rel}stats.pkl" for d in (2, 3) for rel in ("", "rel_")],
        )
    }
    assert files_in(exported("mmpose")) == rates | {"annotation_body3d/cameras.pkl"}


# -- 3dmppe ------------------------------------------------------------------------------------------------------------


def test_3dmppe_images_and_annotations(release, exported):
    """The frames that a loader takes; S11 Directions-2 without its first camera."""
    ids: list[tuple[int, int]] = []
    for subject in SUBJECTS:
        found = moon_json(exported("3dmppe"), subject, "data")
        assert_moon_data(found, moon_rows(release, sequences(subject)))
        ids += [(image["id"], annotation["id"]) for image, annotation in zip(*found.values(), strict=True)]
    for column in zip(*ids, strict=True):
        assert len(set(column)) == len(column)
    views = {image["file_name"][:28] for image in moon_json(exported("3dmppe"), "S11", "data")["images"]}
    assert len(views) == 119 and "s_11_act_02_subact_02_ca_01/" not in views and "s_11_act_02_subact_02_ca_02/" in views


def test_3dmppe_joints_of_each_listed_frame(release, exported):
    for subject in SUBJECTS:
        found = moon_json(exported("3dmppe"), subject, "joint_3d")
        assert list(found) == [str(action) for action in range(2, 17)]
        for sequence in sequences(subject):
            world = read(release / "extracted", WORLD, sequence)[:, J17]
            joints = found[str(sequence.action)][str(sequence.subaction)]
            assert list(joints) == [str(frame) for frame in loaded_frames(sequence, len(world))]
            for frame, pose in joints.items():
                np.testing.assert_array_equal(np.array(pose, np.float32), world[int(frame)])


def test_3dmppe_cameras(exported):
    for subject in SUBJECTS:
        found = moon_json(exported("3dmppe"), subject, "camera")
        assert list(found) == ["1", "2", "3", "4"]
        for camera, camera_id in zip(found.values(), CAMERA_IDS, strict=True):
            facts = calibrations()[subject, camera_id]
            assert list(camera) == ["R", "t", "f", "c"]
            assert_same(np.array(camera["R"]), facts.rotation, 1e-12)
            assert_same(np.array(camera["t"]), -facts.rotation @ facts.centre, 1e-8)
            assert (camera["f"], camera["c"]) == (facts.focal.tolist(), facts.principal.tolist())
    position = moon_json(exported("3dmppe"), "S1", "camera")["1"]["t"]
    np.testing.assert_allclose(position, [-346.0508, 546.9808, 5474.4811], rtol=0, atol=5e-5)


def test_3dmppe_geometry(release, exported):
    """The format has no distortion: with metadata.xml's it closes; without it is some pixels off within the image."""
    off, cameras = [], calibrations()
    for subject in SUBJECTS:
        joints = moon_json(exported("3dmppe"), subject, "joint_3d")
        for sequence in sequences(subject):
            poses = joints[str(sequence.action)][str(sequence.subaction)]
            world = np.array(list(poses.values()))
            for number, camera in moon_json(exported("3dmppe"), subject, "camera").items():
                camera_id = CAMERA_IDS[int(number) - 1]
                seen = world @ np.array(camera["R"]).T + camera["t"]
                matrix = np.array([[camera["f"][0], 0, camera["c"][0]], [0, camera["f"][1], camera["c"][1]]])
                pixels = read(release / "extracted", PIXELS, sequence, camera_id)[:, J17][[int(name) for name in poses]]
                projected = human36m_projection(seen, matrix, cameras[subject, camera_id].distortion)
                np.testing.assert_allclose(projected, pixels, rtol=0, atol=PIXEL_TOLERANCE)
                inside = ((pixels >= 0) & (pixels < 1000)).all(axis=-1)
                plain = human36m_projection(seen, matrix, np.zeros(5))
                off.append(np.linalg.norm(plain - pixels, axis=-1)[inside])
    off = np.concatenate(off)
    # Joints in the corners of the image are off by most.
    assert 0.5 < np.median(off) < 2 and off.max() < 25


def test_3dmppe_writes_nothing_else(exported):
    names = {
        f"annotations/Human36M_subject{s[1:]}_{name}.json" for s in SUBJECTS for name in ("data", "camera", "joint_3d")
    }
    assert files_in(exported("3dmppe")) == names


# -- 3d-pose-baseline --------------------------------------------------------------------------------------------------


def test_3d_pose_baseline_positions(release, exported):
    """(96, N), mm, world, all frames, names as the other subjects have them; S11 Directions included."""
    out = exported("3d-pose-baseline")
    expected = {}
    for sequence in sequences(*SUBJECTS):
        expected[f"h36m/{sequence.subject}/MyPoses/3D_positions/{canonical(sequence.base)}.h5"] = sequence
    assert len(expected) == 120
    links = {f"h36m/{s.subject}/MyPoseFeatures/D3_Positions/{canonical(s.base)}.cdf": s for s in expected.values()}
    assert files_in(out) == {*expected, "h36m/cameras.h5", *links, "h36m/metadata.xml"}
    for name, sequence in links.items():  # what the program reads since 2020
        link, file = out / name, pose_file(release / "extracted", WORLD, sequence, None)
        assert link.is_symlink() and not link.readlink().is_absolute() and link.samefile(file)
    assert (out / "h36m" / "metadata.xml").read_bytes() == (PROJECT / "metadata.xml").read_bytes()
    for name, sequence in expected.items():
        with h5py.File(out / name) as file:
            assert list(file) == ["3D_positions"]
            found = file["3D_positions"][...]
        world = read(release / "extracted", WORLD, sequence)
        assert found.dtype in (np.float32, np.float64) and found.shape == (96, len(world))
        np.testing.assert_array_equal(found.T.reshape(-1, 32, 3), world)


def test_3d_pose_baseline_cameras(exported):
    expected = calibrations()
    with h5py.File(exported("3d-pose-baseline") / "h36m" / "cameras.h5") as file:
        assert set(file) >= {f"subject{subject[1:]}" for subject in (*TRAIN, *TEST)}
        for group in file:
            assert list(file[group]) == ["camera1", "camera2", "camera3", "camera4"]
            for number, camera_id in enumerate(CAMERA_IDS, 1):
                camera = {name: item[...] for name, item in file[group][f"camera{number}"].items()}
                facts = expected[group.replace("subject", "S"), camera_id]
                assert set(camera) == {"R", "T", "f", "c", "k", "p", "Name"}
                assert_same(camera["R"], facts.rotation.T, 1e-12)
                assert_same(camera["T"], facts.centre.reshape(3, 1), 1e-9)
                assert_same(camera["f"], facts.focal.reshape(2, 1))
                assert_same(camera["c"], facts.principal.reshape(2, 1))
                assert_same(camera["k"], facts.radial.reshape(3, 1))
                assert_same(camera["p"], facts.tangential.reshape(2, 1))
                assert camera["Name"].shape == (8, 1)
                assert "".join(chr(int(code)) for (code,) in camera["Name"]) == camera_id


def test_3d_pose_baseline_geometry(release, exported):
    """X_cam = R (X - T) with R transposed again as its readers do."""
    out = exported("3d-pose-baseline") / "h36m"
    with h5py.File(out / "cameras.h5") as file:
        cameras = {
            (group, name): {key: item[...] for key, item in file[group][name].items()}
            for group in file
            for name in file[group]
        }
    for sequence in sequences(*SUBJECTS):
        with h5py.File(out / sequence.subject / "MyPoses/3D_positions" / f"{canonical(sequence.base)}.h5") as file:
            world = file["3D_positions"][...].T.reshape(-1, 32, 3).astype(float)
        for number, camera_id in enumerate(CAMERA_IDS, 1):
            camera = cameras[f"subject{sequence.subject[1:]}", f"camera{number}"]
            as_read = camera["R"].T
            seen = (world - camera["T"].T) @ as_read.T
            pixels = read(release / "extracted", PIXELS, sequence, camera_id)
            np.testing.assert_allclose(projected(seen, camera), pixels, rtol=0, atol=PIXEL_TOLERANCE)


# -- what is missing ---------------------------------------------------------------------------------------------------

# Sequences, and what the release below lacks for each.
NO_PIXELS = Sequence("S1", 4, 1, "Eating 2")  # of the second camera
FEWER_IN_A_CAMERA = Sequence("S5", 7, 1, "Posing 1")
FEWER_PIXELS = Sequence("S5", 7, 2, "Posing")
NO_WORLD = Sequence("S9", 14, 2, "Walking")


@pytest.fixture(scope="module")
def broken(release, tmp_path_factory) -> Path:
    """The release with a missing view, two views with fewer poses, a sequence without world poses, and a kind less."""
    root = linked(release, tmp_path_factory.mktemp("broken"))
    extracted = root / "extracted"
    assert {NO_PIXELS, FEWER_IN_A_CAMERA, FEWER_PIXELS, NO_WORLD} <= set(sequences(*SUBJECTS))
    pose_file(extracted, PIXELS, NO_PIXELS, CAMERA_IDS[1]).unlink()
    for kind, sequence, camera_id in (
        (CAMERA, FEWER_IN_A_CAMERA, CAMERA_IDS[2]),
        (PIXELS, FEWER_PIXELS, CAMERA_IDS[0]),
    ):
        write(extracted, kind, sequence, camera_id, read(extracted, kind, sequence, camera_id)[:-1])
    pose_file(extracted, WORLD, NO_WORLD, None).unlink()
    (extracted / "S11" / CAMERA).rename(root / "not unpacked")
    return root


def export_broken(broken: Path, name: str, out: Path, *named: str, subjects=SUBJECTS) -> Path:
    """Export the broken release; each of some texts has to be in what is said about it."""
    problems = run_export(broken, name, out, subjects)
    assert all(any(text in line for line in problems) for text in named), problems
    return out


def test_videopose3d_leaves_a_sequence_without_a_view_out_of_both(broken, exported, tmp_path):
    whole = exported("videopose3d")
    out = export_broken(broken, "videopose3d", tmp_path / "out", "Eating 2.55011271", "S5 Posing-2", "Walking.cdf")
    without = {("S1", "Eating 2"), ("S5", "Posing"), ("S9", "Walking")}
    for name, key in (("data_3d_h36m.npz", "positions_3d"), ("data_2d_h36m_gt.npz", "positions_2d")):
        found, expected = object_in(out / name, key), object_in(whole / name, key)
        for subject, base in without:
            del expected[subject][base]
        assert {subject: list(poses) for subject, poses in found.items()} == {s: list(p) for s, p in expected.items()}
        for subject, poses in expected.items():
            for base, pose in poses.items():
                np.testing.assert_array_equal(found[subject][base], pose)


def test_missing_view_exits_1_and_is_named(broken, tmp_path):
    ended = run_script(
        "export_all.py", "videopose3d", "--root", broken, "--out", tmp_path / "out", "--subjects", "S1", "--quiet"
    )
    assert ended.returncode == 1 and ended.stdout == "" and ended.stderr.count("\n") == 1, ended.text
    assert f"Eating 2.{CAMERA_IDS[1]}.cdf" in ended.stderr


def test_mmpose_leaves_a_view_out_of_all_five_arrays(broken, release, tmp_path):
    named = (
        "Eating 2.55011271",
        f"{FEWER_IN_A_CAMERA[0]} Posing-1 {CAMERA_IDS[2]}",
        "S5 Posing-2 54138969",
        "S11: left out",
    )
    out = export_broken(broken, "mmpose", tmp_path / "out", *named) / "annotation_body3d"
    without = {(NO_PIXELS, CAMERA_IDS[1]), (FEWER_IN_A_CAMERA, CAMERA_IDS[2]), (FEWER_PIXELS, CAMERA_IDS[0])}
    for rate, step in (("fps50", 1), ("fps10", 5)):
        assert_mmpose_npz(out / rate / "h36m_train.npz", mmpose_rows(release, sequences_in(TRAIN), step, without))
        assert_mmpose_npz(out / rate / "h36m_test.npz", mmpose_rows(release, sequences("S9"), step))


def test_3dmppe_leaves_out_a_sequence_without_world_poses(broken, release, exported, tmp_path):
    out = export_broken(broken, "3dmppe", tmp_path / "out", "S9", "Walking-2", subjects=["S1", "S9"])
    others = [sequence for sequence in sequences("S9") if sequence != NO_WORLD]
    assert_moon_data(moon_json(out, "S9", "data"), moon_rows(release, others))
    joints = moon_json(exported("3dmppe"), "S9", "joint_3d")
    del joints[str(NO_WORLD.action)][str(NO_WORLD.subaction)]
    assert moon_json(out, "S9", "joint_3d") == joints
    for name in ("data", "joint_3d", "camera"):
        assert moon_json(out, "S1", name) == moon_json(exported("3dmppe"), "S1", name)


def test_3d_pose_baseline_leaves_out_a_sequence_without_world_poses(broken, exported, tmp_path):
    out = export_broken(broken, "3d-pose-baseline", tmp_path / "out", "S9", "Walking-2", subjects=["S9"])
    expected = {name for name in files_in(exported("3d-pose-baseline")) if "/S9/" in name or name.count("/") == 1}
    names = ("MyPoses/3D_positions/Walking.h5", "MyPoseFeatures/D3_Positions/Walking.cdf")
    assert files_in(out) == expected - {f"h36m/S9/{name}" for name in names}
