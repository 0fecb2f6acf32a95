"""VideoPose3D: poses in world coordinates, and their projections, of whole sequences.

data_3d_h36m.npz     positions_3d: subject -> sequence -> (frames, 32, 3) float32, world, m
data_2d_h36m_gt.npz  positions_2d: subject -> sequence -> 4 views of (frames, 17, 2) float32, px; metadata
"""

import numpy as np

from h36m.dataset import MOVING_JOINTS, POSES_2D, POSES_3D_WORLD, unpack_again, unpacked_file
from h36m.export.pickles import write_npz
from h36m.export.shared import MM_PER_M, Job, canonical_base, is_damaged, published_poses, unpacked_sequences

READ_BY = "VideoPose3D, PoseFormer, MHFormer, MixSTE, P-STMO, DLow, HumanMAC"
KINDS = (POSES_3D_WORLD, POSES_2D)
USES_PROCESSED = False

# Joints of the 17, from 0.
LEFT, RIGHT = [4, 5, 6, 11, 12, 13], [1, 2, 3, 14, 15, 16]


def export(job: Job) -> int:
    """Write both files, with the 17 moving joints in pixels; return how many sequences were exported."""
    return write_poses(job, MOVING_JOINTS, LEFT, RIGHT)


def write_poses(job: Job, joints: tuple[int, ...], left: list[int], right: list[int]) -> int:
    """Write both files. One sequence that lacks a view is left out of both: readers stop where only one has it.

    S11's Directions is left out, as everywhere in this format: the video of one of its views was damaged. A view has
    as many poses as there are in the world: one with more is cut, one with fewer costs its sequence.

    Args:
        joints: of the 32, those that the poses in pixels have.
        left, right: which of these are of the left and the right side, in the same order.

    Returns:
        how many sequences were exported.
    """
    positions_3d: dict[str, dict[str, np.ndarray]] = {}
    positions_2d: dict[str, dict[str, list[np.ndarray]]] = {}
    for sequence in unpacked_sequences(job, KINDS):
        if is_damaged(sequence):
            continue
        world = published_poses(job, sequence, POSES_3D_WORLD)
        cameras = job.metadata.camera_ids
        views = [view for each in cameras if (view := published_poses(job, sequence, POSES_2D, each)) is not None]
        if world is None or len(views) < len(cameras):
            continue
        short = [camera for camera, view in zip(cameras, views, strict=True) if len(view) < len(world)]
        if short:
            files = [unpacked_file(job.root, sequence, POSES_2D, camera) for camera in short]
            files.append(unpacked_file(job.root, sequence, POSES_3D_WORLD, ""))
            job.record.problems.append(
                f"{sequence}: left out: fewer poses in {POSES_2D} of {', '.join(short)} than the {len(world)} in "
                f"{POSES_3D_WORLD}; {unpack_again(*files)}"
            )
            continue
        name = canonical_base(sequence)
        positions_3d.setdefault(sequence.subject, {})[name] = (world / MM_PER_M).astype(np.float32)
        positions_2d.setdefault(sequence.subject, {})[name] = [
            view[: len(world), joints].astype(np.float32) for view in views
        ]
    metadata = {"num_joints": len(joints), "keypoints_symmetry": [left, right]}
    write_npz(job.unfinished / "data_3d_h36m.npz", {"positions_3d": positions_3d})
    write_npz(job.unfinished / "data_2d_h36m_gt.npz", {"positions_2d": positions_2d, "metadata": metadata})
    return sum(map(len, positions_3d.values()))
