"""export_all.py around the contents of its files: what it needs, what it names, links, and runs that are cut short."""

import contextlib
import errno
import io
import json
import os
import re
import shutil
import signal
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers.disks import copy_after_power_cut, make_disk, mounted
from helpers.marks import slow
from helpers.releases import tree
from helpers.scripts import run_script

import export_all
from demo.release import add_cell, open_mat, write_cdf
from h36m.dataset import BOXES, POSES_2D, POSES_3D, POSES_3D_UNIVERSAL, POSES_3D_WORLD, unpacked_file
from h36m.errors import TaskError, UsageError
from h36m.export import learnable_triangulation, record, shared
from h36m.locks import only_run_in
from h36m.metadata import METADATA_FILE, load_metadata
from h36m.process.annotations import write_annotations

METADATA = load_metadata()
CAMERAS = METADATA.camera_ids
KINDS = (POSES_3D_WORLD, POSES_2D, POSES_3D, POSES_3D_UNIVERSAL)
FRAMES = 11  # three of every 5th, one of every 64th
NAMES = ("Greeting-2", "Walking-1")


@pytest.fixture(scope="module")
def pose_files(tmp_path_factory) -> dict[str, Path]:
    """A CDF file of each kind; all sequences have the same poses."""
    folder = tmp_path_factory.mktemp("poses")
    poses = np.random.default_rng(0).uniform((-500, -500, 0), (500, 500, 1800), (FRAMES, 32, 3))
    for kind in KINDS:
        write_cdf(
            folder / f"{kind}.cdf", poses[..., : 2 if kind == POSES_2D else 3] + (4000 if kind == POSES_3D else 0)
        )
    return {kind: folder / f"{kind}.cdf" for kind in KINDS}


@pytest.fixture
def make_root(tmp_path, pose_files):
    """A function that writes extracted/ of some sequences, one subject's if no other is named; returns the root."""

    def make(names=NAMES, subjects=("S1",), kinds=KINDS, root=tmp_path / "a root") -> Path:
        for subject in subjects:
            for sequence in METADATA.sequences_of(subject):
                for kind in kinds if sequence.name in names else ():
                    for camera in CAMERAS if kind != POSES_3D_WORLD else CAMERAS[:1]:
                        file = unpacked_file(root, sequence, kind, camera)
                        file.parent.mkdir(parents=True, exist_ok=True)
                        os.link(pose_files[kind], file)
        return root

    return make


def process(root: Path, frames=(0, 5, 10), names=NAMES, subject="S1", cameras=CAMERAS, **attributes) -> None:
    """Write what process_all.py leaves of some frames; images are a few bytes each."""
    for name in names:
        folder = root / "processed" / subject / name
        shutil.rmtree(folder, ignore_errors=True)
        for camera in cameras:
            (folder / "imageSequence" / camera).mkdir(parents=True)
            for frame in frames:
                image = folder / "imageSequence" / camera / f"img_{frame + 1:06d}.jpg"
                image.write_text(f"{name} {camera} {frame}")
        rows = [(int(camera), frame + 1) for camera in cameras for frame in frames]
        datasets = {
            "camera": np.array([camera for camera, _ in rows]),
            "frame": np.array([number for _, number in rows]),
            "pose/3d-world": np.zeros((len(rows), 32, 3)),
            "bbox": np.tile(np.array([10, 20, 110, 220], np.int32), (len(rows), 1)),
        }
        write_annotations(folder / "annot.h5", datasets, attributes)


def export(format_: str, root: Path, *options) -> tuple[list[str], str]:
    """Run the script in this process, for S1 unless options say otherwise; return its problems and what it printed."""
    subjects = () if "--subjects" in options else ("--subjects", "S1")
    words = [format_, "--root", root, *subjects, *options]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        problems = export_all.main(export_all.build_parser().parse_args(list(map(str, words))))
    return problems, printed.getvalue()


