"""What a run of process_all.py has to do."""

from typing import NamedTuple

from h36m.archives.members import is_in_place
from h36m.dataset import (
    EXTRACTED,
    KIND_FACTS,
    KINDS,
    NEEDED_KINDS,
    POSES_2D,
    PROCESSED,
    TEST_SUBJECTS,
    Archive,
    Sequence,
    unpacked_folder,
)
from h36m.errors import UsageError
from h36m.process.record import Options, input_files, is_wanted
from h36m.process.resume import Work, decide, lines_of, record_rule
from h36m.progress import count_of, size_text
from h36m.storage import fault_of, free_bytes, is_absent

BYTES_OF_POSE = 32 * 2 * 4  # of a frame in a file of 2D poses
# What is known of the real images: all of them, in this quality, took about 200 GB (94 kB each).
BYTES_OF_IMAGE = 100_000
# The rule in process_all.py keeps some 158,000 of 390,000 frames of the training subjects, and one in 64 of the others.
TYPICAL_SHARE, TEST_SHARE = 0.4, 1 / 64
WORDS = {
    Work.NOTHING: "already processed",
    Work.MAKE: "to process",
    Work.EXTEND: "to extend",
    Work.REPLACE: "to replace",
    Work.DRAW: "with a preview to draw",
    Work.REFUSE: "left as it is",
}


class Plan(NamedTuple):
    """What a run has to do."""

    sequences: dict[Work, list[Sequence]]  # by what is to be done with them; without those that cannot be processed
    lengths: dict[Sequence, int]  # of those that workers get: about how many frames their views have
    problems: list[str]  # of sequences that cannot be processed, or are left as they are

    @property
    def done(self) -> int:
        """How many sequences an earlier run has done."""
        return len(self.sequences[Work.NOTHING])


def plan_run(sequences: list[Sequence], options: Options, is_dry: bool = False) -> Plan:
    """Find out which sequences are to be done.

    Args:
        is_dry: write nothing; else it is recorded that an edited rule chooses the same frames as before.

    Raises:
        UsageError: there is no extracted/.
    """
    extracted = options.root / EXTRACTED
    decisions = {sequence: decide(sequence, options) for sequence in sequences}
    kinds: dict[Work, list[Sequence]] = {work: [] for work in Work}
    for sequence, decision in decisions.items():
        kinds[decision.work].append(sequence)
        if decision.same_choice and not is_dry:
            record_rule(sequence, options, decision.same_choice)
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
    problems += lines_of(decisions.values())
    for work in (Work.MAKE, Work.EXTEND, Work.REPLACE):
        kinds[work] = [sequence for sequence in kinds[work] if sequence in lengths]
    return Plan(kinds, lengths, list(dict.fromkeys(problems)))


def images_of(plan: Plan, every: list[int], movement: float | None) -> int | None:
    """Return about how many images a run writes; None where nobody can tell before the poses are read.

    Args:
        every, movement: the options; with neither, it is the rule in process_all.py.
    """
    if movement is not None and 1 not in every:
        return None
    return round(sum(length * expected_share(sequence, every) for sequence, length in plan.lengths.items()))


def expected_share(sequence: Sequence, every: list[int]) -> float:
    """Return about which share of a sequence's frames is kept; see `images_of`."""
    if every:
        return 1 / min(every)
    return TEST_SHARE if sequence.subject in TEST_SUBJECTS else TYPICAL_SHARE


def plan_lines(plan: Plan, options: Options, images: int | None, at_a_time: int | None) -> list[str]:
    """Return in two lines what a run will do, and what is free; and a line where that may not suffice.

    Args:
        images: see `images_of`.
        at_a_time: sequences; None where that is not known yet.
    """
    processed = options.root / PROCESSED
    free = free_bytes(processed)
    counts = {work: len(plan.sequences[work]) for work in WORDS}
    parts = [f"{count:,} {WORDS[work]}" for work, count in counts.items() if count]
    if counts[Work.REFUSE] > 1:
        parts[-1] = f"{counts[Work.REFUSE]:,} left as they are"
    total = count_of(sum(counts.values()), "sequence")
    work = "an unknown number of images"
    if not options.images:
        images, work = 0, "no images"
    elif images is not None:
        work = f"about {count_of(images, 'image')}, {size_text(images * BYTES_OF_IMAGE)}"
    together = f"; {at_a_time} at a time" if at_a_time else ""
    lines = [
        f"plan: {total}: {', '.join(parts) or 'none can be processed'}",
        f"      {work}; {size_text(free)} free in {processed}{together}",
    ]
    if images and images * BYTES_OF_IMAGE > free:
        lines.append("the disk may be too small for that; choose fewer --subjects, or fewer frames (--every)")
    return lines


def sequence_lines(plan: Plan) -> list[str]:
    """Return a line for each sequence of a plan, by name."""
    words = {sequence: WORDS[work] for work in WORDS for sequence in plan.sequences[work]}
    return [f"{sequence}: {words[sequence]}" for sequence in sorted(words)]


def look_at_subject(subject: str, options: Options) -> tuple[list[str], bool]:
    """Return a line for each folder of a subject that cannot be used; whether its sequences can be processed."""
    folder = options.root / EXTRACTED / subject
    if is_absent(folder) or fault_of(folder):
        return [fault_of(folder) or f"{subject}: there is no folder {folder}, see --subjects"], False
    lines, absent, is_possible = [], [], True
    for kind in KINDS:
        facts, place = KIND_FACTS[kind], unpacked_folder(options.root, Archive(kind, subject))
        is_needed = kind in NEEDED_KINDS
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
