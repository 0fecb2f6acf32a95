"""Draw one picture per sequence that shows at a glance whether skeletons, boxes and part labels fit the images."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from h36m.dataset import ANNOTATIONS_FILE, IMAGES, MOVING_JOINTS, PART_LABEL_IMAGES, image_name
from h36m.files.hdf5 import reading
from h36m.files.segments import NO_BOX

# Four cameras next to each other, three moments below each other: a sheet that fits on a screen.
FRAMES_SHOWN = 3
# Pixels: the skeleton is clear at this size.
TILE = 360
# Lines are drawn larger and made smaller with the picture, which makes them smooth.
LINES_DRAWN_AT, LINE_WIDTH = 2 * TILE, 5
# The width of a picture, in sizes of the subject.
MARGIN = 1.25
GAP, TITLE_HEIGHT, CAPTION_HEIGHT = 4, 40, 28
TITLE_SIZE, CAPTION_SIZE = 24, 20
# Red green blue: the subject's right side warm, the left side cool, as this skeleton is usually drawn.
RIGHT, LEFT, MIDDLE, BOX = (255, 90, 0), (0, 150, 255), (255, 255, 255), (255, 230, 0)
PAPER, INK, FAINT_INK = (24, 24, 28), (255, 255, 255), (170, 170, 170)
LABEL_OPACITY = 0.5
# 25 colours that the eye tells apart, red green blue: 0 is the background, then the 24 body parts.
PALETTE = (
    (0, 0, 0),
    *((230, 25, 75), (60, 180, 75), (255, 225, 25), (0, 130, 200), (245, 130, 48), (145, 30, 180), (70, 240, 240)),
    *((240, 50, 230), (210, 245, 60), (250, 190, 212), (0, 128, 128), (220, 190, 255), (170, 110, 40), (255, 250, 200)),
    *((128, 0, 0), (170, 255, 195), (128, 128, 0), (255, 215, 180), (0, 0, 128), (128, 128, 128), (255, 255, 255)),
    *((255, 90, 160), (90, 90, 255), (0, 80, 40)),
)


def draw_preview(folder: Path) -> Image.Image:
    """Draw frames x cameras of a processed sequence: skeleton, box, and part labels half transparent if there are any.

    Args:
        folder: with annot.h5, imageSequence/ and, if there are part labels, partLabels/.
    """
    with reading(folder / ANNOTATIONS_FILE) as file:
        cameras, numbers, poses = file["camera"][...], file["frame"][...], file["pose/2d"][...]
        boxes = file["bbox"][...] if "bbox" in file else np.full((len(numbers), 4), NO_BOX)
        lines = bones(list(file.attrs["joint_names"]), file.attrs["joint_parents"].tolist())
        title = file.attrs["sequence"]
    shown = {camera: _spread(np.flatnonzero(cameras == camera)) for camera in dict.fromkeys(cameras.tolist())}
    rows_shown = max(len(rows) for rows in shown.values())
    sheet = Image.new(
        "RGB", (len(shown) * (TILE + GAP) - GAP, TITLE_HEIGHT + rows_shown * (TILE + CAPTION_HEIGHT)), PAPER
    )
    draw = ImageDraw.Draw(sheet)
    _draw_title(draw, title, with_labels=(folder / PART_LABEL_IMAGES).is_dir())
    font = ImageFont.load_default(size=CAPTION_SIZE)
    for column, (camera, rows) in enumerate(shown.items()):
        for line, row in enumerate(rows):
            left, top = column * (TILE + GAP), TITLE_HEIGHT + line * (TILE + CAPTION_HEIGHT)
            frame = image_name(int(numbers[row]) - 1)
            sheet.paste(_draw_frame(folder, str(camera), frame, poses[row], boxes[row], lines), (left, top))
            draw.text((left + 4, top + TILE + 1), f"{camera}  {frame}", fill=FAINT_INK, font=font)
    return sheet


def bones(names: list[str], parents: list[int]) -> list[tuple[int, int, tuple[int, int, int]]]:
    """Return (joint, its parent, colour) of the joints that move on their own and have a parent.

    Args:
        names, parents: of the 32 joints. A parent that does not move on its own is at a joint that does.
    """
    colours = (LEFT if "Left" in name else RIGHT if "Right" in name else MIDDLE for name in names)
    return [
        (joint, parent, colour)
        for joint, (parent, colour) in enumerate(zip(parents, colours, strict=True))
        if joint in MOVING_JOINTS and joint != parent
    ]


def _spread(rows: np.ndarray) -> np.ndarray:
    """Return up to FRAMES_SHOWN of some rows, evenly apart, the first and the last among them."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, FRAMES_SHOWN).round().astype(int))]


def _draw_title(draw: ImageDraw.ImageDraw, title: str, with_labels: bool) -> None:
    """Write the sequence's name and, each in its colour, what the lines are."""
    font = ImageFont.load_default(size=TITLE_SIZE)
    words = [(title, INK), ("right", RIGHT), ("left", LEFT), ("box", BOX)]
    words += [("part labels", FAINT_INK)] if with_labels else []
    x = 8.0
    for word, colour in words:
        draw.text((x, 5), word, fill=colour, font=font)
        x += draw.textlength(word, font=font) + TITLE_SIZE


def _draw_frame(folder: Path, camera: str, frame: str, pose: np.ndarray, box: np.ndarray, lines: list) -> Image.Image:
    with Image.open(folder / IMAGES / camera / frame) as image:
        picture = image.convert("RGB")
    labels = folder / PART_LABEL_IMAGES / camera / Path(frame).with_suffix(".png").name
    if labels.is_file():
        with Image.open(labels) as image:
            person = Image.fromarray(np.where(np.asarray(image) > 0, round(255 * LABEL_OPACITY), 0).astype(np.uint8))
            image.putpalette([value for colour in PALETTE for value in colour])
            picture.paste(image.convert("RGB"), mask=person)
    # The square around the subject, moved into the picture where the subject is at its edge.
    side = min(max(MARGIN * np.ptp(pose, axis=0).max(), 1), *picture.size)
    corner = ((pose.min(axis=0) + pose.max(axis=0) - side) / 2).clip(0, np.array(picture.size) - side)
    zoom = LINES_DRAWN_AT / side
    picture = picture.resize((LINES_DRAWN_AT, LINES_DRAWN_AT), box=(*corner, *(corner + side)))
    draw = ImageDraw.Draw(picture)
    if tuple(box) != NO_BOX:
        edges = (box.reshape(2, 2) - corner) * zoom
        draw.rectangle([tuple(edge) for edge in edges], outline=BOX, width=LINE_WIDTH)
    points = [tuple(point) for point in (pose - corner) * zoom]
    for joint, parent, colour in lines:
        draw.line([points[parent], points[joint]], fill=colour, width=LINE_WIDTH)
    for joint, _, colour in lines:
        x, y = points[joint]
        draw.ellipse((x - LINE_WIDTH, y - LINE_WIDTH, x + LINE_WIDTH, y + LINE_WIDTH), fill=colour, outline=(0, 0, 0))
    return picture.resize((TILE, TILE), Image.Resampling.LANCZOS)
