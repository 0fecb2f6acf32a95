"""The archives' own tree, as links into extracted/, and metadata.xml.

S1/MyPoseFeatures/D3_Positions -> ../../../../extracted/S1/Poses_D3_Positions
"""

import shutil

from h36m.dataset import EXTRACTED, KIND_FACTS, unpacked_folder
from h36m.export.shared import Job, link_to
from h36m.metadata import METADATA_FILE

READ_BY = "VideoPose3D --from-source-cdf, 3d-pose-baseline since 2020, PosePile, kineo"
KINDS = tuple(KIND_FACTS)
USES_PROCESSED = False


def export(job: Job) -> None:
    """Link the folder of each kind that is unpacked. A kind that no subject has is not wanted, and not missing."""
    wanted = [
        kind for kind in KINDS if any(unpacked_folder(job.root, subject, kind).is_dir() for subject in job.subjects)
    ]
    if not wanted:
        job.problem(f"nothing is unpacked in {job.root / EXTRACTED}; run extract_all.py")
    for subject in job.subjects:
        absent = []
        for kind in wanted:
            folder = unpacked_folder(job.root, subject, kind)
            if folder.is_dir():
                link_to(folder, job.out / subject / KIND_FACTS[kind].inner_folder)
            else:
                absent.append(kind)
        if absent:
            where = job.root / EXTRACTED / subject
            job.problem(f"{subject}: {', '.join(absent)} left out: not in {where}; run extract_all.py")
        for _ in job.metadata.sequences_of(subject):
            job.step()
    shutil.copyfile(METADATA_FILE, job.unfinished / METADATA_FILE.name)
