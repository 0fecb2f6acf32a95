"""The scripts as modules: command lines without a process, and what process_all.py plans and reports."""

import argparse
import random
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import download_all
import download_seg_mat_gt_pl
import export_all
import extract_all
import process_all
from h36m import __version__
from h36m.cli import run
from h36m.dataset import (
    BOXES,
    KINDS,
    PART_LABELS,
    POSES_2D,
    POSES_3D,
    POSES_3D_UNIVERSAL,
    SUBJECTS_WITH_GROUND_TRUTH,
    VIDEOS,
    Archive,
    unpacked_file,
    unpacked_folder,
)
from h36m.errors import UsageError
from h36m.metadata import load_metadata
from h36m.process import plan, report
from h36m.process.record import Options, Outcome
from h36m.process.report import do_work
from h36m.process.resume import Decision, Work
from h36m.process.selection import rule_of_options
from h36m.progress import Progress
from h36m.sequences import chosen_sequences, share_of

SCRIPTS = (download_all, download_seg_mat_gt_pl, extract_all, process_all)
METADATA = load_metadata()
SEQUENCES = [sequence for subject in SUBJECTS_WITH_GROUND_TRUTH for sequence in METADATA.sequences_of(subject)]


# -- command lines -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_script_takes_the_options_of_all_scripts(script):
    """A subject that is named twice is one subject."""
    arguments = script.build_parser().parse_args(["--root", "x", "--subjects", "S9", "S1", "S9", "--quiet", "--debug"])
    assert (arguments.root, arguments.subjects) == (Path("x"), ["S9", "S1"])
    assert arguments.quiet and arguments.debug


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_version_is_printed_with_the_scripts_name(script, capsys, monkeypatch):
    """Also where the other options are wrong, such as a root that does not exist."""
    monkeypatch.setattr(sys, "argv", [f"somewhere/{script.__name__}.py", "--root", "nowhere", "--version"])
    with pytest.raises(SystemExit) as ended:
        run(script.main, script.build_parser())
    assert ended.value.code == 0
    assert capsys.readouterr() == (f"{script.__name__}.py {__version__} (h36m-fetch)\n", "")


DOWNLOAD_SCRIPTS = (download_all, download_seg_mat_gt_pl)
WITH_KINDS = (*DOWNLOAD_SCRIPTS, extract_all)
OTHER_KINDS = [(download_all, BOXES), (download_all, PART_LABELS), (download_seg_mat_gt_pl, VIDEOS)]


@pytest.mark.parametrize("script", WITH_KINDS, ids=lambda script: script.__name__)
def test_kinds_are_read_once_each(script):
    kinds = getattr(script, "KINDS", KINDS)
    parser = script.build_parser()
    assert parser.parse_args([]).kinds is None
    assert parser.parse_args(["--kinds", *kinds]).kinds == list(kinds)
    assert parser.parse_args(["--kinds", kinds[1], kinds[0], kinds[1]]).kinds == [kinds[1], kinds[0]]


@pytest.mark.parametrize(("script", "kind"), OTHER_KINDS, ids=lambda value: getattr(value, "__name__", value))
def test_kind_of_the_other_script_is_wrong_use_and_names_that_script(script, kind, capsys):
    errors = assert_wrong(script, ["--kinds", script.KINDS[0], kind], capsys)
    other = {*DOWNLOAD_SCRIPTS} - {script}
    assert f"{kind}: downloaded by {other.pop().__name__}.py" in errors


@pytest.mark.parametrize(
    ("script", "words", "name", "expected"),
    [
        (download_all, "--subjects s1 11 S5,9 S1", "subjects", ["S1", "S11", "S5", "S9"]),
        (extract_all, "--kinds videos,SEGMENTS_mat_gt_bb Videos", "kinds", [VIDEOS, BOXES]),
        (export_all, "VideoPose3D", "format", "videopose3d"),
    ],
)
def test_names_are_read_whatever_their_case_and_with_commas(script, words, name, expected):
    assert getattr(script.build_parser().parse_args(words.split()), name) == expected


