"""process_all.py's options: the correction of S9, choosing frames, and wrong use."""

import operator
import shutil

import h5py
import numpy as np
import pytest
from helpers.facts import CAMERAS, FACTS, human36m_projection, rotation_of_facts
from helpers.releases import contents, copy_of_scripts, edit, linked, make_extracted, times_of_files
from helpers.scripts import process, run_script
from PIL import Image

from demo.release import Recording
from h36m.files.cdf import pycdf
from h36m.process.selection import FrameRule, FrameRuleError, chosen_frames

SHIFTED = ("Greeting-2", "SittingDown-2", "Waiting-1")
NAMES = (*SHIFTED, "Walking-1")


# --- --correct-s9 ---


@pytest.fixture(scope="module")
def both_subjects(tmp_path_factory):
    """The three shifted sequences of S9, one more, and one of S1, as published. Read it, do not write."""
    root = tmp_path_factory.mktemp("both subjects")
    make_extracted(root, [Recording("S1", SHIFTED[0], 2), *[Recording("S9", name, 2) for name in NAMES]])
    (root / "output.txt").write_text(process_both(root))
    return root


@pytest.fixture(scope="module")
def corrected(both_subjects, tmp_path_factory):
    """The same after a second run with --correct-s9, and when its files were written before. Read it, do not write."""
    root = linked(both_subjects, tmp_path_factory.mktemp("corrected"))
    shutil.copytree(both_subjects / "processed", root / "processed")
    before = times_of_files(root / "processed")
    (root / "output.txt").write_text(process_both(root, "--correct-s9", "--replace"))
    return root, before


def process_both(root, *options) -> str:
    """Process the sequences that both_subjects has; return what was printed."""
    output = ""
    for subject, names in (("S1", SHIFTED[:1]), ("S9", NAMES)):
        ended = process(root, "--subjects", subject, "--actions", *names, "--all-frames", *options)
        assert (ended.returncode, ended.errors) == (0, [])
        output += ended.stdout
    return output


def annotations_of(root, name: str, subject="S9"):
    return h5py.File(root / "processed" / subject / name / "annot.h5")


