"""How many frames each real video has: `frame_counts.tsv`, a published fact about the dataset."""

import csv
from pathlib import Path

TABLE = Path(__file__).with_suffix(".tsv")


def read_frame_counts() -> dict[tuple[str, int, int], dict[str, int]]:
    """Return the frames of each video by camera ("54138969"), for each subject ("S1"), action (2 to 16) and subaction.

    Action 1, which has no published poses, is left out.
    """
    with TABLE.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return {
        (row["subject"], int(row["action"]), int(row["subaction"])): {
            camera: int(count) for camera, count in row.items() if camera.isdecimal()
        }
        for row in rows
        if int(row["action"]) > 1
    }