def files_in(folder: Path) -> dict[str, bytes]:
    """Return the content of each file below a folder, including links, without dot files."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def images_in(folder: Path) -> dict[str, str]:
    """Return the text of each image of an export by its name; all of them must be links that lead somewhere."""
    paths = [path for path in (folder / "images").rglob("*") if not path.is_dir()]
    assert all(path.is_symlink() and not path.readlink().is_absolute() for path in paths)
    return {path.name: path.read_text() for path in paths}


# -- what an export needs ----------------------------------------------------------------------------------------------


def test_lifters_need_two_kinds_of_poses_and_no_video(make_root):
    """All sequences of a subject, and nothing else in extracted/; nothing is missing then."""
    root = make_root([sequence.name for sequence in METADATA.sequences_of("S1")], kinds=(POSES_3D_WORLD, POSES_2D))
    problems, printed = export("videopose3d", root)
    plan, space, summary, following = printed.splitlines()
    out = root / "exported/videopose3d"
    assert problems == [] and plan == "plan: videopose3d: 30 sequences of 1 subject"
    assert re.fullmatch(rf" {{6}}made from 150 files \(\d+ kB\); .* free in {re.escape(str(out))}", space)
    assert re.fullmatch(rf"2 files \(\d+ kB\) written to {re.escape(str(out))} in \d\d:\d\d", summary)
    assert following == "next: run the program that reads these files, see videopose3d in docs/exports.md"
    assert set(files_in(root / "exported")) == {
        "videopose3d/data_3d_h36m.npz",
        "videopose3d/data_2d_h36m_gt.npz",
    }


def test_help_says_who_reads_each_format():
    words = " ".join(export_all.build_parser().format_help().split())
    for name, module in export_all.FORMATS.items():
        assert f"{name} {module.READ_BY}" in words


@pytest.mark.parametrize("format_", export_all.FORMATS)
def test_missing_input_folder_is_wrong_use(tmp_path, format_):
    folder = "processed" if format_ == "learnable-triangulation" else "extracted"
    with pytest.raises(UsageError, match=rf"there is no folder .*{folder}; run \w+_all\.py"):
        export(format_, tmp_path)
    assert not any(tmp_path.iterdir())


def test_out_that_is_a_file_is_wrong_use(make_root, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="--out"):
        export("videopose3d", make_root(), "--out", tmp_path / "file")


@pytest.mark.parametrize("format_", export_all.FORMATS)
def test_nothing_to_export_is_a_problem_and_leaves_no_file(tmp_path, format_):
    for folder in ("extracted", "processed"):
        (tmp_path / folder).mkdir()
    problems, _ = export(format_, tmp_path, "--subjects", "S1", "S9")
    assert problems[-1].startswith(f"nothing to export as {format_}")
    assert {"S1", "S9"} <= {problem.partition(":")[0] for problem in problems}
    assert files_in(tmp_path) == {} and not list((tmp_path / "exported" / format_).glob("[!.]*"))


def test_nothing_to_export_keeps_the_earlier_export(make_root, tmp_path):
    root = make_root()
    export("mmpose", root)
    before = files_in(root / "exported")
    (root / "extracted").rename(root / "elsewhere")
    (root / "extracted").mkdir()
    problems, _ = export("mmpose", root)
    assert "nothing to export" in problems[-1] and files_in(root / "exported") == before
    shutil.rmtree(root / "extracted")
    (root / "elsewhere").rename(root / "extracted")
    assert "nothing to do" in export("mmpose", root)[1]


# -- what is missing ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format_", ["videopose3d", "mmpose"])
def test_many_missing_files_are_named_in_a_line_per_subject(make_root, format_):
    root = make_root(NAMES, ("S1", "S9"))
    for subject in ("S1", "S9"):
        for file in (root / "extracted" / subject / POSES_2D).glob("Greeting*"):
            file.unlink()
    problems, _ = export(format_, root, "--subjects", "S1", "S9")
    lines = [problem for problem in problems if "4 files" in problem]
    assert [line.partition(":")[0] for line in lines] == ["S1", "S9"]
    assert all(line.count("Greeting") == 4 and POSES_2D in line for line in lines)
    assert len([problem for problem in problems if "28 sequences" in problem]) == 2 and len(problems) == 4


def test_subject_without_a_kind_is_named_with_the_scripts_to_run(make_root):
    root = make_root(kinds=(POSES_3D_WORLD,))
    make_root(subjects=("S9",), root=root)
    problems, _ = export("videopose3d", root, "--subjects", "S1", "S9")
    (line,) = [problem for problem in problems if problem.startswith("S1")]
    assert POSES_2D in line and line.endswith("run download_all.py and extract_all.py")


def test_broken_file_costs_its_sequence_only(make_root):
    root = make_root()
    broken = root / "extracted/S1" / POSES_3D_WORLD / "Walking 1.cdf"
    broken.unlink()
    broken.write_bytes(b"no CDF")
    problems, _ = export("videopose3d", root)
    assert len([problem for problem in problems if problem.startswith("S1 Walking-1: left out: ")]) == 1
    positions = np.load(root / "exported/videopose3d/data_3d_h36m.npz", allow_pickle=True)["positions_3d"].item()
    assert list(positions["S1"]) == ["Greeting"]


def test_second_run_repeats_its_problems_and_notices(make_root):
    root = make_root()
    first, printed = export("mmpose", root, "--subjects", "S1", "S9")
    again, printed_again = export("mmpose", root, "--subjects", "S9", "S1")
    assert again == first != [] and printed_again.startswith("nothing to do: ")
    assert printed_again.splitlines()[1:] == printed.splitlines()[3:] != []


@pytest.mark.parametrize(("format_", "is_problem"), [("3dmppe", True), ("mmpose", False)])
@pytest.mark.parametrize("others", [(), (7,)], ids=["only these", "others too"])
def test_missing_images_are_named_with_options_that_add_them(make_root, format_, is_problem, others):
    """mmpose's lifters read no images; 3DMPPE's loaders stop where one is missing. Other images are to stay."""
    root = make_root(subjects=("S1", "S9"))
    process(root, frames=(0, *others))
    process(root, frames=others, subject="S9")
    problems, printed = export(format_, root, "--subjects", "S1", "S9")
    lines = [line for line in (problems if is_problem else printed.splitlines()) if " images of every " in line]
    count, every = (8, 64) if is_problem else (24, 5)  # 3DMPPE tests with every 64th
    assert lines == [
        "S1: 16 images of every 5th frame not in processed/S1: Greeting-2, Walking-1; "
        f"run process_all.py --subjects S1 --every 5{' 64 --movement 40' if others else ''}",
        f"S9: {count} images of every {every}th frame not in processed/S9: Greeting-2, Walking-1; "
        f"run process_all.py --subjects S9 --every {'5 64' if others else every}",
    ]
    assert is_problem or not [problem for problem in problems if " images " in problem]


def test_one_line_says_that_nothing_was_processed(make_root):
    """Where the format needs no images."""
    _, printed = export("mmpose", make_root(subjects=("S1", "S5")), "--subjects", "S1", "S5")
    (line,) = [line for line in printed.splitlines() if "image" in line]
    assert line.startswith("no images are linked: processed/ does not exist; if you need images, run process_all.py")


def test_nothing_is_said_of_images_that_are_all_there(make_root):
    root = make_root()
    process(root, range(FRAMES))
    for format_ in ("3dmppe", "mmpose"):
        problems, printed = export(format_, root)
        assert len(problems) == 1 and "28 sequences" in problems[0] and "every" not in printed


def test_sequence_without_annotations_has_no_images(make_root):
    """It is being processed, or its run was killed."""
    root = make_root()
    process(root)
    (root / "processed/S1/Walking-1/annot.h5").unlink()
    export("mmpose", root)
    images = images_in(root / "exported/mmpose")
    assert len(images) == 3 * 4 and all(name.startswith("S1_Greeting") for name in images)


def test_progress_counts_sequences_and_knows_the_time_of_steady_work_only():
    with export_all.SequenceProgress("exporting", 30) as progress:
        progress.update(3)
        assert progress.text() == ["3 of 30 sequences"]
        progress.start_at(0, 4)
        progress.update(1)
        assert progress.text()[0] == "1 of 4 sequences" and progress.text()[1].endswith(" left")


# -- dry run -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format_", export_all.FORMATS)
def test_dry_run_writes_nothing(make_root, format_):
    root = make_root()
    process(root)
    (root / "exported" / format_ / ".making").mkdir(parents=True)  # of a killed run
    before = tree(root)
    _, printed = export(format_, root, "--dry-run")
    assert printed.startswith(f"plan: {format_}: 30 sequences of 1 subject") and tree(root) == before
    shutil.rmtree(root / "exported")
    before = tree(root)
    export(format_, root, "--dry-run")
    assert tree(root) == before


def test_dry_run_names_what_is_missing_as_the_run_will(make_root):
    """A kind of archive of one subject, some files, images; kinds that a format can do without are no problem."""
    root = make_root([sequence.name for sequence in METADATA.sequences_of("S1")])
    make_root(subjects=("S9",), kinds=(POSES_3D,), root=root)
    (root / "archives").mkdir()
    (root / "archives" / f"{POSES_2D}_S9.tgz").touch()
    for file in (root / "extracted/S1" / POSES_2D).glob("Walking 1*"):
        file.unlink()
    process(root)
    problems, printed = export("mmpose", root, "--subjects", "S1", "S9", "--dry-run")
    plan, _, *lines = printed.splitlines()
    assert plan == f"plan: mmpose: 60 sequences of 2 subjects, 31 without {POSES_2D}, 28 without {POSES_3D}"
    assert lines == ["S1: 30 sequences", "S9: 30 sequences"]
    archive = "then run download_all.py and extract_all.py"
    assert problems == [
        f"S1: 1 sequence without {POSES_2D}; remove the folder {root / 'extracted/S1' / POSES_2D}, {archive}",
        f"S9: 30 sequences without {POSES_2D}; run extract_all.py",
        f"S9: 28 sequences without {POSES_3D}; remove the folder {root / 'extracted/S9' / POSES_3D}, {archive}",
    ]
    assert export("original", root, "--subjects", "S1", "--dry-run")[0] == []


# -- learnable-triangulation -------------------------------------------------------------------------------------------


def write_boxes(root: Path, name: str, camera: str, cells: int = 2) -> Path:
    """Write a view's file of masks, empty ones but for the first."""
    (sequence,) = [sequence for sequence in METADATA.sequences_of("S1") if sequence.name == name]
    file = unpacked_file(root, sequence, BOXES, camera)
    file.parent.mkdir(parents=True, exist_ok=True)
    with open_mat(file, "Masks", cells) as mat:
        for cell in range(cells):
            mask = np.zeros(METADATA.image_sizes["S1", camera], np.uint8)
            mask[20:30, 40 : 60 + cell] = cell < 2
            add_cell(mat, "Masks", cell, mask)
    return file


