"""h36m/files/segments.py function by function, on real MATLAB v7.3 files."""

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.release import add_cell, open_mat
from h36m.errors import TaskError
from h36m.files.segments import (
    BOX_VARIABLE,
    NO_BOX,
    PART_LABEL_VARIABLE,
    Cell,
    box_of_mask,
    compare_count,
    read_boxes,
    read_cells,
    summarize_missing,
)

SIZE = HEIGHT, WIDTH = 6, 9


def mask(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    """Return (6, 9) uint8 with 1 in a box, right and bottom exclusive."""
    array = np.zeros(SIZE, dtype=np.uint8)
    array[top:bottom, left:right] = 1
    return array


def write_cells(file, cells, variable=BOX_VARIABLE, count=None):
    """Write arrays into a file; None for an empty cell, "missing" for one that refers to nothing."""
    with open_mat(file, variable, len(cells) if count is None else count) as mat:
        for number, cell in enumerate(cells):
            if not isinstance(cell, str):
                add_cell(mat, variable, number, cell)
    return file


# -- box_of_mask -------------------------------------------------------------------------------------------------------


@given(st.integers(0, WIDTH - 1), st.integers(0, HEIGHT - 1), st.integers(1, WIDTH), st.integers(1, HEIGHT))
def test_box_of_a_mask_is_the_box_that_was_drawn(left, top, width, height):
    box = left, top, min(left + width, WIDTH), min(top + height, HEIGHT)
    assert box_of_mask(mask(*box)) == box


def test_box_of_an_empty_mask_is_no_box():
    assert box_of_mask(np.zeros(SIZE, dtype=np.uint8)) == NO_BOX == (-1, -1, -1, -1)


# -- read_cells --------------------------------------------------------------------------------------------------------


def test_cells_are_upright_and_those_of_the_wanted_frames(tmp_path):
    arrays = [np.random.default_rng(frame).integers(0, 25, SIZE).astype(np.uint8) for frame in range(4)]
    file = write_cells(tmp_path / "a.mat", arrays, PART_LABEL_VARIABLE)
    cells = list(read_cells(file, PART_LABEL_VARIABLE, np.array([0, 2, 3]), SIZE))
    assert [cell.frame for cell in cells] == [0, 2, 3]
    for cell in cells:
        np.testing.assert_array_equal(cell.array, arrays[cell.frame])
        assert cell.notice is None and cell.problem is None


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (None, "notice"),  # what MATLAB writes for []
        (np.zeros((0, 0), dtype=np.uint8), "notice"),
        (np.zeros((WIDTH, HEIGHT), dtype=np.uint8), "problem"),
        (np.zeros((HEIGHT, WIDTH + 1), dtype=np.uint8), "problem"),
        (np.zeros(SIZE, dtype=np.float64), "problem"),
        (np.zeros(SIZE, dtype=bool), "problem"),
        ("missing", "problem"),
    ],
    ids=["empty", "no element", "lying", "too wide", "float64", "bool", "null reference"],
)
def test_cell_that_is_no_array_of_that_size_says_why(tmp_path, content, field):
    file = tmp_path / "a.mat"
    if isinstance(content, np.ndarray) and not content.size:
        with open_mat(file, BOX_VARIABLE, 1) as mat:
            mat[BOX_VARIABLE][0, 0] = mat["#refs#"].create_dataset("c0", data=content).ref
    else:
        write_cells(file, [content])
    [cell] = read_cells(file, BOX_VARIABLE, [0], SIZE)
    assert cell.array is None and getattr(cell, field) and "\n" not in getattr(cell, field)
    assert getattr(cell, {"notice": "problem", "problem": "notice"}[field]) is None


def test_cell_that_refers_to_a_group_is_a_problem(tmp_path):
    with open_mat(tmp_path / "a.mat", BOX_VARIABLE, 1) as mat:
        mat[BOX_VARIABLE][0, 0] = mat["#refs#"].ref
    [cell] = read_cells(tmp_path / "a.mat", BOX_VARIABLE, [0], SIZE)
    assert cell.array is None and cell.problem


def test_frames_beyond_the_last_cell_have_none(tmp_path):
    file = write_cells(tmp_path / "a.mat", [mask(0, 0, 1, 1)] * 2)
    cells = list(read_cells(file, BOX_VARIABLE, [1, 2, 700], SIZE))
    assert [cell.array is None for cell in cells] == [False, True, True]
    assert [cell.notice for cell in cells] == [None, "only 2 cells", "only 2 cells"]


@pytest.mark.parametrize("damage", ["missing file", "no HDF5", "another variable", "no cell array"])
def test_file_without_cells_is_an_error(tmp_path, damage):
    file = tmp_path / "a.mat"
    if damage == "no HDF5":
        file.write_bytes(b"MATLAB 5.0 MAT-file" * 99)
    elif damage == "another variable":
        write_cells(file, [mask(0, 0, 1, 1)], PART_LABEL_VARIABLE)
    elif damage == "no cell array":
        with h5py.File(file, "w") as mat:
            mat[BOX_VARIABLE] = np.zeros((3, 1))
    with pytest.raises(TaskError, match=r"a\.mat"):
        list(read_cells(file, BOX_VARIABLE, [0], SIZE))


def put_struct(mat, parent, name):
    parent.create_group(name).attrs["MATLAB_class"] = np.bytes_("struct")


def put_huge_cells(mat, parent, name):
    parent.create_dataset(name, (10**12, 1), h5py.ref_dtype, chunks=(1000, 1))


def put_large_chunks(mat, parent, name):
    parent.create_dataset(name, (WIDTH, HEIGHT), "u1", maxshape=(None, None), chunks=(2**15, 2**15), compression=1)


