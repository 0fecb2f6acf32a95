"""h36m/process/resume.py and record.py: what a run has to do, with one thing changed at a time."""

import os
import shutil

import numpy as np
import pytest

from demo.release import write_cdf
from h36m.dataset import (
    ANNOTATIONS_FILE,
    IMAGES,
    KIND_FACTS,
    KINDS,
    PART_LABEL_IMAGES,
    POSES_2D,
    PREVIEW_FILE,
    SEQUENCE_LOCKS,
    SEQUENCE_RECORD,
    UNFINISHED_SEQUENCE,
    Sequence,
    image_name,
    sequence_folder,
    unpacked_file,
)
from h36m.files.poses import read_poses
from h36m.locks import locked
from h36m.process import record, selection
from h36m.process.place import own_files
from h36m.process.plan import plan_lines, plan_run
from h36m.process.record import IMAGE_ENDINGS, Options, input_files, record_sequence, settings_of
from h36m.process.resume import Decision, Work, decide
from h36m.process.selection import FrameRule, rule_of_options

SEQUENCE = Sequence("S9", 5, 2, "Greeting-2", "Greeting")  # one of the shifted
PLAIN = Sequence("S1", 14, 1, "Walking-1", "Walking 1")
CAMERAS = ("54138969", "55011271")
POSES = np.arange(6.0)[:, None, None] * 10 + np.zeros((6, 32, 3))
FRAMES = [0, 3]


def every_third(subject, poses):
    return np.arange(0, len(poses), 3)


def by_other_means(subject, poses):
    return [3, 0]


def other_frames(subject, poses):
    return [0, 2]


def failing(subject, poses):
    raise ValueError("words")


EDITED = FrameRule(every_third, "the text", "a digest")


@pytest.fixture
def options(tmp_path):
    """The options that the sequence was processed with."""
    return Options(
        tmp_path,
        CAMERAS,
        EDITED,
        correct_s9=False,
        images=True,
        segments=True,
        preview=False,
        replace=False,
        all_cameras=CAMERAS,
    )


@pytest.fixture
def process(options):
    """A function that writes a tiny processed sequence, whose images have little more than their last bytes."""

    def process(options=options, problems=(), sequence=SEQUENCE, absent=None):
        for kind in KIND_FACTS:
            for camera in CAMERAS:
                file = unpacked_file(options.root, sequence, kind, camera)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.unlink(missing_ok=True)  # the file of world coordinates is the same for all cameras
                if file.suffix == ".cdf":
                    write_cdf(file, POSES[..., :2] if kind == POSES_2D else POSES)
                else:
                    file.write_bytes(b"a video or a mask")
        if absent:
            absent.unlink()
        folder = sequence_folder(options.root, sequence)
        for camera in options.cameras:
            for name, extension in ((IMAGES, ".jpg"), (PART_LABEL_IMAGES, ".png")):
                (folder / name / camera).mkdir(parents=True)
                for frame in FRAMES:
                    image = folder / name / camera / image_name(frame, extension)
                    image.write_bytes(b"image" + IMAGE_ENDINGS[extension])
        (folder / ANNOTATIONS_FILE).write_bytes(b"annotations")
        frames = dict.fromkeys(options.cameras, FRAMES)
        record_sequence(folder, sequence, options, input_files(sequence, options), frames, CAMERAS[0], list(problems))
        return folder

    return process


def work(options, sequence=SEQUENCE) -> Work:
    return decide(sequence, options).work


def is_done(options, sequence=SEQUENCE) -> bool:
    return work(options, sequence) == Work.NOTHING


def test_sequence_that_was_processed_is_done(process, options):
    assert work(options) == Work.MAKE
    process()
    assert decide(SEQUENCE, options) == Decision(Work.NOTHING, options)


def test_problems_of_an_earlier_run_are_reported_again(process, options):
    """Those of a camera or of boxes only where they are asked for."""
    of_box = f"{SEQUENCE} {CAMERAS[0]}: extracted/S9/Segments_mat_gt_bb/x.mat is damaged"
    of_camera = f"{SEQUENCE} {CAMERAS[1]}: another"
    process(problems=["one", of_box, of_camera])
    assert decide(SEQUENCE, options).problems == ["one", of_box, of_camera]
    assert decide(SEQUENCE, options._replace(cameras=CAMERAS[:1])).problems == ["one", of_box]
    assert decide(SEQUENCE, options._replace(segments=False)).problems == ["one", of_camera]


