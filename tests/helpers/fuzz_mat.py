"""MATLAB files with something else in place of an object: cases for fuzzing h36m/files/segments.py."""

import functools
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random

import h5py
import numpy as np

from demo.release import add_cell, open_mat
from h36m.files.segments import BOX_VARIABLE, NO_BOX, compare_count, read_boxes
from h36m.process.part_labels import write_part_labels

SIZE = HEIGHT, WIDTH = 6, 9
CELLS = 4
BOXES = [(1, 2, 3 + number, 5) for number in range(CELLS)]
REFERENCE = h5py.ref_dtype
HUGE = 10**12
# Types that a dataset may have in place of uint8 or references.
TYPES = {
    "int8": np.dtype("i1"),
    "big-endian uint16": np.dtype(">u2"),
    "float16": np.dtype("f2"),
    "float64": np.dtype("f8"),
    "complex": np.dtype("c16"),
    "bool": np.dtype("?"),
    "fixed text": np.dtype("S7"),
    "text": h5py.string_dtype(),
    "ragged": h5py.vlen_dtype(np.uint8),
    "ragged references": h5py.vlen_dtype(REFERENCE),
    "references": REFERENCE,
    "regions": h5py.regionref_dtype,
    "compound": np.dtype([("a", "u1"), ("b", REFERENCE)]),
    "enum": h5py.enum_dtype({"no": 0, "yes": 1}, basetype="u1"),
    "array": np.dtype(("u1", (2, 3))),
    "opaque": np.dtype("V5"),
    "opaque time": h5py.opaque_dtype(np.dtype("M8[s]")),
    "long double": np.dtype("g"),
}
SHAPES = [(), (0,), (1,), (CELLS,), (CELLS, 1), (1, CELLS), (CELLS, 2), (CELLS, 1, 1), (0, 1), (WIDTH, HEIGHT), SIZE]
SHAPES += [(WIDTH, HEIGHT, 1), (HUGE,), (HUGE, 1), (10**6, 10**6), (2**31, 3), (WIDTH, HEIGHT + 1)]


@functools.cache
def bomb() -> bytes:
    """Return some 100 kB that unpack to 100 MB."""
    return zlib.compress(bytes(100 * 2**20))


def write_case(file: Path, chance: Random) -> str:
    """Write a file of masks with one to three things wrong; return what they are."""
    with open_mat(file, BOX_VARIABLE, CELLS) as mat:
        for number, (left, top, right, bottom) in enumerate(BOXES):
            mask = np.zeros(SIZE, np.uint8)
            mask[top:bottom, left:right] = 1
            add_cell(mat, BOX_VARIABLE, number, mask)
        done = []
        for _ in range(chance.choice([1, 1, 1, 2, 3])):
            mutate = chance.choice(MUTATIONS)
            if BOX_VARIABLE in mat and isinstance(mat.get(BOX_VARIABLE), h5py.Dataset):
                done.append(f"{mutate.__name__}: {mutate(mat, chance)}")
    if chance.random() < 0.25:
        done.append(damage_bytes(file, chance))
    return "; ".join(done)


def read_case(file: Path) -> bool:
    """Read a case; return whether everything in it is good. Each fault must be reported in one line."""
    frames = np.arange(CELLS + 1)
    boxes, problems, notices = read_boxes(file, frames, SIZE)
    reported = problems + notices + compare_count(file, BOX_VARIABLE, CELLS)
    assert boxes.shape == (CELLS + 1, 4) and reported, "the frame after the last cell has none"
    assert not any("\n" in line or len(line) > 700 for line in reported), reported
    right = [tuple(box) == expected for box, expected in zip(boxes.tolist(), BOXES, strict=False)]
    labels = file.with_suffix("")
    label_problems, label_notices = write_part_labels(file, frames, SIZE, labels)
    assert label_problems and not label_notices, "there are no part labels in it"
    assert tuple(boxes[-1].tolist()) == NO_BOX
    return all(right) and not problems


# -- what is done to a file --------------------------------------------------------------------------------------------