def read_boxes_file(root: Path) -> dict:
    file = root / "exported/learnable-triangulation/extra/bboxes-Human36M-GT.npy"
    return np.load(file, allow_pickle=True).item()


def test_broken_or_missing_box_file_costs_its_view_only(tmp_path):
    process(tmp_path)
    for name in NAMES:
        for camera in CAMERAS[:3]:
            write_boxes(tmp_path, name, camera)
    file = write_boxes(tmp_path, NAMES[1], CAMERAS[1])
    file.write_bytes(b"no HDF5")
    problems, _ = export("learnable-triangulation", tmp_path)
    assert len([line for line in problems if line.startswith(f"S1 {NAMES[1]} {CAMERAS[1]}: no boxes: ")]) == 1
    (absent,) = [line for line in problems if BOXES in line and "S1: " in line]
    assert absent.startswith("S1: 2 files ") and absent.count(f".{CAMERAS[3]}.mat") == 2 and len(problems) == 3
    boxes = read_boxes_file(tmp_path)["S1"]
    assert {name: list(views) for name, views in boxes.items()} == {
        NAMES[0]: list(CAMERAS[:3]),
        NAMES[1]: [CAMERAS[0], CAMERAS[2]],
    }
    np.testing.assert_array_equal(boxes[NAMES[0]][CAMERAS[0]], [[20, 40, 30, 60], [20, 40, 30, 61]])


