"""The archives' own tree, as links into extracted/, and metadata.xml.

S1/MyPoseFeatures/D3_Positions -> ../../../../extracted/S1/Poses_D3_Positions
metadata.xml, Release-v1.2/metadata.xml
"""

import shutil

from h36m.dataset import EXTRACTED, KIND_FACTS, unpacked_folder
from h36m.export.links import link_to
from h36m.export.shared import Job
from h36m.metadata import METADATA_FILE

READ_BY = "VideoPose3D's script for source CDF files, 3d-pose-baseline since 2020, PosePile"
KINDS = tuple(KIND_FACTS)
USES_PROCESSED = False


def export(job: Job) -> int:
    """Link the folder of each kind that is unpacked. Kinds that nobody unpacked are no problem.

    Returns:
        how many folders were linked.
    """
    count = 0
    for subject in job.subjects:
        for kind, facts in KIND_FACTS.items():
            folder = unpacked_folder(job.root, subject, kind)
            if folder.is_dir():
                link_to(job, folder, job.out / subject / facts.inner_folder)
                count += 1
            elif not (job.root / EXTRACTED / subject).is_dir():
                job.problem(f"{subject}: left out, no folder {job.root / EXTRACTED / subject}; run extract_all.py")
                break
        for _ in job.metadata.sequences_of(subject):
            job.step()
    for folder in (job.unfinished, job.unfinished / "Release-v1.2"):  # the second as PosePile has it
        folder.mkdir(exist_ok=True)
        shutil.copyfile(METADATA_FILE, folder / METADATA_FILE.name)
    return count
