"""The exponential maps of export_all.py motion-prediction, against matrices built from tests/facts."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.angles import ALWAYS_ZERO, ANGLES, OFFSETS, assert_rows, make_angles, positions
from helpers.exports import files_in, run_export
from helpers.poses import WORLD, Sequence, sequences, write
from helpers.scripts import run_script

import export_all
from h36m.errors import UsageError
from h36m.metadata import load_metadata

SUBJECTS = ("S1", "S9")
WALKING, OTHER = Sequence("S1", 14, 1, "Walking 1"), Sequence("S1", 14, 2, "Walking")
ACTIONS = (
    *("directions", "discussion", "eating", "greeting", "phoning", "posing", "purchases", "sitting", "sittingdown"),
    *("smoking", "takingphoto", "waiting", "walking", "walkingdog", "walkingtogether"),
)
LINE = re.compile(rb"(?:-?\d+\.\d{7},){98}-?\d+\.\d{7}\n")
LENGTHS = np.random.default_rng(1).uniform(50, 500, 32) * OFFSETS.any(axis=1)


def make(root: Path, angles: dict[Sequence, np.ndarray], with_positions: bool = True) -> Path:
    """Write the angles of some sequences, and the positions of a body that has them; return the root."""
    for sequence, numbers in angles.items():
        write(root / "extracted", ANGLES, sequence, None, numbers)
        if with_positions:
            write(root / "extracted", WORLD, sequence, None, positions(numbers, LENGTHS))
    return root


def export(root: Path, *options):
    """Run the script for S1 unless options say otherwise."""
    subjects = () if "--subjects" in options else ("--subjects", "S1")
    return run_script("export_all.py", "motion-prediction", "--root", root, *subjects, *options)


def file_of(root: Path, sequence: Sequence) -> Path:
    """Return the file that a sequence is exported to."""
    name = f"{ACTIONS[sequence.action - 2]}_{sequence.subaction}.txt"
    return root / "exported/motion-prediction/h3.6m/dataset" / sequence.subject / name


def read_rows(file: Path) -> np.ndarray:
    """Read a file as its readers do, after a look at each byte."""
    content = file.read_bytes()
    assert LINE.sub(b"", content) == b"" and b"-0.0000000" not in content
    return np.array([[float(number) for number in line.strip().split(",")] for line in file.open()])


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> tuple[Path, dict[Sequence, np.ndarray]]:
    """The root of all sequences of two subjects, exported; one has more frames than are compared with positions."""
    angles = {sequence: make_angles(3 + seed % 5, seed) for seed, sequence in enumerate(sequences(*SUBJECTS))}
    angles[WALKING] = make_angles(450)
    angles[WALKING][7, 6:9] = 1e-6  # degrees: less than half a digit, and negative as a rotation vector
    root = make(tmp_path_factory.mktemp("a release"), angles)
    ended = export(root, "--subjects", *SUBJECTS)
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stderr
    checked = re.search(r"60 sequences .* differ from Poses_D3_Positions by at most ([\d.]+) mm", ended.stdout)
    assert 0 < float(checked[1]) < 0.02 and "offset from the images" not in ended.stdout
    return root, angles


def test_files_are_those_of_the_original_and_no_other(release):
    """S1's first eating is Eating 2, and its walking dog WalkingDog, where others have WalkDog."""
    root, angles = release
    out = root / "exported/motion-prediction"
    expected = {file_of(root, sequence).relative_to(out).as_posix() for sequence in angles}
    assert files_in(out) == expected and len(expected) == 60
    assert sorted(path.name for path in out.iterdir() if path.name[0] != ".") == ["h3.6m"]
    for folder in (out / "h3.6m/dataset", *[out / "h3.6m/dataset" / subject for subject in SUBJECTS]):
        assert not [path for path in folder.iterdir() if path.name[0] == "."], "two readers take every file there"


def test_rows_are_those_of_the_facts(release):
    root, angles = release
    for sequence, numbers in angles.items():
        rows = read_rows(file_of(root, sequence))
        assert_rows(rows, numbers)
        assert not rows[:, ALWAYS_ZERO].any() and np.delete(rows, ALWAYS_ZERO, axis=1).any(axis=0).all()


