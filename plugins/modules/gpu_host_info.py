#!/usr/bin/python
# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_host_info
short_description: Describe a host to which an NVIDIA driver is brought
version_added: "0.1.0"
description:
  - Returns the GPUs on the PCI bus, the switches between them, the kernel with its headers and its driver, Secure Boot, and who uses the GPUs.
  - No driver is needed; the kernel's own files are read. P(airgap.inference.gpu_host_plan#filter) chooses the driver by what is returned.
  - What the driver says of the GPUs comes from M(airgap.inference.gpu_info).
author:
  - airgap.inference contributors (@airgap-inference)
requirements:
  - root, to see who uses the GPUs and what connects them
attributes:
  check_mode:
    support: full
    description: The module changes nothing, and runs in check mode as it does otherwise.
  diff_mode:
    support: none
    description: There is nothing to compare.
  idempotent:
    support: full
    description: The module changes nothing.
options:
  kernel:
    description: The kernel that the driver is for, as C(uname -r) says it. The running one where it is not given.
    type: str
"""

EXAMPLES = r"""
- name: What the host has is known
  airgap.inference.gpu_host_info:
  register: found

- name: The host has headers for the kernel that it will start next
  airgap.inference.gpu_host_info:
    kernel: 6.1.0-56-amd64
  register: found
  failed_when: not found.kernel.headers
"""

RETURN = r"""
gpus:
  description: NVIDIA's GPUs on the PCI bus, whether a driver serves them or not, in the order of the bus.
  returned: success
  type: list
  elements: dict
  contains:
    pci_address:
      description: The GPU's place on the bus.
      type: str
      sample: "0000:1b:00.0"
    device_id:
      description: What it is, by the PCI database.
      type: str
      sample: "2330"
    subsystem_id:
      description: The board that it is on, by the PCI database; empty where it states none.
      type: str
      sample: "10de:16c1"
    generation:
      description: Its generation. V(null) where this version of the collection does not know the device.
      type: str
      sample: hopper
    open_modules:
      description: Whether the open kernel modules can drive it. V(null) where the generation is not known.
      type: bool
      sample: true
    proprietary_modules:
      description: Whether the proprietary kernel modules can. V(null) where the generation is not known.
      type: bool
      sample: true
    driver:
      description: The kernel's driver that has it now. V(null) where none has.
      type: str
      sample: nouveau
    slot:
      description: The physical slot, by the number that the firmware gives it. V(null) where it gives none.
      type: str
      sample: "3"
nvswitches:
  description: How many NVSwitches are on the bus.
  returned: success
  type: int
  sample: 4
nvlink5:
  description: Whether the host reaches switches of NVLink 5, as boards with B200 and newer GPUs have them.
  returned: success
  type: bool
  sample: false
kernel:
  description: The kernels, and the driver's module that is installed for the wanted one.
  returned: success
  type: dict
  contains:
    running:
      description: The running kernel.
      type: str
      sample: 6.1.0-56-amd64
    wanted:
      description: The kernel that the driver is for.
      type: str
      sample: 6.1.0-56-amd64
    image:
      description: Whether it is installed and not only what modules are built with, so that the host can start it. The running kernel always is.
      type: bool
      sample: true
    headers:
      description: Whether modules can be built for it.
      type: bool
      sample: true
    module_version:
      description: The version of the driver's module. V(null) where none is installed.
      type: str
      sample: 580.95.05
    module_open:
      description: Whether it is one of the open modules. V(null) where none is installed or it does not say.
      type: bool
      sample: true
    signed:
      description: Whether it carries a signature, whosever it is. V(null) where none is installed.
      type: bool
      sample: true
    module_file:
      description: Its file, which shows whether it was built by DKMS. V(null) where none is installed.
      type: str
      sample: /lib/modules/6.1.0-56-amd64/updates/dkms/nvidia.ko.xz
loaded:
  description: What the running kernel has loaded.
  returned: success
  type: dict
  contains:
    nvidia:
      description: The version of the loaded driver. V(null) where none is.
      type: str
      sample: 580.95.05
    open:
      description: Whether it is the open one. V(null) where none is loaded.
      type: bool
      sample: true
    nouveau:
      description: Whether the kernel's free driver is loaded, which keeps NVIDIA's away.
      type: bool
      sample: false
secure_boot:
  description: Whether the kernel was started with Secure Boot. V(null) where the firmware's variables are not shown.
  returned: success
  type: bool
  sample: false
dkms_key:
  description: The key with which DKMS signs what it builds.
  returned: success
  type: dict
  contains:
    certificate:
      description: The file of its certificate. V(null) where there is none yet.
      type: str
      sample: /var/lib/dkms/mok.pub
    enrolled:
      description: Whether the firmware knows it. V(null) where the firmware's list is not shown.
      type: bool
      sample: false
users:
  description: Processes that hold the driver's devices, without the driver's own services.
  returned: success
  type: list
  elements: dict
  contains:
    pid:
      description: The process id.
      type: int
      sample: 4711
    name:
      description: The name that the kernel shows.
      type: str
      sample: python3
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.inference.plugins.module_utils import _host_hardware
from ansible_collections.airgap.inference.plugins.module_utils._driver_load import Host
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError


def main() -> None:
    module = AnsibleModule(argument_spec={"kernel": {"type": "str"}}, supports_check_mode=True)
    try:
        found = _host_hardware.describe(Host(module.params["kernel"], run=_host_hardware.run))
    except (AirgapError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()
