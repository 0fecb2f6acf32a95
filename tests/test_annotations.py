"""annot.h5 besides the poses: cameras, boxes, labels, attributes, and what happens where inputs are missing.

Everything is computed here a second time, with numpy and h5py, from the dataset's files and the tables in tests/facts.
"""

import h5py
import numpy as np
import pytest
from helpers.facts import CAMERAS, FACTS, human36m_projection, rotation_of_facts, table
from helpers.releases import contents, linked, make_extracted, times_of_files
from helpers.scripts import PROJECT, process, run_script
from PIL import Image

from demo.release import DEMO, Recording, add_cell, open_mat
from h36m.files.cdf import pycdf
from h36m.process.annotations import DATASETS, markdown_table

BASES = {"Greeting-2": "Greeting", "Walking-1": "Walking 1"}
# float32 keeps 7 digits: of 8000 mm a few ten thousandths, and a pixel is some 4 mm there.
MILLIMETRES, PIXELS = 2e-3, 1e-3

# The contract's table and formats.md, as they are promised.
PROMISED = {
    "pose/2d": ("N", 32, 2, "float64"),
    "pose/3d": ("N", 32, 3, "float64"),
    "pose/3d-univ": ("N", 32, 3, "float64"),
    "pose/3d-world": ("N", 32, 3, "float64"),
    "frame": ("N", "int64"),
    "camera": ("N", "int64"),
    "subject": ("N", "int64"),
    "action": ("N", "int64"),
    "subaction": ("N", "int64"),
    "bbox": ("N", 4, "int32"),
    **{f"intrinsics/{camera}": (4, "float64") for camera in CAMERAS},
    **{f"intrinsics-univ/{camera}": (4, "float64") for camera in CAMERAS},
    **{f"extrinsics/{camera}": (3, 4, "float64") for camera in CAMERAS},
    **{f"calibration/{camera}": (3, 3, "float64") for camera in CAMERAS},
    **{f"distortion/{camera}": (5, "float64") for camera in CAMERAS},
}


@pytest.fixture(params=[(recording.subject, recording.name) for recording in DEMO], ids=" ".join)
def folder(request, demo_run):
    return demo_run.joinpath("data", "processed", *request.param)


def segment_cells(demo_run, folder, kind: str, variable: str, camera: int):
    """Return a view's cells as they stand in its file, turned upright: a function of the frame's index."""
    base = BASES[folder.name]
    file = demo_run / "data" / "extracted" / folder.parent.name / kind / f"{base}.{camera}.mat"

    def cell(index: int) -> np.ndarray:
        with h5py.File(file) as mat:
            return mat[mat[variable][index, 0]][...].T

    return cell


# --- the whole demo ---


def test_annot_h5_has_the_promised_datasets_and_no_others(folder):
    """Shapes and types are the promised ones too."""
    with h5py.File(folder / "annot.h5") as annotations:
        found = {}
        annotations.visititems(
            lambda name, item: found.update({name: item}) if isinstance(item, h5py.Dataset) else None
        )
        rows = len(annotations["frame"])
        assert {name: (*item.shape, str(item.dtype)) for name, item in found.items()} == {
            name: tuple(rows if part == "N" else part for part in parts) for name, parts in PROMISED.items()
        }


def test_cameras_equal_the_published_calibration(folder):
    subject = folder.parent.name
    with h5py.File(folder / "annot.h5") as annotations:
        for camera in CAMERAS:
            place, lens = FACTS["extrinsics"][subject][camera], FACTS["intrinsics"][camera]
            rotation = rotation_of_facts(*place["rotation"])
            expected = np.column_stack([rotation, -rotation @ place["translation"]])
            np.testing.assert_allclose(annotations[f"extrinsics/{camera}"][...], expected, rtol=1e-12, atol=1e-12)
            (fx, fy), (cx, cy), (k1, k2, k3), (p1, p2) = (lens[key] for key in "fckp")
            assert annotations[f"calibration/{camera}"][...].tolist() == [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]
            assert annotations[f"distortion/{camera}"][...].tolist() == [k1, k2, p1, p2, k3]


