"""A synthetic figure: its movements, and its appearance in a camera."""

import numpy as np
from PIL import Image, ImageDraw

from h36m.cameras import Camera, project, to_camera

# Offsets from the parent joint in mm, standing: x to the figure's right, y forward, z up. The left mirrors the right.
_LEG = ((130, 0, 0), (0, 0, -440), (0, 0, -440), (0, 150, -30), (0, 70, 0))
_ARM = ((0, 0, 250), (160, 0, -20), (0, 0, -280), (0, 0, -240), (0, 0, 0), (-30, 30, -60), (0, 0, -90), (0, 0, 0))
_MIRROR = np.array([-1, 1, 1])
_TRUNK = ((0, 0, 0), (0, 0, 240), (0, 0, 250), (0, 20, 115), (0, 0, 115))
OFFSETS = np.array([(0, 0, 0), *_LEG, *(_LEG * _MIRROR), *_TRUNK, *(_ARM * _MIRROR), *_ARM], dtype=np.float64)
HEIGHT_OF_HIPS = 920.0

# Limbs as they are drawn: from joint, to joint, radius in mm. A limb's place in this list, from 1, is its part label.
LIMBS = (
    *((0, 12, 130), (12, 13, 125), (13, 14, 60), (14, 15, 100)),
    *((1, 2, 80), (2, 3, 58), (3, 4, 45), (4, 5, 38), (6, 7, 80), (7, 8, 58), (8, 9, 45), (9, 10, 38)),
    *((16, 17, 60), (17, 18, 48), (18, 19, 40), (19, 22, 36), (24, 25, 60), (25, 26, 48), (26, 27, 40), (27, 30, 36)),
)
# Red green blue by part label: the figure's right side warm, the left side cool, both pale, so that half transparent
# part labels show on them.
_MIDDLE, _HEAD, _RIGHT, _LEFT = (120, 120, 130), (224, 190, 170), (205, 165, 145), (145, 160, 200)
COLOURS = np.array(
    [(0, 0, 0), _MIDDLE, _MIDDLE, _HEAD, _HEAD, *[_RIGHT] * 4, *[_LEFT] * 4, *[_LEFT] * 4, *[_RIGHT] * 4],
    dtype=np.uint8,
)

# The frame's number is drawn at the upper left as a row of squares, lowest bit first, white for 1, black for 0.
BITS, SQUARE = 14, 20


def _turn(axis: int, angles: np.ndarray) -> np.ndarray:
    """Return rotations (frames, 3, 3) about one of the axes by angles (frames,) in radians."""
    a, b = [index for index in range(3) if index != axis]
    turns = np.zeros((len(angles), 3, 3))
    turns[:, axis, axis] = 1
    turns[:, a, a] = turns[:, b, b] = np.cos(angles)
    turns[:, b, a] = np.sin(angles)
    turns[:, a, b] = -turns[:, b, a]
    return turns


def poses_in_world(frames: int, walks: bool, size: float, parents: tuple[int, ...], start: float) -> np.ndarray:
    """Return synthetic poses at 50 frames/s: walking around a circle, or standing and waving.

    Args:
        frames: how many.
        walks: or else waves.
        size: of the figure, 1 for the universal skeleton.
        parents: of the 32 joints.
        start: where in the movement to begin, radians.

    Returns:
        (frames, 32, 3), mm, world coordinates.
    """
    phase = start + 2 * np.pi * np.arange(frames) / 55  # a step of about a second
    swing = np.sin(phase) * (0.5 if walks else 0.05)
    angles = {1: swing, 6: -swing, 17: swing * 0.8, 25: -swing * 0.8}
    angles |= {2: -0.5 * np.abs(swing) - 0.1, 7: -0.5 * np.abs(swing) - 0.1, 18: 0.3 + 0 * swing, 26: 0.3 + 0 * swing}
    turns = {joint: _turn(0, angle) for joint, angle in angles.items()}
    if not walks:
        turns[25] = _turn(1, -1.9 - 0.5 * np.sin(1.3 * phase))
        turns[26] = _turn(1, -0.6 - 0.6 * np.sin(2.1 * phase))

    heading = start + 0.18 * (phase - start) * walks
    facing = _turn(2, heading)
    circle = np.array([700.0, 0, 0]) if walks else np.array([100.0, 50.0, 0])
    sway = np.column_stack([0 * phase, 0 * phase, 15 * np.cos(2 * phase)])
    orientation, poses = {0: facing}, np.zeros((frames, len(OFFSETS), 3))
    poses[:, 0] = facing @ circle + sway + np.array([0, 0, HEIGHT_OF_HIPS * size])
    for joint in range(1, len(OFFSETS)):
        parent = parents[joint]
        poses[:, joint] = poses[:, parent] + orientation[parent] @ (OFFSETS[joint] * size)
        orientation[joint] = orientation[parent] @ turns[joint] if joint in turns else orientation[parent]
    return poses


