"""What export_all writes for SemGCN and for the readers of H36M-Toolbox, against the CDF files by each format's rules.

Nothing here calls h36m.export but the last tests: each format is built again, from what its readers expect.
"""

import pickle
import pickletools
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from helpers.exports import assert_same, files_in, run_export
from helpers.poses import (
    CAMERA,
    CAMERA_IDS,
    PIXELS,
    WORLD,
    Calibration,
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

from h36m.cameras import Camera
from h36m.export.h36m_toolbox import boxes_around_root
from h36m.export.pickles import write_list
from h36m.metadata import load_metadata

SUBJECTS = ("S1", "S5", "S9", "S11")
SEVEN = ("S1", "S5", "S6", "S7", "S8", "S9", "S11")
UNIVERSAL = "Poses_D3_Positions_mono_universal"
J16 = (0, 1, 2, 3, 6, 7, 8, 12, 13, 15, 17, 18, 19, 25, 26, 27)
TOOLBOX = (0, 1, 2, 3, 6, 7, 8, 12, 16, 14, 15, 17, 18, 19, 25, 26, 27)
# Lengths are such that every 5th and 64th of the whole list is another frame than of the sequence.
FRAMES = {
    Sequence("S1", 2, 1, "Directions 1"): 7,
    Sequence("S1", 12, 2, "TakingPhoto"): 9,
    Sequence("S1", 14, 1, "Walking 1"): 90,
    Sequence("S5", 2, 2, "Directions 2"): 13,
    Sequence("S9", 5, 2, "Greeting"): 31,
    Sequence("S9", 15, 1, "WalkDog 1"): 62,
    Sequence("S11", 2, 2, "Directions"): 40,
    Sequence("S11", 14, 2, "Walking"): 80,
}


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    """A root with all kinds of poses of some sequences."""
    extracted = tmp_path_factory.mktemp("a release") / "extracted"
    assert set(FRAMES) <= set(sequences(*SUBJECTS))
    make_poses(extracted, FRAMES)
    for sequence in FRAMES:
        for camera_id in CAMERA_IDS:
            write(extracted, UNIVERSAL, sequence, camera_id, read(extracted, CAMERA, sequence, camera_id) * 0.9)
    return extracted.parent


def export(root: Path, name: str, out: Path, subjects=SUBJECTS) -> list[str]:
    """Export; return what is said but of the sequences and images that the release is without."""
    lines = run_export(root, name, out, subjects)
    return [line for line in lines if " sequences not in extracted/" not in line and " of every " not in line]


def objects_in(file: Path) -> dict:
    with np.load(file, allow_pickle=True) as arrays:
        assert all(arrays[key].shape == () and arrays[key].dtype == object for key in arrays.files)
        return {key: arrays[key].item() for key in arrays.files}


# -- semgcn ------------------------------------------------------------------------------------------------------------


def test_semgcn_has_16_joints_in_pixels_and_all_in_the_world(release, tmp_path):
    assert export(release, "semgcn", tmp_path) == []
    assert files_in(tmp_path) == {"data_3d_h36m.npz", "data_2d_h36m_gt.npz"}
    pixels, world = objects_in(tmp_path / "data_2d_h36m_gt.npz"), objects_in(tmp_path / "data_3d_h36m.npz")
    assert set(world) == {"positions_3d"}
    assert pixels["metadata"] == {
        "num_joints": 16,
        "keypoints_symmetry": [[4, 5, 6, 10, 11, 12], [1, 2, 3, 13, 14, 15]],
    }
    expected = [sequence for sequence in FRAMES if sequence != ("S11", 2, 2, "Directions")]
    names = [(sequence.subject, canonical(sequence.base)) for sequence in expected]
    for found in (pixels["positions_2d"], world["positions_3d"]):
        assert [(subject, base) for subject in found for base in found[subject]] == names
    for sequence in expected:
        base, extracted = canonical(sequence.base), release / "extracted"
        pose = world["positions_3d"][sequence.subject][base]
        assert_same(pose, read(extracted, WORLD, sequence) / np.float32(1000))
        views = pixels["positions_2d"][sequence.subject][base]
        assert type(views) is list and len(views) == 4
        for view, camera_id in zip(views, CAMERA_IDS, strict=True):
            assert_same(view, read(extracted, PIXELS, sequence, camera_id)[:, J16])
            assert view.flags.writeable  # the readers normalize in place


@pytest.mark.parametrize("name", ["semgcn", "videopose3d"])
def test_longer_views_are_cut_and_shorter_ones_leave_their_sequence_out(release, tmp_path, name):
    """SemGCN's generator compares only the sums of all lengths, so that one more and one less pair other moments."""
    root = linked(release, tmp_path / "root")
    longer, shorter = Sequence("S1", 14, 1, "Walking 1"), Sequence("S1", 2, 1, "Directions 1")
    for sequence, camera_id, more in ((longer, CAMERA_IDS[1], 1), (shorter, CAMERA_IDS[2], -1)):
        poses = read(release / "extracted", PIXELS, sequence, camera_id)
        write(root / "extracted", PIXELS, sequence, camera_id, np.resize(poses, (len(poses) + more, 32, 2)))
    (line,) = export(root, name, tmp_path / "out", ["S1"])
    assert line.startswith("S1 Directions-1: left out: ") and CAMERA_IDS[2] in line
    world = objects_in(tmp_path / "out/data_3d_h36m.npz")["positions_3d"]["S1"]
    pixels = objects_in(tmp_path / "out/data_2d_h36m_gt.npz")["positions_2d"]["S1"]
    assert list(world) == list(pixels) == ["Photo", "Walking 1"]
    assert all([len(view) for view in pixels[base]] == [len(world[base])] * 4 for base in world)


# -- h36m-toolbox ------------------------------------------------------------------------------------------------------


def toolbox_rows(root: Path, subjects, without=()) -> list[dict]:
    """Build the rows of one of the two files.

    Args:
        without: views (sequence, camera) to leave out.
    """
    rows = []
    for sequence in FRAMES:
        for view, camera_id in enumerate(CAMERA_IDS):
            if sequence.subject not in subjects or (sequence, camera_id) in without:
                continue
            number, calibration = int(sequence.subject[1:]), calibrations()[sequence.subject, camera_id]
            (fx, fy), (cx, cy) = calibration.focal, calibration.principal
            kinds = (PIXELS, UNIVERSAL, CAMERA)
            poses = [read(root / "extracted", kind, sequence, camera_id)[:, TOOLBOX] for kind in kinds]
            folder = f"s_{number:02}_act_{sequence.action:02}_subact_{sequence.subaction:02}_ca_{view + 1:02}"
            for frame in range(FRAMES[sequence]):
                x, y, z = poses[2][frame, 0].astype(float)
                left, top = fx * (x - 1000) / z + cx, fy * (y - 900) / z + cy
                right, bottom = fx * (x + 1000) / z + cx, fy * (y + 1100) / z + cy
                rows.append(
                    {
                        "image": f"{folder}/{folder}_{frame + 1:06}.jpg",
                        "joints_2d": poses[0][frame],
                        "joints_3d": poses[1][frame],
                        "joints_3d_camera": poses[2][frame],
                        "joints_vis": np.ones((17, 3)),
                        "video_id": 120 * SEVEN.index(sequence.subject)
                        + 8 * (sequence.action - 2)
                        + 4 * (sequence.subaction - 1)
                        + view,
                        "image_id": frame + 1,
                        "subject": number,
                        "action": sequence.action,
                        "subaction": sequence.subaction,
                        "camera_id": view,
                        "source": "h36m",
                        "camera": toolbox_camera(calibration),
                        "box": np.array([left, top, right, bottom], np.float32),
                        "center": ((left + right) / 2, (top + bottom) / 2),
                        "scale": ((right - left) / 200, (bottom - top) / 200),
                    }
                )
    return rows


def toolbox_camera(calibration: Calibration) -> dict[str, np.ndarray]:
    (fx, fy), (cx, cy) = calibration.focal, calibration.principal
    return {
        "R": calibration.rotation,
        "T": calibration.centre.reshape(3, 1),
        **{name: np.array([value]) for name, value in (("fx", fx), ("fy", fy), ("cx", cx), ("cy", cy))},
        "k": calibration.radial.reshape(3, 1),
        "p": calibration.tangential.reshape(2, 1),
    }


def assert_toolbox_rows(file: Path, expected: list[dict]) -> list[dict]:
    """Compare a file with what toolbox_rows() returns; return what it holds."""
    found = pickle.loads(file.read_bytes())
    assert type(found) is list and len(found) == len(expected)
    for row, wanted in zip(found, expected, strict=True):
        assert set(row) == set(wanted)
        for key, value in wanted.items():
            if key == "camera":
                assert set(row["camera"]) == set(value)
                for name, number in value.items():
                    assert_same(row["camera"][name], number, 1e-9)
            elif isinstance(value, np.ndarray):
                assert_same(row[key], value, 1e-3 if key == "box" else 0)
                assert row[key].flags.writeable
            elif isinstance(value, tuple):
                assert [type(number) for number in row[key]] == [float, float]
                np.testing.assert_allclose(row[key], value, rtol=0, atol=1e-6)
            else:
                assert (type(row[key]), row[key]) == (type(value), value)
    return found


def images_read(rows: list[dict], step: int) -> list[str]:
    """Return the images that the programs read: of every 5th or 64th group of the list that has all four cameras."""
    groups: dict[tuple, dict[int, str]] = {}
    for row in rows:
        key = tuple(row[name] for name in ("subject", "action", "subaction", "image_id"))
        groups.setdefault(key, {})[row["camera_id"]] = row["image"]
    whole = [group for group in groups.values() if len(group) == 4]
    return [image for group in whole[::step] for image in group.values()]


FILES = {"annot/h36m_train.pkl": (("S1", "S5"), 5), "annot/h36m_validation.pkl": (("S9", "S11"), 64)}


def test_toolbox_rows(release, tmp_path):
    """All frames of all views, S11 Directions-2 among them; a view's rows share its camera."""
    assert export(release, "h36m-toolbox", tmp_path) == []
    assert files_in(tmp_path) == set(FILES)
    for name, (subjects, _) in FILES.items():
        rows = assert_toolbox_rows(tmp_path / name, toolbox_rows(release, subjects))
        assert len({id(row["camera"]) for row in rows}) == 4 * sum(each.subject in subjects for each in FRAMES)
        assert (tmp_path / name).stat().st_size <= 1600 * len(rows)


def test_toolbox_numbers_videos_as_the_whole_release(release, tmp_path):
    """Whichever subjects are exported; and there is no file of a set without subjects."""
    assert export(release, "h36m-toolbox", tmp_path, ["S9"]) == []
    assert files_in(tmp_path) == {"annot/h36m_validation.pkl"}
    rows = assert_toolbox_rows(tmp_path / "annot/h36m_validation.pkl", toolbox_rows(release, ["S9"]))
    assert rows[0]["video_id"] == 5 * 30 * 4 + 3 * 2 * 4 + 4


def test_toolbox_opens_in_old_programs(release, tmp_path):
    """Python 3.6 has protocol 4, and numpy 1.16 has no numpy._core."""
    export(release, "h36m-toolbox", tmp_path, ["S9"])
    operations = list(pickletools.genops((tmp_path / "annot/h36m_validation.pkl").read_bytes()))
    assert [argument for operation, argument, _ in operations if operation.name == "PROTO"] == [3]
    found = {argument for operation, argument, _ in operations if "GLOBAL" in operation.name}
    assert found == {"numpy ndarray", "numpy dtype", "builtins bytearray"}


def test_toolbox_leaves_a_view_out_and_cuts_to_the_shortest_kind(release, tmp_path):
    root = linked(release, tmp_path / "root")
    gone, cut = Sequence("S1", 2, 1, "Directions 1"), Sequence("S1", 12, 2, "TakingPhoto")
    pose_file(root / "extracted", CAMERA, gone, CAMERA_IDS[1]).unlink()
    write(
        root / "extracted", UNIVERSAL, cut, CAMERA_IDS[0], read(root / "extracted", UNIVERSAL, cut, CAMERA_IDS[0])[:4]
    )
    (line,) = export(root, "h36m-toolbox", tmp_path / "out", ["S1"])
    assert f"Directions 1.{CAMERA_IDS[1]}.cdf" in line
    expected = toolbox_rows(release, ["S1"], [(gone, CAMERA_IDS[1])])
    is_cut = [row["action"] == 12 and row["camera_id"] == 0 and row["image_id"] > 4 for row in expected]
    assert sum(is_cut) == 5
    kept = [row for row, without in zip(expected, is_cut, strict=True) if not without]
    assert_toolbox_rows(tmp_path / "out/annot/h36m_train.pkl", kept)


def test_toolbox_box_by_hand():
    """The worked check of facts/semgcn_toolbox.md."""
    camera = Camera(
        np.eye(3), np.zeros(3), np.array([1145.0, 1143]), np.array([512.5, 515.5]), np.zeros(3), np.zeros(2)
    )
    found = boxes_around_root(np.array([[100.0, -50, 5000]]), camera)
    np.testing.assert_allclose(found, [[306.4, 298.33, 764.4, 755.53]], rtol=0, atol=1e-9)


@pytest.mark.parametrize("kept", [range(0, 90, 5), range(0, 0), [*range(0, 90, 7), 200]], ids=["5th", "none", "others"])
def test_toolbox_links_images_and_counts_those_that_readers_miss(release, tmp_path, kept):
    """Groups are counted over all sequences of a file, and only where all four cameras are there."""
    root = linked(release, tmp_path / "root")
    pose_file(root / "extracted", PIXELS, Sequence("S1", 12, 2, "TakingPhoto"), CAMERA_IDS[3]).unlink()
    expected = set()
    for sequence, count in FRAMES.items():
        names = {each[1:3]: each.name for each in load_metadata().sequences_of(sequence.subject)}
        folder = root / "processed" / sequence.subject / names[sequence[1:3]]
        for view, camera_id in enumerate(CAMERA_IDS):
            images = folder / "imageSequence" / camera_id
            images.mkdir(parents=True)
            (folder / "annot.h5").touch()
            for frame in kept:
                (images / f"img_{frame + 1:06}.jpg").write_text(f"{sequence} {camera_id} {frame}")
            if (sequence.action, view) != (12, 3):
                expected |= {f"{sequence} {camera_id} {frame}" for frame in kept if frame < count}
    out = tmp_path / "out"
    words = run_export(root, "h36m-toolbox", out, SUBJECTS)
    assert {path.read_text() for path in (out / "images").rglob("*.jpg")} == expected
    wanted = [
        image
        for name, (_, step) in FILES.items()
        for image in images_read(pickle.loads((out / name).read_bytes()), step)
    ]
    missing = [image for image in wanted if not (out / "images" / image).exists()]
    assert missing
    for subject in SUBJECTS:
        count = sum(image.startswith(f"s_{int(subject[1:]):02}") for image in missing)
        lines = [line for line in words if line.startswith(f"{subject}: ") and " of every " in line]
        step = 5 if subject in ("S1", "S5") else 64
        assert [line.partition(": ")[2].partition(" not in ")[0] for line in lines] == (
            [f"{count} image{'s' * (count > 1)} of every {step}th group of the list"] if count else []
        )
        assert all(f"; run process_all.py --subjects {subject} --all-frames (some 200 GB" in line for line in lines)


def test_list_is_written_a_part_at_a_time(tmp_path):
    """Parts of any length; what a part shares is shared again; memory holds one part, not the list."""
    shared, lengths = {"R": np.eye(3)}, [3, 0, 1, 300, *40 * [100]]

    def parts():
        for number, length in enumerate(lengths):
            yield [{"camera": shared, "values": np.full(1000, number), "name": f"{number}"} for _ in range(length)]

    tracemalloc.start()
    count = write_list(tmp_path / "list.pkl", parts())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    found = pickle.loads((tmp_path / "list.pkl").read_bytes())
    expected = [number for number, length in enumerate(lengths) for _ in range(length)]
    assert count == len(found) == len(expected)
    for row, number in zip(found, expected, strict=True):
        assert_same(row["values"], np.full(1000, number))
        assert row["name"] == f"{number}"
        np.testing.assert_array_equal(row["camera"]["R"], np.eye(3))
    assert len({id(row["camera"]) for row in found}) == sum(length > 0 for length in lengths)
    assert peak < 8000 * len(expected) / 2