def test_worked_check_of_the_facts(tmp_path):
    """Made-up angles of three frames; the numbers are those of a program of someone else's."""
    angles = np.zeros((3, 78), np.float32)
    for first, triples in {
        0: [(100, 900, -50), (104, 901, -48), (109, 901.5, -45)],
        3: [(10, -5, 30), (11, -4, 32), (12.5, -3, 35)],
        6: [(5, -20, 3), (6, -22, 3.5), (7, -25, 4)],
        9: [(0, 40, 0), (0, 42, 0), (0, 45, 0)],
        42: [(-90, 10, 5), (-100, 12, 6), (-118, 14, 8)],
        69: [(1, -2, 3), (2, -3, 4), (3, -4, 5)],
    }.items():
        angles[:, first : first + 3] = triples
    expected = np.zeros((3, 99))
    for first, triples in {
        0: [(0, 0, 0), (2.5530162, 0.1147992, 3.8038046), (2.6744812, -0.6713724, 5.1620160)],
        3: [(0, 0, 0), (-0.0059988, -0.0335354, -0.0239045), (-0.0001303, -0.0507573, -0.0314266)],
        6: [
            (0.3510013, -0.0365643, -0.0772207),
            (0.3866192, -0.0401761, -0.0916708),
            (0.4397360, -0.0419664, -0.1049503),
        ],
        9: [(-0.6981317, 0, 0), (-0.7330383, 0, 0), (-0.7853982, 0, 0)],
        51: [
            (-0.2050834, 0.0685350, 1.5577631),
            (-0.2437359, 0.1059689, 1.7255204),
            (-0.2927551, 0.1645428, 2.0267102),
        ],
        84: [
            (0.0353546, -0.0520486, -0.0165337),
            (0.0535512, -0.0688763, -0.0330567),
            (0.0720356, -0.0853834, -0.0492592),
        ],
    }.items():
        expected[:, first : first + 3] = triples
    root = make(tmp_path, {WALKING: angles})
    export(root)
    np.testing.assert_array_equal(read_rows(file_of(root, WALKING)), expected)


# -- the proof ---------------------------------------------------------------------------------------------------------


def with_triples(angles: np.ndarray, change) -> np.ndarray:
    """Return angles whose 25 triples were changed."""
    triples = change(angles[:, 3:].reshape(-1, 25, 3)).reshape(-1, 75)
    return np.concatenate([angles[:, :3], triples], axis=1).astype(np.float32)


WRONG = {
    "x y z": lambda angles: with_triples(angles, lambda triples: triples[..., [1, 2, 0]]),
    "z y x": lambda angles: with_triples(angles, lambda triples: triples[..., [0, 2, 1]]),
    "other sign": lambda angles: with_triples(angles, np.negative),
    "radians": lambda angles: with_triples(angles, np.radians),
    "joints the other way around": lambda angles: with_triples(angles, lambda triples: triples[:, ::-1]),
    "translation z x y": lambda angles: np.concatenate([angles[:, [2, 0, 1]], angles[:, 3:]], axis=1),
    "translation last": lambda angles: np.concatenate([angles[:, 3:], angles[:, :3]], axis=1),
    "last frame 2 mm away": lambda angles: angles + step_of_the_last(len(angles)),
}


def step_of_the_last(count: int) -> np.ndarray:
    """Return 2 mm in x for the last of some frames."""
    step = np.zeros((count, 78), np.float32)
    step[-1, 0] = 2
    return step


def test_angles_of_other_positions_are_refused_with_the_figure(tmp_path):
    """Each costs its sequence only; 420 frames are more than are compared, and the last is always one of them."""
    wrong = dict(zip(sequences("S1"), WRONG.items(), strict=False))
    right = {sequence: make_angles(420 if "last frame" in name else 20) for sequence, (name, _) in wrong.items()}
    root = make(tmp_path, right | {WALKING: make_angles(20)})
    changed = {sequence: change(right[sequence]) for sequence, (_, change) in wrong.items()}
    for sequence, angles in changed.items():
        write(root / "extracted", ANGLES, sequence, None, angles)
    ended = export(root)
    assert ended.returncode == 1 and file_of(root, WALKING).exists() and WALKING not in wrong
    names = {each[1:3]: each.name for each in load_metadata().sequences_of("S1")}
    for sequence, (name, _) in wrong.items():
        assert not file_of(root, sequence).exists(), name
        [line] = [line for line in ended.errors if f"S1 {names[sequence[1:3]]}: left out" in line]
        differences = positions(changed[sequence], LENGTHS) - positions(right[sequence], LENGTHS)
        figure = float(re.search(r"differ from Poses_D3_Positions by up to ([\d.,]+) mm", line)[1].replace(",", ""))
        assert figure == pytest.approx(np.linalg.norm(differences, axis=2).max(), abs=0.06), name
        assert "extract_all.py --kinds Poses_D3_Angles Poses_D3_Positions" in line


