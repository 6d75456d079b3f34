# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The weights of a model directory, as the headers of its safetensors files describe them. No weight is ever read."""

from __future__ import annotations

import os
import re
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Iterator, NamedTuple

from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._json import open_regular, parse_object, read_object

INDEX = "model.safetensors.index.json"
# A model with 900 experts in each of 90 layers has half a million tensors.
MAX_INDEX = 128 * 1024 * 1024
# The format allows 100 MB; a shard with 100,000 tensors needs 15 MB.
MAX_HEADER = 32 * 1024 * 1024
MAX_SIZE = 2**62
# The same, with room.
MAX_TENSORS = 2_000_000
_READERS = 8
_DTYPE = re.compile(r"[A-Z][A-Z0-9_]{0,15}\Z")

# Bits of one element.
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32,
    "I64": 64, "U64": 64, "F64": 64, "C64": 64,
}  # fmt: skip


class Tensor(NamedTuple):
    """One tensor, as the header describes it."""

    dtype: str
    shape: list[int]
    elements: int
    bytes: int


class Header(NamedTuple):
    """What one file holds."""

    tensors: dict[str, Tensor]
    elements: int
    bytes_by_dtype: dict[str, int]


class Weights(NamedTuple):
    """All tensors of a model, and the files that they are in."""

    files: list[str]
    surplus_files: list[str]
    missing_files: list[str]
    elements: int
    bytes_by_dtype: dict[str, int]
    tensors: dict[str, Tensor]


def present(directory: str) -> bool:
    """Whether the directory holds such weights, or an index of them."""
    return any(name.endswith(".safetensors") or name == INDEX for name in os.listdir(directory))


def read(directory: str, complete: bool = True) -> Weights:
    """The headers of all weights. Every shard that the index names must be whole, and there unless the model need not be complete."""
    there = sorted(name for name in os.listdir(directory) if name.endswith(".safetensors"))
    expected = _index(directory)
    files = sorted(expected) if expected else there
    missing = sorted(set(files) - set(there))
    if missing and complete:
        raise AirgapError(
            f"{directory} lacks {len(missing)} of the {len(files)} weight files that its {INDEX} names: {_some(missing)}. Fetch the model again"
        )
    paths = {os.path.join(directory, name): name for name in files if name not in set(missing)}
    # A tensor that two files hold is one tensor.
    tensors: dict[str, Tensor] = {}
    for path, header in _headers(list(paths)):
        lost = expected.get(paths[path], set()) - set(header.tensors)
        if lost:
            raise AirgapError(
                f"{path} lacks {len(lost)} tensors that {INDEX} places there: {_some(sorted(lost))}. "
                "The two are of different revisions: fetch the model again"
            )
        tensors.update(header.tensors)
        if len(tensors) > MAX_TENSORS:
            raise AirgapError(f"{directory} has more than {MAX_TENSORS} tensors, which no model has: it is damaged")
    by_dtype: dict[str, int] = {}
    for tensor in tensors.values():
        by_dtype[tensor.dtype] = by_dtype.get(tensor.dtype, 0) + tensor.bytes
    elements = sum(tensor.elements for tensor in tensors.values())
    return Weights(files, sorted(set(there) - set(files)), missing, elements, by_dtype, tensors)


def summary(weights: Weights) -> dict[str, Any]:
    """The same without each single tensor."""
    return {
        "files": weights.files,
        "surplus_files": weights.surplus_files,
        "missing_files": weights.missing_files,
        "bytes": sum(weights.bytes_by_dtype.values()),
        "bytes_by_dtype": weights.bytes_by_dtype,
        "elements": weights.elements,
    }


def describe(directory: str) -> dict[str, Any]:
    """The files, bytes and elements of all weights of a complete model."""
    return summary(read(directory))


def _headers(paths: list[str]) -> Iterator[tuple[str, Header]]:
    """Read at once what lies far apart: a cold disk or a network answers several questions in the time of one.

    Only so many files ahead, so that the headers that wait for their turn stay few.
    """
    if len(paths) < 2:
        yield from ((path, read_header(path)) for path in paths)
        return
    with ThreadPoolExecutor(min(_READERS, len(paths))) as pool:
        waiting: deque[Future[tuple[bytes, int]]] = deque()
        try:
            for number, path in enumerate(paths):
                for ahead in paths[number + len(waiting) : number + 2 * _READERS]:
                    waiting.append(pool.submit(_raw, ahead))
                yield path, _header(path, *waiting.popleft().result())
        finally:
            for future in waiting:
                future.cancel()