@pytest.mark.parametrize("broken", ["no HDF5", "no datasets", "cut"])
def test_broken_annotations_cost_their_sequence_only(tmp_path, broken):
    process(tmp_path)
    file = tmp_path / "processed/S1" / NAMES[0] / "annot.h5"
    if broken == "no datasets":
        write_annotations(file, {}, {})
    else:
        file.write_bytes(b"no HDF5" if broken == "no HDF5" else file.read_bytes()[:3000])
    problems, _ = export("learnable-triangulation", tmp_path)
    assert len([line for line in problems if line.startswith(f"S1 {NAMES[0]}: left out, ") and "\n" not in line]) == 1
    labels = tmp_path / "exported/learnable-triangulation/extra/human36m-multiview-labels-GTbboxes.npy"
    table = np.load(labels, allow_pickle=True).item()["table"]
    assert len(table) == 3 and len(set(table["action_idx"])) == 1


def test_killed_process_costs_the_boxes_of_its_sequence_only(tmp_path, monkeypatch):
    process(tmp_path)
    for name in NAMES:
        write_boxes(tmp_path, name, CAMERAS[0])

    def read(task):
        if task.sequence.name == NAMES[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        return {CAMERAS[0]: None}, []

    monkeypatch.setattr(learnable_triangulation, "boxes_of_sequence", read)
    problems, _ = export("learnable-triangulation", tmp_path)
    assert len([line for line in problems if line.startswith(f"S1 {NAMES[0]}: no boxes: ")]) == 1
    assert read_boxes_file(tmp_path)["S1"] == {NAMES[0]: {}, NAMES[1]: {CAMERAS[0]: None}}


def test_views_boxes_and_images_that_are_missing_are_named(tmp_path):
    process(tmp_path, names=NAMES[:1], cameras=CAMERAS[:3])
    process(tmp_path, names=NAMES[1:])
    image = tmp_path / "processed/S1" / NAMES[1] / "imageSequence" / CAMERAS[2] / "img_000001.jpg"
    image.unlink()
    with h5py.File(tmp_path / "processed/S1" / NAMES[1] / "annot.h5", "r+") as annotations:
        annotations["bbox"][:2] = -1
    problems, _ = export("learnable-triangulation", tmp_path)
    assert f"S1: 1 view not in processed/S1: {NAMES[0]} {CAMERAS[3]}" in "\n".join(problems)
    assert f"S1: 1 image not in processed/S1: {NAMES[1]}; run process_all.py" in "\n".join(problems)
    assert "S1: 2 images without a box" in "\n".join(problems)


def test_cameras_with_different_frames_are_a_problem(tmp_path):
    process(tmp_path)
    with h5py.File(tmp_path / "processed/S1/Walking-1/annot.h5", "r+") as annotations:
        annotations["frame"][0] = 3
    problems, _ = export("learnable-triangulation", tmp_path)
    assert [line for line in problems if line.startswith("S1 Walking-1: its cameras have different frames")]


# -- published or corrected poses --------------------------------------------------------------------------------------


@pytest.mark.parametrize("format_", ["videopose3d", *map(slow, ("mmpose", "3dmppe", "3d-pose-baseline"))])
def test_poses_out_of_extracted_are_said_to_be_as_published(make_root, format_):
    """Even where processed/ has corrected ones."""
    root = make_root(subjects=("S1", "S9"))
    process(root, names=("Greeting-2",), subject="S9", correct_s9=True)
    _, printed = export(format_, root, "--subjects", "S1", "S9")
    (line,) = [line for line in printed.splitlines() if "Waiting-1" in line]
    assert line.startswith("poses are as published: those of S9 Greeting-2, SittingDown-2, Waiting-1 ")
    assert "as published" not in export(format_, root, "--subjects", "S1")[1]


def test_poses_out_of_processed_are_said_to_be_what_they_are(tmp_path):
    process(tmp_path, names=("Greeting-2",), subject="S9", correct_s9=True)
    process(tmp_path, names=("Waiting-1",), subject="S9", correct_s9=False)
    _, printed = export("learnable-triangulation", tmp_path, "--subjects", "S9")
    assert "poses of S9 Greeting-2 are corrected (--correct-s9), as in processed/" in printed.splitlines()
    assert "poses of S9 Waiting-1 are as published" in printed


# -- a second run ------------------------------------------------------------------------------------------------------


def test_second_run_reads_no_pose_and_writes_nothing(make_root, monkeypatch):
    root = make_root()
    process(root)
    export("3dmppe", root)
    monkeypatch.setattr(shared, "read_poses", None)
    before = {path: path.lstat().st_mtime_ns for path in (root / "exported").rglob("*") if path.name != ".lock"}
    assert export("3dmppe", root)[1].startswith(f"nothing to do: {root / 'exported/3dmppe'} is up to date\n")
    assert before == {path: path.lstat().st_mtime_ns for path in (root / "exported").rglob("*") if path.name != ".lock"}


def unpack_again(root: Path, monkeypatch) -> None:
    file = next((root / "extracted/S1" / POSES_3D_WORLD).glob("Walk*"))
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content)


