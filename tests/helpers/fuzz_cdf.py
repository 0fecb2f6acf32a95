"""CDF files with something else in place of their poses: cases for fuzzing h36m/files/poses.py."""

import ctypes
import datetime
import functools
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np

from demo.release import write_cdf
from h36m.errors import TaskError
from h36m.files.cdf import pycdf
from h36m.files.poses import fit_intrinsics, read_poses

const = pycdf.const
POSES = (np.random.default_rng(0).integers(-4000, 4000, (6, 32, 3)) / 4 + [0, 0, 5000]).astype(np.float32)
NUMBERS = ["CDF_FLOAT", "CDF_REAL4", "CDF_DOUBLE", "CDF_REAL8", "CDF_INT1", "CDF_INT2", "CDF_INT4", "CDF_INT8"]
NUMBERS += ["CDF_UINT1", "CDF_UINT2", "CDF_UINT4", "CDF_BYTE"]
OTHERS = ["CDF_CHAR", "CDF_UCHAR", "CDF_EPOCH", "CDF_EPOCH16", "CDF_TIME_TT2000"]
DIMENSIONS = [[], [96], [6, 96], [6, 64], [96, 6], [0, 96], [1, 6, 96], [6, 32, 3], [6 * 96], [2, 96], [1, 1], [6, 97]]
HUGE_DIMENSIONS = [[10**9, 96], [2**31 - 1, 96], [2**24, 96], [2 * 10**5, 96], [96] * 4]


def write_case(file: Path, chance: Random) -> str:
    """Write a file of poses with something wrong; return what."""
    mutate = chance.choice(MUTATIONS)
    return f"{mutate.__name__}: {mutate(file, chance)}"


def read_case(file: Path) -> bool:
    """Read a case; return whether it has poses. What it has must be of their shape and finite, and fit a camera."""
    try:
        poses = read_poses(file, coordinates=3)
    except TaskError as problem:
        assert str(file) in str(problem) and "\n" not in str(problem) and len(str(problem)) < 700, problem
        return False
    assert poses.shape[1:] == (32, 3) and len(poses) and np.isfinite(poses).all() and poses.dtype == np.float64
    assert np.isfinite(fit_intrinsics(poses[..., :2], poses)).all()
    return True


# -- what is done to a file --------------------------------------------------------------------------------------------


def other_variable(file: Path, chance: Random) -> str:
    """Write a variable of any type, shape and storage."""
    type_name = chance.choice(["CDF_FLOAT", "CDF_DOUBLE", *NUMBERS, *OTHERS])
    dimensions = chance.choice([[6, 96], [6, 96], *DIMENSIONS])
    varies, name = chance.random() < 0.7, chance.choice(["Pose"] * 8 + ["pose", "Pose ", "Poses"])
    records = chance.choice([0, 1, 1, 1, 2, 3])
    with pycdf.CDF(str(file), create=True) as cdf:
        cdf.col_major(chance.random() < 0.3)
        elements = {"n_elements": chance.choice([1, 5])} if "CHAR" in type_name else {}
        compress = chance.choice([None, None, const.GZIP_COMPRESSION, const.RLE_COMPRESSION, const.HUFF_COMPRESSION])
        vary = [chance.random() < 0.9 for _ in dimensions]
        dims = [max(length, 1) for length in dimensions]
        variable = cdf.new(
            name,
            type=getattr(const, type_name),
            recVary=varies,
            dims=dims,
            dimVarys=vary,
            compress=compress,
            **elements,
        )
        shape = (records, *variable.shape[1:]) if varies else variable.shape
        if 0 < math.prod(shape) < 10**5:
            value = "a" if "CHAR" in type_name else datetime.datetime(2026, 1, 1) if type_name in OTHERS else 3
            variable[...] = np.full(shape, value, object if type_name in OTHERS else None).tolist()
    return f"{name} {type_name} {dimensions} {records} records, {varies} {vary} {compress}"


def huge_variable(file: Path, chance: Random) -> str:
    """Claim more than any memory has, in a record that is not written: reading it gives padding."""
    dimensions = chance.choice(HUGE_DIMENSIONS)
    with pycdf.CDF(str(file), create=True) as cdf:
        cdf.new("Pose", type=const.CDF_FLOAT, dims=dimensions, recVary=chance.random() < 0.7)
    return str(dimensions)


def odd_numbers(file: Path, chance: Random) -> str:
    """Write numbers that are none, or hardly are."""
    poses = POSES.astype(np.float64)
    value = chance.choice([np.nan, np.inf, -np.inf, 1e300, -1e300, 3.5e38, 1e-320, 3e38, 0.0])
    if chance.random() < 0.5:
        poses[chance.randrange(6), chance.randrange(32), chance.randrange(3)] = value
    else:
        poses[...] = value
    type_name = chance.choice(["CDF_FLOAT", "CDF_DOUBLE"])
    with pycdf.CDF(str(file), create=True) as cdf, np.errstate(over="ignore"):
        cdf.new("Pose", data=poses.reshape(1, 6, 96), type=getattr(const, type_name))
    return f"{value} {type_name}"


