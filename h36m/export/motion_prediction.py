"""Motion prediction: joint angles as exponential maps, a text file for each sequence.

h3.6m/dataset/S1/walking_1.txt   99 numbers for each pose: step (mm) and turn of the root since the pose before; the
                                 rotation vectors (radians) of joints 1 to 31

A rotation vector is axis x angle of a joint's matrix M, which turns row vectors: a bone b, in the coordinates of its
parent's angles, is b M_parent M_grandparent ... M_root in the world. Jain et al. (2016) made the original files.
"""

import numpy as np

from h36m.dataset import POSES_3D_ANGLES, POSES_3D_WORLD, Sequence, unpack_again, unpacked_file
from h36m.errors import UsageError
from h36m.export.shared import Job, published_poses, unpacked_sequences
from h36m.metadata import Metadata
from h36m.progress import count_of
from h36m.storage import is_absent

READ_BY = "human-motion-prediction (Martinez), LearnTrajDep, HisRepItself, siMLPe, MSRGCN"
KINDS = (POSES_3D_ANGLES, POSES_3D_WORLD)
OPTIONAL = (POSES_3D_WORLD,)  # without them, the angles are not compared
USES_PROCESSED = False

# Two programs read every file in the subjects' folders, so nothing else may be there.
FOLDER = "h3.6m/dataset"
COLUMNS = 99
# Poses of a sequence that are compared with published positions; one suffices to find a wrong order or sign.
CHECKED_POSES = 300
# mm between published positions and those computed from angles. Real ones are 0.0014 apart at most; with another order,
# sign or composition of the angles it is more than 1,500.
MOST_DIFFERENCE = 1


def export(job: Job) -> int:
    """Write each sequence whose angles give its published positions, or whose positions are not unpacked.

    Returns:
        how many sequences were exported.

    Raises:
        UsageError: metadata.xml does not say which angles belong to which joint.
    """
    if not job.metadata.angle_channels:
        raise UsageError("metadata.xml has no <skel_angles>, which this format needs; restore the project's own")
    differences, unchecked = [], []
    for sequence in unpacked_sequences(job, (POSES_3D_ANGLES,)):
        angles = published_poses(job, sequence, POSES_3D_ANGLES)
        if angles is None:
            continue
        quaternions = joint_quaternions(angles, job.metadata)
        vectors = rotation_vectors(quaternions)
        if is_absent(unpacked_file(job.root, sequence, POSES_3D_WORLD, "")):
            unchecked.append(sequence)
        elif (difference := difference_from_positions(job, sequence, angles, vectors)) is not None:
            differences.append(difference)
        else:
            continue
        file = job.unfinished / FOLDER / sequence.subject / f"{sequence.name.lower().replace('-', '_')}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text_of(rows_of(angles, quaternions, vectors)), encoding="ascii", newline="\n")
    job.record.notices.extend(notices_of(differences, unchecked))
    return len(differences) + len(unchecked)


def notices_of(differences: list[float], unchecked: list[Sequence]) -> list[str]:
    """Return a line about the sequences that were compared with their positions, and one about the others."""
    notices = []
    if differences:
        notices.append(
            f"angles of {count_of(len(differences), 'sequence')} checked: positions computed from them differ from "
            f"{POSES_3D_WORLD} by at most {max(differences):.4f} mm"
        )
    if unchecked:
        subjects = ", ".join(dict.fromkeys(sequence.subject for sequence in unchecked))
        notices.append(
            f"angles of {count_of(len(unchecked), 'sequence')} of {subjects} not checked: no {POSES_3D_WORLD} of them; "
            f"download and unpack these (--kinds {POSES_3D_WORLD}) and export again"
        )
    return notices


# -- the proof ---------------------------------------------------------------------------------------------------------


def difference_from_positions(job: Job, sequence: Sequence, angles: np.ndarray, vectors: np.ndarray) -> float | None:
    """Return how far published positions are from those computed from the angles, at most, mm.

    No public file shows in which order the angles are; this shows it for the user's own files.

    Args:
        angles: (poses, 78), as published.
        vectors: (poses, 32, 3), of all joints.

    Returns:
        at most MOST_DIFFERENCE; None, and a problem, where it is more, or the positions cannot be read, or there is
        another number of them.
    """
    world = published_poses(job, sequence, POSES_3D_WORLD)
    if world is None:
        return None
    fault = f"{len(angles)} angles in {POSES_3D_ANGLES}, {len(world)} poses in {POSES_3D_WORLD}"
    if len(angles) == len(world):
        chosen = np.unique(np.linspace(0, len(world) - 1, CHECKED_POSES).astype(int))
        lengths = np.linalg.norm(world[0] - world[0, job.metadata.joint_parents, :], axis=1)
        computed = positions(angles[chosen, :3], vectors[chosen], lengths, job.metadata)
        difference = float(np.linalg.norm(computed - world[chosen], axis=2).max())
        if difference <= MOST_DIFFERENCE:
            return difference
        fault = f"positions computed from its angles differ from {POSES_3D_WORLD} by up to {difference:,.1f} mm"
    files = [unpacked_file(job.root, sequence, kind, camera="") for kind in (POSES_3D_ANGLES, POSES_3D_WORLD)]
    job.record.problems.append(f"{sequence}: left out: {fault}; {unpack_again(*files)}")
    return None