# -- what a power cut can leave ----------------------------------------------------------------------------------------


def some_image(folder, kind):
    return sorted((folder / kind).glob("*/*"))[1]


@pytest.mark.parametrize("kind", [IMAGES, PART_LABEL_IMAGES])
@pytest.mark.parametrize("length", [0, -1])
def test_empty_or_cut_image_is_to_be_made_again(process, options, kind, length):
    image = some_image(process(), kind)
    image.write_bytes(image.read_bytes()[:length])
    assert work(options) == Work.EXTEND


def test_images_compressed_again_are_left_alone(process, options):
    folder = process()
    for image in folder.glob(f"{IMAGES}/*/*"):
        image.write_bytes(IMAGE_ENDINGS[".jpg"])
    assert is_done(options)
    image.write_bytes(b"cut")
    assert not is_done(options)


@pytest.mark.parametrize("content", [b"", b"cut off"])
def test_empty_or_cut_preview_is_to_be_done(process, options, content):
    (process() / PREVIEW_FILE).write_bytes(content)
    assert is_done(options) and work(options._replace(preview=True)) == Work.DRAW


# Without its record, an annot.h5 may be another program's.
@pytest.mark.parametrize(("name", "expected"), [(ANNOTATIONS_FILE, Work.EXTEND), (SEQUENCE_RECORD, Work.REFUSE)])
@pytest.mark.parametrize("length", [0, 5, -1])
def test_empty_or_cut_annotations_or_record_are_noticed(process, options, name, expected, length):
    file = process() / name
    file.write_bytes(file.read_bytes()[:length])
    assert work(options) == expected
    assert work(options._replace(replace=True)) == Work.REPLACE


# -- other options -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "expected", "with_replace"),
    [
        ({"cameras": CAMERAS[:1]}, Work.NOTHING, Work.REPLACE),
        ({"segments": False}, Work.NOTHING, Work.REPLACE),
        ({"images": False}, Work.NOTHING, Work.REPLACE),
        ({"cameras": CAMERAS[1:], "segments": False, "preview": True}, Work.DRAW, Work.REPLACE),
        ({"rule": rule_of_options([3], None, every_third)}, Work.NOTHING, Work.NOTHING),
        ({"rule": rule_of_options([3, 5], None, every_third)}, Work.EXTEND, Work.REPLACE),
        ({"rule": rule_of_options([], 15.0, every_third)}, Work.EXTEND, Work.REPLACE),
        ({"rule": rule_of_options([], 30.0, every_third)}, Work.REFUSE, Work.REPLACE),
        ({"rule": rule_of_options([6], None, every_third)}, Work.REFUSE, Work.REPLACE),
        ({"rule": EDITED._replace(choose=other_frames)}, Work.REFUSE, Work.REPLACE),
        ({"correct_s9": True}, Work.REFUSE, Work.REPLACE),
        ({"cameras": CAMERAS[:1], "correct_s9": True}, Work.REFUSE, Work.REPLACE),
    ],
    ids=[str(number) for number in range(12)],
)
def test_finished_sequence_grows_or_stays_but_for_replace(process, options, change, expected, with_replace):
    process()
    changed = options._replace(**change)
    assert (work(changed), work(changed._replace(replace=True))) == (expected, with_replace)


def test_sequence_that_grows_keeps_its_cameras_segments_and_preview(process, options):
    (process() / PREVIEW_FILE).write_bytes(IMAGE_ENDINGS[".jpg"])
    less = options._replace(cameras=CAMERAS[1:], segments=False, rule=rule_of_options([1], None, every_third))
    decision = decide(SEQUENCE, less)
    assert decision.work == Work.EXTEND
    assert decision.options == less._replace(cameras=CAMERAS, segments=True, preview=True)
    assert decide(SEQUENCE, less._replace(replace=True)).options == less._replace(replace=True)