@pytest.mark.parametrize(
    ("script", "words", "expected"),
    [
        (process_all, "--subjects S2", "--subjects: S2 has no published poses; choose from S1 S5 S6 S7 S8 S9 S11"),
        (process_all, "--subjects S1,10", "--subjects: S10 has no published poses; choose from S1 S5 S6 S7 S8 S9 S11"),
        (extract_all, "--subjects A", "--subjects: unknown 'A'; choose from S1, S5, S6, S7, S8, S9, S11"),
        (extract_all, "--kinds Video", "--kinds: unknown 'Video'; did you mean Videos?"),
        (download_all, "--kinds Videos_S1", "--kinds: unknown 'Videos_S1'; did you mean Videos?"),
        (extract_all, "--kinds universal", f"--kinds: unknown 'universal'; did you mean {POSES_3D_UNIVERSAL}?"),
        (export_all, "videopose", "FORMAT: unknown 'videopose'; did you mean videopose3d?"),
        (export_all, "mmpose,3dmppe", "FORMAT: 'mmpose,3dmppe' is more than one; run the script for each"),
        (export_all, "--subjcts S9 mmpose", "unknown option --subjcts; did you mean --subjects?"),
        (process_all, "--movment=40", "unknown option --movment; did you mean --movement?"),
        (download_all, "-subjects S1", "unknown option -subjects; did you mean --subjects?"),
        (process_all, "--threads 4", "unknown option --threads"),
        (process_all, "--every -1", "argument --every: must be a positive integer, not '-1'"),
    ],
)
def test_nearest_names_are_suggested_for_one_that_does_not_exist(script, words, expected, capsys):
    assert assert_wrong(script, words.split(), capsys) == f"{Path(sys.argv[0]).name}: {expected} (see --help)\n"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
@pytest.mark.parametrize(
    "options",
    ["--no-such-option", "S1", "--root", "--subjects", "--subjects S1 A", "--quiet=yes", "--jobs 0"],
)
def test_wrong_command_line_exits_2_in_one_line(script, options, capsys):
    assert_wrong(script, options.split(), capsys)


@pytest.mark.parametrize(
    "options",
    [
        *("--every 0", "--every 5 x", "--every", "--movement nan", "--slice 4/3"),
        *("--actions", "--cameras", "--scheduler", "--describe"),
    ],
)
def test_wrong_option_of_process_all_exits_2_in_one_line(options, capsys):
    assert_wrong(process_all, options.split(), capsys)


def assert_wrong(script, options, capsys) -> str:
    """Check that a command line exits 2 in one line; return the line."""
    with pytest.raises(SystemExit) as ended:
        script.build_parser().parse_args(options)
    output, errors = capsys.readouterr()
    assert (ended.value.code, output) == (2, "")
    assert errors.count("\n") == 1 and errors.endswith("(see --help)\n")
    return errors


@pytest.mark.parametrize(
    ("options", "every", "movement"),
    [
        ("", [], None),
        ("--every 64", [64], None),
        ("--every 64 5 --every 7", [64, 5, 7], None),
        ("--all-frames", [1], None),
        ("--all-frames --every 5", [1, 5], None),
        ("--movement 2.5", [], 2.5),
        ("--every 5 64 --movement 40", [5, 64], 40),
    ],
)
def test_options_that_choose_frames(options, every, movement):
    arguments = process_all.build_parser().parse_args(options.split())
    assert (arguments.every, arguments.movement) == (every, movement)


@pytest.mark.parametrize("text", ["", "0", "-1", "inf", "1e999", "40 mm"])
def test_texts_that_are_not_millimetres_are_refused(text):
    with pytest.raises(argparse.ArgumentTypeError):
        process_all.millimetres(text)


# -- shares ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "1", "1/", "/3", "0/3", "1/0", "-1/3", "1/3/5", "a/b", "²/3"])
def test_texts_that_are_not_shares_are_refused(text):
    assert process_all.share("10/20") == (10, 20)
    with pytest.raises(argparse.ArgumentTypeError):
        process_all.share(text)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 60), st.integers(0, len(SEQUENCES)), st.integers())
def test_shares_make_up_the_whole_and_do_not_overlap(count, length, seed):
    sequences, shuffler = SEQUENCES[:length], random.Random(seed)
    shares = []
    for which in range(1, count + 1):
        shuffled = shuffler.sample(sequences, length)  # each run lists them in an order of its own
        shares.append(share_of(shuffled, (which, count)))
    assert sorted(sequence for share in shares for sequence in share) == sorted(sequences)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