# What replaces the cells -> what the message says was found.
NO_CELL_ARRAYS = {
    "struct": (put_struct, "a struct or group"),
    "type": (lambda mat, parent, name: parent.__setitem__(name, np.dtype("u1")), "a type without values"),
    "nothing": (lambda mat, parent, name: parent.__setitem__(name, h5py.Empty("f8")), "float64 None"),
    "10^12 cells": (put_huge_cells, "a cell array of shape (1000000000000, 1)"),
}


@pytest.mark.parametrize("what", NO_CELL_ARRAYS)
def test_object_in_the_place_of_the_cells_is_named(tmp_path, what):
    put, found = NO_CELL_ARRAYS[what]
    file = write_cells(tmp_path / "a.mat", [mask(0, 0, 1, 1)] * 3)
    with h5py.File(file, "r+") as mat:
        del mat[BOX_VARIABLE]
        put(mat, mat, BOX_VARIABLE)
    boxes, [problem], notices = read_boxes(file, np.arange(3), SIZE)
    assert f"{file}: expected {BOX_VARIABLE} to be a cell array, found {found}" in problem
    assert boxes.tolist() == [list(NO_BOX)] * 3 and notices == []


NO_ARRAYS = {
    "struct": (put_struct, "expected uint8 (9, 6), found a struct or group"),
    "type": (lambda mat, parent, name: parent.__setitem__(name, np.dtype("u1")), "found a type without values"),
    "large chunks": (put_large_chunks, "found an array in chunks of (32768, 32768)"),
    "cells": (lambda mat, parent, name: parent.create_dataset(name, (2, 1), h5py.ref_dtype), "found a cell array"),
}


@pytest.mark.parametrize("what", NO_ARRAYS)
def test_object_in_the_place_of_a_mask_costs_that_frame_only(tmp_path, what):
    put, found = NO_ARRAYS[what]
    file = write_cells(tmp_path / "a.mat", [mask(1, 2, 4, 6)] * 3)
    with h5py.File(file, "r+") as mat:
        put(mat, mat["#refs#"], "other")
        mat[BOX_VARIABLE][1, 0] = mat["#refs#/other"].ref
    boxes, [problem], _ = read_boxes(file, np.arange(3), SIZE)
    assert boxes.tolist() == [[1, 2, 4, 6], list(NO_BOX), [1, 2, 4, 6]]
    assert problem.startswith("1 of 3 frames has no box; the first is frame 1: expected uint8 (9, 6), ")
    assert found in problem


@pytest.mark.parametrize("value", [1, [0, 1], "yes", h5py.Empty("u1")], ids=str)
def test_mark_of_an_empty_cell_may_have_any_type(tmp_path, value):
    file = write_cells(tmp_path / "a.mat", [mask(1, 2, 4, 6)] * 2)
    with h5py.File(file, "r+") as mat:
        mat[mat[BOX_VARIABLE][0, 0]].attrs["MATLAB_empty"] = value
    empty, other = read_cells(file, BOX_VARIABLE, [0, 1], SIZE)
    assert empty.notice == ("an empty cell" if value in (1, [0, 1]) else None)
    assert other.array is not None


def test_cell_array_without_cells_has_none(tmp_path):
    """MATLAB writes its shape in its place, as for an empty cell."""
    file = write_cells(tmp_path / "a.mat", [])
    with h5py.File(file, "r+") as mat:
        del mat[BOX_VARIABLE]
        mat[BOX_VARIABLE] = np.zeros(2, np.uint64)
        mat[BOX_VARIABLE].attrs["MATLAB_empty"] = np.uint8(1)
    assert [cell.notice for cell in read_cells(file, BOX_VARIABLE, [0, 9], SIZE)] == ["only 0 cells"] * 2


@pytest.mark.parametrize(("cells", "reported"), [(120, 0), (110, 0), (130, 0), (109, 1), (131, 1), (1, 1)])
def test_many_cells_more_or_fewer_than_poses_are_reported(tmp_path, cells, reported):
    """Whichever frames were chosen."""
    file = write_cells(tmp_path / "a.mat", [], count=cells)
    notices = compare_count(file, BOX_VARIABLE, 120)
    assert len(notices) == reported
    assert not reported or (notices[0].startswith(f"a.mat has {cells} cell") and "for 120 poses" in notices[0])


# -- read_boxes --------------------------------------------------------------------------------------------------------


def test_boxes_are_one_row_for_each_frame_asked_for(tmp_path):
    cells = [mask(1, 2, 4, 6), mask(0, 0, WIDTH, HEIGHT), None, mask(3, 1, 4, 2), np.zeros(SIZE, dtype=np.uint8)]
    file = write_cells(tmp_path / "a.mat", cells)
    boxes, problems, notices = read_boxes(file, np.array([0, 2, 3, 4, 5]), SIZE)
    assert boxes.tolist() == [[1, 2, 4, 6], list(NO_BOX), [3, 1, 4, 2], list(NO_BOX), list(NO_BOX)]
    assert boxes.dtype == np.int32 and problems == []
    assert len(notices) == 1 and notices[0].startswith("3 of 5 frames have no box; the first is frame 2")


def test_missing_cells_are_summed_up_by_kind():
    without = [Cell(4, None, notice="an empty cell"), Cell(5, None, problem="broken"), Cell(6, None, notice="another")]
    problems, notices = summarize_missing("box", without, 9)
    assert problems == ["1 of 9 frames has no box; the first is frame 5: broken"]
    assert notices == ["2 of 9 frames have no box; the first is frame 4: an empty cell"]
    assert summarize_missing("box", [], 9) == ([], [])