def test_world_projects_to_camera_coordinates_and_pixels(folder):
    """By extrinsics, then by calibration and distortion."""
    with h5py.File(folder / "annot.h5") as annotations:
        assert len(annotations["camera"]) > 3
        for row, camera in enumerate(annotations["camera"][...]):
            extrinsics = annotations[f"extrinsics/{camera}"][...]
            world = annotations["pose/3d-world"][row]
            in_camera = world @ extrinsics[:, :3].T + extrinsics[:, 3]
            np.testing.assert_allclose(in_camera, annotations["pose/3d"][row], atol=MILLIMETRES)
            pixels = human36m_projection(
                in_camera, annotations[f"calibration/{camera}"][...], annotations[f"distortion/{camera}"][...]
            )
            np.testing.assert_allclose(pixels, annotations["pose/2d"][row], atol=PIXELS)


def test_boxes_equal_the_extent_of_the_masks_in_their_files(demo_run, folder):
    with h5py.File(folder / "annot.h5") as annotations:
        rows = list(zip(annotations["camera"][...], annotations["frame"][...], annotations["bbox"][...], strict=True))
    assert len(rows) > 3
    for camera, number, box in rows[::3]:  # reading every mask would take longer than all else here
        mask = segment_cells(demo_run, folder, "Segments_mat_gt_bb", "Masks", camera)(number - 1)
        ys, xs = np.nonzero(mask)
        assert box.tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]


def test_part_labels_equal_the_cells_of_their_files_one_image_a_frame(demo_run, folder):
    images = {path.relative_to(folder / "imageSequence") for path in folder.glob("imageSequence/*/*.jpg")}
    labels = {path.relative_to(folder / "partLabels") for path in folder.glob("partLabels/*/*.png")}
    assert {label.with_suffix(".jpg") for label in labels} == images and images
    for label in sorted(labels)[::3]:
        cell = segment_cells(demo_run, folder, "Segments_mat_gt_pl", "Feat", int(label.parent.name))
        with Image.open(folder / "partLabels" / label) as image:
            assert image.mode == "L"
            np.testing.assert_array_equal(np.asarray(image), cell(int(label.stem[-6:]) - 1))


def test_attributes_tell_rule_skeleton_units_and_version(folder):
    skeleton = table("skeleton.tsv")
    with h5py.File(folder / "annot.h5") as annotations:
        attributes = dict(annotations.attrs)
    assert attributes["joint_names"].tolist() == [row["name"] for row in skeleton]
    assert attributes["joint_parents"].tolist() == [int(row["parent"]) for row in skeleton]
    assert len(attributes["moving_joints"]) == 17
    assert "def select_frame_indices_to_include" in attributes["frame_selection"]
    assert {line.partition(":")[0] for line in attributes["units"]} == {d.name for d in DATASETS if d.unit}
    assert attributes["version"].startswith("h36m-fetch ")
    assert not attributes["correct_s9"]


def test_the_moving_joints_are_those_that_differ_from_each_other(demo_run):
    with h5py.File(demo_run / "data" / "processed" / "S1" / "Walking-1" / "annot.h5") as annotations:
        pose, moving = annotations["pose/3d-world"][0], annotations.attrs["moving_joints"]
        parents = annotations.attrs["joint_parents"]
    distances = np.linalg.norm(pose[moving][:, None] - pose[moving][None], axis=-1) + 999 * np.eye(17)
    assert distances.min() > 1
    # And a parent that is none of them is at the place of one, so that bones drawn to parents meet.
    for parent in set(parents[moving].tolist()) - set(moving.tolist()):
        assert np.linalg.norm(pose[moving] - pose[parent], axis=-1).min() < 1


# --- a small release: what is missing ---

OF_SMALL = ("--subjects", "S1", "--actions", "Greeting-2", "--every", "2")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """One sequence of six frames, and what a run with everything there makes of it. Read it, do not write."""
    root = make_extracted(tmp_path_factory.mktemp("small"), [Recording("S1", "Greeting-2", 6)])
    ended = process(root, *OF_SMALL)
    assert (ended.returncode, ended.errors) == (0, [])
    return root


def without(found: dict, *starts: str) -> dict:
    """Return contents without the datasets and files whose names begin so."""
    begins = tuple(f"S1/Greeting-2/{start}" for start in starts)
    return {name: value for name, value in found.items() if not name.startswith(begins)}


