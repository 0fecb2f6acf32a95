"""SemGCN: the files of VideoPose3D, but with 16 joints in pixels.

data_3d_h36m.npz     positions_3d: subject -> sequence -> (frames, 32, 3) float32, world, m
data_2d_h36m_gt.npz  positions_2d: subject -> sequence -> 4 views of (frames, 16, 2) float32, px; metadata
"""

from h36m.dataset import MOVING_JOINTS
from h36m.export import videopose3d
from h36m.export.shared import Job

READ_BY = "SemGCN, GraFormer, PoseAug, PoseTriplet"
KINDS, USES_PROCESSED = videopose3d.KINDS, videopose3d.USES_PROCESSED

NOSE = 14
JOINTS = tuple(joint for joint in MOVING_JOINTS if joint != NOSE)  # its readers drop it from the poses in the world
# Joints of the 16, from 0.
LEFT, RIGHT = [4, 5, 6, 10, 11, 12], [1, 2, 3, 13, 14, 15]


def export(job: Job) -> int:
    """Write both files; return how many sequences were exported."""
    return videopose3d.write_poses(job, JOINTS, LEFT, RIGHT)