def test_images_are_added_to_a_sequence_without(process, options):
    """Its own images are none: what is named like one is a user's, and can be missing."""
    without = options._replace(images=False)
    folder = process(without)
    image = some_image(folder, IMAGES)
    image.unlink()
    assert is_done(without) and decide(SEQUENCE, options) == Decision(Work.EXTEND, options, chosen_by=CAMERAS[0])
    assert not any("img_" in name for name in own_files(folder))
    videos = [path for path in input_files(SEQUENCE, options) if "/Videos/" in path]
    assert len(videos) == 2 and not any("/Videos/" in path for path in input_files(SEQUENCE, without))
    for kind in ("Videos", "Segments_mat_gt_pl"):
        shutil.rmtree(options.root / "extracted" / "S9" / kind)
    assert is_done(without) and work(options) == Work.EXTEND, "the missing videos are to be named"


def test_camera_without_files_is_asked_for_once(process, options):
    """So that its missing files are named; then its problem is recorded."""
    process(options._replace(cameras=CAMERAS[:1]))
    for file in (options.root / "extracted").rglob(f"*{CAMERAS[1]}*"):
        file.unlink()
    assert work(options) == Work.EXTEND


def test_one_line_for_all_that_would_lose_images(process, options):
    process()
    process(sequence=PLAIN)
    fewer = options._replace(rule=rule_of_options([2], None, every_third))
    plan = plan_run([SEQUENCE, PLAIN], fewer)
    assert plan.problems == [
        "2 sequences would lose 4 images (every 3rd frame); add --replace, or rename processed/ first"
    ]
    assert plan_lines(plan, fewer, None, None)[0] == "plan: 2 sequences: 2 left as they are"


def test_correction_that_was_made_is_not_taken_back_unasked(process, options):
    process(options._replace(correct_s9=True))
    assert work(options) == Work.REFUSE and work(options._replace(replace=True)) == Work.REPLACE


def test_correction_does_not_concern_other_sequences(process, options):
    process(sequence=PLAIN)
    assert is_done(options._replace(correct_s9=True), PLAIN)


def test_preview_that_is_not_asked_for_does_no_harm(process, options):
    (process() / PREVIEW_FILE).write_bytes(IMAGE_ENDINGS[".jpg"])
    assert is_done(options) and is_done(options._replace(preview=True))


def test_settings_differ_exactly_where_the_contents_do(options):
    def settings(sequence=SEQUENCE, **changes):
        return settings_of(sequence, options._replace(**changes))

    every_2, every_3 = (rule_of_options([step], None, every_third) for step in (2, 3))
    different = [
        settings(),
        settings(cameras=CAMERAS[:1]),
        settings(correct_s9=True),
        settings(images=False),
        settings(segments=False),
        settings(rule=every_2),
        settings(rule=every_3),
    ]
    assert all(one != other for number, one in enumerate(different) for other in different[:number])
    assert settings() == settings(preview=True) == settings(rule=EDITED._replace(text="x", edited_files="y"))
    assert settings(PLAIN) == settings(PLAIN, correct_s9=True)


def test_format_of_an_older_version_is_left_as_it_is(process, options, monkeypatch):
    process()
    monkeypatch.setattr(record, "FORMAT", record.FORMAT + 1)
    assert work(options._replace(replace=True)) == Work.REPLACE
    assert plan_run([SEQUENCE], options).problems == [
        "1 sequence would change poses or images (processed by another version); add --replace, or rename processed/ "
        "first"
    ]


# -- files in processed/ -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        (ANNOTATIONS_FILE, Work.MAKE),
        (SEQUENCE_RECORD, Work.REFUSE),
        (f"{IMAGES}/{CAMERAS[0]}/img_000001.jpg", Work.EXTEND),
        (f"{IMAGES}/{CAMERAS[1]}/img_000004.jpg", Work.EXTEND),
        (f"{IMAGES}/{CAMERAS[1]}", Work.EXTEND),
        (IMAGES, Work.EXTEND),
        (f"{PART_LABEL_IMAGES}/{CAMERAS[0]}/img_000001.png", Work.EXTEND),
        (PART_LABEL_IMAGES, Work.EXTEND),
    ],
)
def test_sequence_with_something_missing_is_noticed(process, options, missing, expected):
    path = process() / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert work(options) == expected


