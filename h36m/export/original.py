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
    """Link the folder of each kind that is unpacked. Kinds that nobody needs to have are no problem where absent."""
    for subject in job.subjects:
        for kind, facts in KIND_FACTS.items():
            folder = unpacked_folder(job.root, subject, kind)
            if folder.is_dir():
                link_to(folder, job.out / subject / facts.inner_folder)
            elif not (job.root / EXTRACTED / subject).is_dir():
                job.problem(f"{subject}: left out: there is no {job.root / EXTRACTED / subject}")
                break
        for _ in job.metadata.sequences_of(subject):
            job.step()
    shutil.copyfile(METADATA_FILE, job.unfinished / METADATA_FILE.name)
