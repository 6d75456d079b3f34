#!/usr/bin/python
# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_driver_load
short_description: Bring the kernel to the NVIDIA driver that is installed
version_added: "0.1.0"
description:
  - Loads the installed NVIDIA driver into the running kernel. Where another version of it is loaded, or modules of the other kind
    (open or proprietary), it is unloaded first, if nobody uses it.
  - A module that was not built for the kernel is built by DKMS; what the compiler said is the failure's reason.
  - Services that only keep or watch the driver (C(nvidia-persistenced), C(nvidia-fabricmanager), DCGM and its exporter, NVSM)
    are stopped for the change if they run, and started again after it.
  - Where only a restart of the host helps, the module says so in RV(ignore:reboot_required), with the reasons. It never restarts a host.
  - Before a restart, the kernel that it would bring is looked at, as far as GRUB's files tell which one that is. Where that kernel
    has its headers but not the driver's module, DKMS builds it. RV(ignore:reasons_against) says what still speaks against a restart.
  - A driver that the kernel refuses is told apart by the kernel's and C(modprobe)'s messages, with the remedy. Secure Boot, a module of
    another kernel, a GPU that this driver cannot run, and a module that was never built are known.
  - MIG mode (from the Hopper generation on), MIG instances and power limits do not outlive the unloading of a driver.
    Set them after this module.
author:
  - airgap.inference contributors (@airgap-inference)
requirements:
  - modprobe and modinfo (kmod)
  - systemd
attributes:
  check_mode:
    support: partial
    description: Can run in check mode and tell what would change, without changing it.
    details:
      - Says what would be built, unloaded and loaded. It cannot tell whether the kernel will take the driver,
        and for a driver that has to be built first, not what follows the build.
  diff_mode:
    support: full
    description: Shows the loaded driver before and after.
  idempotent:
    support: full
    description: When the installed driver is loaded, nothing is done.
options:
  kernel:
    description:
      - The kernel that the host is to run, as C(uname -r) prints it. By default it is the running one.
      - When another one runs, the module sees to it that the driver exists for this kernel, and asks for a restart.
    type: str
  allow_unload:
    description: Whether a driver that differs from the installed one may be unloaded. Otherwise a restart is asked for.
    type: bool
    default: true
  restart:
    description:
      - Whether the host is about to be restarted for another reason, such as a MIG mode that waits for it.
        Then what the next start needs is looked at as where this module asks for a restart.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: The kernel has the installed driver
  airgap.inference.gpu_driver_load:
  register: driver

- name: Say why the host has to restart
  ansible.builtin.debug:
    msg: "{{ driver.reasons }}"
  when: driver.reboot_required
"""

RETURN = r"""
loaded:
  description: The version of the loaded driver. V(null) where none is loaded.
  returned: success
  type: dict
  contains:
    before:
      description: Before.
      type: str
      sample: 580.95.05
    after:
      description: After; in check mode, what would be loaded.
      type: str
      sample: 580.105.08
reboot_required:
  description: Whether only a restart of the host brings the wanted kernel and the installed driver together.
  returned: success
  type: bool
reasons:
  description: Why it has to restart. Empty when it does not.
  returned: success
  type: list
  elements: str
  sample:
    - "the driver 580.95.05 (open) is loaded, and 580.105.08 (open) is installed; it is in use by vllm (process 4242, docker.service)"
in_use:
  description:
    - Who has the driver open, where that is a reason for the restart. Empty where it is not.
      When these let it go, the module can change the driver without a restart.
  returned: success
  type: list
  elements: dict
  sample: [{pid: 4242, name: vllm, unit: docker.service}]
  contains:
    pid:
      description: The process id.
      type: int
    name:
      description: The name that the kernel shows.
      type: str
    unit:
      description: The service that it belongs to. Empty where it belongs to none.
      type: str
next_kernel:
  description: The kernel that the next start of the host brings.
  returned: success
  type: dict
  sample: {version: 6.1.0-60-amd64, has_module: true}
  contains:
    version:
      description: The kernel. V(null) where it cannot be told, as without GRUB, in a container, and for an entry that names no kernel.
      type: str
    has_module:
      description: Whether a module of the driver is installed for it. V(null) where the kernel is not known.
      type: bool
reasons_against:
  description:
    - Why the host should not be restarted before something else is done. Empty where nothing is known that speaks against it,
      and where no restart is due.
  returned: success
  type: list
  elements: str
  sample:
    - "the next boot is 6.1.0-60-amd64, for which no nvidia module is installed: install its headers (airgap_targets[].kernels) or remove that kernel"
actions:
  description: What was done, in order; in check mode, what would be.
  returned: success
  type: list
  elements: str
  sample: ["stopped nvidia-persistenced.service", "unloaded the driver 580.95.05 (open)", "loaded nvidia, nvidia_uvm"]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.inference.plugins.module_utils import _driver_load
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "kernel": {"type": "str"},
            "allow_unload": {"type": "bool", "default": True},
            "restart": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    params = module.params
    host = _driver_load.Host(params["kernel"])
    try:
        result = _driver_load.converge(host, params["allow_unload"], module.check_mode, params["restart"])
    except AirgapError as error:
        module.fail_json(msg=str(error), changed=bool(host.done), actions=host.done)
    for warning in host.warnings:
        module.warn(warning)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
