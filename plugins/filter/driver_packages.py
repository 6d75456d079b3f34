# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: driver_packages
short_description: Name the packages of a GPU driver, whatever the hardware is
version_added: "0.1.0"
description:
  - Gives every package that a host of these settings could need, so that a bundle carries them; hosts choose among them by their
    hardware, with P(airgap.inference.gpu_host_plan#filter).
  - Where the kernel modules are left to the hardware, these are the system's own choice.
  - Settings that cannot be had give an empty list; P(airgap.inference.driver_refusals#filter) says why.
author:
  - airgap.inference contributors (@airgap-inference)
positional: _input
options:
  _input:
    description:
      - What a role knows of the drivers of a system, by source, as C(__gpu_host_drivers) in C(roles/gpu_host/vars/<system>.yml).
      - In names, C({branch}) stands for the driver's branch and C({kernel}) for a kernel as C(uname -r) says it.
      - C(modules) has the packages of the kernel modules, C(open) and C(proprietary); a flavour that is left out cannot be had there.
        C(default_modules) is what hosts get whose GPUs can have both. C(build) is C(dkms), or C(prebuilt) where the packages bring
        signed modules for the kernels of the system. C(any_kernel) stands for C({kernel}) where no kernel is known.
      - C(libraries) are the packages that have the version of the modules, C(services) those that have versions of their own.
      - C(fabric) is the fabric manager; C(nvlink5) is what NVLink 5 needs besides at the same version, C(nvlink5_services) what has versions
        of its own. What is left out cannot be had there. C(tools) is what holds packages, where that has to be installed.
      - C(headers) is the package that modules are built against.
      - C(branch) is the branch where none is stated, empty where the source has only one; C(newest) is that one. C(oldest) is the first whose
        packages are known. C(since) has, by branch, what other branches from there on have in place. C(streams) are the module streams of a branch.
      - C(together) are names, as apt's preferences take them, of all packages that have the version of the modules; they are held as
        well, or those of C(held) in their place, as shell patterns.
      - C(exact) is how a package is asked for at a version; without it, C({package}={version}-*).
    type: dict
    required: true
  source:
    description: Whose packages, a key of the drivers' data.
    type: str
    required: true
  modules:
    description: The kernel modules that a person states, as in C(gpu_host_kernel_modules).
    type: str
    choices: [auto, open, proprietary]
    default: auto
  branch:
    description: The stated branch; empty for the one in the data.
    type: str
    default: ""
  version:
    description: The stated driver's version, without a package's release.
    type: str
    default: ""
  packages:
    description: Packages that a person states in place of those in the data; they stand as they are.
    type: list
    elements: str
    default: []
  kernels:
    description: The kernels of the hosts, for packages that are made for one of them.
    type: list
    elements: str
    default: []
  fabric:
    description: Whether to name what GPUs need that are connected by switches.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Show what a bundle has to carry for the driver
  ansible.builtin.debug:
    msg: "{{ drivers | airgap.inference.driver_packages(source='nvidia', branch='580') }}"
"""

RETURN = r"""
_value:
  description: Packages, with what keeps them at their version.
  type: list
  elements: str
"""

from typing import Any, Callable

from ansible_collections.airgap.inference.plugins.module_utils import _driver_plan


class FilterModule:
    """Ansible's way to a filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"driver_packages": _driver_plan.packages_for}