# -- chosen_sequences --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("subjects", "actions", "expected"),
    [
        (["S1"], ["Walking-1"], ["S1 Walking-1"]),
        (["S9", "S1"], ["Walking"], ["S9 Walking-1", "S9 Walking-2", "S1 Walking-1", "S1 Walking-2"]),
        (["S1", "S1"], ["Walking-2", "Walking-2"], ["S1 Walking-2"]),
        (["S1"], ["walking-1,GREETING-2"], ["S1 Greeting-2", "S1 Walking-1"]),
    ],
)
def test_sequences_are_chosen_by_subject_and_action(subjects, actions, expected):
    assert [str(sequence) for sequence in chosen_sequences(METADATA, subjects, actions)] == expected


def test_all_actions_are_chosen_where_none_is_named():
    chosen = chosen_sequences(METADATA, SUBJECTS_WITH_GROUND_TRUTH, [])
    assert chosen == SEQUENCES and len(chosen) == 7 * 30


@pytest.mark.parametrize(
    ("action", "remedy"),
    [
        ("Walking-3", "did you mean Walking, Walking-1 or Walking-2?"),
        ("Photo", "did you mean TakingPhoto?"),  # as VideoPose3D has it
        ("WalkDog", "did you mean WalkingDog, WalkingDog-1 or WalkingDog-2?"),
        *((text, "choose from Directions, Discussion, Eating, ") for text in ("_ALL-1", "", ",")),
    ],
)
def test_action_that_does_not_exist_is_an_error_with_the_nearest(action, remedy):
    with pytest.raises(UsageError) as raised:
        chosen_sequences(METADATA, ["S1"], ["Walking-1", action])
    message = str(raised.value)
    assert message.startswith(f"--actions: unknown {action!r}; {remedy}") and "Directions-1" not in message


# -- plan and report ---------------------------------------------------------------------------------------------------


def options_of(root, *options):
    return process_all.read_options(process_all.build_parser().parse_args(["--root", str(root), *options]), METADATA)


def test_options_of_a_run_are_those_of_its_command_line(tmp_path):
    options = options_of(tmp_path)
    assert options == Options(
        tmp_path.resolve(), METADATA.camera_ids, options.rule, False, True, True, False, False, METADATA.camera_ids
    )
    assert options.rule.label == "select_frame_indices_to_include"
    options = options_of(tmp_path, "--correct-s9", "--no-segments", "--preview", "--every", "5", "--replace")
    assert (options.correct_s9, options.segments, options.preview, options.replace) == (True, False, True, True)
    assert options.rule.text == rule_of_options([5], None, process_all.select_frame_indices_to_include).text


def test_cameras_are_used_in_the_order_of_the_metadata(tmp_path):
    first, second = METADATA.camera_ids[:2]
    assert options_of(tmp_path, "--cameras", f"{second},{first}", second).cameras == (first, second)


@pytest.mark.parametrize(
    ("subject", "expected"), [("S9", [0, 64, 128]), ("S11", [0, 64, 128]), ("S1", [0, 40, 80, 120])]
)
def test_rule_at_the_top_of_the_script_is_the_one_it_describes(subject, expected):
    poses = np.zeros((130, 32, 3))
    poses[:, 5, 1] = np.arange(130)
    assert process_all.select_frame_indices_to_include(subject, poses).tolist() == expected


REQUIRED_KINDS = (POSES_2D, POSES_3D, POSES_3D_UNIVERSAL, VIDEOS)


def put_files(root, *sequences, kinds=REQUIRED_KINDS):
    for sequence in sequences:
        for kind in kinds:
            file = unpacked_file(root, sequence, kind, METADATA.camera_ids[0])
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(bytes(3 * plan.BYTES_OF_POSE))