def some_object(mat: h5py.File, parent: h5py.Group, name: str, chance: Random) -> str:
    """Make an object of any kind; return which."""
    kind = chance.choice(["group", "struct", "empty", "dataset", "dataset", "dataset", "type", "link", "odd storage"])
    if kind == "group":
        parent.create_group(name)
    elif kind == "struct":
        struct = parent.create_group(name)
        struct.attrs["MATLAB_class"] = np.bytes_("struct")
        struct["Masks"] = np.zeros((3, 1))
    elif kind == "empty":
        parent[name] = h5py.Empty(chance.choice(["u1", "f8"]))
    elif kind == "type":
        parent[name] = chance.choice([np.dtype("u1"), np.dtype([("a", "u1")])])
    elif kind == "link":
        kind = some_link(mat, parent, name, chance)
    elif kind == "odd storage":
        kind = odd_storage(parent, name, chance)
    else:
        type_name, shape = chance.choice(list(TYPES)), chance.choice(SHAPES)
        is_chunked = bool(shape) and 0 not in shape
        chunks = tuple(min(length, 16) for length in shape) if is_chunked else None  # huge ones have no values
        parent.create_dataset(name, shape, TYPES[type_name], chunks=chunks)
        kind = f"{type_name} {shape}"
    return kind


def some_link(mat: h5py.File, parent: h5py.Group, name: str, chance: Random) -> str:
    target = chance.choice(["/", f"{parent.name.rstrip('/')}/{name}", "/nowhere", "/#refs#/c1", "/#refs#", "."])
    file = chance.choice(["", "nowhere.mat", mat.filename, "/dev/zero", "/dev/null", "/"])
    parent[name] = h5py.ExternalLink(file, target) if file else h5py.SoftLink(target)
    return f"link to {file} {target!r}"


def odd_storage(parent: h5py.Group, name: str, chance: Random) -> str:
    """Make an array of the right type and shape whose values are stored in an unusual way."""
    shape, kind = (
        (WIDTH, HEIGHT),
        chance.choice(["outside", "virtual", "large chunks", "filter", "checked", "bomb", "unwritten"]),
    )
    if kind == "outside":
        parent.create_dataset(name, shape, "u1", external=[("/dev/zero", 0, WIDTH * HEIGHT)])
    elif kind == "virtual":
        layout = h5py.VirtualLayout(shape, "u1")
        layout[...] = h5py.VirtualSource(chance.choice([".", "nowhere.mat"]), "c0", shape)
        parent.create_virtual_dataset(name, layout)
    elif kind == "large chunks":
        parent.create_dataset(name, shape, "u1", maxshape=(None, None), chunks=(2**16, 2**15), compression="gzip")
    elif kind == "filter":  # that does not exist
        settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        settings.set_chunk(shape)
        settings.set_filter(32001, h5py.h5z.FLAG_OPTIONAL, (1, 2))
        h5py.h5d.create(parent.id, name.encode(), h5py.h5t.STD_U8LE, h5py.h5s.create_simple(shape), settings)
    elif kind == "bomb":  # a chunk of 54 bytes that unpacks to another size
        array = parent.create_dataset(name, shape, "u1", chunks=shape, compression="gzip")
        array.id.write_direct_chunk((0, 0), bomb())
    elif kind == "checked":
        data = np.ones(shape, np.uint8)
        parent.create_dataset(name, data=data, chunks=(3, 3), compression="lzf", shuffle=True, fletcher32=True)
    else:
        parent.create_dataset(name, shape, "u1", chunks=shape, fillvalue=7)
    return kind


def replace_variable(mat: h5py.File, chance: Random) -> str:
    del mat[BOX_VARIABLE]
    return some_object(mat, mat, BOX_VARIABLE, chance)


def remove_or_rename_variable(mat: h5py.File, chance: Random) -> str:
    name = chance.choice(["masks", "#refs#/Masks", "S/Masks", "\N{SNOWMAN}"])
    mat.move(BOX_VARIABLE, name)
    return name


