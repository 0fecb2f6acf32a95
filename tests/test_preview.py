"""The preview: everything is drawn where the numbers say, and nothing else is drawn."""

import h5py
import numpy as np
import pytest
from PIL import Image

from h36m.dataset import MOVING_JOINTS
from h36m.metadata import load_metadata
from h36m.process.preview import BOX, LEFT, MIDDLE, PALETTE, RIGHT, TILE, TITLE_HEIGHT, bones, draw_preview

GREY, SIZE = 100, 400
LABEL = tuple((value + GREY) // 2 for value in PALETTE[8])
METADATA = load_metadata()
JOINT = {name: index for index, name in enumerate(METADATA.joint_names)}


def write_folder(folder, cameras=(54138969,), frames=(1,), box=(100, 50, 300, 350), labels=True):
    """Write a processed sequence of grey pictures, with a figure whose right and left side are lines of their own."""
    pose = np.zeros((32, 2))
    pose[:] = (200, 40)
    # 320 pixels tall: the preview shows 1.25 times that, which is all of the picture.
    pose[[JOINT["RightUpLeg"], JOINT["RightLeg"], JOINT["RightFoot"]]] = [(150, 200), (150, 280), (150, 360)]
    pose[[JOINT["LeftUpLeg"], JOINT["LeftLeg"], JOINT["LeftFoot"]]] = [(250, 200), (250, 280), (250, 360)]
    rows = [(camera, frame) for camera in cameras for frame in frames]
    folder.mkdir()
    with h5py.File(folder / "annot.h5", "w") as annotations:
        annotations["camera"], annotations["frame"] = np.array(rows).T
        annotations["pose/2d"] = np.stack([pose] * len(rows))
        if box:
            annotations["bbox"] = np.array([box] * len(rows), dtype=np.int32)
        annotations.attrs["joint_names"] = list(METADATA.joint_names)
        annotations.attrs["joint_parents"] = list(METADATA.joint_parents)
        annotations.attrs["sequence"] = "S1 Walking-1"
    part = np.zeros((SIZE, SIZE), np.uint8)
    part[120:160, 190:230] = 8
    for camera, frame in rows:
        image = folder / f"imageSequence/{camera}/img_{frame:06d}.jpg"
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (SIZE, SIZE), (GREY,) * 3).save(image, quality=95)
        if labels:
            file = folder / f"partLabels/{camera}/img_{frame:06d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(part).save(file)
    return folder


def colour_at(sheet: Image.Image, x: float, y: float) -> np.ndarray:
    """Return the colour that the first picture of a sheet has where its frame has pixel x, y."""
    zoom = TILE / SIZE
    return np.array(sheet.getpixel((round(x * zoom), TITLE_HEIGHT + round(y * zoom))))


def is_about(colour, expected) -> bool:
    """Return whether a colour is more like this one than like any other that is drawn; edges are blurred."""
    drawn = {RIGHT, LEFT, MIDDLE, BOX, LABEL, (GREY,) * 3}
    assert expected in drawn
    return min(drawn, key=lambda other: np.linalg.norm(colour - np.array(other))) == expected


def test_skeleton_box_and_part_labels_lie_where_annotations_say(tmp_path):
    sheet = draw_preview(write_folder(tmp_path / "a"))
    assert is_about(colour_at(sheet, 150, 320), RIGHT)
    assert is_about(colour_at(sheet, 250, 320), LEFT)
    for x, y in ((101, 200), (299, 200), (120, 51), (120, 349)):
        assert is_about(colour_at(sheet, x, y), BOX)
    assert is_about(colour_at(sheet, 220, 140), LABEL)
    for x, y in ((60, 200), (340, 200), (120, 300), (130, 20), (130, 380)):
        assert is_about(colour_at(sheet, x, y), (GREY,) * 3)


@pytest.mark.parametrize("box", [None, (-1, -1, -1, -1)], ids=["no boxes", "no box of this frame"])
def test_what_is_not_there_is_not_drawn(tmp_path, box):
    sheet = draw_preview(write_folder(tmp_path / "a", box=box, labels=False))
    for x, y in ((101, 200), (299, 200), (220, 140)):
        assert is_about(colour_at(sheet, x, y), (GREY,) * 3)
    assert is_about(colour_at(sheet, 150, 320), RIGHT)


@pytest.mark.parametrize(("cameras", "frames", "columns", "rows"), [(1, 1, 1, 1), (4, 2, 4, 2), (4, 90, 4, 3)])
def test_cameras_stand_beside_and_up_to_three_moments_below_each_other(tmp_path, cameras, frames, columns, rows):
    names = [int(camera) for camera in METADATA.camera_ids[:cameras]]
    sheet = draw_preview(write_folder(tmp_path / "a", names, range(1, frames + 1)))
    assert (sheet.width // TILE, (sheet.height - TITLE_HEIGHT) // TILE) == (columns, rows)


@pytest.mark.parametrize(
    ("offset", "seen"),
    [(150, [(300, 370, RIGHT), (60, 200, None)]), (-150, [(100, 100, LEFT), (60, 300, None)]), (2000, [])],
    ids=["at the lower right", "at the upper left", "outside"],
)
def test_figure_at_the_edge_or_outside_is_drawn_where_visible(tmp_path, offset, seen):
    """What is shown is all of the picture then, with the part of the skeleton that is in it."""
    folder = write_folder(tmp_path / "a", box=None, labels=False)
    with h5py.File(folder / "annot.h5", "r+") as annotations:
        annotations["pose/2d"][...] += offset
    sheet = draw_preview(folder)
    for x, y, colour in seen:
        assert is_about(colour_at(sheet, x, y), colour or (GREY,) * 3), (x, y)
    picture = np.array(sheet)[TITLE_HEIGHT : TITLE_HEIGHT + TILE, :TILE].astype(int)
    is_drawn = bool((abs(picture - GREY) > 60).any())
    assert is_drawn == bool(seen)


def test_bones_connect_moving_joints_in_the_colour_of_their_side():
    lines = bones(METADATA.joint_names, METADATA.joint_parents)
    assert len(lines) == 16 and {joint for joint, _, _ in lines} == set(MOVING_JOINTS) - {JOINT["Hips"]}
    colours = {METADATA.joint_names[joint]: colour for joint, _, colour in lines}
    assert {name for name, colour in colours.items() if colour == RIGHT} == {
        *("RightUpLeg", "RightLeg", "RightFoot", "RightArm", "RightForeArm", "RightHand")
    }
    assert {name for name, colour in colours.items() if colour == LEFT} == {
        *("LeftUpLeg", "LeftLeg", "LeftFoot", "LeftArm", "LeftForeArm", "LeftHand")
    }
    assert {joint for joint, _, colour in lines if colour == MIDDLE} == {12, 13, 14, 15}