@pytest.mark.parametrize("name", SHIFTED)
def test_corrected_poses_are_200_mm_from_the_published_ones(both_subjects, corrected, name):
    """Along x of the world."""
    with annotations_of(both_subjects, name) as published, annotations_of(corrected[0], name) as moved:
        world = published["pose/3d-world"][...] - [200, 0, 0]
        np.testing.assert_array_equal(moved["pose/3d-world"][...], world)
        for row, camera in enumerate(map(str, published["camera"][...])):
            shift = rotation_of_facts(*FACTS["extrinsics"]["S9"][camera]["rotation"]) @ [-200, 0, 0]
            for dataset in ("pose/3d", "pose/3d-univ"):
                expected = published[dataset][row] + shift
                np.testing.assert_allclose(moved[dataset][row], expected, rtol=0, atol=1e-9)
            lens = FACTS["intrinsics"][camera]
            (fx, fy), (cx, cy), (k1, k2, k3), (p1, p2) = (lens[key] for key in "fckp")
            calibration, distortion = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]), (k1, k2, p1, p2, k3)
            pixels = human36m_projection(published["pose/3d"][row] + shift, calibration, distortion)
            np.testing.assert_allclose(moved["pose/2d"][row], pixels, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", SHIFTED)
def test_corrected_joints_and_boxes_are_on_the_figure(both_subjects, corrected, name):
    """The published ones are not."""
    labels = []
    with annotations_of(both_subjects, name) as published, annotations_of(corrected[0], name) as moved:
        for camera, number in zip(published["camera"][...], published["frame"][...], strict=True):
            with Image.open(both_subjects / f"processed/S9/{name}/partLabels/{camera}/img_{number:06d}.png") as image:
                labels.append(np.asarray(image) > 0)
        joints = published.attrs["moving_joints"]

        def on_figure(annotations) -> float:
            pixels = annotations["pose/2d"][...][:, joints].round().astype(int)
            return np.mean([person[y, x] for person, pose in zip(labels, pixels, strict=True) for x, y in pose])

        assert on_figure(moved) == 1 and on_figure(published) < 0.7

        extents = [np.nonzero(person) for person in labels]
        person_boxes = np.array([[x.min(), y.min(), x.max() + 1, y.max() + 1] for y, x in extents])
        # The box is moved and not recomputed: nearer or farther parts of the body move by some pixels more or less.
        assert abs(moved["bbox"][...] - person_boxes).max() <= 6
        assert abs(published["bbox"][...] - person_boxes).max() > 20


def test_nothing_else_is_changed_by_the_correction(both_subjects, corrected):
    root, before = corrected
    moved = {
        f"S9/{name}/annot.h5/{dataset}"
        for name in SHIFTED
        for dataset in ("pose/2d", "pose/3d", "pose/3d-univ", "pose/3d-world", "bbox")
    }
    was, now = contents(both_subjects / "processed"), contents(root / "processed")
    assert was.keys() == now.keys()
    assert {name for name in was if was[name] != now[name]} == moved
    # Sequences that it is not about were not even written again.
    after = times_of_files(root / "processed")
    untouched = [path for path in after if not any(f"S9/{name}" in path.as_posix() for name in SHIFTED)]
    assert len(untouched) == 2 * (1 + 8 + 8) and all(after[path] == before[path] for path in untouched)


@pytest.mark.slow
def test_the_correction_is_recorded_and_taken_back_without_the_option(both_subjects, corrected, tmp_path):
    for subject, name in (("S1", SHIFTED[0]), *[("S9", name) for name in NAMES]):
        with annotations_of(corrected[0], name, subject) as annotations:
            assert annotations.attrs["correct_s9"] == (subject == "S9" and name in SHIFTED)
    root = linked(corrected[0], tmp_path)
    shutil.copytree(corrected[0] / "processed", root / "processed")
    assert "3 to replace" in process_both(root, "--replace")
    assert contents(root / "processed") == contents(both_subjects / "processed")


def test_one_line_names_the_sequences_that_are_not_corrected(both_subjects, corrected):
    """With --correct-s9 there is no such line."""
    lines = [line for line in (both_subjects / "output.txt").read_text().splitlines() if "--correct-s9" in line]
    assert len(lines) == 1 and lines[0].startswith("S9 Greeting-2, SittingDown-2, Waiting-1: ")
    assert "shifted" not in (corrected[0] / "output.txt").read_text()


@pytest.mark.slow
def test_the_correction_needs_no_world_coordinates(both_subjects, corrected, tmp_path):
    root = linked(both_subjects, tmp_path)
    shutil.rmtree(root / "extracted" / "S9" / "Poses_D3_Positions")
    ended = process(root, "--subjects", "S9", "--actions", "Greeting-2", "--all-frames", "--correct-s9")
    assert (ended.returncode, ended.errors) == (0, []) and "have no pose/3d-world" in ended.stdout
    start = "S9/Greeting-2/"
    expected = {name: value for name, value in contents(corrected[0] / "processed").items() if name.startswith(start)}
    del expected["S9/Greeting-2/annot.h5/pose/3d-world"]
    assert contents(root / "processed") == expected


# --- choosing frames ---


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    """Fourteen frames of a walk, of a subject for training and of one for tests. Read it, do not write."""
    root = tmp_path_factory.mktemp("walk")
    return make_extracted(root, [Recording("S1", "Walking-1", 14), Recording("S9", "Walking-1", 14)])


CHOICE = ("--subjects", "S1", "S9", "--actions", "Walking-1", "--cameras", CAMERAS[1], "--no-segments")


def chosen(root, subject="S1") -> list[int]:
    """Return the frames that were written, indices from 0: those of annot.h5, which the images have to agree with."""
    folder = root / "processed" / subject / "Walking-1"
    with h5py.File(folder / "annot.h5") as annotations:
        frames = (annotations["frame"][...] - 1).tolist()
    images = sorted(path.name for path in folder.glob("imageSequence/*/*.jpg"))
    assert images == [f"img_{frame + 1:06d}.jpg" for frame in frames]
    return frames


def moved_by(root, subject: str, millimetres: float) -> list[int]:
    """Return frame 0 and then each in which a joint has moved so far since the last one, frame by frame."""
    file = root / "extracted" / subject / "Poses_D3_Positions_mono_universal" / f"Walking 1.{CAMERAS[1]}.cdf"
    with pycdf.CDF(str(file)) as cdf:
        poses = cdf["Pose"][...].astype(float)[0].reshape(-1, 32, 3)
    kept = [0]
    for frame in range(1, len(poses)):
        if np.linalg.norm(poses[frame] - poses[kept[-1]], axis=1).max() >= millimetres:
            kept.append(frame)
    return kept


@pytest.mark.slow
def test_each_rule_chooses_its_frames_and_replaces_another_rules(walk, tmp_path):
    """It is recorded in annot.h5."""
    more_s1 = sorted({*moved_by(walk, "S1", 40), 0, 5, 10})
    root = linked(walk, tmp_path)
    last = None
    for options, s1, s9 in (
        ((), moved_by(walk, "S1", 40), [0]),
        (("--every", "5"), [0, 5, 10], [0, 5, 10]),
        (("--every", "5", "64", "--movement", "40"), more_s1, sorted({*moved_by(walk, "S9", 40), 0, 5, 10})),
        (("--all-frames",), list(range(14)), list(range(14))),
        (("--movement", "150"), moved_by(walk, "S1", 150), moved_by(walk, "S9", 150)),
        ((), moved_by(walk, "S1", 40), [0]),
    ):
        ended = process(root, *CHOICE, *options, "--replace")
        assert ended.returncode == 0 and "plan: 2 sequences: 2 to " in ended.stdout
        assert (chosen(root, "S1"), chosen(root, "S9")) == (s1, s9)
        with annotations_of(root, "Walking-1", "S1") as annotations:
            rule = annotations.attrs["frame_selection"]
        assert rule != last
        last = rule
    assert 1 < len(moved_by(walk, "S1", 150)) < len(moved_by(walk, "S1", 40)) < 14  # the rules differ on this walk
    assert "nothing to do: 2 sequences" in process(root, *CHOICE).stdout


RULE = '''
KEPT = 4


def helper(count):
    return [index for index in range(count) if index % KEPT == 0]


def select_frame_indices_to_include(subject, pose_3d_universal):
    """Choose by something else in this file."""
    return helper(len(pose_3d_universal))


MODULES'''


@pytest.fixture
def script(tmp_path):
    """A copy of process_all.py whose rule is edited to use a constant and a helper next to it."""
    script = copy_of_scripts(tmp_path / "scripts")
    edit(script, "\nMODULES", RULE)
    return script


@pytest.mark.slow
def test_edited_rule_is_noticed_wherever_the_edit_is(walk, tmp_path, script):
    root = linked(walk, tmp_path / "root")
    assert process(root, *CHOICE, script=script).returncode == 0
    assert chosen(root) == [0, 4, 8, 12]
    for old, new, expected in (
        ("KEPT = 4", "KEPT = 5", [0, 5, 10]),
        ("index % KEPT == 0", "index % KEPT == 1", [1, 6, 11]),
    ):
        edit(script, old, new)
        assert process(root, *CHOICE, script=script).returncode == 1
        ended = process(root, *CHOICE, "--replace", script=script)
        assert ended.returncode == 0 and "plan: 2 sequences: 2 to replace" in ended.stdout
        assert chosen(root) == expected
    assert "nothing to do" in process(root, *CHOICE, script=script).stdout


@pytest.mark.slow
def test_edit_that_chooses_the_same_frames_reprocesses_nothing(walk, tmp_path, script):
    root = linked(walk, tmp_path / "root")
    assert process(root, *CHOICE, script=script).returncode == 0
    before = times_of_files(root / "processed")
    edit(script, "Choose by something else in this file.", "Choose every fourth frame.")
    edit(script, "index % KEPT == 0", "index % 4 == 0")
    assert "nothing to do" in process(root, *CHOICE, script=script).stdout
    assert times_of_files(root / "processed") == before

    # With the poses gone there is nothing to compare: the text of the rule itself has to do.
    with_rule = process(root, *CHOICE, script=script)
    shutil.rmtree(root / "extracted")
    edit(script, '"""Turn the unpacked', '"""Turn all the unpacked')
    ended = process(root, *CHOICE, script=script)
    assert (ended.returncode, ended.stdout) == (0, with_rule.stdout)
    edit(script, "Choose every fourth frame.", "Choose by something else.")
    ended = process(root, *CHOICE, script=script)
    assert (ended.returncode, len(ended.errors)) == (1, 1)
    assert "2 sequences cannot be processed again, as their Poses_D3_Positions_mono_universal in " in ended.stderr
    assert times_of_files(root / "processed") == before


def test_failing_rule_is_named_with_its_line(walk, tmp_path, script):
    """Once for each sequence; what earlier runs have made stays."""
    root = linked(walk, tmp_path / "root")
    choice = [option for option in CHOICE if option not in ("--cameras", CAMERAS[1])]
    assert process(root, *choice, script=script).returncode == 0
    before = times_of_files(root / "processed")
    edit(script, "KEPT = 4", "KEPT = 0")
    ended = process(root, *choice, script=script)
    line = next(n for n, text in enumerate(script.read_text().splitlines(), 1) if "index % KEPT" in text)
    with pytest.raises(ZeroDivisionError) as words_of_this_python:
        operator.mod(1, 0)
    assert ended.returncode == 1
    assert sorted(ended.errors) == [
        f"process_all.py: {subject} Walking-1: select_frame_indices_to_include() failed in line {line} "
        f"of process_all.py: ZeroDivisionError: {words_of_this_python.value}"
        for subject in ("S1", "S9")
    ]
    assert times_of_files(root / "processed") == before


def test_rule_failing_in_a_library_is_named_with_its_own_line():
    def failing(subject, poses):
        return np.reshape(poses, 5)

    with pytest.raises(FrameRuleError) as raised:
        chosen_frames(FrameRule(failing, text="as in the test", edited_files="digest"), "S1", np.zeros((14, 32, 3)))
    line = failing.__code__.co_firstlineno + 1
    assert f"in line {line} of test_options.py: ValueError: cannot reshape" in str(raised.value)


# --- wrong use ---


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--subjects", "S2"], "S2"),
        (["--actions", "Walking-3"], "Walking-1 or Walking-2"),
        (["--cameras", "1"], "unknown '1'; choose from 54138969"),
        (["--every", "0"], "--every"),
        (["--root", "nowhere"], "nowhere"),
        (["--root", "."], "extracted"),  # where nothing is unpacked
    ],
    ids=" ".join,
)
def test_wrong_use_is_one_clear_line_and_status_2(tmp_path, options, named):
    """Other options are tested without a process, in test_scripts.py."""
    ended = run_script("process_all.py", *options, cwd=tmp_path)
    assert (ended.returncode, ended.stdout, len(ended.errors)) == (2, "", 1)
    assert ended.stderr.startswith("process_all.py: ") and named in ended.stderr
    assert not list(tmp_path.iterdir())


