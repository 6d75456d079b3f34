# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Device ids as the PCI ID Repository (2025.06.09, and for B300 and GB300 a later one) names them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _gpu_generation

BOTH, OPEN, PROPRIETARY = (True, True), (True, False), (False, True)
KNOWN = {
    "13f2": ("Tesla M60", "maxwell", PROPRIETARY),
    "17fd": ("Tesla M40", "maxwell", PROPRIETARY),
    "1349": ("GeForce 930M", "maxwell", PROPRIETARY),
    "15f8": ("Tesla P100 PCIe 16GB", "pascal", PROPRIETARY),
    "15f9": ("Tesla P100 SXM2 16GB", "pascal", PROPRIETARY),
    "1b38": ("Tesla P40", "pascal", PROPRIETARY),
    "1bb3": ("Tesla P4", "pascal", PROPRIETARY),
    "1db1": ("Tesla V100 SXM2 16GB", "volta", PROPRIETARY),
    "1db4": ("Tesla V100 PCIe 16GB", "volta", PROPRIETARY),
    "1db6": ("Tesla V100 PCIe 32GB", "volta", PROPRIETARY),
    "1eb8": ("Tesla T4", "turing", BOTH),
    "1e30": ("Quadro RTX 6000/8000", "turing", BOTH),
    "2182": ("GeForce GTX 1660 Ti", "turing", BOTH),
    "20b0": ("A100 SXM4 40GB", "ampere", BOTH),
    "20b2": ("A100 SXM4 80GB", "ampere", BOTH),
    "20b5": ("A100 PCIe 80GB", "ampere", BOTH),
    "20b7": ("A30 PCIe", "ampere", BOTH),
    "2204": ("GeForce RTX 3090", "ampere", BOTH),
    "2230": ("RTX A6000", "ampere", BOTH),
    "2235": ("A40", "ampere", BOTH),
    "2236": ("A10", "ampere", BOTH),
    "25b6": ("A2 / A16", "ampere", BOTH),
    "2684": ("GeForce RTX 4090", "ada", BOTH),
    "26b1": ("RTX 6000 Ada Generation", "ada", BOTH),
    "26b5": ("L40", "ada", BOTH),
    "26b9": ("L40S", "ada", BOTH),
    "27b8": ("L4", "ada", BOTH),
    "2330": ("H100 SXM5 80GB", "hopper", BOTH),
    "2331": ("H100 PCIe", "hopper", BOTH),
    "2321": ("H100L 94GB", "hopper", BOTH),
    "2335": ("H200 SXM 141GB", "hopper", BOTH),
    "233b": ("H200 NVL", "hopper", BOTH),
    "2329": ("H20", "hopper", BOTH),
    "2342": ("GH200 120GB / 480GB", "hopper", OPEN),
    "2348": ("GH200 144G HBM3e", "hopper", OPEN),
    "2901": ("B200", "blackwell", OPEN),
    "2941": ("HGX GB200", "blackwell", OPEN),
    "2b85": ("GeForce RTX 5090", "blackwell", OPEN),
    "2bb1": ("RTX PRO 6000 Blackwell Workstation Edition", "blackwell", OPEN),
    "2bb5": ("RTX PRO 6000 Blackwell Server Edition", "blackwell", OPEN),
    "3182": ("B300 SXM6 AC", "blackwell", OPEN),
    "31c2": ("GB300", "blackwell", OPEN),
    "102d": ("Tesla K80", "kepler", (False, False)),
}
REPOSITORIES = [Path("/usr/share/misc/pci.ids"), Path("/usr/share/hwdata/pci.ids")]
CHIPS = {
    "GK": "kepler",
    "GM": "maxwell",
    "GP": "pascal",
    "GV": "volta",
    "TU": "turing",
    "GA": "ampere",
    "AD": "ada",
    "GH": "hopper",
    "GB": "blackwell",
}
# Other functions of a card, and of other products, have ids among those of GPUs.
OTHER = re.compile("Audio|USB|UCSI|NVSwitch|Tegra|Orin|Root|Controller")


@pytest.mark.parametrize("device_id", sorted(KNOWN), ids=lambda item: f"{item} {KNOWN[item][0]}")
def test_a_gpu_is_known_by_its_id(device_id: str) -> None:
    _name, generation, modules = KNOWN[device_id]
    assert _gpu_generation.of(device_id) == (generation, *modules)


@pytest.mark.parametrize("device_id", ["0040", "1af1", "22a3", "2a00", "3400", "4000", "ffff"])
def test_what_is_not_in_the_table_is_not_guessed(device_id: str) -> None:
    assert _gpu_generation.of(device_id) == (None, None, None)


def test_the_table_is_in_order_and_nothing_stands_in_it_twice() -> None:
    ends = [end for first, last, _name in _gpu_generation._BLOCKS for end in (first, last)]
    assert ends == sorted(set(ends))


def test_the_table_says_what_this_machines_pci_database_says() -> None:
    repository = next((path for path in REPOSITORIES if path.is_file()), None)
    if repository is None:
        pytest.skip("there is no pci.ids here (package pci.ids or hwdata)")
    text = repository.read_text(encoding="utf-8", errors="replace")
    nvidia = re.search(r"^10de  NVIDIA.*\n((?:[\t#].*\n)+)", text, re.M)
    assert nvidia
    wrong = []
    for device_id, name in re.findall(r"^\t([0-9a-f]{4})  (.*)$", nvidia[1], re.M):
        chip = re.match(r"(G[KMPVAHB]|TU|AD)\d", name)
        if chip and not OTHER.search(name) and _gpu_generation.of(device_id).name not in (CHIPS[chip[1]], None):
            wrong.append((device_id, name))
    assert wrong == []
    assert nvidia[1].count("\n") > 1000
