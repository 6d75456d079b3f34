# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The header of a GGUF file: its metadata, and what its tensors are. No weight is ever read.

The gguf package maps whole files into memory and needs numpy, which no host has; this reads a bounded part with the standard library.
Format: github.com/ggml-org/ggml, docs/gguf.md (versions 2 and 3); the types' sizes are those of gguf-py, constants.py.
"""

from __future__ import annotations

import os
import re
import struct
from typing import Any, BinaryIO, NamedTuple

from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._json import open_regular
from ansible_collections.airgap.inference.plugins.module_utils._safetensors import MAX_SIZE, Tensor, Weights

# A vocabulary of 260,000 tokens with scores and merges needs 12 MB.
MAX_HEADER = 128 * 1024 * 1024
MAX_PAIRS = 10_000
MAX_TENSORS = 200_000
MAX_NAME = 65_535
MAX_TEXT = 16 * 1024 * 1024
MAX_DIMENSIONS = 4
# Tokens, their types and merges of the largest vocabularies are well below; a damaged file would claim them for minutes.
MAX_TEXTS = 1_000_000
# Longer arrays belong to the tokenizer; of those only the length is kept.
_KEPT = 4096
_PART = re.compile(r"(?P<name>.+)-(?P<number>\d{5})-of-(?P<parts>\d{5})\.gguf\Z")

# How many elements are stored together, and in how many bytes.
_TYPES = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 40), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292), 16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136), 24: ("I8", 1, 1), 25: ("I16", 1, 2),
    26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8), 29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17), 40: ("NVFP4", 64, 36), 41: ("Q1_0", 128, 18),
}  # fmt: skip
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _ARRAY = 8, 9


class Header(NamedTuple):
    """The metadata by its keys, where a long array is its length alone, and the tensors."""

    metadata: dict[str, Any]
    tensors: dict[str, Tensor]


class Length(int):
    """How long an array is whose values were not kept."""


def files(directory: str) -> list[str]:
    """The files of the one model in a directory, in the order of its parts; empty where there is none."""
    names = sorted(
        name for name in os.listdir(directory) if name.endswith(".gguf") and not name.lower().startswith("mmproj")
    )
    if len(names) < 2:
        return names
    parts = [_PART.match(name) for name in names]
    models = {(part["name"], part["parts"]) if part else name for name, part in zip(names, parts)}
    if len(models) > 1:
        raise AirgapError(
            f"{directory} holds {len(models)} models as GGUF files: {', '.join(names[:4])}{' and more' if len(names) > 4 else ''}. "
            "Which one is meant cannot be told: keep one, by include or exclude of the model"
        )
    return names


def missing(names: list[str]) -> list[str]:
    """The parts that the names of the others speak of, and that are not there."""
    part = _PART.match(names[0]) if names else None
    if not part or int(part["parts"]) > 10_000:
        return []
    every = [f"{part['name']}-{number:05}-of-{part['parts']}.gguf" for number in range(1, int(part["parts"]) + 1)]
    return [name for name in every if name not in set(names)]


def read(directory: str, names: list[str], complete: bool) -> tuple[dict[str, Any], Weights]:
    """The metadata of the first file, and the tensors of all of them."""
    lost = missing(names)
    if lost and complete:
        raise AirgapError(
            f"{directory} lacks {len(lost)} parts of its model: {', '.join(lost[:3])}. Fetch the model again"
        )
    headers = [read_header(os.path.join(directory, name)) for name in names]
    tensors = {name: tensor for header in headers for name, tensor in header.tensors.items()}
    by_dtype: dict[str, int] = {}
    for tensor in tensors.values():
        by_dtype[tensor.dtype] = by_dtype.get(tensor.dtype, 0) + tensor.bytes
    elements = sum(tensor.elements for tensor in tensors.values())
    return headers[0].metadata, Weights(sorted([*names, *lost]), [], lost, elements, by_dtype, tensors)


def read_header(path: str) -> Header:
    """Read the header of one file and hold it against the file's size."""
    with open_regular(path) as file:
        source = _Source(file, path)
        if source.take(4) != b"GGUF":
            raise AirgapError(f"{path} is no GGUF file: it does not begin with that word. Fetch it again")
        version = source.number("I")
        if version not in (2, 3):
            raise AirgapError(
                f"{path} has version {version} of GGUF; versions 2 and 3 with little-endian numbers can be read. Convert it again"
            )
        tensor_count = source.bounded("Q", MAX_TENSORS, "tensors")
        pair_count = source.bounded("Q", MAX_PAIRS, "entries of metadata")
        metadata: dict[str, Any] = {}
        for _pair in range(pair_count):
            key = source.text(MAX_NAME)
            metadata[key] = _value(source, source.number("I"), key)
        tensors: dict[str, Tensor] = {}
        end = 0
        for _tensor in range(tensor_count):
            name, tensor, last = _tensor_of(source)
            tensors[name] = tensor
            end = max(end, last)
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or isinstance(alignment, bool) or not 1 <= alignment <= 2**20:
            raise AirgapError(f"{path}: general.alignment is {str(alignment)[:50]}, which makes no sense")
        start = -(-source.position // alignment) * alignment
        if tensors and source.size < start + end:
            raise AirgapError(
                f"{path} holds {source.size} bytes where its header describes {start + end}: it is incomplete or damaged. Fetch it again"
            )
    return Header(metadata, tensors)


class _Source:
    """A file that is read from its beginning, within bounds."""

    def __init__(self, file: BinaryIO, path: str) -> None:
        self.file = file
        self.path = path
        self.size = os.fstat(file.fileno()).st_size
        self.position = 0
        self.texts = 0

    def take(self, count: int) -> bytes:
        self.claim(count)
        data = self.file.read(count)
        self.position += count
        return data

    def skip(self, count: int) -> None:
        self.claim(count)
        self.file.seek(count, os.SEEK_CUR)
        self.position += count

    def claim(self, count: int) -> None:
        if self.position + count > self.size:
            raise AirgapError(
                f"{self.path} claims {count} bytes at byte {self.position} and holds {self.size}: it was cut off or is damaged. Fetch it again"
            )
        if self.position + count > MAX_HEADER:
            raise AirgapError(
                f"{self.path} has a header of more than the {MAX_HEADER} bytes that are read: it is damaged"
            )

    def skip_texts(self, count: int) -> None:
        """As text(), a million times a second."""
        read, position, limit = self.file.read, self.position, min(self.size, MAX_HEADER)
        for _text in range(count):
            length = int.from_bytes(read(8), "little")
            position += 8 + length
            if position > limit:
                self.claim(position - self.position)
            if length:
                read(length)
        self.position = position

    def number(self, form: str) -> Any:
        return struct.unpack(f"<{form}", self.take(struct.calcsize(f"<{form}")))[0]

    def bounded(self, form: str, limit: int, what: str) -> int:
        count: int = self.number(form)
        if count > limit:
            raise AirgapError(f"{self.path} claims {count} {what}; no model has more than {limit}. It is damaged")
        return count

    def text(self, limit: int) -> str:
        length = self.number("Q")
        if length > limit:
            raise AirgapError(f"{self.path} claims a text of {length} bytes at byte {self.position}: it is damaged")
        return self.take(length).decode("utf-8", "replace")


def _value(source: _Source, kind: int, key: str) -> Any:
    if kind in _SCALARS:
        return source.number(_SCALARS[kind])
    if kind == _TEXT:
        return source.text(MAX_TEXT)
    if kind != _ARRAY:
        raise AirgapError(
            f"{source.path}: {key[:100]!r} has the type {kind}, which GGUF does not have. The file is damaged"
        )
    inner = source.number("I")
    count = source.bounded("Q", MAX_HEADER, f"values of {key[:100]!r}")
    if inner in _SCALARS:
        size = struct.calcsize(f"<{_SCALARS[inner]}")
        if count > _KEPT:
            source.skip(count * size)
            return Length(count)
        return list(struct.unpack(f"<{count}{_SCALARS[inner]}", source.take(count * size)))
    if inner != _TEXT:
        raise AirgapError(f"{source.path}: {key[:100]!r} is an array of the type {inner}, which no model has")
    source.texts += count
    if source.texts > MAX_TEXTS:
        raise AirgapError(
            f"{source.path} claims {source.texts} texts; no model has more than {MAX_TEXTS}. It is damaged"
        )
    texts = [source.text(MAX_TEXT) for _text in range(min(count, _KEPT))]
    source.skip_texts(count - len(texts))
    return texts if count <= _KEPT else Length(count)


def _tensor_of(source: _Source) -> tuple[str, Tensor, int]:
    name = source.text(MAX_NAME)
    where = f"{source.path}: tensor {name[:200]!r}"
    dimensions = source.bounded("I", MAX_DIMENSIONS, f"dimensions of {name[:100]!r}")
    shape = [source.number("Q") for _dimension in range(dimensions)]
    kind, offset = source.number("I"), source.number("Q")
    known = _TYPES.get(kind)
    if known is None:
        raise AirgapError(f"{where} has the type {kind}, which is not known here")
    dtype, block, size = known
    elements = 1
    for side in shape:
        elements *= side
        if elements > MAX_SIZE:
            raise AirgapError(f"{where} has the shape {shape}, more elements than any file holds")
    if offset > MAX_SIZE or (shape and shape[0] % block):
        raise AirgapError(f"{where} has the shape {shape} at {offset}, which does not go with blocks of {block}")
    occupied = elements // block * size
    # The first dimension is the one that lies together; safetensors has it last.
    return name, Tensor(dtype, shape[::-1], elements, occupied), offset + occupied
