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

READ_BY = "VideoPose3D's script for source CDF files, PosePile, SPIN"
KINDS = tuple(KIND_FACTS)
USES_PROCESSED = False
OPTIONAL = KINDS


def export(job: Job) -> int:
    """Link the folder of each kind that is unpacked. A kind that no subject has is not needed, and not missing.

    Kinds that only `--kinds` selects are never missing.

    Returns:
        how many folders were linked.
    """
    archives = [Archive(kind, subject) for subject in job.subjects for kind in KINDS]
    there = [archive for archive in archives if not is_absent(unpacked_folder(job.root, archive))]
    faulty = {archive: fault for archive in there if (fault := fault_of(unpacked_folder(job.root, archive)))}
    job.record.problems.extend(f"{archive.subject}: not linked: {fault}" for archive, fault in faulty.items())
    linked = [archive for archive in there if archive not in faulty]
    for archive in linked:
        inner = KIND_FACTS[archive.kind].inner_folder
        link_to(job, unpacked_folder(job.root, archive), job.out / archive.subject / inner)
    wanted = {archive.kind for archive in there}
    by_name = {kind for kind in KINDS if KIND_FACTS[kind].is_by_name_only}
    for subject in job.subjects:
        absent = [kind for kind in KINDS if kind in wanted - by_name and Archive(kind, subject) not in there]
        if absent or not wanted:
            names, where = ", ".join(absent) or "left out, nothing", job.root / EXTRACTED / subject
            job.record.problems.append(f"{subject}: {names} not in {where}; run extract_all.py")
        job.progress.update(len(job.metadata.sequences_of(subject)))
    for folder in (job.unfinished, job.unfinished / "Release-v1.2"):  # the second as PosePile has it
        folder.mkdir(exist_ok=True)
        shutil.copyfile(METADATA_FILE, folder / METADATA_FILE.name)
    return len(linked)
