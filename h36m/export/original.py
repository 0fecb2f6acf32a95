"""The archives' own tree, as links into extracted/, and metadata.xml.

S1/MyPoseFeatures/D3_Positions -> ../../../../extracted/S1/Poses_D3_Positions
metadata.xml, Release-v1.2/metadata.xml
"""

import shutil

from h36m.dataset import EXTRACTED, KIND_FACTS, Archive, unpacked_folder
from h36m.export.links import link_to
from h36m.export.shared import Job
from h36m.metadata import METADATA_FILE
from h36m.storage import fault_of, is_absent

READ_BY = "VideoPose3D's script for source CDF files, PosePile"
KINDS = tuple(KIND_FACTS)
USES_PROCESSED = False


def export(job: Job) -> int:
    """Link the folder of each kind that is unpacked. A kind that no subject has is not needed, and not missing.

    Returns:
        how many folders were linked.
    """
    count = 0
    wanted = [
        kind
        for kind in KINDS
        if not all(is_absent(unpacked_folder(job.root, Archive(kind, subject))) for subject in job.subjects)
    ]
    for subject in job.subjects:
        absent = []
        for kind in wanted:
            folder = unpacked_folder(job.root, Archive(kind, subject))
            if fault := fault_of(folder):
                job.problem(f"{subject}: not linked: {fault}")
            elif not is_absent(folder):
                link_to(job, folder, job.out / subject / KIND_FACTS[kind].inner_folder)
                count += 1
            else:
                absent.append(kind)
        if absent or not wanted:
            where = job.root / EXTRACTED / subject
            job.problem(f"{subject}: {', '.join(absent) or 'left out, nothing'} not in {where}; run extract_all.py")
        for _ in job.metadata.sequences_of(subject):
            job.step()
    for folder in (job.unfinished, job.unfinished / "Release-v1.2"):  # the second as PosePile has it
        folder.mkdir(exist_ok=True)
        shutil.copyfile(METADATA_FILE, folder / METADATA_FILE.name)
    return count
