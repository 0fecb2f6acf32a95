#!/usr/bin/env python3
"""Measure what boxes and part labels of 50 frames cost, out of files of 3000 full-size cells:

    python3 benchmarks/segments.py

makes the two files, and prints medians of wall seconds against those of reading the same cells with h5py and doing
nothing with them, and how much memory it takes above that of a process that has only imported everything. Takes half a
minute on two cores.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
from machine import ROOT, machine
from PIL import Image

from demo import figure
from demo.release import add_cell, box_mask, open_mat
from h36m.cameras import to_camera
from h36m.files.segments import BOX_VARIABLE, PART_LABEL_VARIABLE, read_boxes, read_cells
from h36m.metadata import load_metadata
from h36m.process.part_labels import PALETTE, write_part_labels

SIZE = (1002, 1000)  # height, width
CELLS, WANTED = 3000, 50
# Drawing takes longer than anything else here, so the poses repeat.
DIFFERENT_POSES = 110
FRAMES = np.linspace(0, CELLS - 1, WANTED).astype(int)
TIME_TARGET, MEMORY_TARGET_MB = 1.5, 150


def make_files(folder: Path) -> None:
    """Write Masks.mat and Feat.mat of a synthetic figure that walks in front of a camera."""
    metadata = load_metadata()
    camera = metadata.cameras["S1", metadata.camera_ids[0]]
    world = figure.poses_in_world(DIFFERENT_POSES, walks=True, size=1.0, parents=metadata.joint_parents, start=0.0)
    labels = [figure.draw_part_labels(pose, camera, SIZE) for pose in to_camera(world, camera)]
    for variable, arrays in ((BOX_VARIABLE, list(map(box_mask, labels))), (PART_LABEL_VARIABLE, labels)):
        with open_mat(folder / f"{variable}.mat", variable, CELLS) as mat:
            for number in range(CELLS):
                add_cell(mat, variable, number, arrays[number % DIFFERENT_POSES])


def read_only(files: Path) -> None:
    """Read the wanted cells of both files with h5py."""
    for variable in (BOX_VARIABLE, PART_LABEL_VARIABLE):
        with h5py.File(files / f"{variable}.mat") as mat:
            cells = mat[variable]
            for frame in FRAMES:
                mat[cells[frame, 0]][...]


def boxes_and_labels(files: Path) -> None:
    """Read boxes and part labels as process_all.py does, and discard them."""
    boxes, *told = read_boxes(files / f"{BOX_VARIABLE}.mat", FRAMES, SIZE)
    labels = [
        cell.array.max() for cell in read_cells(files / f"{PART_LABEL_VARIABLE}.mat", PART_LABEL_VARIABLE, FRAMES, SIZE)
    ]
    if any(told) or (boxes < 0).any() or not all(labels):
        raise SystemExit(f"the synthetic files should be valid: {told}")


def boxes_and_images(files: Path, folder: Path) -> None:
    """Do all that process_all.py does with the segments of a view, writing the images included."""
    read_boxes(files / f"{BOX_VARIABLE}.mat", FRAMES, SIZE)
    write_part_labels(files / f"{PART_LABEL_VARIABLE}.mat", FRAMES, SIZE, folder)


def boxes_and_plain_images(files: Path, folder: Path) -> None:
    """Do the same with h5py and with Pillow's defaults."""
    with h5py.File(files / f"{BOX_VARIABLE}.mat") as mat:
        for frame in FRAMES:
            rows, columns = np.nonzero(mat[mat[BOX_VARIABLE][frame, 0]][...].T)
            _ = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    folder.mkdir()
    with h5py.File(files / f"{PART_LABEL_VARIABLE}.mat") as mat:
        for frame in FRAMES:
            image = Image.fromarray(mat[mat[PART_LABEL_VARIABLE][frame, 0]][...].T.copy())
            image.putpalette([value for colour in PALETTE for value in colour])
            image.save(folder / f"img_{frame + 1:06d}.png")


def seconds(function, *arguments) -> float:
    """Return the wall-clock seconds of a call."""
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def memory_above_imports(files: Path, folder: Path) -> float | None:
    """Return by how many MB a process grows at most that does it once; None where there is no /proc (Linux only).

    Not ru_maxrss: it includes the memory of the process before it executed this program.
    """
    code = (
        "import re, sys, PIL.Image, PIL.PngImagePlugin; from pathlib import Path\n"
        "from benchmarks.segments import boxes_and_images\n"
        "def kilobytes(field):\n"
        "    return int(re.search(field + r':\\s+(\\d+)', Path('/proc/self/status').read_text())[1])\n"
        "before = kilobytes('VmRSS')\n"
        "boxes_and_images(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "print(kilobytes('VmHWM') - before)"
    )
    if not Path("/proc/self/status").exists():
        return None
    command = [sys.executable, "-c", code, files, folder]
    return int(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout) / 1024


def main(repeats: int) -> None:
    print(machine("h5py"))
    with tempfile.TemporaryDirectory(prefix="h36m-benchmark-") as temporary:
        folder = Path(temporary)
        make_files(folder)
        for variable in (BOX_VARIABLE, PART_LABEL_VARIABLE):
            file = folder / f"{variable}.mat"
            print(f"{file.name}: {CELLS} cells of {SIZE[1]}x{SIZE[0]}, {file.stat().st_size / 1e6:.0f} MB")
        times = {"reading": [], "boxes and labels": [], "images": [], "plain images": []}
        for number in range(repeats):  # in turns, so that other load on the machine affects all alike
            times["reading"].append(seconds(read_only, folder))
            times["boxes and labels"].append(seconds(boxes_and_labels, folder))
            times["images"].append(seconds(boxes_and_images, folder, folder / f"images {number}"))
            times["plain images"].append(seconds(boxes_and_plain_images, folder, folder / f"plain {number}"))
        memory = memory_above_imports(folder, folder / "once")
    reading, labels, images, plain = (statistics.median(values) for values in times.values())
    print(f"{WANTED} boxes and part labels of {WANTED} frames, medians of {repeats}:")
    print(f"  reading these cells with h5py               {reading:.3f} s")
    print(f"  boxes and part labels, in memory            {labels:.3f} s")
    print(f"  ratio                                       {labels / reading:.2f}  (target: at most {TIME_TARGET})")
    print(f"  boxes, and part labels written as PNG       {images:.3f} s")
    print(f"  the same with h5py and Pillow as it comes   {plain:.3f} s")
    if memory is not None:
        print(f"  memory above the imports                    {memory:.0f} MB  (target: at most {MEMORY_TARGET_MB})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9, help="default: 9")
    main(parser.parse_args().repeats)
