"""Boxes and part labels from MATLAB v7.3 files: damaged cells, PNG files of part labels, memory."""

import subprocess
import sys
from pathlib import Path

import cv2
import h5py
import imageio.v3
import numpy as np
import pytest
from helpers.scripts import PROJECT
from PIL import Image

from demo.release import add_cell, open_mat
from h36m.files.segments import NO_BOX, read_boxes
from h36m.process.part_labels import write_part_labels

SIZE = (48, 64)  # height, width


def mask_with(top, bottom, left, right):
    mask = np.zeros(SIZE, np.uint8)
    mask[top:bottom, left:right] = 1
    return mask


def write_mat(file: Path, variable: str, cells: list) -> Path:
    with open_mat(file, variable, len(cells)) as mat:
        for number, array in enumerate(cells):
            add_cell(mat, variable, number, array)
    return file


def test_a_cell_whose_compressed_bytes_are_damaged_costs_that_frame_only(tmp_path):
    masks = [mask_with(1, 2, 3, 4 + number) for number in range(3)]
    file = write_mat(tmp_path / "a.mat", "Masks", masks)
    with h5py.File(file) as mat:
        chunk = mat[mat["Masks"][1, 0]].id.get_chunk_info(0)
    content = bytearray(file.read_bytes())
    content[chunk.byte_offset : chunk.byte_offset + chunk.size] = bytes(chunk.size)
    file.write_bytes(content)
    boxes, problems, _ = read_boxes(file, np.array([0, 1, 2]), SIZE)
    assert boxes.tolist() == [[3, 1, 4, 2], [*NO_BOX], [3, 1, 6, 2]]
    assert len(problems) == 1 and "frame 1" in problems[0]


def test_part_labels_are_upright_and_the_same_for_every_reader(tmp_path):
    labels = (np.arange(SIZE[0] * SIZE[1]).reshape(SIZE) % 25).astype(np.uint8)
    other = np.flipud(labels)
    file = write_mat(tmp_path / "a.mat", "Feat", [labels, None, other])
    problems, notices = write_part_labels(file, np.array([0, 1, 2]), SIZE, tmp_path / "labels")
    assert problems == [] and notices == ["1 of 3 frames has no part labels; the first is frame 1: an empty cell"]
    assert sorted(image.name for image in (tmp_path / "labels").iterdir()) == ["img_000001.png", "img_000003.png"]
    for name, expected in (("img_000001.png", labels), ("img_000003.png", other)):
        image = tmp_path / "labels" / name
        for read in (Image.open, lambda file: cv2.imread(str(file), cv2.IMREAD_UNCHANGED), imageio.v3.imread):
            np.testing.assert_array_equal(np.asarray(read(image)), expected, strict=True)
        np.testing.assert_array_equal(cv2.imread(str(image)), np.dstack([expected] * 3))  # as it reads by default


def test_labels_of_no_body_part_are_a_notice(tmp_path):
    cells = [np.full(SIZE, value, np.uint8) for value in (24, 25, 255)]
    file = write_mat(tmp_path / "a.mat", "Feat", cells)
    problems, notices = write_part_labels(file, np.array([0, 1, 2]), SIZE, tmp_path / "labels")
    assert problems == [] and notices == ["2 of 3 frames have part labels above 24; the first is frame 1: 25"]
    with Image.open(tmp_path / "labels/img_000003.png") as image:
        assert (np.asarray(image) == 255).all()


MEASURE = """
import re, sys
from pathlib import Path
import numpy as np
from h36m.files import segments
from h36m.process.part_labels import write_part_labels
from PIL import Image
import PIL.PngImagePlugin
def kilobytes(field):
    return int(re.search(field + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
frames = np.arange(0, 3000, 60)
before = kilobytes("VmRSS")
boxes, problems, notices = segments.read_boxes(Path(sys.argv[1]), frames, (1002, 1000))
assert (problems, notices) == ([], []) and (boxes[:, 0] == frames % 500).all()
assert write_part_labels(Path(sys.argv[2]), frames, (1002, 1000), Path(sys.argv[3])) == ([], [])
print((kilobytes("VmHWM") - before) / 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="a process's peak of memory is read from /proc")
def test_50_of_3000_full_size_cells_take_less_than_150_mb(tmp_path):
    """Cells that are not read all refer to one array: what is measured is the memory of reading the others."""
    files = []
    for variable in ("Masks", "Feat"):
        file = tmp_path / f"{variable}.mat"
        with open_mat(file, variable, 3000) as mat:
            for number in range(0, 3000, 60):
                array = np.zeros((1002, 1000), np.uint8)
                array[100:900, number % 500 : number % 500 + 300] = 1 + (number % 24) * (variable == "Feat")
                add_cell(mat, variable, number, array)
            cells = mat[variable]
            references = cells[...]
            references[~references.astype(bool)] = references[0, 0]
            cells[...] = references
        files.append(file)
    ended = subprocess.run(
        [sys.executable, "-c", MEASURE, *files, tmp_path / "labels"], cwd=PROJECT, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    # At least the two arrays that are in memory at a time, or what is measured is something else.
    assert 1 < float(ended.stdout) < 150
