"""3d-pose-baseline, as it was before September 2020: a file for each sequence, and the cameras.

h36m/S1/MyPoses/3D_positions/Walking 1.h5   3D_positions (96, frames), world, mm
h36m/cameras.h5                             subject1/camera1/{R, T, f, c, k, p, Name}

For the program since then: h36m/S1/MyPoseFeatures/D3_Positions/Walking 1.cdf, links into extracted/, and
h36m/metadata.xml.
"""

import shutil
from pathlib import Path

import numpy as np

from h36m.dataset import KIND_FACTS, POSES_3D_WORLD, unpacked_file
from h36m.export.links import link_to
from h36m.export.shared import Job, camera_center, canonical_base, sequences_in_world, subject_number
from h36m.files.hdf5 import writing
from h36m.metadata import METADATA_FILE, Metadata

READ_BY = "3d-pose-baseline (Martinez), before and since 2020, and programs that read its h36m.zip"
KINDS = (POSES_3D_WORLD,)
USES_PROCESSED = False


def export(job: Job) -> int:
    """Write all poses of each sequence, joints and coordinates first, and the cameras of all subjects.

    Returns:
        how many sequences were exported.
    """
    count = 0
    folder = job.unfinished / "h36m"
    folder.mkdir()
    for sequence, world in sequences_in_world(job):
        file = folder / sequence.subject / "MyPoses" / "3D_positions" / f"{canonical_base(sequence)}.h5"
        file.parent.mkdir(parents=True, exist_ok=True)
        with writing(file) as h5:
            h5["3D_positions"] = world.reshape(len(world), -1).T
        published = unpacked_file(job.root, sequence, POSES_3D_WORLD, "")
        inner = KIND_FACTS[POSES_3D_WORLD].inner_folder
        link_to(job, published, job.out / folder.name / sequence.subject / inner / f"{canonical_base(sequence)}.cdf")
        count += 1
    write_cameras(folder / "cameras.h5", job.metadata)
    shutil.copyfile(METADATA_FILE, folder / METADATA_FILE.name)
    return count


def write_cameras(file: Path, metadata: Metadata) -> None:
    """Write the cameras; readers expect R transposed, and T as the camera's position: X_camera = R^T' (X - T)."""
    with writing(file) as h5:
        for (subject, camera_id), camera in metadata.cameras.items():
            group = h5.create_group(
                f"subject{subject_number(subject)}/camera{metadata.camera_ids.index(camera_id) + 1}"
            )
            columns = {
                "T": camera_center(camera),
                "f": camera.focal_length,
                "c": camera.principal_point,
                "k": camera.radial,
                "p": camera.tangential,
                "Name": np.frombuffer(camera_id.encode("ascii"), np.uint8).astype(np.uint16),
            }
            group["R"] = camera.rotation.T
            for name, values in columns.items():
                group[name] = values[:, None]
