"""What a run of process_all.py has to do."""

from typing import NamedTuple

from h36m.archives.members import is_in_place
from h36m.dataset import EXTRACTED, KIND_FACTS, KINDS, POSES_2D, POSES_3D_WORLD, Archive, Sequence, unpacked_folder
from h36m.errors import UsageError
from h36m.process.record import Options, input_files, is_wanted
from h36m.process.resume import Work, decide, lines_of
from h36m.storage import fault_of, is_absent

BYTES_OF_POSE = 32 * 2 * 4  # of a frame in a file of 2D poses


class Plan(NamedTuple):
    """What a run has to do."""

    sequences: dict[Work, list[Sequence]]  # by what is to be done with them; without those that cannot be processed
    lengths: dict[Sequence, int]  # of those that workers get: about how many frames their views have
    problems: list[str]  # of sequences that cannot be processed, or are left as they are

    @property
    def done(self) -> int:
        """How many sequences an earlier run has done."""
        return len(self.sequences[Work.NOTHING])


def plan_run(sequences: list[Sequence], options: Options) -> Plan:
    """Find out which sequences are to be done.

    Raises:
        UsageError: there is no extracted/.
    """
    extracted = options.root / EXTRACTED
    decisions = {sequence: decide(sequence, options) for sequence in sequences}
    kinds: dict[Work, list[Sequence]] = {work: [] for work in Work}
    for sequence, decision in decisions.items():
        kinds[decision.work].append(sequence)
    waiting = [sequence for work in (Work.MAKE, Work.EXTEND, Work.REPLACE) for sequence in kinds[work]]
    if waiting and is_absent(extracted):
        raise UsageError(f"there is no folder {extracted}; run extract_all.py first, or set --root")
    looks = {subject: look_at_subject(subject, options) for subject in {sequence.subject: None for sequence in waiting}}
    problems = [line for decision in decisions.values() for line in decision.problems]
    problems += [line for lines, _ in looks.values() for line in lines]
    lengths = dict.fromkeys(kinds[Work.DRAW], 0)
    for sequence in waiting:
        files, (_, is_possible) = input_files(sequence, decisions[sequence].options), looks[sequence.subject]
        if files and is_possible:
            poses = (size for name, (size, *_) in files.items() if f"/{POSES_2D}/" in name)
            lengths[sequence] = sum(poses) // BYTES_OF_POSE
        elif is_possible:
            problems.append(f"{sequence}: none of its files ({sequence.base}.*) is in {extracted / sequence.subject}")
    problems += lines_of(decision.refusal for decision in decisions.values() if decision.refusal)
    for work in (Work.MAKE, Work.EXTEND, Work.REPLACE):
        kinds[work] = [sequence for sequence in kinds[work] if sequence in lengths]
    return Plan(kinds, lengths, list(dict.fromkeys(problems)))


def look_at_subject(subject: str, options: Options) -> tuple[list[str], bool]:
    """Return a line for each folder of a subject that cannot be used; whether its sequences can be processed."""
    folder = options.root / EXTRACTED / subject
    if is_absent(folder) or fault_of(folder):
        return [fault_of(folder) or f"{subject}: there is no folder {folder}, see --subjects"], False
    lines, absent, is_possible = [], [], True
    for kind in KINDS:
        facts, place = KIND_FACTS[kind], unpacked_folder(options.root, Archive(kind, subject))
        is_needed = not facts.is_optional and kind != POSES_3D_WORLD
        if not is_wanted(kind, options):
            continue
        if is_absent(place):
            absent += [kind] if is_needed else []
        else:
            fault = fault_of(place)
            if fault or not is_in_place(place, Archive(kind, subject)):  # else, missing boxes would only be noted
                top = f"{place}: its {facts.extension} files are not at the top of this folder; run extract_all.py"
                lines.append(fault or top)
                is_possible &= not is_needed
    if absent:
        lines.append(f"{subject}: left out, no {', '.join(absent)} in {folder}; run extract_all.py")
    return lines, is_possible and not absent
