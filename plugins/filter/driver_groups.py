# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: driver_groups
short_description: Tell apart hosts that state different GPU drivers, with the packages of each
version_added: "0.1.0"
description:
  - Hosts that state the same are one group. A bundle carries the packages of every group, and rehearses each by itself, since drivers
    of two groups may exclude each other.
author:
  - airgap.inference contributors (@airgap-inference)
positional: _input
options:
  _input:
    description:
      - What hosts state, with C(host), C(source), C(modules), C(branch), C(version) and C(packages), each as the variable of the role
        C(gpu_host) of that name; what is left out is the role's default. Without any host there is one group with the defaults.
    type: list
    elements: dict
    required: true
  drivers:
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
  default_source:
    description: The source where C(auto) is stated.
    type: str
    required: true
  kernels:
    description: The kernels of the hosts, for packages that are made for one of them.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Show the drivers that a bundle has to carry
  ansible.builtin.debug:
    msg: "{{ [{'host': 'gpu1'}, {'host': 'gpu2', 'version': '580.95.05'}] | airgap.inference.driver_groups(drivers, default_source='nvidia') }}"
"""

RETURN = r"""
_value:
  description:
    - For each group its C(name), the C(packages) of the driver, those for GPUs that are connected by switches (C(fabric)), what belongs
      together (C(pins)), and why it cannot be had (C(refusals)).
  type: list
  elements: dict
"""

from typing import Any, Callable

from ansible_collections.airgap.inference.plugins.module_utils import _driver_plan


class FilterModule:
    """Ansible's way to a filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"driver_groups": _driver_plan.groups}