def positions(root: np.ndarray, vectors: np.ndarray, lengths: np.ndarray, metadata: Metadata) -> np.ndarray:
    """Return the positions of the 32 joints in the world, (poses, 32, 3), mm.

    Args:
        root: (poses, 3), of the root, mm.
        vectors: (poses, 32, 3), rotation vectors of the joints.
        lengths: (32,), of the bones from the joints' parents to them, mm.
    """
    matrices = rotation_matrices(vectors)
    bones = lengths[:, None] * np.array(metadata.bone_directions)
    found, in_world = [root], [matrices[:, 0]]
    for joint, parent in list(enumerate(metadata.joint_parents))[1:]:  # parents come before their children
        found.append(found[parent] + bones[joint] @ in_world[parent])
        in_world.append(matrices[:, joint] @ in_world[parent])
    return np.stack(found, axis=1)


# -- rotations ---------------------------------------------------------------------------------------------------------


def joint_quaternions(angles: np.ndarray, metadata: Metadata) -> np.ndarray:
    """Return the rotation M of each joint as a quaternion w x y z, (poses, 32, 4).

    M is the transpose of Rz Rx Ry, matrices of angles (degrees) that turn column vectors. Quaternions have no trouble
    at 180 degrees, where a vector computed from a matrix loses its digits.
    """
    joints = [joint for joint, channels in enumerate(metadata.angle_channels) if channels]
    half = np.radians(angles[:, [metadata.angle_channels[joint] for joint in joints]]) / 2
    (cx, cy, cz), (sx, sy, sz) = np.moveaxis(np.cos(half), -1, 0), np.moveaxis(np.sin(half), -1, 0)
    quaternions = np.zeros((len(angles), len(metadata.angle_channels), 4))
    quaternions[..., 0] = 1
    quaternions[:, joints, 0] = cz * cx * cy - sz * sx * sy
    quaternions[:, joints, 1] = sz * cx * sy - cz * sx * cy
    quaternions[:, joints, 2] = -cz * cx * sy - sz * sx * cy
    quaternions[:, joints, 3] = -cz * sx * sy - sz * cx * cy
    return quaternions


def rotation_vectors(quaternions: np.ndarray) -> np.ndarray:
    """Return axis x angle (radians, 0 to pi) of unit quaternions: (..., 4) to (..., 3)."""
    w, axis = quaternions[..., :1], quaternions[..., 1:]
    sine = np.linalg.norm(axis, axis=-1, keepdims=True)
    return axis * np.copysign(2 * np.arctan2(sine, abs(w)) / np.where(sine > 0, sine, 1), w)


def rotation_matrices(vectors: np.ndarray) -> np.ndarray:
    """Return the matrices of rotation vectors, by Rodrigues' formula: (..., 3) to (..., 3, 3)."""
    angle = np.linalg.norm(vectors, axis=-1)[..., None, None]
    cross = np.cross(np.eye(3), vectors[..., None, :]) / np.where(angle > 0, angle, 1)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)


# -- rows --------------------------------------------------------------------------------------------------------------


def rows_of(angles: np.ndarray, quaternions: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Return the numbers of each pose, (poses, 99); the root of the first has neither step nor turn.

    Args:
        angles: (poses, 78), as published; the first three are the root's position, mm.
        quaternions: (poses, 32, 4), of the joints.
        vectors: (poses, 32, 3), the same rotations.
    """
    rows = np.zeros((len(angles), COLUMNS))
    steps = np.diff(angles[:, :3], axis=0)
    rows[1:, :3] = (rotation_matrices(vectors[:-1, 0]) @ steps[..., None])[..., 0]
    before, now = quaternions[:-1, 0], quaternions[1:, 0]
    turns = np.empty_like(now)  # M_now times the transpose of M_before
    turns[:, 0] = (now * before).sum(axis=1)
    turns[:, 1:] = before[:, :1] * now[:, 1:] - now[:, :1] * before[:, 1:] - np.cross(now[:, 1:], before[:, 1:])
    rows[1:, 3:6] = rotation_vectors(turns)
    rows[:, 6:] = vectors[:, 1:].reshape(len(angles), -1)
    return rows


def text_of(rows: np.ndarray) -> str:
    """Return the text of a file: 7 decimals, a comma between numbers, a line for each pose.

    Zeros have no sign, where the original files have `-0.0000000` in most columns that never change.
    """
    is_used = (rows != 0).any(axis=0)  # 45 of the 99 columns are 0 in all sequences
    line = ",".join("%.7f" if each else "0.0000000" for each in is_used) + "\n"
    text = "".join([line % tuple(numbers) for numbers in rows[:, is_used].tolist()])
    return text.replace("-0.0000000", "0.0000000")
