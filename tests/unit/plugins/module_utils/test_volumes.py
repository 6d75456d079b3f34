# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever the sizes: every byte is on exactly one volume, and none holds more than fits."""

from __future__ import annotations

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _volumes
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._manifest import File
from hypothesis import given
from hypothesis import strategies as st

MIB = 1024 * 1024
RESERVED = MIB


def files(sizes: list[int]) -> list[File]:
    kinds = ("models/m/r", "images/blobs/sha256", "packages/p/pool")
    return [File(f"{kinds[number % 3]}/{number}", size, "0" * 64) for number, size in enumerate(sizes)]


@given(
    st.lists(st.integers(0, 40 * MIB), max_size=30),
    st.integers(4 * MIB, 100 * MIB),
    st.integers(MIB, 50 * MIB),
)
def test_every_byte_is_on_one_volume(sizes: list[int], volume_size: int, file_size: int) -> None:
    wanted = files(sizes)
    known = {file.path: file.size for file in wanted}
    layouts = _volumes.lay_out(wanted, volume_size, file_size, RESERVED)
    reached = dict.fromkeys(known, 0)
    whole: list[str] = []
    for layout in layouts:
        held = [known[path] for path in layout.files] + [piece.size for piece in layout.pieces]
        assert sum(-(-size // _volumes.CLUSTER) * _volumes.CLUSTER for size in held) + RESERVED <= volume_size
        assert all(size <= file_size for size in held)
        whole += layout.files
        for piece in layout.pieces:
            assert piece.size > 0 and piece.offset == reached[piece.path]
            reached[piece.path] += piece.size
    assert len(set(whole)) == len(whole)
    assert {path: known[path] if path in whole else reached[path] for path in known} == known
    assert not [path for path in whole if reached[path]]


def test_without_a_volume_size_only_large_files_are_split() -> None:
    layouts = _volumes.lay_out(files([3 * MIB, 10 * MIB]), None, 4 * MIB, RESERVED)
    assert [layout.name for layout in layouts] == ["volume-1"]
    assert [piece.size for piece in layouts[0].pieces] == [4 * MIB, 4 * MIB, 2 * MIB]


def test_the_controller_is_on_the_first_volume() -> None:
    wanted = [*files([30 * MIB] * 3), File("bootstrap", 10, "0" * 64), File("controller/wheels/x", MIB, "0" * 64)]
    layouts = _volumes.lay_out(wanted, 20 * MIB, _volumes.FAT32_FILE, RESERVED)
    assert layouts[0].files[:2] == ["bootstrap", "controller/wheels/x"]


def test_a_volume_that_cannot_hold_the_controller_is_refused() -> None:
    with pytest.raises(AirgapError, match=r"bundle_volume_size is .* controller, which stays on the first, takes"):
        _volumes.lay_out([File("controller/x", 30 * MIB, "0" * 64)], 20 * MIB, _volumes.FAT32_FILE, RESERVED)


@pytest.mark.parametrize(
    ("text", "size"), [("64GB", 64 * 10**9), ("60 GiB", 60 * 2**30), ("4294967295", 2**32 - 1), ("1.5tb", 15 * 10**11)]
)
def test_sizes_are_read_as_they_are_sold(text: str, size: int) -> None:
    assert _volumes.parse_size(text, "bundle_volume_size") == size


@pytest.mark.parametrize("text", ["", "0", "-1", "64 gigs", "1e9", "G"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(AirgapError, match=r"bundle_volume_size is '.*'; write a number of bytes"):
        _volumes.parse_size(text, "bundle_volume_size")


@pytest.mark.parametrize("paths", [["models/a:b"], ["models/x/File", "models/x/file"], ["models/x./y"], ["models/x?"]])
def test_names_that_drives_cannot_hold_are_refused(paths: list[str]) -> None:
    with pytest.raises(AirgapError, match="cannot be laid out on drives"):
        _volumes.lay_out([File(path, 1, "0" * 64) for path in paths], None, MIB, RESERVED)
