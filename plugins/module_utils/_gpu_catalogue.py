# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory and compute capability of data centre GPUs, for hosts that have no driver to ask yet, or are not within reach.

Sources:
- names and PCI device ids: the README of NVIDIA's open GPU kernel modules ("Compatible GPUs",
  https://github.com/NVIDIA/open-gpu-kernel-modules), the PCI ID Repository (version 2025.06.09; for
  GB110 a later one) for what is newer or older;
- compute capability: NVIDIA, "CUDA GPU Compute Capability" (https://developer.nvidia.com/cuda-gpus) and, for Volta and Pascal, "Legacy
  CUDA GPU Compute Capability" (https://developer.nvidia.com/cuda-legacy-gpus);
- memory: the total that nvidia-smi states with ECC as it is shipped, MiB, from outputs that users published (in issues and in
  repositories), of drivers 530 and newer; it is less than the data sheet's figure, and what an engine reckons with.

What is not here is unknown, and is not guessed.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple


class Product(NamedTuple):
    """A GPU as the driver names it."""

    name: str
    devices: tuple[str, ...]
    memory_mib: int
    compute_capability: str


PRODUCTS = (
    Product("NVIDIA GB300", ("31c2",), 284208, "10.3"),
    Product("NVIDIA B300 SXM6 AC", ("3182",), 275040, "10.3"),
    Product("NVIDIA GB200", ("2941",), 189471, "10.0"),
    Product("NVIDIA B200", ("2901",), 183359, "10.0"),
    Product("NVIDIA RTX PRO 6000 Blackwell Server Edition", ("2bb5",), 97887, "12.0"),
    Product("NVIDIA GH200 480GB", ("2342",), 97871, "9.0"),
    Product("NVIDIA H200", ("2335",), 143771, "9.0"),
    Product("NVIDIA H200 NVL", ("233b",), 143771, "9.0"),
    Product("NVIDIA H100 80GB HBM3", ("2330",), 81559, "9.0"),
    Product("NVIDIA H100 PCIe", ("2331",), 81559, "9.0"),
    Product("NVIDIA H100 NVL", ("2321",), 95830, "9.0"),
    Product("NVIDIA H20", ("2329",), 97871, "9.0"),
    Product("NVIDIA L40S", ("26b9",), 46068, "8.9"),
    Product("NVIDIA L40", ("26b5",), 46068, "8.9"),
    Product("NVIDIA L4", ("27b8",), 23034, "8.9"),
    Product("NVIDIA RTX 6000 Ada Generation", ("26b1",), 49140, "8.9"),
    Product("NVIDIA A40", ("2235",), 46068, "8.6"),
    Product("NVIDIA A10", ("2236",), 23028, "8.6"),
    # Both have the same device id, the same memory and the same capability.
    Product("NVIDIA A16", ("25b6",), 15356, "8.6"),
    Product("NVIDIA A2", ("25b6",), 15356, "8.6"),
    Product("NVIDIA RTX A6000", ("2230",), 49140, "8.6"),
    Product("NVIDIA A100-SXM4-80GB", ("20b2",), 81920, "8.0"),
    Product("NVIDIA A100 80GB PCIe", ("20b5",), 81920, "8.0"),
    Product("NVIDIA A100-SXM4-40GB", ("20b0",), 40960, "8.0"),
    Product("NVIDIA A100-PCIE-40GB", ("20f1",), 40960, "8.0"),
    Product("NVIDIA A30", ("20b7",), 24576, "8.0"),
    Product("Tesla T4", ("1eb8",), 15360, "7.5"),
    Product("Tesla V100-SXM2-32GB", ("1db5",), 32768, "7.0"),
    Product("Tesla V100-PCIE-32GB", ("1db6",), 32768, "7.0"),
    Product("Tesla V100-SXM2-16GB", ("1db1",), 16384, "7.0"),
    Product("Tesla V100-PCIE-16GB", ("1db4",), 16384, "7.0"),
    Product("Tesla P100-PCIE-16GB", ("15f8",), 16384, "6.0"),
    Product("Tesla P40", ("1b38",), 24576, "6.1"),
)


def by_device(device_id: str) -> Product | None:
    """The product with a PCI device id, as sysfs shows it without 0x."""
    return next((product for product in PRODUCTS if device_id.lower() in product.devices), None)


def by_name(name: str) -> list[Product]:
    """The products that a part of a name may mean: as whole words, so that L4 is not L40S; else as it stands."""
    words = re.compile(rf"(?<![A-Za-z0-9]){re.escape(name.strip())}(?![A-Za-z0-9])", re.IGNORECASE)
    exact = [product for product in PRODUCTS if product.name.lower().replace("nvidia ", "") == name.lower().strip()]
    whole = [product for product in PRODUCTS if words.search(product.name)]
    part = [product for product in PRODUCTS if name.strip() and name.strip().lower() in product.name.lower()]
    return exact or whole or part


def stated(expected: dict[str, Any]) -> dict[str, Any]:
    """What gpu_host_expected says of each GPU, completed from the products that its name may mean.

    memory_mib is the least of these; `memories` lists them all where they differ. None stands for what is not known.
    """
    products = by_name(str(expected["name"])) if expected.get("name") else []
    memory = expected.get("memory_mib")
    memories = [] if memory else sorted({product.memory_mib for product in products})
    capabilities = {product.compute_capability for product in products}
    capability = expected.get("compute_capability") or (capabilities.pop() if len(capabilities) == 1 else None)
    return {
        "name": products[0].name if len(products) == 1 else expected.get("name"),
        "memory_mib": memory or (memories[0] if memories else None),
        "compute_capability": str(capability) if capability else None,
        "memories": memories if len(memories) > 1 else [],
    }
