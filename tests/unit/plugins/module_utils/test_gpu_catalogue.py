# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GPUs are known by id and by name, and what is not known is not guessed."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import (
    _compute_capability,
    _gpu_catalogue,
    _gpu_generation,
)

# NVIDIA's generations by compute capability (CUDA C++ Programming Guide, "Compute Capabilities").
GENERATIONS = {
    "6.0": "pascal",
    "6.1": "pascal",
    "7.0": "volta",
    "7.5": "turing",
    "8.0": "ampere",
    "8.6": "ampere",
    "8.9": "ada",
    "9.0": "hopper",
    "10.0": "blackwell",
    "10.3": "blackwell",
    "12.0": "blackwell",
}


@pytest.mark.parametrize("product", _gpu_catalogue.PRODUCTS, ids=lambda product: product.name)
def test_ids_and_capabilities_agree_with_what_is_known_of_the_generations(product: _gpu_catalogue.Product) -> None:
    for device in product.devices:
        assert _gpu_generation.of(device).name == GENERATIONS[product.compute_capability]
    assert _compute_capability.read(product.compute_capability) is not None


def test_names_are_unique_and_an_id_means_one_size() -> None:
    names = [product.name for product in _gpu_catalogue.PRODUCTS]
    assert len(names) == len(set(names))
    sizes: dict[str, set[tuple[int, str]]] = {}
    for product in _gpu_catalogue.PRODUCTS:
        for device in product.devices:
            sizes.setdefault(device, set()).add((product.memory_mib, product.compute_capability))
    assert all(len(found) == 1 for found in sizes.values())


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("L4", ["NVIDIA L4"]),
        ("L40", ["NVIDIA L40"]),
        ("l40s", ["NVIDIA L40S"]),
        ("H200", ["NVIDIA H200"]),
        ("A100", ["NVIDIA A100-SXM4-80GB", "NVIDIA A100 80GB PCIe", "NVIDIA A100-SXM4-40GB", "NVIDIA A100-PCIE-40GB"]),
        ("H100 80GB HBM3", ["NVIDIA H100 80GB HBM3"]),
        ("RTX PRO 6000", ["NVIDIA RTX PRO 6000 Blackwell Server Edition"]),
        ("GTX 1080", []),
        ("", []),
    ],
)
def test_a_part_of_a_name(name: str, found: list[str]) -> None:
    assert [product.name for product in _gpu_catalogue.by_name(name)] == found


@pytest.mark.parametrize(
    ("expected", "known"),
    [
        ({"name": "L40S"}, ("NVIDIA L40S", 46068, "8.9", [])),
        ({"name": "A100"}, ("A100", 40960, "8.0", [40960, 81920])),
        ({"name": "A100", "memory_mib": 81920}, ("A100", 81920, "8.0", [])),
        ({"name": "X1", "memory_mib": 1000, "compute_capability": 9.0}, ("X1", 1000, "9.0", [])),
        ({"name": "X1"}, ("X1", None, None, [])),
        ({}, (None, None, None, [])),
    ],
    ids=["known", "several sizes", "size stated", "all stated", "unknown", "nothing"],
)
def test_what_an_inventory_states(expected: dict[str, Any], known: tuple[Any, ...]) -> None:
    stated = _gpu_catalogue.stated(expected)
    assert (stated["name"], stated["memory_mib"], stated["compute_capability"], stated["memories"]) == known


def test_an_unknown_device_is_unknown() -> None:
    assert _gpu_catalogue.by_device("2330") is not None
    assert _gpu_catalogue.by_device("ffff") is None
    assert _gpu_catalogue.by_device("") is None