def test_plan_takes_sequences_with_files_and_names_those_without(tmp_path):
    with_files, without, elsewhere = (SEQUENCES[number] for number in (0, 1, 30))
    put_files(tmp_path, with_files)
    found = plan.plan_run([with_files, without, elsewhere, SEQUENCES[31]], options_of(tmp_path))
    assert (found.lengths, found.sequences[Work.MAKE], found.done) == ({with_files: 3}, [with_files], 0)
    assert len(found.problems) == 2, "one for the sequence, one for the subject"
    assert found.problems[0].startswith("S5: ") and str(without) in found.problems[1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_deeper", [True, False])
def test_plan_names_folders_without_their_files(tmp_path, kind, is_deeper):
    """Boxes would only be noted as missing, view by view, and end with status 0."""
    put_files(tmp_path, SEQUENCES[0], kinds=[each for each in REQUIRED_KINDS if each != kind])
    file = unpacked_file(tmp_path, SEQUENCES[0], kind, METADATA.camera_ids[0])
    file.parent.mkdir(exist_ok=True)
    if is_deeper:
        (file.parent / "S1" / "x").mkdir(parents=True)
        (file.parent / "S1" / "x" / file.name).touch()
    found = plan.plan_run(SEQUENCES[:1], options_of(tmp_path))
    assert found.problems == [
        f"{file.parent}: its {file.suffix} files are not at the top of this folder; run extract_all.py"
    ]
    assert list(found.lengths) == ([] if kind in REQUIRED_KINDS else SEQUENCES[:1])
    if kind in (BOXES, PART_LABELS):
        assert plan.plan_run(SEQUENCES[:1], options_of(tmp_path, "--no-segments")).problems == []


def test_plan_with_all_sequences_done_does_not_look_into_folders(tmp_path, monkeypatch):
    """Unpacked files may be deleted when their sequences are done."""
    unpacked_folder(tmp_path, Archive(VIDEOS, "S1")).mkdir(parents=True)
    monkeypatch.setattr(plan, "decide", lambda sequence, options: Decision(Work.NOTHING, options))
    found = plan.plan_run(SEQUENCES[:2], options_of(tmp_path))
    assert (found.lengths, found.done, found.problems) == ({}, 2, [])


def test_what_sequences_come_without_is_said_once_for_each_subject(tmp_path):
    put_files(tmp_path, SEQUENCES[0])
    unpacked_folder(tmp_path, Archive("Segments_mat_gt_bb", "S1")).mkdir()
    said = []
    process_all.announce(SEQUENCES[:3], options_of(tmp_path), METADATA, said.append)
    assert [line.rpartition(" ")[2] for line in said] == ["pose/3d-world", "partLabels"]
    said.clear()
    process_all.announce(SEQUENCES[:3], options_of(tmp_path, "--no-segments"), METADATA, said.append)
    assert [line.rpartition(" ")[2] for line in said] == ["pose/3d-world"]


def test_report_adds_up_and_returns_what_failed(tmp_path, capsys):
    one, two, three = SEQUENCES[:3]
    ended = [
        (one, Outcome(4, 40, [], ["a notice"]), None, None),
        (two, None, "it was killed", "a traceback"),
        (three, Outcome(1, 1, ["a problem"], []), None, None),
    ]

    def work_with(*options: str) -> tuple[list[str], str]:
        arguments = process_all.build_parser().parse_args(["--root", "a b", *options])
        problems = do_work(lambda count: ended, dict.fromkeys(SEQUENCES[:3], 9), tmp_path, arguments)
        return problems, capsys.readouterr().out

    problems, output = work_with()
    assert problems == [f"{two}: it was killed", "a problem"]
    a_notice, *summary, next_line = output.splitlines()
    assert (a_notice, summary) == (
        "a notice",
        [
            "2 of 3 sequences processed in 00:00; 1 failed",
            f"41 frames of 5 views written (0 bytes) to {tmp_path / 'processed'}",
        ],
    )
    assert next_line.startswith("next: python3 ") and "export_all.py FORMAT --root 'a b'  #" in next_line
    assert "a traceback" in work_with("--debug")[1]
    assert work_with("--debug", "--quiet")[1] == ""


@pytest.mark.parametrize(("options", "part"), [((), 2.2 / 3.25), (("--every", "5"), 0.5), (("--no-images",), 0.5)])
def test_bar_counts_frames_by_what_they_take(tmp_path, monkeypatch, options, part):
    """By the default rule, more images are made of S1 than of S9; what was counted is not counted again at the end."""
    train, test = (next(each for each in SEQUENCES if each.subject == subject) for subject in ("S1", "S9"))
    bars = []
    monkeypatch.setattr(report, "Progress", lambda *words, **more: bars.append(Progress(*words, **more)) or bars[0])

    def start(count):
        count(train, 700)
        yield train, Outcome(4, 40, [], []), None, None
        assert bars[0].n / bars[0].total == pytest.approx(part, abs=0.01)
        count(test, 2000)
        yield test, None, "it was killed", None

    do_work(start, {train: 1000, test: 1000}, tmp_path, process_all.build_parser().parse_args([*options]))
    assert bars[0].n == pytest.approx(bars[0].total)