def old_variable(file: Path, chance: Random) -> str:
    """Write an rVariable, as older programs do; all of a file have the same dimensions."""
    dimensions, record_varies = chance.choice([[6, 96], [96], [6, 64]]), chance.random() < 0.7
    vary = [chance.random() < 0.8 for _ in dimensions]
    number, library, count = ctypes.c_long(0), pycdf.lib, len(dimensions)

    def numbers(*values: int):
        return (ctypes.c_long * count)(*values)

    handle = ctypes.c_void_p(None)
    name = str(file).encode()
    library.call(const.CREATE_, const.CDF_, name, ctypes.c_long(count), numbers(*dimensions), ctypes.byref(handle))
    variance = (ctypes.c_long(-record_varies), numbers(*[-varies for varies in vary]), ctypes.byref(number))
    select = (const.SELECT_, const.CDF_, handle)
    library.call(*select, const.CREATE_, const.rVAR_, b"Pose", const.CDF_FLOAT, ctypes.c_long(1), *variance)
    for record in range(chance.choice([0, 1, 1, 2])):
        values = np.ones(dimensions, np.float32)
        library.call(
            *(
                *select,
                const.SELECT_,
                const.rVAR_,
                number,
                const.SELECT_,
                const.rVARs_RECNUMBER_,
                ctypes.c_long(record),
            ),
            *(const.SELECT_, const.rVARs_RECCOUNT_, ctypes.c_long(1)),
            *(const.SELECT_, const.rVARs_RECINTERVAL_, ctypes.c_long(1)),
            *(const.SELECT_, const.rVARs_DIMINDICES_, numbers(*[0] * count)),
            *(const.SELECT_, const.rVARs_DIMCOUNTS_, numbers(*dimensions)),
            *(const.SELECT_, const.rVARs_DIMINTERVALS_, numbers(*[1] * count)),
            *(const.PUT_, const.rVAR_HYPERDATA_, values.ctypes.data_as(ctypes.c_void_p)),
        )
    library.call(*select, const.CLOSE_, const.CDF_)
    return f"{dimensions} {vary}, records vary: {record_varies}"


def more_in_the_file(file: Path, chance: Random) -> str:
    """Keep the poses, and put attributes and other variables beside them, or compress the file."""
    write_cdf(file, POSES)
    with pycdf.CDF(str(file), readonly=False) as cdf:
        for number in range(chance.randrange(4)):
            cdf.attrs[f"note {number}"] = chance.choice(["text", 3.5, "\N{SNOWMAN}", ["a", "b"]])
        for number in range(chance.randrange(3)):
            cdf.new(f"Other {number}", data=np.arange(5), type=const.CDF_INT4)
        if chance.random() < 0.5:
            cdf["Pose"].attrs["UNITS"] = chance.choice(["mm", 1, [1, 2]])
        compression = chance.choice([None, const.GZIP_COMPRESSION, const.RLE_COMPRESSION])
        if compression:
            cdf.compress(compression)
    return "more"


@functools.cache
def whole_file() -> tuple[bytes, list[tuple[int, int]], list[int]]:
    """Return a good file, where its records start and how long they are, and where it refers to them."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "a.cdf"
        more_in_the_file(file, Random(0))
        write_cdf(file.with_name("b.cdf"), POSES)
        content = file.with_name("b.cdf").read_bytes()
    records, at = [], 8  # after the magic numbers: a length of 8 bytes, a type of 4
    while at < len(content):
        length = int.from_bytes(content[at : at + 8], "big")
        records.append((at, length))
        at += length
    starts = {start for start, _ in records}
    references = [i for i in range(8, 1000) if i not in starts and int.from_bytes(content[i : i + 8], "big") in starts]
    return content, records, references


def damaged_records(file: Path, chance: Random) -> str:
    """Let records refer to other ones or to themselves, or have another length, type or count."""
    whole, records, references = whole_file()
    content, done = bytearray(whole), []
    for _ in range(chance.choice([1, 1, 2, 3])):
        start, length = chance.choice(records)
        target = chance.choice([chance.choice(records)[0], start, 0, 2**63 - 1, len(whole) - 4]).to_bytes(8, "big")
        how = chance.choice(["reference", "any reference", "length", "type", "number", "number"])
        if how == "reference":
            at = chance.choice(references)
        elif how == "any reference":
            at = start + chance.choice([12, 20, 28, 36, 44, 52])
        else:
            at = start + {"length": 0, "type": 8, "number": 4 * chance.randrange(3, min(length, 340) // 4)}[how]
        if how in ("type", "number"):
            target = chance.choice([0, 1, 2, 3, 7, 8, 32, 51, 96, 2**31 - 1, 2**32 - 1, 10**6]).to_bytes(4, "big")
        content[at : at + len(target)] = target
        done.append(f"{how} at {at}: {target.hex()}")
    file.write_bytes(content)
    return ", ".join(done)


def damaged_bytes(file: Path, chance: Random) -> str:
    content = bytearray(whole_file()[0])
    how = chance.choice(["bit", "cut", "other magic", "empty", "zeros", "text"])
    if how == "bit":
        content[chance.randrange(1200)] ^= 1 << chance.randrange(8)
    elif how == "cut":
        del content[chance.randrange(len(content)) :]
    elif how == "other magic":
        content[:8] = bytes.fromhex(chance.choice(["cdf26002 0000ffff", "cdf30001 cccc0001", "0000ffff 0000ffff"]))
    else:
        content = bytearray({"empty": b"", "zeros": bytes(9000), "text": b"<html>" * 999}[how])
    file.write_bytes(content)
    return how


MUTATIONS: list[Callable[[Path, Random], str]] = [
    *(other_variable, other_variable, other_variable, huge_variable, odd_numbers, old_variable, more_in_the_file),
    *(damaged_records, damaged_records, damaged_bytes),
]
