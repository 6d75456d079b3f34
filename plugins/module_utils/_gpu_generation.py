# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The generation of an NVIDIA GPU by its PCI device id, and which kernel modules can drive it; before there is any driver to ask.

NVIDIA numbers the products of a chip within blocks of 128 ids (older ones of 64), so a block tells the chip even where the product is
newer than this table. Blocks that pci.ids (the PCI ID Repository, version 2025.06.09) does not show are not in it: such a GPU is
unknown, and nothing is guessed.
"""

from __future__ import annotations

from typing import NamedTuple

# First id, last id, generation: the chips as pci.ids names them (GK, GM, GP, GV, TU, GA, GH, AD, GB).
_BLOCKS = (
    (0x0F80, 0x0FFF, "kepler"),
    (0x1000, 0x103F, "kepler"),
    (0x1180, 0x11FF, "kepler"),
    (0x1280, 0x133F, "kepler"),
    (0x1340, 0x147F, "maxwell"),
    (0x1580, 0x15FF, "pascal"),
    (0x1600, 0x167F, "maxwell"),
    (0x1700, 0x173F, "pascal"),
    (0x1740, 0x17FF, "maxwell"),
    (0x1B00, 0x1D7F, "pascal"),
    (0x1D80, 0x1DFF, "volta"),
    (0x1E00, 0x1FFF, "turing"),
    (0x2080, 0x20FF, "ampere"),
    (0x2180, 0x21FF, "turing"),
    (0x2200, 0x227F, "ampere"),
    (0x2300, 0x23FF, "hopper"),
    (0x2400, 0x25FF, "ampere"),
    (0x2680, 0x28FF, "ada"),
    (0x2900, 0x29FF, "blackwell"),
    (0x2B80, 0x2C7F, "blackwell"),
    (0x2D00, 0x2DFF, "blackwell"),
    (0x2E00, 0x2E7F, "blackwell"),
    (0x2F00, 0x2F7F, "blackwell"),
    (0x3180, 0x31FF, "blackwell"),
    (0x3300, 0x337F, "blackwell"),
)

# Hopper beside a Grace processor: GH200 120GB / 480GB and GH200 144G HBM3e.
_GRACE_HOPPER = (0x2342, 0x2348)

# NVIDIA, "NVIDIA Transitions Fully Towards Open-Source GPU Kernel Modules": the open modules need the GPU's own system processor, which
# came with Turing; for Blackwell and Grace there are no other ones. Kepler's last branch is 470, which has neither of the two.
_PROPRIETARY_ALONE = ("maxwell", "pascal", "volta")
_OPEN_ALONE = ("blackwell",)
_NEITHER = ("kepler",)

# The first branch of drivers that knows a generation: that of the first CUDA toolkit that does (NVIDIA Data Center Drivers, "CUDA Toolkit,
# Driver, and Architecture Matrix": Ada and Hopper 11.8, Blackwell 12.8; CUDA Toolkit Release Notes, "CUDA Toolkit and Corresponding Driver
# Versions": 11.8 from 520.61, 12.8 from 570.26). Older generations are known to every branch that the roles install.
_FIRST_BRANCH = {"ada": 520, "hopper": 520, "blackwell": 570}


class Generation(NamedTuple):
    """What is known of a GPU; None for what is not."""

    name: str | None
    open_modules: bool | None
    proprietary_modules: bool | None


def of(device_id: str) -> Generation:
    """The generation of a GPU by the four digits of its device id, as sysfs and lspci show them."""
    number = int(device_id, 16)
    name = next((generation for first, last, generation in _BLOCKS if first <= number <= last), None)
    if name is None:
        return Generation(None, None, None)
    if name in _NEITHER:
        return Generation(name, False, False)
    alone = name in _OPEN_ALONE or number in _GRACE_HOPPER
    return Generation(name, name not in _PROPRIETARY_ALONE, not alone)


def first_branch(generation: str | None) -> int:
    """The first branch whose drivers know the generation; 0 where none is too old."""
    return _FIRST_BRANCH.get(generation or "", 0)