def read_header(path: str) -> Header:
    """Read the header of one file and hold it against the file's size."""
    return _header(path, *_raw(path))


def _raw(path: str) -> tuple[bytes, int]:
    """The bytes of the header, and the size of the whole file."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(8)
        if len(start) < 8:
            raise AirgapError(f"{path} holds {size} bytes and no safetensors header: fetch it again")
        length = int.from_bytes(start, "little")
        if length > MAX_HEADER:
            raise AirgapError(
                f"{path} claims a header of {length} bytes, more than the {MAX_HEADER} that are read: it is damaged or not a safetensors file"
            )
        if length > size - 8:
            raise AirgapError(
                f"{path} claims a header of {length} bytes and holds {size}: it was cut off. Fetch it again"
            )
        return file.read(length), size


def _header(path: str, data: bytes, size: int) -> Header:
    header = parse_object(data, f"The header of {path}")
    header.pop("__metadata__", None)
    elements = end = 0
    by_dtype: dict[str, int] = {}
    tensors: dict[str, Tensor] = {}
    for name, value in header.items():
        try:
            tensor, last = _tensor(value)
        except AirgapError as error:
            raise AirgapError(f"{path}: tensor {name[:200]!r}{error}") from None
        tensors[name] = tensor
        elements += tensor.elements
        by_dtype[tensor.dtype] = by_dtype.get(tensor.dtype, 0) + tensor.bytes
        end = max(end, last)
    if sum(by_dtype.values()) != end:
        raise AirgapError(
            f"{path}: its tensors hold {sum(by_dtype.values())} bytes and reach to byte {end}: they overlap or leave gaps. The file is damaged"
        )
    if size != 8 + len(data) + end:
        raise AirgapError(
            f"{path} holds {size} bytes where its header describes {8 + len(data) + end}: it is incomplete or damaged. Fetch it again"
        )
    return Header(tensors, elements, by_dtype)


def _tensor(tensor: Any) -> tuple[Tensor, int]:
    """A tensor, and the byte at which it ends; an error begins with what follows the tensor's name."""
    if not isinstance(tensor, dict):
        raise AirgapError(" is not described by an object")
    dtype = tensor.get("dtype")
    bits = _BITS.get(dtype) if isinstance(dtype, str) else None
    if bits is None and (not isinstance(dtype, str) or not _DTYPE.match(dtype)):
        raise AirgapError(f" has the dtype {str(dtype)[:100]!r}, which is none")
    shape = _sizes(tensor.get("shape"), "shape")
    offsets = _sizes(tensor.get("data_offsets"), "data_offsets")
    if len(offsets) != 2 or offsets[0] > offsets[1]:
        raise AirgapError(f" has the data_offsets {offsets[:3]}; a begin and an end are needed")
    elements = 1
    for size in shape:
        elements *= size
        if elements > MAX_SIZE:
            raise AirgapError(f" has the shape {shape[:8]}, more elements than any file holds")
    occupied = offsets[1] - offsets[0]
    if bits is not None and elements * bits != occupied * 8:
        raise AirgapError(f" has {elements} elements of {dtype} in {occupied} bytes, which does not fit together")
    return Tensor(str(dtype), shape, elements, occupied), offsets[1]


def _sizes(value: Any, key: str) -> list[int]:
    if not isinstance(value, list) or len(value) > 64:
        raise AirgapError(f": {key} is {str(value)[:100]!r}; a list of numbers is needed")
    for number in value:
        if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= MAX_SIZE:
            raise AirgapError(f": {key} holds {str(number)[:100]!r}; only numbers from 0 to {MAX_SIZE} make sense")
    return value


def _index(directory: str) -> dict[str, set[str]]:
    """Which tensors the index places in which file; empty without an index."""
    path = os.path.join(directory, INDEX)
    if not os.path.lexists(path):
        return {}
    weight_map = read_object(path, MAX_INDEX).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise AirgapError(f"{path}: weight_map is missing or empty")
    placed: dict[str, set[str]] = {}
    for tensor, name in weight_map.items():
        there = placed.get(name) if isinstance(name, str) else None
        if there is not None:
            there.add(tensor)
        elif isinstance(name, str) and name.endswith(".safetensors") and "/" not in name and "\x00" not in name:
            placed[name] = {tensor}
        else:
            raise AirgapError(
                f"{path}: weight_map places {tensor[:200]!r} in {str(name)[:200]!r}, which is no safetensors file beside it"
            )
    return placed


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