def change_metadata(root: Path, monkeypatch) -> None:
    changed = root / "metadata.xml"
    changed.write_bytes(METADATA_FILE.read_bytes() + b"\n")
    monkeypatch.setattr(record, "METADATA_FILE", changed)


CHANGES = {
    "unpacked again": unpack_again,
    "file gone": lambda root, _: (root / "extracted/S1" / POSES_3D_WORLD / "Walking 1.cdf").unlink(),
    "other metadata": change_metadata,
    "other version": lambda _, monkeypatch: monkeypatch.setattr(record, "__version__", "0"),
    "other frames": lambda root, _: process(root, (0, 1)),
    "image gone": lambda root, _: next(root.glob("processed/S1/*/imageSequence/*/*.jpg")).unlink(),
    "annotations gone": lambda root, _: next(root.glob("processed/S1/*/annot.h5")).unlink(),
    "output cut": lambda root, _: os.truncate(next(root.glob("exported/3dmppe/annotations/*data.json")), 9),
    "link gone": lambda root, _: next(root.glob("exported/3dmppe/images/*/*.jpg")).unlink(),
    "record broken": lambda root, _: (root / "exported/3dmppe/.3dmppe.json").write_text("{"),
    "record of something else": lambda root, _: (root / "exported/3dmppe/.3dmppe.json").write_text('{"files": 1}'),
}


QUICK = ("unpacked again", "other metadata", "other frames", "image gone", "output cut", "link gone")


@pytest.mark.parametrize("change", [change if change in QUICK else slow(change) for change in CHANGES])
def test_change_is_noticed(make_root, monkeypatch, change):
    """And a run after that one does nothing again."""
    root = make_root()
    process(root)
    export("3dmppe", root)
    CHANGES[change](root, monkeypatch)
    _, printed = export("3dmppe", root)
    assert "written to" in printed and "nothing to do" not in printed
    assert ("renamed" in printed) == change.startswith("record"), "without a record nothing is known to be ours"
    assert "nothing to do" in export("3dmppe", root)[1]


def test_broken_file_that_is_repaired_with_its_old_time_is_noticed(make_root):
    """tar restores the time stamps, and only the file system's own tells."""
    root = make_root()
    file = root / "extracted/S1" / POSES_3D_WORLD / "Walking 1.cdf"
    content, state = file.read_bytes(), file.stat()
    file.unlink()
    for part in (bytes(len(content)), content):
        file.write_bytes(part)
        os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
        problems, printed = export("videopose3d", root)
        assert "written" in printed
    assert not [problem for problem in problems if "Walking-1:" in problem]


def test_other_subjects_are_noticed_and_the_former_ones_files_go(make_root):
    root = make_root(subjects=("S1", "S9"))
    for subject in ("S1", "S9"):
        process(root, subject=subject)
    export("3dmppe", root, "--subjects", "S1", "S9")
    export("3dmppe", root, "--subjects", "S9")
    files = files_in(root / "exported/3dmppe")
    assert len(files) == 3 + 24 and all("subject9" in name or "s_09" in name for name in files)
    assert {path.name[:4] for path in (root / "exported/3dmppe/images").iterdir()} == {"s_09"}


def test_removed_frames_lose_their_links(make_root):
    root = make_root()
    process(root, (0, 5, 10))
    for format_ in ("3dmppe", "mmpose"):
        export(format_, root)
    process(root, (5,), names=NAMES[:1])
    shutil.rmtree(root / "processed/S1" / NAMES[1])
    for format_ in ("3dmppe", "mmpose"):
        export(format_, root)
        images = images_in(root / "exported" / format_)
        assert sorted(images.values()) == sorted(f"{NAMES[0]} {camera} 5" for camera in CAMERAS)
        assert all(name.endswith("_000006.jpg") for name in images)
        folders = [path for path in (root / "exported" / format_ / "images").rglob("*") if path.is_dir()]
        assert all(any(folder.iterdir()) for folder in folders)