@pytest.mark.slow
def test_archives_not_unpacked_cost_their_datasets_only(small, tmp_path):
    """World coordinates, boxes and part labels are optional; a line names each, and a later run adds them."""
    root = linked(small, tmp_path)
    missing = ("Poses_D3_Positions", "Segments_mat_gt_bb", "Segments_mat_gt_pl")
    for kind in missing:
        (root / "extracted" / "S1" / kind).rename(tmp_path / kind)
    ended = process(root, *OF_SMALL)
    assert (ended.returncode, ended.errors) == (0, [])
    for kind, dataset in zip(missing, ("pose/3d-world", "bbox", "partLabels"), strict=True):
        assert f"S1: no {kind} in extracted/, so its sequences have no {dataset}\n" in ended.stdout
    whole = contents(small / "processed")
    expected = without(whole, "annot.h5/pose/3d-world", "annot.h5/bbox", "partLabels")
    assert contents(root / "processed") == expected and len(expected) == len(whole) - 1 - 1 - 12

    # What is unpacked later is used.
    for kind in missing:
        (tmp_path / kind).rename(root / "extracted" / "S1" / kind)
    ended = process(root, *OF_SMALL)
    assert (ended.returncode, ended.errors) == (0, [])
    assert contents(root / "processed") == whole


def test_no_segments_leaves_out_boxes_and_labels_and_says_nothing_of_them(small, tmp_path):
    root = linked(small, tmp_path)
    ended = process(root, *OF_SMALL, "--no-segments")
    assert (ended.returncode, ended.errors) == (0, []) and "Segments" not in ended.stdout
    assert contents(root / "processed") == without(contents(small / "processed"), "annot.h5/bbox", "partLabels")


@pytest.mark.parametrize("how", ["missing", "short"])
def test_missing_or_short_world_file_costs_the_world_coordinates_only(small, tmp_path, how):
    """The run ends with status 1 and names the file, or both numbers of poses."""
    root = linked(small, tmp_path)
    file = root / "extracted" / "S1" / "Poses_D3_Positions" / "Greeting.cdf"
    with pycdf.CDF(str(file)) as cdf:
        poses = cdf["Pose"][...]
    file.rename(file.with_name("Walking.cdf"))  # an empty folder would be a problem of its own
    if how == "short":
        with pycdf.CDF(str(file), create=True) as cdf:
            cdf.new("Pose", data=poses[:, :5], type=pycdf.const.CDF_FLOAT)
    ended = process(root, *OF_SMALL)
    assert ended.returncode == 1 and len(ended.errors) == 1
    words = ["expected 6 poses", "found 5"] if how == "short" else ["Greeting.cdf is missing"]
    assert all(word in ended.stderr for word in (*words, "pose/3d-world is left out"))
    assert contents(root / "processed") == without(contents(small / "processed"), "annot.h5/pose/3d-world")


