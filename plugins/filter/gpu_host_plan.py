# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: gpu_host_plan
short_description: Work out which driver a GPU host gets, and why it cannot
version_added: "0.1.0"
description:
  - Chooses packages, kernel modules and services by the hardware that M(airgap.inference.gpu_host_info) found, by what a person
    states, and by what the system has.
  - Reasons against it are returned, all of them; nothing is guessed for hardware that is not known.
author:
  - airgap.inference contributors (@airgap-inference)
positional: _input
options:
  _input:
    description: The result of M(airgap.inference.gpu_host_info).
    type: dict
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
  kernel_headers:
    description: Whether the plan names the headers of the kernel.
    type: bool
    default: true
  state:
    description:
      - As M(airgap.inference.packages) will be asked for it. With V(present), a driver that is there and is of the stated branch and flavour
        stays, and what must have exactly its version (fabric manager) is asked for in that version.
    type: str
    choices: [present, latest]
    default: present
  system:
    description: The host's facts, or its C(distribution) and C(release), to be held against O(systems).
    type: dict
  systems:
    description: The systems that the data are of, each with its releases. Other ones are refused.
    type: dict
"""

EXAMPLES = r"""
- name: See what the host has
  airgap.inference.gpu_host_info:
  register: found

- name: The host can have a driver
  ansible.builtin.assert:
    that: plan.refusals | length == 0
    fail_msg: "{{ plan.refusals | join(' ') }}"
  vars:
    plan: "{{ found | airgap.inference.gpu_host_plan(drivers=drivers, source='nvidia', version='580.95.05') }}"
"""

RETURN = r"""
_value:
  description:
    - C(packages) to install, C(hold), the names and patterns of those that nobody else may change, and C(headers), the package that modules are
      built against, empty where they come built.
    - C(modules) is V(open) or V(proprietary), C(build) V(dkms) or V(prebuilt), C(source) and C(branch) are where they come from.
      C(streams) are the module streams to enable first, where a system has them. C(pins) are names and versions that belong together,
      for a source that has several.
    - C(services) are the units that run, C(fabric) says whether the GPUs are connected by switches.
    - C(refusals) say why this host cannot have this driver; the list is empty when it can.
  type: dict
"""

from typing import Any, Callable

from ansible_collections.airgap.inference.plugins.module_utils import _driver_plan


class FilterModule:
    """Ansible's way to a filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"gpu_host_plan": _driver_plan.plan}