# -- links -------------------------------------------------------------------------------------------------------------


def expected_images(frames=(0, 5, 10)) -> list[str]:
    return sorted(f"{name} {camera} {frame}" for name in NAMES for camera in CAMERAS for frame in frames)


@pytest.mark.parametrize("format_", ["3dmppe", slow("mmpose")])
@pytest.mark.parametrize(
    "out", ["out", "a blank/and more", "../beside", "link to elsewhere", "link to elsewhere/below", "absolute"]
)
def test_links_lead_to_the_images_wherever_out_is(make_root, tmp_path, monkeypatch, format_, out):
    root = make_root()
    process(root)
    (tmp_path / "far/away").mkdir(parents=True)
    (tmp_path / "current").mkdir()
    (tmp_path / "current/link to elsewhere").symlink_to(tmp_path / "far/away")
    monkeypatch.chdir(tmp_path / "current")
    out = tmp_path / "absolute" if out == "absolute" else Path(out)
    export(format_, root, "--out", out)
    assert sorted(images_in(out).values()) == expected_images()


@pytest.mark.parametrize("format_", ["3dmppe", slow("mmpose")])
@pytest.mark.parametrize("linked", ["root", "processed", "exported", "exported/FORMAT/images"])
def test_links_hold_where_a_folder_is_a_link_to_another_disk(make_root, tmp_path, format_, linked):
    root = make_root()
    process(root)
    (tmp_path / "disk/below").mkdir(parents=True)
    folder = root if linked == "root" else root / linked.replace("FORMAT", format_)
    target = tmp_path / "disk/below" / folder.name
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists():
        folder.rename(target)
    else:
        target.mkdir()
    folder.symlink_to(target)
    export(format_, root)
    assert sorted(images_in(root / "exported" / format_).values()) == expected_images()
    assert "nothing to do" in export(format_, root)[1]


@pytest.mark.parametrize(
    "format_", ["3dmppe", "original", *map(slow, ("mmpose", "learnable-triangulation", "3d-pose-baseline"))]
)
def test_all_moved_together_is_still_complete(make_root, tmp_path, format_):
    root = make_root()
    process(root)
    export(format_, root)
    before = files_in(root / "exported")
    (tmp_path / "elsewhere/and deeper").mkdir(parents=True)
    moved = root.rename(tmp_path / "elsewhere/and deeper/root")
    assert files_in(moved / "exported") == before
    assert "nothing to do" in export(format_, moved)[1]


def test_a_wrong_link_is_replaced_and_a_file_of_ones_own_stays(make_root):
    root = make_root()
    process(root)
    export("3dmppe", root)
    first, second, *_ = sorted((root / "exported/3dmppe/images").rglob("*.jpg"))
    first.unlink()
    first.symlink_to("/nowhere")
    second.unlink()
    second.write_text("mine")
    process(root)  # or else nothing has changed
    export("3dmppe", root)
    assert first.read_text() == f"Greeting-2 {CAMERAS[0]} 0" and second.read_text() == "mine"
    process(root, (0,))
    export("3dmppe", root)
    assert second.read_text() == "mine", "it may be all that somebody has of this image"


def refuse_links(monkeypatch, number: int) -> None:
    """Let the system make no symbolic links."""

    def symlink(target, link, target_is_directory=False):
        raise OSError(number, os.strerror(number), str(link))

    monkeypatch.setattr(os, "symlink", symlink)  # pathlib calls it too


@pytest.fixture
def no_links(monkeypatch):
    """As on exFAT."""

    refuse_links(monkeypatch, errno.EPERM)


@pytest.mark.usefixtures("no_links")
def test_images_are_copied_where_there_are_no_links(make_root):
    """Those of frames that are gone are removed, and those that were processed again are copied again."""
    root = make_root()
    process(root)
    folder = root / "exported/3dmppe/images"
    export("3dmppe", root)
    assert sorted(path.read_text() for path in folder.glob("*/*")) == expected_images()
    assert not any(path.is_symlink() for path in folder.glob("*/*"))
    assert "nothing to do" in export("3dmppe", root)[1]
    process(root, (0, 5))
    changed = root / f"processed/S1/Walking-1/imageSequence/{CAMERAS[0]}/img_000001.jpg"
    changed.unlink()
    changed.write_text("processed again")
    export("3dmppe", root)
    expected = sorted([*set(expected_images((0, 5))) - {f"Walking-1 {CAMERAS[0]} 0"}, "processed again"])
    assert sorted(path.read_text() for path in folder.glob("*/*")) == expected
    shutil.rmtree(root / "processed/S1/Walking-1")
    export("3dmppe", root)
    assert len(list(folder.iterdir())) == 4