def test_image_of_another_name_does_not_count(process, options):
    image = process() / IMAGES / CAMERAS[0] / "img_000001.jpg"
    image.rename(image.with_name("img_000000.jpg"))
    assert not is_done(options)


@pytest.mark.parametrize("name", [f"{IMAGES}/{CAMERAS[0]}/img_000002.jpg", f"{PART_LABEL_IMAGES}/{CAMERAS[0]}/x.png"])
def test_more_images_do_no_harm(process, options, name):
    (process() / name).touch()
    assert is_done(options)


def test_sequence_that_a_run_is_at_work_on_is_to_be_done(process, options):
    (process() / UNFINISHED_SEQUENCE).mkdir()
    assert work(options) == Work.MAKE and decide(SEQUENCE, options, is_locked=True).work == Work.NOTHING


# -- files in extracted/ -----------------------------------------------------------------------------------------------


def touch_ctime(file):
    """Change a file's ctime, but neither its content nor its time stamp."""
    before = file.stat()
    while file.stat().st_ctime_ns == before.st_ctime_ns:  # a file system's clock may be coarse
        file.chmod(0o600)
        file.chmod(0o644)
    assert file.stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize("kind", KIND_FACTS)
@pytest.mark.parametrize("change", ["size", "time"])
def test_sequence_with_a_changed_input_is_to_be_done(process, options, kind, change):
    """Kinds that only --kinds selects are not inputs."""
    process()
    file = unpacked_file(options.root, SEQUENCE, kind, CAMERAS[1])
    before = file.stat()
    time = before.st_mtime_ns
    if change == "size":
        with file.open("ab") as longer:
            longer.write(b"x")
    else:
        time += 1_000_000
    os.utime(file, ns=(time, time))
    if kind not in KINDS:
        assert is_done(options)
        return
    assert decide(SEQUENCE, options)._replace(options=None) == Decision(
        Work.EXTEND, None, is_changed=True, chosen_by=CAMERAS[0]
    )
    assert work(options._replace(cameras=CAMERAS[:1])) == Work.EXTEND, "whichever cameras are asked for"


def test_input_that_was_not_there_before_is_to_be_done(process, options):
    video = unpacked_file(options.root, SEQUENCE, "Videos", CAMERAS[1])
    process(absent=video)
    assert is_done(options)
    video.write_bytes(b"a video")
    assert work(options) == Work.EXTEND and not decide(SEQUENCE, options).is_changed


def test_deleted_inputs_are_no_reason_to_do_it_again(process, options):
    process()
    unpacked_file(options.root, SEQUENCE, "Videos", CAMERAS[1]).unlink()
    assert is_done(options)
    assert work(options._replace(rule=rule_of_options([1], None, every_third))) == Work.REFUSE, "images would be lost"
    shutil.rmtree(options.root / "extracted")
    assert is_done(options)


@pytest.mark.skipif(os.name == "nt", reason="Windows notes when a file was made in its place")
def test_change_of_state_counts_only_where_there_was_a_problem(process, options):
    """A video made readable again has its size and time stamp; so has each file of a tree that was copied."""
    process()
    touch_ctime(unpacked_file(options.root, SEQUENCE, "Videos", CAMERAS[0]))
    assert is_done(options)
    shutil.rmtree(sequence_folder(options.root, SEQUENCE))
    process(problems=["the video cannot be read"])
    assert is_done(options)
    touch_ctime(unpacked_file(options.root, SEQUENCE, "Videos", CAMERAS[0]))
    assert work(options) == Work.EXTEND and not decide(SEQUENCE, options).is_changed


def test_segments_that_are_not_wanted_do_not_count(process, options):
    without = options._replace(segments=False)
    process(without)
    unpacked_file(options.root, SEQUENCE, "Segments_mat_gt_bb", CAMERAS[0]).write_bytes(b"another")
    assert is_done(without) and work(options) == Work.EXTEND


# -- an edited rule ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("choose", "done"), [(by_other_means, True), (other_frames, False), (failing, False)])
def test_edited_rule_is_compared_by_its_frames(process, options, monkeypatch, choose, done):
    process()
    monkeypatch.setattr(choose, "__name__", "every_third")  # people edit a function and keep its name
    rule = FrameRule(choose, "another text", "another digest")
    assert work(options._replace(rule=rule)) == (Work.NOTHING if done else Work.REFUSE)


