# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How GPUs can be divided: the profiles of NVIDIA's MIG User Guide ("Supported MIG Profiles"), as `nvidia-smi mig` lists them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Profile:
    """A size of GPU instance."""

    name: str
    number: int
    total: int
    memory_gib: float
    #: Multiprocessors, decoders, encoders, copy engines, JPEG engines, optical flow accelerators.
    engines: tuple[int, int, int, int, int, int]
    #: Of memory: how many slices, and where they may begin, in the order in which the driver tries them.
    slices: int
    starts: tuple[int, ...]
    #: The compute instance that fills it.
    compute: int

    def instance(self, start: int) -> int:
        """The number that the driver gives to an instance at this place."""
        first = {0: 0, 5: 1, 9: 1, 14: 3, 15: 3, 19: 7, 20: 7}[self.number]
        return first + start // {0: 8, 5: 4, 9: 4, 14: 2, 15: 2, 19: 1, 20: 1}[self.number]


ONE, TWO, FOUR = (6, 4, 5, 0, 1, 2, 3), (4, 0, 2), (4, 0)
H100_80 = (
    Profile("1g.10gb", 19, 7, 9.75, (16, 1, 0, 1, 1, 0), 1, ONE, 0),
    Profile("1g.10gb+me", 20, 1, 9.75, (16, 1, 0, 1, 1, 1), 1, ONE, 0),
    Profile("1g.20gb", 15, 4, 19.62, (26, 1, 0, 1, 1, 0), 2, (6, 4, 0, 2), 7),
    Profile("2g.20gb", 14, 3, 19.62, (32, 2, 0, 2, 2, 0), 2, TWO, 1),
    Profile("3g.40gb", 9, 2, 39.5, (60, 3, 0, 3, 3, 0), 4, FOUR, 2),
    Profile("4g.40gb", 5, 1, 39.5, (64, 4, 0, 4, 4, 0), 4, (0,), 3),
    Profile("7g.80gb", 0, 1, 79.25, (132, 7, 0, 8, 7, 1), 8, (0,), 4),
)
A100_80 = (
    Profile("1g.10gb", 19, 7, 9.5, (14, 0, 0, 1, 0, 0), 1, ONE, 0),
    Profile("1g.10gb+me", 20, 1, 9.5, (14, 1, 0, 1, 1, 1), 1, ONE, 0),
    Profile("1g.20gb", 15, 4, 19.5, (14, 1, 0, 1, 0, 0), 2, (6, 4, 0, 2), 7),
    Profile("2g.20gb", 14, 3, 19.5, (28, 1, 0, 2, 0, 0), 2, TWO, 1),
    Profile("3g.40gb", 9, 2, 39.25, (42, 2, 0, 3, 0, 0), 4, FOUR, 2),
    Profile("4g.40gb", 5, 1, 39.25, (56, 2, 0, 4, 0, 0), 4, (0,), 3),
    Profile("7g.80gb", 0, 1, 79.0, (98, 5, 0, 7, 1, 1), 8, (0,), 4),
)
# By the GPU's name; one that is not here cannot be divided.
BY_NAME = {"NVIDIA H100 80GB HBM3": H100_80, "NVIDIA H100 PCIe": H100_80, "NVIDIA A100-SXM4-80GB": A100_80}