@pytest.mark.usefixtures("no_links")
@pytest.mark.parametrize("format_", ["learnable-triangulation", *map(slow, ("3d-pose-baseline", "original"))])
def test_folders_are_copied_where_there_are_no_links(make_root, format_):
    root = make_root()
    process(root)
    export(format_, root)
    assert not any(path.is_symlink() for path in (root / "exported").rglob("*"))
    assert "nothing to do" in export(format_, root)[1]
    names = set(files_in(root / "exported" / format_))
    expected = {
        "learnable-triangulation": f"processed/S1/Walking-1/imageSequence/{CAMERAS[0]}/img_000001.jpg",
        "3d-pose-baseline": "h36m/S1/MyPoseFeatures/D3_Positions/Walking 1.cdf",
        "original": "S1/MyPoseFeatures/D3_Positions/Walking 1.cdf",
    }
    assert expected[format_] in names
    process(root, (3,))
    next((root / "extracted/S1" / POSES_3D_WORLD).glob("Walk*")).touch()
    export(format_, root)
    if format_ == "learnable-triangulation":
        assert f"processed/S1/Walking-1/imageSequence/{CAMERAS[0]}/img_000004.jpg" in files_in(
            root / "exported" / format_
        )


def test_a_full_disk_is_no_system_without_links(make_root, monkeypatch):
    root = make_root()
    process(root)

    refuse_links(monkeypatch, errno.ENOSPC)
    with pytest.raises(TaskError, match="disk is full"):
        export("3dmppe", root)


# -- files of other programs -------------------------------------------------------------------------------------------


def test_processed_stays_where_out_is_the_root(make_root):
    root = make_root()
    process(root)
    before = files_in(root / "processed")
    for _ in range(2):
        export("learnable-triangulation", root, "--out", root)
        assert files_in(root / "processed") == before and not (root / "processed").is_symlink()
    assert (root / "extra/human36m-multiview-labels-GTbboxes.npy").is_file()


def test_original_tree_can_be_made_within_extracted(make_root):
    root = make_root()
    (root / "extracted/S1/Videos").mkdir()
    (root / "extracted/S1/Videos/a.mp4").touch()
    before = files_in(root / "extracted/S1")
    export("original", root, "--out", root / "extracted")
    after = files_in(root / "extracted/S1")
    assert before.items() <= after.items() and not (root / "extracted/S1/Videos").is_symlink()
    assert (root / "extracted/S1/MyPoseFeatures/D3_Positions").readlink() == Path("../Poses_D3_Positions")


def test_a_folder_in_place_of_a_link_is_named_and_stays(make_root):
    root = make_root()
    mine = root / "exported/original/S1/MyPoseFeatures/D3_Positions/mine.cdf"
    mine.parent.mkdir(parents=True)
    mine.touch()
    with pytest.raises(TaskError, match=r"D3_Positions: a folder exists where a link to .* choose another --out"):
        export("original", root)
    assert mine.exists()


def test_pose_files_of_other_origin_stay(make_root, tmp_path):
    """Such as the archive that somebody has unpacked for 3d-pose-baseline."""
    mine = tmp_path / "data/h36m/S1/MyPoseFeatures/D3_Positions/Walking 1.cdf"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    root = make_root()
    for _ in range(2):
        export("3d-pose-baseline", root, "--out", tmp_path / "data")
        assert mine.read_text() == "mine" and mine.with_name("Greeting.cdf").is_symlink()
        (root / "extracted/S1" / POSES_3D_WORLD / "Walking 1.cdf").unlink(missing_ok=True)


def test_links_of_other_origin_stay(make_root):
    root = make_root()
    process(root)
    export("mmpose", root)
    mine = root / "exported/mmpose/images/S1/S1_Eating.54138969/S1_Eating.54138969_000001.jpg"
    mine.parent.mkdir()
    mine.symlink_to("/somewhere/else.jpg")
    process(root, (0,))
    export("mmpose", root)
    assert mine.is_symlink()


def test_files_of_other_origin_are_renamed(make_root, tmp_path):
    """Such as those that VideoPose3D's own script has prepared."""
    (tmp_path / "data").mkdir()
    for name in ("data_3d_h36m.npz", "data_2d_h36m_cpn_ft_h36m_dbb.npz"):
        (tmp_path / "data" / name).write_text("mine")
    root = make_root()
    _, printed = export("videopose3d", root, "--out", tmp_path / "data")
    assert (
        "data_3d_h36m.npz: the existing file was not created by this script; renamed to data_3d_h36m.npz.old" in printed
    )
    assert (tmp_path / "data/data_3d_h36m.npz.old").read_text() == "mine"
    assert (tmp_path / "data/data_2d_h36m_cpn_ft_h36m_dbb.npz").read_text() == "mine"
    unpack_again(root, None)
    assert "renamed" not in export("videopose3d", root, "--out", tmp_path / "data")[1]


def test_two_formats_share_a_folder(make_root):
    root = make_root()
    process(root)
    out = root / "both"
    for format_ in ("mmpose", "3dmppe", "mmpose", "3dmppe"):
        export(format_, root, "--out", out)
        process(root, (0, 5))
    for format_ in ("mmpose", "3dmppe"):
        export(format_, root, "--out", out)
    assert len(images_in(out)) == 2 * 2 * 4 * 2
    assert "nothing to do" in export("mmpose", root, "--out", out)[1]


# -- runs that are cut short -------------------------------------------------------------------------------------------

