"""What export_all makes of processed/ and of the archives' tree: links, boxes and labels of the demo's sequences.

Nothing here calls h36m.export: what is expected is built again from the demo's files.
"""

import filecmp
import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers.exports import (
    PIXEL_TOLERANCE,
    assert_mmpose_npz,
    assert_moon_data,
    assert_old_programs_can_unpickle,
    assert_same,
    files_in,
    loaded_frames,
    mmpose_name,
    mmpose_rows,
    moon_json,
    moon_name,
    moon_rows,
    run_export,
)
from helpers.facts import human36m_projection
from helpers.poses import CAMERA, CAMERA_IDS, PIXELS, WORLD, Sequence, boxes, calibrations, pose_file, read, write
from helpers.releases import linked
from helpers.scripts import PROJECT, run_script
from PIL import Image

from demo.figure import read_frame_number

SUBJECTS = ("S1", "S9")
GREETING_1, WALKING_1 = Sequence("S1", 5, 2, "Greeting"), Sequence("S1", 14, 1, "Walking 1")
GREETING_9, WALKING_9 = Sequence("S9", 5, 2, "Greeting"), Sequence("S9", 14, 1, "Walking 1")
NAMES = {GREETING_1: "Greeting-2", WALKING_1: "Walking-1", GREETING_9: "Greeting-2", WALKING_9: "Walking-1"}
SEVEN = ["S1", "S5", "S6", "S7", "S8", "S9", "S11"]
ACTIONS = (
    *("Directions", "Discussion", "Eating", "Greeting", "Phoning", "Posing", "Purchases", "Sitting", "SittingDown"),
    *("Smoking", "TakingPhoto", "Waiting", "Walking", "WalkingDog", "WalkingTogether"),
)
MPII = (3, 2, 1, 6, 7, 8, 0, 12, 13, 15, 27, 26, 25, 17, 18, 19, 14)
LABELS, BOXES = "extra/human36m-multiview-labels-GTbboxes.npy", "extra/bboxes-Human36M-GT.npy"


def export(root: Path, name: str, out: Path, *named: str) -> Path:
    """Export a demo, which has two sequences of each subject: the others are named, and whatever else should be."""
    problems = run_export(root, name, out, SUBJECTS)
    assert all(any(text in line for line in problems) for text in ("Directions-1", *named)), problems
    return out


def processed_frames(root: Path, sequence: Sequence, camera_id: str = CAMERA_IDS[0]) -> list[int]:
    """Return the frames of a view whose images are in processed/, from 0."""
    folder = root / "processed" / sequence.subject / NAMES[sequence] / "imageSequence" / camera_id
    return sorted(int(file.name[4:10]) - 1 for file in folder.iterdir())


def assert_links(images: Path, root: Path, expected: dict[str, tuple[Sequence, str, int]]) -> None:
    """Compare the images below a folder with the views and frames they should show."""
    assert files_in(images) == set(expected)
    for name, (sequence, camera_id, frame) in expected.items():
        link = images / name
        target = f"{sequence.subject}/{NAMES[sequence]}/imageSequence/{camera_id}/img_{frame + 1:06d}.jpg"
        assert link.is_symlink() and not link.readlink().is_absolute()
        assert link.resolve() == (root / "processed" / target).resolve() and link.is_file()
    for name, (_, _, frame) in list(expected.items())[::7]:
        assert read_frame_number(np.array(Image.open(images / name))) == frame


def all_images(root: Path) -> list[tuple[Sequence, str, int]]:
    return [
        (sequence, camera_id, frame)
        for sequence in NAMES
        for camera_id in CAMERA_IDS
        for frame in processed_frames(root, sequence, camera_id)
    ]


def test_mmpose_links_the_images_that_processed_has(demo_run, tmp_path):
    root = demo_run / "data"
    out = export(root, "mmpose", tmp_path / "out")
    assert_links(out / "images", root, {mmpose_name(*image): image for image in all_images(root)})
    rows = mmpose_rows(root, [GREETING_1, WALKING_1], 1)
    assert_mmpose_npz(out / "annotation_body3d" / "fps50" / "h36m_train.npz", rows)
    assert {mmpose_name(WALKING_1, CAMERA_IDS[3], frame) for frame in processed_frames(root, WALKING_1)} <= set(
        rows["imgname"].tolist()
    )