def test_missing_metadata_is_one_clear_line_and_status_2(walk, tmp_path):
    """How it may be broken is tested in test_metadata.py."""
    script = copy_of_scripts(tmp_path / "scripts")
    script.with_name("metadata.xml").unlink()
    ended = process(walk, *CHOICE, script=script)
    assert (ended.returncode, ended.stdout, len(ended.errors)) == (2, "", 1)
    assert str(script.with_name("metadata.xml")) in ended.stderr


@pytest.mark.slow
def test_metadata_without_calibration_costs_the_cameras_only(walk, tmp_path):
    script = copy_of_scripts(tmp_path / "scripts")
    text = script.with_name("metadata.xml").read_text()
    start, end = text.index("<w0>"), text.index("</w0>") + len("</w0>")
    script.with_name("metadata.xml").write_text(text[:start] + text[end:])
    root, good = linked(walk, tmp_path / "root"), linked(walk, tmp_path / "good")
    ended = process(root, *CHOICE, "--correct-s9", script=script)
    assert (ended.returncode, len(ended.errors)) == (2, 1) and "--correct-s9" in ended.stderr
    ended = process(root, *CHOICE, script=script)
    assert (ended.returncode, ended.errors) == (0, []) and "no calibration" in ended.stdout
    assert process(good, *CHOICE).returncode == 0
    cameras = ("extrinsics", "calibration", "distortion")
    whole = contents(good / "processed")
    expected = {name: value for name, value in whole.items() if not any(f"annot.h5/{part}" in name for part in cameras)}
    assert contents(root / "processed") == expected and len(expected) == len(whole) - 2 * 3


def test_subject_not_unpacked_is_named_and_others_are_processed(walk, tmp_path):
    root = linked(walk, tmp_path)
    shutil.rmtree(root / "extracted" / "S9")
    ended = process(root, *CHOICE[:3], "--actions", "Walking-1", *CHOICE[5:])
    assert ended.returncode == 1 and len(ended.errors) == 1 and "S9" in ended.stderr
    assert (root / "processed/S1/Walking-1/annot.h5").is_file()
