"""h36m/process/selection.py: the rules against plain loops, and the checks on a rule that a user has edited."""

import importlib.util
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from h36m.process.selection import (
    FRAMES_COMPARED_AT_ONCE,
    FrameRule,
    FrameRuleError,
    chosen_frames,
    digest_of,
    every_frame,
    frames_with_movement,
    ordinal,
    rule_of_options,
)


def poses_of_places(places) -> np.ndarray:
    """Return (frames, 32, 3) where joint 7 is at x = place, in mm, and all others rest."""
    poses = np.zeros((len(places), 32, 3))
    poses[:, 7, 0] = places
    return poses


def moved_by_loop(poses: np.ndarray, millimetres: float) -> list[int]:
    """The rule as it is described: one frame after the other, one joint after the other."""
    chosen = [0]
    for frame in range(1, len(poses)):
        pairs = zip(poses[frame], poses[chosen[-1]], strict=True)
        distances = [np.sqrt(np.sum((now - kept) ** 2)) for now, kept in pairs]
        if max(distances) >= millimetres:
            chosen.append(frame)
    return chosen


# -- the rules ---------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=3 * FRAMES_COMPARED_AT_ONCE), st.integers(1, 60))
def test_movement_chooses_what_the_plain_loop_chooses(steps, millimetres):
    """The steps are whole numbers, so that distances often equal the limit exactly."""
    poses = poses_of_places(np.cumsum(steps))
    found = frames_with_movement(poses, millimetres)
    assert found.tolist() == moved_by_loop(poses, millimetres) and found.dtype == np.int64


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 80), st.integers(0, 2**32 - 1), st.floats(0.1, 60))
def test_movement_of_any_joint_in_any_direction_counts(frames, seed, millimetres):
    poses = np.random.default_rng(seed).normal(0, 4, (frames, 32, 3)).cumsum(axis=0)
    assert frames_with_movement(poses, millimetres).tolist() == moved_by_loop(poses, millimetres)


def test_movement_by_exactly_the_distance_is_kept():
    poses = np.zeros((3, 32, 3))
    poses[1, 31] = 24, 32, 0  # 40 mm from where it was
    poses[2, 31] = 24, 32, 39.99
    assert frames_with_movement(poses, 40).tolist() == [0, 1]


@settings(deadline=None)
@given(st.integers(1, 200), st.one_of(st.integers(1, 250), st.just(10**30)))
def test_every_frame_chooses_0_and_each_step_after_it(count, step):
    found = every_frame(np.zeros((count, 1, 1)), step)
    assert found.tolist() == [index for index in range(count) if index % step == 0] and found.dtype == np.int64


# -- rule_of_options ---------------------------------------------------------------------------------------------------


EDITED_FILE = """
import numpy as np
def choose(subject, poses):
    return {chosen}
"""


@pytest.fixture
def edited(tmp_path):
    """A function that writes an edited rule into a script and returns it, imported from there."""
    number = 0

    def edited(chosen: str):
        nonlocal number
        number += 1  # a module is imported again only from a file of another name
        script = tmp_path / f"script{number}.py"
        script.write_text(EDITED_FILE.format(chosen=chosen))
        spec = importlib.util.spec_from_file_location(script.stem, script)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.choose

    return edited


def test_rules_of_options_choose_and_say_what_they_choose(edited):
    poses = poses_of_places(np.arange(10) * 15.0)
    options = {
        "every 4th frame": ([4], None),
        "every frame": ([5, 1], 40.0),
        "by 40 mm": ([], 40.0),
        "by 2.5 mm": ([], 2.5),
        "every 4th frame; every 22nd frame": ([22, 4, 22], None),
        "every 4th frame; frame 0, then whenever": ([4], 40.0),
    }
    rules = [rule_of_options(*option, edited("[1]")) for option in options.values()]
    chosen = [chosen_frames(pickle.loads(pickle.dumps(rule)), "S1", poses).tolist() for rule in rules]
    every = list(range(10))
    assert chosen == [[0, 4, 8], every, [0, 3, 6, 9], every, [0, 4, 8], [0, 3, 4, 6, 8, 9]]
    for rule, words in zip(rules, options, strict=True):
        assert words in rule.text and rule.label == rule.text and rule.edited_files == ""
    assert len({rule.text for rule in rules}) == len(rules)


@pytest.mark.parametrize(
    "number", ["1st", "2nd", "3rd", "4th", "10th", "11th", "12th", "13th", "21st", "64th", "112th"]
)
def test_ordinals(number):
    assert ordinal(int(number[:-2])) == number


def test_edited_rule_is_known_by_its_name_and_its_files(edited):
    first, same, other = (rule_of_options([], None, edited(chosen)) for chosen in ("[1]", "[1]", "[2]"))
    assert first.label == same.label == other.label == "choose"
    assert "return [1]" in first.text and first.text == same.text != other.text
    assert first.edited_files == same.edited_files != other.edited_files


def test_digest_changes_with_either_file_and_not_with_their_time(tmp_path):
    files = [tmp_path / "a", tmp_path / "b"]
    digests = []
    for contents in ((b"1", b"2"), (b"1", b"2"), (b"3", b"2"), (b"1", b"3")):
        for file, content in zip(files, contents, strict=True):
            file.write_bytes(content)
        digests.append(digest_of(files))
    assert digests[0] == digests[1] and len(set(digests)) == 3


# -- checks on an edited rule ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ("[3, 0, 3]", [0, 3]),
        ("(1,)", [1]),
        ("range(5)", [0, 1, 2, 3, 4]),
        ("np.array([4, 2], dtype=np.uint8)", [2, 4]),
        ("np.flatnonzero(poses[:, 7, 0] > 2)", [3, 4]),
    ],
)
def test_frames_of_an_edited_rule_are_sorted_and_each_once(edited, chosen, expected):
    found = chosen_frames(rule_of_options([], None, edited(chosen)), "S1", poses_of_places(range(5)))
    assert found.tolist() == expected and found.dtype == np.int64


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ("[]", "none"),
        ("None", "returned"),
        ("[0.0, 1.0]", "float64"),
        ("np.ones(5, dtype=bool)", "bool"),
        ("[[0, 1]]", r"\(1, 2\)"),
        ("3", r"\(\)"),
        ("[0, 5]", "0 to 5"),
        ("[-1, 4]", "-1 to 4"),
        ("[[0], [1, 2]]", "ValueError"),  # numpy raises it when it is handed the list
        ("1 // 0", "failed in line 4 of script1.py: ZeroDivisionError"),
    ],
)
def test_wrong_result_of_an_edited_rule_is_an_error_in_one_line(edited, chosen, words):
    with pytest.raises(FrameRuleError, match=words) as raised:
        chosen_frames(rule_of_options([], None, edited(chosen)), "S1", poses_of_places(range(5)))
    assert "\n" not in str(raised.value) and str(raised.value).startswith("choose()")


def test_edited_rule_that_centres_poses_in_place_changes_a_copy():
    def choose(subject, poses):
        poses -= poses[:, :1]
        return [len(subject)]

    poses = poses_of_places(range(5))
    poses[:, 0] = 100
    before = poses.copy()
    assert chosen_frames(FrameRule(choose, "text", "digest"), "S11", poses).tolist() == [3]
    np.testing.assert_array_equal(poses, before)