def test_3dmppe_links_the_images_that_processed_has(demo_run, tmp_path):
    """Frames beside those that the loader of 3DMPPE takes have records too: other loaders take what is there."""
    root = demo_run / "data"
    out = export(root, "3dmppe", tmp_path / "out")
    expected = {
        moon_name(s, CAMERA_IDS.index(camera_id), frame): (s, camera_id, frame)
        for s, camera_id, frame in all_images(root)
    }
    assert_links(out / "images", root, expected)

    def frames(sequence: Sequence, count: int) -> list[int]:
        return sorted({*loaded_frames(sequence, count), *processed_frames(root, sequence)})

    listed = set()
    for subject in SUBJECTS:
        rows = moon_rows(root, [sequence for sequence in NAMES if sequence.subject == subject], frames)
        assert_moon_data(moon_json(out, subject, "data"), rows)
        listed |= {record["file_name"] for record, _, _ in rows}
    assert set(expected) <= listed


# -- learnable-triangulation -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def triangulation(demo_run, tmp_path_factory) -> Path:
    """The demo's export."""
    return export(demo_run / "data", "learnable-triangulation", tmp_path_factory.mktemp("exported") / "lt")


def squared(box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """Return a box (top, left, bottom, right) whose shorter side is as long as the longer one, about its middle."""
    top, left, bottom, right = map(int, box)
    if bottom - top < right - left:
        top = round((top + bottom) / 2 - (right - left) / 2)
        return top, left, top + right - left, right
    left = round((left + right) / 2 - (bottom - top) / 2)
    return top, left, bottom, left + bottom - top


def expected_table(root: Path) -> list[tuple]:
    rows = []
    for sequence, name in NAMES.items():
        world = read(root / "extracted", WORLD, sequence)[:, MPII]
        found = [boxes(root / "extracted", sequence, camera_id) for camera_id in CAMERA_IDS]
        rows += [
            (
                SEVEN.index(sequence.subject),
                2 * (sequence.action - 2) + int(name[-1]) - 1,
                frame,
                world[frame],
                np.array([squared(of_view[frame]) for of_view in found]),
            )
            for frame in processed_frames(root, sequence)
        ]
    return rows


def test_learnable_triangulation_labels(demo_run, triangulation):
    labels = np.load(triangulation / LABELS, allow_pickle=True).item()
    assert set(labels) == {"subject_names", "camera_names", "action_names", "cameras", "table"}
    assert labels["subject_names"] == SEVEN and labels["camera_names"] == list(CAMERA_IDS)
    assert labels["action_names"] == [f"{action}-{number}" for action in ACTIONS for number in (1, 2)]
    table = labels["table"]
    assert table.dtype == np.dtype(
        [
            ("subject_idx", "i1"),
            ("action_idx", "i1"),
            ("frame_idx", "i2"),
            ("keypoints", "f4", (17, 3)),
            ("bbox_by_camera_tlbr", "i2", (4, 4)),
        ]
    )
    expected = expected_table(demo_run / "data")
    assert table.shape == (len(expected),) and table.flags.writeable
    for found, row in zip(table, expected, strict=True):
        for value, wanted in zip(found, row, strict=True):
            np.testing.assert_array_equal(value, wanted)
    high, wide = (
        table["bbox_by_camera_tlbr"][..., side] - table["bbox_by_camera_tlbr"][..., side - 2] for side in (2, 3)
    )
    assert (high == wide).all() and (high > 50).all()


def test_learnable_triangulation_cameras(triangulation):
    cameras = np.load(triangulation / LABELS, allow_pickle=True).item()["cameras"]
    fields = [("R", "f4", (3, 3)), ("t", "f4", (3, 1)), ("K", "f4", (3, 3)), ("dist", "f4", (5,))]
    assert cameras.shape == (7, 4) and cameras.dtype == np.dtype(fields)
    for row, subject in zip(cameras, SEVEN, strict=True):
        for camera, camera_id in zip(row, CAMERA_IDS, strict=True):
            facts = calibrations()[subject, camera_id]
            np.testing.assert_allclose(camera["R"], facts.rotation, rtol=0, atol=1e-7)
            np.testing.assert_allclose(camera["t"][:, 0], -facts.rotation @ facts.centre, rtol=0, atol=1e-3)
            np.testing.assert_array_equal(camera["K"], facts.matrix.astype(np.float32))
            np.testing.assert_array_equal(camera["dist"], facts.distortion.astype(np.float32))


def test_learnable_triangulation_geometry(demo_run, triangulation):
    """X_cam = R X + t in single precision, K and dist as OpenCV orders them, with Human3.6M's tangential term."""
    labels = np.load(triangulation / LABELS, allow_pickle=True).item()
    for row in labels["table"]:
        (sequence,) = [
            s
            for s, name in NAMES.items()
            if (s.subject, name) == (SEVEN[row["subject_idx"]], labels["action_names"][row["action_idx"]])
        ]
        for camera, camera_id in zip(labels["cameras"][row["subject_idx"]], CAMERA_IDS, strict=True):
            seen = row["keypoints"].astype(float) @ camera["R"].T + camera["t"][:, 0]
            pixels = read(demo_run / "data" / "extracted", PIXELS, sequence, camera_id)[row["frame_idx"], MPII]
            found = human36m_projection(seen, camera["K"].astype(float), camera["dist"].astype(float))
            np.testing.assert_allclose(found, pixels, rtol=0, atol=PIXEL_TOLERANCE)


def test_learnable_triangulation_boxes_of_all_frames(demo_run, triangulation):
    found = np.load(triangulation / BOXES, allow_pickle=True).item()
    assert {subject: list(names) for subject, names in found.items()} == {
        subject: ["Greeting-2", "Walking-1"] for subject in SUBJECTS
    }
    for sequence, name in NAMES.items():
        assert list(found[sequence.subject][name]) == list(CAMERA_IDS)
        for camera_id, array in found[sequence.subject][name].items():
            assert_same(array, boxes(demo_run / "data" / "extracted", sequence, camera_id).astype(np.int32))


def test_learnable_triangulation_files(demo_run, triangulation):
    """The two files, which numpy 1 can read, and a link to processed/."""
    assert files_in(triangulation) - {"processed"} == {LABELS, BOXES}
    link = triangulation / "processed"
    assert link.is_symlink() and not link.readlink().is_absolute()
    assert link.resolve() == (demo_run / "data" / "processed").resolve()
    for name in (LABELS, BOXES):
        with (triangulation / name).open("rb") as file:
            np.lib.format.read_magic(file)
            assert np.lib.format.read_array_header_1_0(file) == ((), False, np.dtype(object))
            assert_old_programs_can_unpickle(file.read())


def test_learnable_triangulation_follows_processed(demo_run, triangulation, tmp_path):
    """Corrected poses, a view less, a frame without a box, missing box files: each is zero or absent, and named."""
    root = tmp_path / "root"
    shutil.copytree(demo_run / "data" / "processed", root / "processed", copy_function=os.link)
    box_files = "extracted/S9/Segments_mat_gt_bb"
    (root / box_files).mkdir(parents=True)
    for camera_id in CAMERA_IDS:
        os.link(*[folder / box_files / f"Greeting.{camera_id}.mat" for folder in (demo_run / "data", root)])
    replace(root / "processed" / "S9" / "Greeting-2" / "annot.h5", shift_as_correct_s9_does)
    replace(root / "processed" / "S1" / "Greeting-2" / "annot.h5", drop_third_view)
    replace(root / "processed" / "S1" / "Walking-1" / "annot.h5", drop_first_box)
    shutil.rmtree(root / "processed" / "S1" / "Greeting-2" / "imageSequence" / CAMERA_IDS[2])
    named = (
        f"Greeting-2 {CAMERA_IDS[2]}",
        "without a box, so the loader skips them: Walking-1",
        f"Walking 1.{CAMERA_IDS[1]}.mat",
    )
    out = export(root, "learnable-triangulation", tmp_path / "out", *named)

    whole = np.load(triangulation / LABELS, allow_pickle=True).item()["table"]
    found = np.load(out / LABELS, allow_pickle=True).item()["table"]
    greeting, walking = 2 * 3 + 1, 2 * 12
    whole["keypoints"][(whole["subject_idx"] == 5) & (whole["action_idx"] == greeting)] -= (200, 0, 0)
    whole["bbox_by_camera_tlbr"][(whole["subject_idx"] == 0) & (whole["action_idx"] == greeting), 2] = 0
    first = (whole["subject_idx"] == 0) & (whole["action_idx"] == walking) & (whole["frame_idx"] == 0)
    assert first.sum() == 1
    whole["bbox_by_camera_tlbr"][first, 0] = 0
    for name in whole.dtype.names:
        np.testing.assert_array_equal(found[name], whole[name])

    found, whole = (np.load(folder / BOXES, allow_pickle=True).item() for folder in (out, triangulation))
    assert list(found) == ["S9"] and list(found["S9"]) == ["Greeting-2"]
    for camera_id, of_view in whole["S9"]["Greeting-2"].items():
        assert_same(found["S9"]["Greeting-2"][camera_id], of_view)


def test_learnable_triangulation_boxes_are_corrected_with_the_labels(demo_run, tmp_path):
    """--correct-s9 moves the boxes of all frames as it moves those of annot.h5; a frame without a pose has none."""
    sequence, root = GREETING_9, linked(demo_run / "data", tmp_path / "root")
    options = ("--subjects", "S9", "--actions", "Greeting-2", "--correct-s9")
    assert run_script("process_all.py", "--root", root, *options).returncode == 0
    published = boxes(demo_run / "data" / "extracted", sequence, CAMERA_IDS[0])
    assert run_export(root, "learnable-triangulation", tmp_path / "out", ["S9"])
    found = np.load(tmp_path / "out" / BOXES, allow_pickle=True).item()["S9"]["Greeting-2"]
    with h5py.File(root / "processed/S9/Greeting-2/annot.h5") as annotations:
        rows = zip(*(annotations[name][...] for name in ("camera", "frame", "bbox")), strict=True)
    for camera_id, number, (left, top, right, bottom) in rows:
        assert found[str(camera_id)][number - 1].tolist() == [top, left, bottom, right]
    for view, camera_id in enumerate(CAMERA_IDS):
        camera = calibrations()["S9", camera_id]
        seen = read(root / "extracted", CAMERA, sequence, camera_id)[:, 0].astype(float)
        moved = seen + camera.rotation @ (-200, 0, 0)
        before, after = (human36m_projection(each, camera.matrix, camera.distortion) for each in (seen, moved))
        offset = np.rint(after - before)[:, ::-1].astype(int)
        assert (np.hypot(*offset.T) > 10).all()
        expected = boxes(demo_run / "data" / "extracted", sequence, camera_id) + np.tile(offset, 2)
        height = (1002, 1000, 1000, 1002)[view]
        np.testing.assert_array_equal(found[camera_id], expected.clip(0, [height, 1000, height, 1000]))

    poses = read(root / "extracted", CAMERA, sequence, CAMERA_IDS[0])
    write(root / "extracted", CAMERA, sequence, CAMERA_IDS[0], poses[:-3])
    pose_file(root / "extracted", CAMERA, sequence, CAMERA_IDS[1]).unlink()
    lines = run_export(root, "learnable-triangulation", tmp_path / "out", ["S9"])
    assert len([line for line in lines if line.startswith(f"S9 Greeting-2 {CAMERA_IDS[1]}: no boxes: ")]) == 1
    again = np.load(tmp_path / "out" / BOXES, allow_pickle=True).item()["S9"]["Greeting-2"]
    assert list(again) == [CAMERA_IDS[0], *CAMERA_IDS[2:]] and len(again[CAMERA_IDS[0]]) == len(published)
    np.testing.assert_array_equal(again[CAMERA_IDS[0]][:-3], found[CAMERA_IDS[0]][:-3])
    assert not again[CAMERA_IDS[0]][-3:].any()


def replace(file: Path, change) -> None:
    """Change a copy of an annot.h5 in place of a hard link to it."""
    copy = file.with_suffix(".copy")
    shutil.copy(file, copy)
    with h5py.File(copy, "r+") as annotations:
        change(annotations)
    copy.replace(file)


def shift_as_correct_s9_does(annotations: h5py.File) -> None:
    annotations["pose/3d-world"][...] = annotations["pose/3d-world"][...] - (200, 0, 0)


def drop_first_box(annotations: h5py.File) -> None:
    boxes = annotations["bbox"][...]
    assert (annotations["frame"][0], annotations["camera"][0]) == (1, int(CAMERA_IDS[0]))
    boxes[0] = -1
    annotations["bbox"][...] = boxes


def drop_third_view(annotations: h5py.File) -> None:
    rows = annotations["camera"][...] != int(CAMERA_IDS[2])
    for name in (
        "camera",
        "frame",
        "subject",
        "action",
        "subaction",
        "bbox",
        *(f"pose/{kind}" for kind in annotations["pose"]),
    ):
        values = annotations[name][...][rows]
        del annotations[name]
        annotations[name] = values


# -- original ----------------------------------------------------------------------------------------------------------

TREE = {
    "Poses_D2_Positions": "MyPoseFeatures/D2_Positions",
    "Poses_D3_Positions": "MyPoseFeatures/D3_Positions",
    "Poses_D3_Positions_mono": "MyPoseFeatures/D3_Positions_mono",
    "Poses_D3_Positions_mono_universal": "MyPoseFeatures/D3_Positions_mono_universal",
    "Videos": "Videos",
    "Segments_mat_gt_bb": "MySegmentsMat/ground_truth_bb",
}


def test_original_tree(demo_run, tmp_path):
    """Relative links; metadata.xml as it is, its numbers on one line, with which world poses give the pixels."""
    root, out = demo_run / "data", tmp_path / "out"
    assert run_export(root, "original", out, SUBJECTS) == []
    for subject in SUBJECTS:
        for kind, inner in TREE.items():
            names = {path.name for path in (root / "extracted" / subject / kind).iterdir()}
            assert names and {path.name for path in (out / subject / inner).iterdir()} == names
            for name in names:
                link = out / subject / inner / name
                assert link.resolve() == (root / "extracted" / subject / kind / name).resolve()
        assert {path.name for path in (out / subject / "MyPoseFeatures").iterdir()} == {
            inner.split("/")[1] for inner in TREE.values() if inner.startswith("MyPoseFeatures")
        }
        assert {path.name for path in (out / subject).iterdir()} == {"MyPoseFeatures", "MySegmentsMat", "Videos"}
    links = [path for path in out.rglob("*") if path.is_symlink()]
    assert links and not [link for link in links if link.readlink().is_absolute()]
    others = {"metadata.xml", "Release-v1.2/metadata.xml"}
    names = {path.name for path in out.iterdir() if not path.name.startswith(".")}
    assert names == {*SUBJECTS, "metadata.xml", "Release-v1.2"} and others <= files_in(out)
    for name in others:
        assert filecmp.cmp(out / name, PROJECT / "metadata.xml", shallow=False)
    cameras = calibrations(out / "metadata.xml")
    for sequence in NAMES:
        world = read(out, TREE[WORLD], sequence).astype(float)
        for camera_id in CAMERA_IDS:
            camera = cameras[sequence.subject, camera_id]
            seen = (world - camera.centre) @ camera.rotation.T
            pixels = read(out, TREE[PIXELS], sequence, camera_id)
            found = human36m_projection(seen, camera.matrix, camera.distortion)
            np.testing.assert_allclose(found, pixels, rtol=0, atol=PIXEL_TOLERANCE)


def test_original_names_a_kind_that_one_subject_lacks(demo_run, tmp_path):
    """A kind that no subject has is not reported; one that a single subject lacks is."""
    root = tmp_path / "root"
    for subject, kinds in (("S1", [WORLD, PIXELS]), ("S9", [WORLD])):
        for kind in kinds:
            folder = root / "extracted" / subject / kind
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.symlink_to(demo_run / "data" / "extracted" / subject / kind)
    (problem,) = run_export(root, "original", tmp_path / "out", SUBJECTS)
    assert problem.startswith(f"S9: {PIXELS} not in ")
    assert len(list((tmp_path / "out" / "S1" / TREE[PIXELS]).iterdir())) == 8
    assert len(list((tmp_path / "out" / "S9" / TREE[WORLD]).iterdir())) == 2