# Sends a signal to the process when it makes its 5th link or moves its 2nd file, or just before the record is written.
STOP = """
import os, signal, sys
counts = {}
def watch(event, arguments):
    source = str(arguments[0]) if arguments else ""
    key = event if event == "os.symlink" or ".making" in source else "record" if ".json" in source else ""
    if event in ("os.symlink", "os.rename") and key:
        counts[key] = counts.get(key, 0) + 1
        if [key, counts[key]] == [WHEN, NUMBER]:
            os.kill(os.getpid(), signal.SIGNAL)
sys.addaudithook(watch)
"""
MOMENTS = [("os.symlink", 5), ("os.rename", 2), ("record", 2)]


@pytest.mark.parametrize(
    ("when", "number", "sent"),
    [
        ("os.rename", 2, "SIGKILL"),
        ("os.symlink", 5, "SIGINT"),
        *[slow(*moment, "SIGKILL") for moment in MOMENTS if moment[0] != "os.rename"],
        *[slow(*moment, "SIGTERM") for moment in MOMENTS],
    ],
)
def test_run_that_is_cut_short_is_finished_by_the_next(make_root, tmp_path, when, number, sent):
    root = make_root()
    process(root)
    reference = tmp_path / "reference"
    shutil.copytree(root, reference, copy_function=os.link)
    export("3dmppe", root)
    hook = STOP.replace("WHEN", repr(when)).replace("NUMBER", str(number)).replace("SIGNAL", sent)
    (tmp_path / "hooks").mkdir()
    (tmp_path / "hooks/sitecustomize.py").write_text(hook)
    process(root, (0, 5, 6))  # an earlier export is there, and everything changes
    options = ("3dmppe", "--root", root, "--subjects", "S1")
    ended = run_script("export_all.py", *options, environment={"PYTHONPATH": str(tmp_path / "hooks")})
    if sent == "SIGKILL":
        assert ended.returncode == -signal.SIGKILL
    else:
        assert ended.returncode == 130 and len(ended.errors) == 1, ended.text
        assert not (root / "exported/3dmppe/.making").exists()
    annotations = root / "exported/3dmppe/annotations"
    for file in annotations.iterdir():
        json.loads(file.read_text())
    assert "renamed" not in export("3dmppe", root)[1]
    process(reference, (0, 5, 6))
    export("3dmppe", reference)
    assert files_in(root / "exported") == files_in(reference / "exported")
    assert {path.name for path in (root / "exported/3dmppe").glob(".*")} == {".lock", ".3dmppe.json"}


@pytest.mark.parametrize(
    "format_", ["mmpose", "3d-pose-baseline", *map(slow, ("videopose3d", "3dmppe", "learnable-triangulation"))]
)
def test_full_disk_is_one_line_and_keeps_the_earlier_export(make_root, small_disk, format_):
    root, disk = make_root(), small_disk(8)
    process(root)
    export(format_, root, "--out", disk / "out")
    before = files_in(disk / "out")
    process(root, range(FRAMES))
    unpack_again(root, None)
    with pytest.raises(OSError), (disk / "filling").open("wb", buffering=0) as filling:
        while filling.write(bytes(4096)):
            pass
    with pytest.raises(TaskError, match=r"^\S.*: disk is full .*; free some space and run again$") as failure:
        export(format_, root, "--out", disk / "out")
    assert "\n" not in str(failure.value)
    after = files_in(disk / "out")
    assert before.items() <= after.items() and all(name.startswith("images/") for name in after.keys() - before.keys())
    assert not (disk / "out/.making").exists()
    (disk / "filling").unlink()
    assert "written to" in export(format_, root, "--out", disk / "out")[1]


@pytest.mark.slow
@pytest.mark.parametrize("format_", [name for name in export_all.FORMATS if name != "motion-prediction"])
def test_power_cut_after_a_run_costs_nothing(tmp_path, make_root, format_):
    """On a real ext4 file system that writes down only what is synced. These roots have no angles."""
    make_disk(tmp_path / "disk.img", 64)
    with mounted(tmp_path / "disk.img", tmp_path / "disk") as disk:
        source = make_root()
        process(source)
        root = disk / "root"
        shutil.copytree(source, root)
        os.sync()
        export(format_, root)
        copy_after_power_cut(disk, tmp_path / "disk.img", tmp_path / "copy.img")
        expected = files_in(root / "exported")
        with mounted(tmp_path / "copy.img", tmp_path / "copy") as copy:
            assert files_in(copy / "root/exported") == expected
            assert "nothing to do" in export(format_, copy / "root")[1]


def test_second_run_waits_for_the_first(make_root):
    root = make_root()
    out = root / "exported/videopose3d"
    out.mkdir(parents=True)
    ended = []
    second = threading.Thread(target=lambda: ended.append(export("videopose3d", root)))
    with only_run_in(out, print):
        second.start()
        second.join(0.3)
        assert second.is_alive() and not (out / "data_3d_h36m.npz").exists()
    second.join(60)
    assert "another run" in ended[0][1] and (out / "data_3d_h36m.npz").exists()