def reshape_variable(mat: h5py.File, chance: Random) -> str:
    """Keep the references, and let the array have another shape, more cells, or other chunks."""
    if mat[BOX_VARIABLE].dtype != REFERENCE or mat[BOX_VARIABLE].size != CELLS:
        return "left"
    references = mat[BOX_VARIABLE][...].ravel()
    del mat[BOX_VARIABLE]
    shape = chance.choice([(CELLS,), (1, CELLS), (CELLS, 1), (2, 2), (3 * CELLS, 1), (HUGE, 1), (HUGE,), (1, HUGE)])
    chunks = tuple(min(length, 2) for length in shape) if HUGE in shape or chance.random() < 0.5 else None
    array = mat.create_dataset(BOX_VARIABLE, shape, REFERENCE, chunks=chunks)
    count = min(array.size, CELLS)
    for number in range(count):
        array[np.unravel_index(number, shape)] = references[number]
    return str(shape)


def replace_cell(mat: h5py.File, chance: Random) -> str:
    number = chance.randrange(CELLS)
    references = mat["#refs#"]
    del references[f"c{number}"]
    kind = some_object(mat, references, f"c{number}", chance)
    found = references.get(f"c{number}") if chance.random() < 0.9 else None
    if found is not None and found.file.filename == mat.filename:
        set_reference(mat, number, found.ref)
    return kind


def set_reference(mat: h5py.File, number: int, reference: h5py.Reference) -> None:
    array = mat[BOX_VARIABLE]
    if array.dtype == REFERENCE and array.size and number < array.size:
        array[np.unravel_index(number, array.shape)] = reference


def redirect_reference(mat: h5py.File, chance: Random) -> str:
    where = chance.choice(["/", BOX_VARIABLE, "#refs#", "nothing", "deleted"])
    if where == "deleted":
        gone = mat.create_group("gone")
        reference = gone.ref
        del mat["gone"]
    else:
        reference = h5py.Reference() if where == "nothing" else mat[where].ref
    set_reference(mat, chance.randrange(CELLS), reference)
    return where


def change_attribute(mat: h5py.File, chance: Random) -> str:
    target = mat[chance.choice([BOX_VARIABLE, "#refs#", "/"])]
    if target.name == "/#refs#" and f"c{CELLS - 1}" in target:
        target = target[f"c{CELLS - 1}"]
    name = chance.choice(["MATLAB_empty", "MATLAB_empty", "MATLAB_class", "MATLAB_fields"])
    if name in target.attrs:
        del target.attrs[name]
    type_name = chance.choice([None, *TYPES])
    if type_name is None:
        target.attrs[name] = chance.choice([0, 1, "yes", h5py.Empty("u1"), np.zeros(3), -1.5, [1, 2]])
    else:
        shape = chance.choice([(), (0,), (3,), (2, 2), None])  # None: no values at all
        space = h5py.h5s.create(h5py.h5s.NULL) if shape is None else h5py.h5s.create_simple(shape or (1,))
        h5py.h5a.create(target.id, name.encode(), h5py.h5t.py_create(TYPES[type_name], logical=True), space)
    return f"{name} {type_name}"


MUTATIONS: list[Callable[[h5py.File, Random], str]] = [
    replace_variable,
    remove_or_rename_variable,
    reshape_variable,
    replace_cell,
    replace_cell,
    redirect_reference,
    change_attribute,
]


def damage_bytes(file: Path, chance: Random) -> str:
    """Damage the file itself."""
    content = bytearray(file.read_bytes())
    how = chance.choice(["bit", "bit", "word", "cut", "older", "no header", "moved"])
    at = chance.randrange(512, len(content) - 8)
    if how == "bit":
        content[at] ^= 1 << chance.randrange(8)
    elif how == "word":
        content[at : at + 8] = chance.choice([bytes(8), b"\xff" * 8, b"\xff" * 7 + b"\x7f", chance.randbytes(8)])
    elif how == "cut":
        del content[at:]
    elif how == "older":
        content = bytearray(b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + chance.randbytes(2000))
    elif how == "no header":
        del content[:512]
    else:  # the header of another size
        content[:512] = bytes(chance.choice([0, 512, 1024, 4096]))
    file.write_bytes(content)
    return how
