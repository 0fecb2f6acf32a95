"""Joint angles, and the exponential maps and positions that belong to them, by tests/facts matrix by matrix."""

import numpy as np
from helpers.facts import table

ANGLES = "Poses_D3_Angles"
SKELETON = table("skeleton_angles.tsv")
PARENTS = [int(row["parent"]) for row in SKELETON]
OFFSETS = np.array([[float(row[f"offset_{axis}"]) for axis in "xyz"] for row in SKELETON])
# Joint -> the columns of its angles about x, y and z, from 0.
CHANNELS = {
    joint: [int(number) - 1 for number in row["channels_x_y_z"].split()]
    for joint, row in enumerate(SKELETON)
    if row["channels_x_y_z"] != "-"
}
ABOUT_X_ONLY, NEVER_TURNED = (2, 4, 7, 9, 18, 26), (20, 22, 28, 30)
# Of the 99 columns.
ALWAYS_ZERO = [
    *(10, 11, *range(16, 21), 25, 26, *range(31, 36), 48, 49, 50),
    *(58, 59, *range(63, 75), 82, 83, *range(87, 99)),
]


def make_angles(count: int, seed: int = 0) -> np.ndarray:
    """Return any angles (count, 78) float32, beyond 180 degrees too; what never turns in the dataset is 0."""
    random = np.random.default_rng(seed)
    angles = random.uniform(-400, 400, (count, 78))
    angles[:, :3] = random.uniform(-2000, 2000, 3) + 10 * random.normal(size=(count, 3)).cumsum(axis=0)
    for joint in (*ABOUT_X_ONLY, *NEVER_TURNED):
        angles[:, CHANNELS[joint][0 if joint in NEVER_TURNED else 1 :]] = 0
    return angles.astype(np.float32)


def matrices(angles: np.ndarray) -> np.ndarray:
    """Return M (frames, 32, 3, 3) of each joint: (Rz Rx Ry) transposed, the identity for joints without angles."""
    found = np.tile(np.eye(3), (len(angles), 32, 1, 1))
    for frame, numbers in enumerate(angles.astype(float)):
        for joint, columns in CHANNELS.items():
            (cx, cy, cz), (sx, sy, sz) = np.cos(np.radians(numbers[columns])), np.sin(np.radians(numbers[columns]))
            about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
            about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
            about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
            found[frame, joint] = (about_z @ about_x @ about_y).T
    return found


def positions(angles: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return the joints (frames, 32, 3), mm, of a body with bones (32) of these lengths, mm."""
    turns = matrices(angles)
    found = np.zeros((len(angles), 32, 3))
    for frame, turn in enumerate(turns):
        whole = [turn[0]]
        found[frame, 0] = angles[frame, :3]
        for joint in range(1, 32):
            parent = PARENTS[joint]
            found[frame, joint] = found[frame, parent] + lengths[joint] * OFFSETS[joint] @ whole[parent]
            whole.append(turn[joint] @ whole[parent])
    return found


def exponential(vectors: np.ndarray) -> np.ndarray:
    """Return the rotations (n, 3, 3) of rotation vectors (n, 3) by the sum of the exponential's series."""
    found = np.tile(np.eye(3), (len(vectors), 1, 1))
    x, y, z = vectors.T
    cross = np.moveaxis(np.array([[0 * x, -z, y], [z, 0 * x, -x], [-y, x, 0 * x]]), -1, 0)
    term = found
    for power in range(1, 40):  # pi ** 40 / 40! is below 1e-28
        term = term @ cross / power
        found = found + term
    return found


def assert_rows(rows: np.ndarray, angles: np.ndarray) -> None:
    """Compare rows (frames, 99) that were written with 7 decimals with the angles (frames, 78) they are made from.

    The rotation vectors are compared by their rotations: two vectors of length pi are one rotation.
    """
    assert rows.shape == (len(angles), 99)
    turns, way = matrices(angles), angles[:, :3].astype(float)
    steps = [turns[frame - 1, 0] @ (way[frame] - way[frame - 1]) for frame in range(1, len(angles))]
    np.testing.assert_allclose(rows[:, :3], [np.zeros(3), *steps], rtol=0, atol=1e-7)
    turns[1:, 0] = turns[1:, 0] @ turns[:-1, 0].swapaxes(1, 2)
    turns[0, 0] = np.eye(3)
    vectors = rows[:, 3:].reshape(-1, 3)
    np.testing.assert_allclose(exponential(vectors), turns.reshape(-1, 3, 3), rtol=0, atol=2e-7)
    assert (np.linalg.norm(vectors, axis=1) <= np.pi + 1e-7).all()