@pytest.mark.parametrize(("text", "done"), [("the text", True), ("another text", False)])
def test_edited_rule_is_compared_by_its_text_without_poses(process, options, monkeypatch, text, done):
    process()
    monkeypatch.setattr(other_frames, "__name__", "every_third")
    for camera in CAMERAS:
        unpacked_file(options.root, SEQUENCE, "Poses_D3_Positions_mono_universal", camera).unlink()
    assert is_done(options._replace(rule=FrameRule(other_frames, text, "another digest"))) == done


@pytest.fixture
def reads(monkeypatch):
    """The files whose poses are read."""
    files = []
    monkeypatch.setattr(selection, "read_poses", lambda file, **more: files.append(file) or read_poses(file, **more))
    return files


def test_rule_with_the_same_frames_reads_poses_once(process, options, reads):
    """Those of one camera: a rule that was not edited reads none."""
    process()
    assert is_done(options) and not reads
    (options.root / "processed" / SEQUENCE_LOCKS).mkdir()
    for rule in (EDITED._replace(edited_files="another digest"), rule_of_options([3], None, every_third)):
        other = options._replace(rule=rule)
        for is_dry, read in ((True, 3), (False, 6), (False, 6)):
            plan_run([SEQUENCE], other, is_dry)
            assert len(reads) == read, "only a dry run records nothing"
        assert is_done(other)
        reads.clear()


def test_rule_is_not_recorded_while_another_run_has_the_sequence(process, options, reads):
    process()
    edited = options._replace(rule=EDITED._replace(edited_files="another digest"))
    locks = options.root / "processed" / SEQUENCE_LOCKS
    locks.mkdir()
    with locked(locks / f"{SEQUENCE}.lock"):
        assert plan_run([SEQUENCE], edited).done and is_done(edited) and len(reads) == 2 * 3


def test_record_of_another_run_is_not_replaced(process, options, monkeypatch):
    """The other run processes the sequence again while this one compares its frames."""
    record = process() / SEQUENCE_RECORD

    def read(file, coordinates):
        record.write_text(record.read_text().replace("the text", "the rule of another run"))
        return POSES

    (options.root / "processed" / SEQUENCE_LOCKS).mkdir()
    monkeypatch.setattr(selection, "read_poses", read)
    assert plan_run([SEQUENCE], options._replace(rule=EDITED._replace(edited_files="another digest"))).done
    assert "the rule of another run" in record.read_text() and "another digest" not in record.read_text()


def test_rule_compared_by_its_text_is_not_recorded(process, options, monkeypatch):
    """It is compared by its frames once the poses exist again."""
    process()
    monkeypatch.setattr(other_frames, "__name__", "every_third")
    edited = options._replace(rule=FrameRule(other_frames, "the text", "another digest"))
    poses = [unpacked_file(options.root, SEQUENCE, "Poses_D3_Positions_mono_universal", each) for each in CAMERAS]
    for file in poses:
        file.rename(file.with_suffix(".away"))
    assert plan_run([SEQUENCE], edited).done
    for file in poses:
        file.with_suffix(".away").rename(file)
    assert work(edited) == Work.REFUSE


def test_rule_is_compared_where_nothing_can_be_written(process, options, read_only):
    read_only(process())
    assert is_done(options._replace(rule=EDITED._replace(edited_files="another digest")))


# -- input_files -------------------------------------------------------------------------------------------------------


def test_input_files_are_those_of_the_cameras_and_of_the_world(process, options):
    assert input_files(SEQUENCE, options) == {}
    process()
    names = input_files(SEQUENCE, options)
    assert len(names) == 6 * len(CAMERAS) + 1
    assert "S9/Poses_D3_Positions/Greeting.cdf" in names and "S9/Videos/Greeting.55011271.mp4" in names
    assert len(input_files(SEQUENCE, options._replace(segments=False))) == 4 * len(CAMERAS) + 1
    assert len(input_files(SEQUENCE, options._replace(cameras=CAMERAS[:1]))) == 7