def test_positions_half_a_millimetre_away_are_accepted(tmp_path):
    root = make(tmp_path, {WALKING: make_angles(20)})
    write(root / "extracted", WORLD, WALKING, None, positions(make_angles(20), LENGTHS) + np.array([0.5, 0, 0]))
    ended = export(root)
    assert re.search(r"by at most 0\.500\d mm", ended.stdout) and file_of(root, WALKING).exists()


def test_angles_of_another_number_than_the_poses_are_refused(tmp_path):
    root = make(tmp_path, {WALKING: make_angles(20), OTHER: make_angles(20)})
    for sequence, count in ((WALKING, 19), (OTHER, 21)):
        write(root / "extracted", ANGLES, sequence, None, make_angles(count))
    lines = run_export(root, "motion-prediction", tmp_path / "out", ["S1"])
    for name, count in (("Walking-1", 19), ("Walking-2", 21)):
        words = f"S1 {name}: left out: {count} angles in Poses_D3_Angles, 20 poses in Poses_D3_Positions"
        assert sum(words in line for line in lines) == 1, lines
    assert files_in(tmp_path / "out") == set()


def test_without_positions_angles_are_written_with_a_notice(tmp_path):
    """Positions that are unpacked later are compared by the next run."""
    root = make(tmp_path, {WALKING: make_angles(20), OTHER: make_angles(20)}, with_positions=False)
    ended = export(root)
    assert "2 sequences of S1 not checked: no Poses_D3_Positions of them" in ended.stdout
    assert "Poses_D3_Positions" not in ended.stderr and "differ" not in ended.stdout
    assert_rows(read_rows(file_of(root, WALKING)), make_angles(20))
    assert "not checked" in export(root).stdout, "a run with nothing to do says it again"
    write(root / "extracted", WORLD, WALKING, None, positions(make_angles(20), LENGTHS))
    ended = export(root)
    assert "1 sequence of S1 not checked" in ended.stdout and "1 sequence checked" in ended.stdout


# -- what is missing ---------------------------------------------------------------------------------------------------


def test_missing_and_damaged_angles_are_named_with_commands_that_help(tmp_path):
    """Without --kinds, no script deals with angles."""
    root = make(tmp_path, {WALKING: make_angles(20), OTHER: make_angles(20)[:, :77]}, with_positions=False)
    ended = export(root, "--subjects", "S1", "S5")
    assert ended.returncode == 1 and file_of(root, WALKING).exists() and not file_of(root, OTHER).exists()
    extract = "extract_all.py --kinds Poses_D3_Angles"
    assert f"run download_all.py --kinds Poses_D3_Angles and {extract}\n" in ended.stderr
    remedy = rf"; remove the folder [^;]+, then run download_all.py --kinds Poses_D3_Angles and {extract}\n"
    assert re.search(rf"S1: 28 sequences not in extracted/S1: .*{remedy}", ended.stderr)
    assert re.search(rf"S1 Walking-2: left out: .*, 78\), found \(1, 20, 77\){remedy}", ended.stderr)


def test_metadata_without_the_skeleton_of_angles_exits_2(tmp_path, monkeypatch):
    root = make(tmp_path, {WALKING: make_angles(20)})
    monkeypatch.setattr(export_all, "load_metadata", lambda: replace(load_metadata(), angle_channels=()))
    with pytest.raises(UsageError, match="<skel_angles>"):
        run_export(root, "motion-prediction", tmp_path / "out", ["S1"])
    assert files_in(tmp_path / "out") == set()


def test_files_of_another_origin_leave_the_folders_of_data(tmp_path):
    """Two readers take every file there, whatever its name."""
    root = make(tmp_path, {WALKING: make_angles(20)})
    file = file_of(root, WALKING)
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    ended = export(root)
    assert "renamed to h3.6m.old/dataset/S1/walking_1.txt" in ended.stdout
    assert {path.name for path in file.parent.iterdir()} == {file.name} and file.read_bytes() != b"mine"
    assert (root / "exported/motion-prediction/h3.6m.old/dataset/S1/walking_1.txt").read_text() == "mine"


def test_original_links_angles_and_never_misses_them(tmp_path):
    root = make(tmp_path, {WALKING: make_angles(20)})
    write(root / "extracted", WORLD, Sequence("S9", 14, 1, "Walking 1"), None, np.zeros((1, 32, 3)))
    assert run_export(root, "original", tmp_path / "out", SUBJECTS) == []
    assert (tmp_path / "out/S1/MyPoseFeatures/D3_Angles/Walking 1.cdf").is_file()