def draw_background(camera: Camera, size: tuple[int, int]) -> np.ndarray:
    """Return an empty background, (height, width, 3) uint8: walls, and a floor with lines every half metre."""
    height, width = size
    rows = np.linspace(200, 130, height)[:, None]
    grain = np.random.default_rng(0).normal(0, 3, (height, width))
    image = Image.fromarray((rows + grain).astype(np.uint8)).convert("RGB")
    draw = ImageDraw.Draw(image)
    along = np.linspace(-2000, 2000, 81)
    for where in range(-2000, 2001, 500):
        for line in (np.column_stack([along, 0 * along + where]), np.column_stack([0 * along + where, along])):
            points = to_camera(np.column_stack([line, 0 * along]), camera)
            points = points[points[:, 2] > 1000]  # behind the camera there is nothing to draw
            draw.line([tuple(point) for point in project(points, camera)], fill=(95, 105, 95), width=2)
    return np.asarray(image)


def draw_part_labels(pose: np.ndarray, camera: Camera, size: tuple[int, int]) -> np.ndarray:
    """Return the part label of each pixel, (height, width) uint8; 0 for the background.

    Args:
        pose: (32, 3), mm, camera coordinates.
        camera: for the projection.
        size: (height, width).
    """
    image = Image.new("L", size[::-1])
    draw = ImageDraw.Draw(image)
    points = project(pose, camera)
    farthest_first = sorted(enumerate(LIMBS, start=1), key=lambda limb: -pose[limb[1][0], 2] - pose[limb[1][1], 2])
    for label, (joint, other, radius) in farthest_first:
        pixels = float(camera.focal_length[0] * radius / pose[joint, 2])
        (x, y), (x2, y2) = points[joint], points[other]
        draw.line((x, y, x2, y2), fill=label, width=round(2 * pixels))
        for end_x, end_y in ((x, y), (x2, y2)):
            draw.ellipse((end_x - pixels, end_y - pixels, end_x + pixels, end_y + pixels), fill=label)
    return np.array(image)


def draw_frame(background: np.ndarray, labels: np.ndarray, number: int) -> np.ndarray:
    """Return a frame of a video, (height, width, 3) uint8: background, figure, and the frame's number as a pattern."""
    image = background.copy()
    rows, columns = np.flatnonzero(labels.any(axis=1)), np.flatnonzero(labels.any(axis=0))
    if len(rows):  # only around the figure: most of the picture is background
        around = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        part = labels[around]
        image[around] = np.where(part[..., None] > 0, COLOURS[part], image[around])
    for bit in range(BITS):
        image[:SQUARE, bit * SQUARE : (bit + 1) * SQUARE] = 255 * (number >> bit & 1)
    return image


def read_frame_number(image: np.ndarray) -> int:
    """Return the number that is drawn in a picture (height, width[, 3]) as a pattern, after any lossy coding."""
    centers = image[SQUARE // 2, SQUARE // 2 : BITS * SQUARE : SQUARE].reshape(BITS, -1)
    return sum(1 << bit for bit, brightness in enumerate(centers.mean(axis=1)) if brightness > 127)