def test_bad_segment_file_costs_its_own_view_only(small, tmp_path):
    root = linked(small, tmp_path)
    missing, short, empty, damaged = CAMERAS
    for kind, variable in (("Segments_mat_gt_bb", "Masks"), ("Segments_mat_gt_pl", "Feat")):
        folder = root / "extracted" / "S1" / kind
        (folder / f"Greeting.{missing}.mat").unlink()
        with h5py.File(folder / f"Greeting.{short}.mat") as mat:
            first = mat[mat[variable][0, 0]][...].T
        for camera, cells in ((short, [first] * 3), (empty, [None] * 6)):
            (folder / f"Greeting.{camera}.mat").unlink()
            with open_mat(folder / f"Greeting.{camera}.mat", variable, len(cells)) as mat:
                for number, cell in enumerate(cells):
                    add_cell(mat, variable, number, cell)
        file = folder / f"Greeting.{damaged}.mat"
        content = file.read_bytes()
        file.unlink()
        file.write_bytes(content[: len(content) // 2])
    ended = process(root, *OF_SMALL)
    assert ended.returncode == 1
    lines = ended.errors
    assert len(lines) == 2 and all(f"S1 Greeting-2 {damaged}: " in line and damaged + ".mat" in line for line in lines)
    for what, name in (("box", "boxes"), ("part labels", "part labels")):
        assert (
            f"S1 Greeting-2 {missing}: Greeting.{missing}.mat not found; frames of this view have no {name}"
            in ended.stdout
        )
        assert f"S1 Greeting-2 {short}: 1 of 3 frames has no {what}; the first is frame 4: only 3 cells" in ended.stdout
        assert (
            f"S1 Greeting-2 {empty}: 3 of 3 frames have no {what}; the first is frame 0: an empty cell" in ended.stdout
        )

    found, whole = contents(root / "processed"), contents(small / "processed")
    assert without(found, "annot.h5/bbox", "partLabels") == without(whole, "annot.h5/bbox", "partLabels")
    with (
        h5py.File(root / "processed/S1/Greeting-2/annot.h5") as made,
        h5py.File(small / "processed/S1/Greeting-2/annot.h5") as good,
    ):
        expected = np.full((12, 4), -1)
        expected[3:5] = good["bbox"][3]  # the short file's three cells are all that of frame 0
        np.testing.assert_array_equal(made["bbox"][...], expected)
    labels = sorted(
        path.relative_to(root / "processed/S1/Greeting-2/partLabels")
        for path in root.glob("processed/*/*/partLabels/**/*")
    )
    assert [label.as_posix() for label in labels] == [short, f"{short}/img_000001.png", f"{short}/img_000003.png"]


@pytest.mark.slow
def test_deleted_part_labels_are_made_again(small, tmp_path):
    root = linked(small, tmp_path)
    assert process(root, *OF_SMALL).returncode == 0
    (root / "processed/S1/Greeting-2/partLabels" / CAMERAS[2] / "img_000003.png").unlink()
    ended = process(root, *OF_SMALL)
    assert ended.returncode == 0 and "12 frames of 4 views written" in ended.stdout
    assert contents(root / "processed") == contents(small / "processed")
    assert "nothing to do" in process(root, *OF_SMALL).stdout


@pytest.mark.slow
def test_later_preview_does_not_process_the_sequence_again(small, tmp_path):
    root = linked(small, tmp_path)
    assert process(root, *OF_SMALL).returncode == 0
    folder = root / "processed/S1/Greeting-2"
    before = times_of_files(folder)
    assert process(root, *OF_SMALL, "--preview").returncode == 0
    after = times_of_files(folder)
    assert set(after) - set(before) == {folder / "preview.jpg"}
    assert {path: after[path] for path in before} == before
    with Image.open(folder / "preview.jpg") as image:
        image.load()


# --- telling it ---


def test_describe_prints_every_dataset(demo_run, tmp_path):
    """With shape, type, unit, coordinate frame and meaning, and the table last, for the file or its folder."""
    file = demo_run / "data" / "processed" / "S1" / "Walking-1" / "annot.h5"
    ended = run_script("process_all.py", "--describe", file, cwd=tmp_path)
    assert (ended.returncode, ended.errors) == (0, [])
    assert run_script("process_all.py", "--describe", file.parent).stdout == ended.stdout
    attributes, _, table = ended.stdout.rpartition("\n\n")
    assert "joint_names: " in attributes and table.startswith("dataset ")
    lines = {line.split("  ")[0]: line for line in ended.stdout.splitlines()}
    meanings = {dataset.name: dataset for dataset in DATASETS}
    with h5py.File(file) as annotations:
        for name in PROMISED:
            kind = name if name in meanings else f"{name.split('/')[0]}/<camera>"
            for part in (str(annotations[name].shape), str(annotations[name].dtype), *meanings[kind][3:]):
                assert part in lines[name]
    joints = next(line for line in ended.stdout.splitlines() if line.startswith("joint_names: "))
    assert "0 Hips; 1 RightUpLeg" in joints and "27 RightHand" in joints


def test_the_table_in_docs_is_the_same_text():
    assert markdown_table() in (PROJECT / "docs/annotations.md").read_text(encoding="utf-8")


def test_describing_a_damaged_or_missing_file_is_one_line(demo_run, tmp_path):
    file = tmp_path / "annot.h5"
    content = (demo_run / "data/processed/S1/Walking-1/annot.h5").read_bytes()
    for status, length in ((2, None), (1, 0), (1, 5000)):
        if length is not None:
            file.write_bytes(content[:length])
        ended = run_script("process_all.py", "--describe", tmp_path if length is None else file)
        assert (ended.returncode, ended.stdout, len(ended.errors)) == (status, "", 1) and str(file) in ended.stderr
