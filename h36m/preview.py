"""One picture per sequence that shows at a glance whether everything lies where it belongs."""

from pathlib import Path

import h5py
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from h36m import annotations
from h36m.frames import image_name
from h36m.segments import NO_BOX

FRAMES_SHOWN = 4
# Pixels: the skeleton is clear at this size, and 16 such pictures make a sheet that fits on a screen.
TILE = 400
# How much more than the person a picture shows.
MARGIN = 1.5
CAPTION_HEIGHT = 24
# Red green blue: the person's right side warm, the left side cool, as people draw this skeleton.
RIGHT, LEFT, MIDDLE, BOX = (255, 90, 0), (0, 150, 255), (255, 255, 255), (255, 230, 0)
LABEL_OPACITY = 0.5


def draw_preview(folder: Path) -> Image.Image:
    """Draw cameras x frames of a processed sequence: skeleton, box, and part labels half transparent if there are any.

    Args:
        folder: with annot.h5, imageSequence/ and perhaps partLabels/ in it.
    """
    with h5py.File(folder / annotations.FILE_NAME, "r") as file:
        cameras, numbers, poses = file["camera"][...], file["frame"][...], file["pose/2d"][...]
        boxes = file["bbox"][...] if "bbox" in file else np.full((len(numbers), 4), NO_BOX)
        names, parents = list(file.attrs["joint_names"]), list(file.attrs["joint_parents"])
        title = file.attrs["sequence"]
    shown = {camera: _spread(np.flatnonzero(cameras == camera)) for camera in dict.fromkeys(cameras.tolist())}
    columns = max(len(rows) for rows in shown.values())
    sheet = Image.new("RGB", (columns * TILE, len(shown) * (TILE + CAPTION_HEIGHT)))
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=16)
    for line, (camera, rows) in enumerate(shown.items()):
        for column, row in enumerate(rows):
            corner = (column * TILE, line * (TILE + CAPTION_HEIGHT))
            frame = image_name(int(numbers[row]) - 1)
            picture = _draw_frame(folder, str(camera), frame, poses[row], boxes[row], bones(names, parents, poses[row]))
            sheet.paste(picture, (corner[0], corner[1] + CAPTION_HEIGHT))
            draw.text((corner[0] + 6, corner[1] + 2), f"{title}  {camera}  {frame}", fill=MIDDLE, font=font)
    return sheet


def bones(names: list[str], parents: list[int], pose: np.ndarray) -> list[tuple[int, int, tuple[int, int, int]]]:
    """Return (joint, its parent, colour) of the joints that stand apart from their parent.

    Args:
        names, parents: of the 32 joints.
        pose: (32, 2 or 3); several of the 32 always lie on their parent, and no bone is there to draw.
    """
    lines = []
    for joint, parent in enumerate(parents):
        chain = [joint]
        while parents[chain[-1]] != chain[-1]:
            chain.append(parents[chain[-1]])
        # A side is told by the first ancestor that names one: "Site" and "R_Wrist_End" do not say it in full.
        sides = [names[ancestor] for ancestor in chain]
        colour = next(
            (LEFT if "Left" in name else RIGHT for name in sides if "Left" in name or "Right" in name), MIDDLE
        )
        if joint != parent and np.linalg.norm(pose[joint] - pose[parent]) > 1:
            lines.append((joint, int(parent), colour))
    return lines


def _spread(rows: np.ndarray) -> np.ndarray:
    """Return up to FRAMES_SHOWN of some rows, evenly apart, the first and the last among them."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, FRAMES_SHOWN).round().astype(int))]


def _draw_frame(folder: Path, camera: str, frame: str, pose: np.ndarray, box: np.ndarray, lines: list) -> Image.Image:
    with Image.open(folder / "imageSequence" / camera / frame) as image:
        picture = image.convert("RGB")
    labels = folder / "partLabels" / camera / Path(frame).with_suffix(".png").name
    if labels.is_file():
        with Image.open(labels) as image:
            person = Image.fromarray(np.where(np.asarray(image) > 0, round(255 * LABEL_OPACITY), 0).astype(np.uint8))
            picture.paste(image.convert("RGB"), mask=person)
    middle = (pose.min(axis=0) + pose.max(axis=0)) / 2
    reach = MARGIN / 2 * (pose.max(axis=0) - pose.min(axis=0)).max()
    draw = ImageDraw.Draw(picture)
    if tuple(box) != NO_BOX:
        left, top, right, bottom = box.tolist()
        draw.rectangle((left, top, right - 1, bottom - 1), outline=BOX, width=3)
    for joint, parent, colour in lines:
        draw.line([*map(tuple, (pose[parent], pose[joint]))], fill=colour, width=4)
    for joint, _, colour in lines:
        x, y = pose[joint]
        draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=colour, outline=(0, 0, 0))
    return picture.crop((*(middle - reach).round(), *(middle + reach).round())).resize((TILE, TILE))
