#!/usr/bin/python
# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_info
short_description: Describe the NVIDIA GPUs of a host
version_added: "0.1.0"
description:
  - Asks C(nvidia-smi -q -x) and returns the GPUs, the driver's version and the newest CUDA version that the driver serves.
  - Where that cannot be told, the module fails and says which of the known failures it met, and what to do.
    It tells apart a driver that is not installed, not loaded, or of another version than its libraries,
    a host without GPUs, a GPU that was lost from the bus, and an C(nvidia-smi) that hangs.
author:
  - airgap.inference contributors (@airgap-inference)
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
  nvidia_smi:
    description:
      - The program to ask, as a name on the C(PATH) or as a path.
    type: str
    default: nvidia-smi
  timeout:
    description:
      - Seconds to wait for its answer.
      - Without C(nvidia-persistenced), C(nvidia-smi) initialises every GPU anew, which takes seconds for each.
    type: int
    default: 60
  required:
    description:
      - How many GPUs are needed. With fewer on the host the module fails and states both numbers.
    type: int
"""

EXAMPLES = r"""
- name: The GPUs of the host are known
  airgap.inference.gpu_info:
  register: gpu_info

- name: The host has the GPUs that its instance asks for
  airgap.inference.gpu_info:
    required: 2
"""

RETURN = r"""
gpus:
  description: The GPUs, in the order in which the driver numbers them.
  returned: success
  type: list
  elements: dict
  contains:
    index:
      description: The GPU's number, as in C(nvidia-smi) and in its CDI name.
      type: int
      sample: 0
    uuid:
      description: The GPU's identity, which stays when cards are moved.
      type: str
      sample: GPU-8a56a4bc-e184-a047-2620-be19fdf913d5
    name:
      description: The product's name.
      type: str
      sample: NVIDIA H100 80GB HBM3
    architecture:
      description: The product's generation. V(null) where the driver does not state it.
      type: str
      sample: Hopper
    serial:
      description: The board's serial number. V(null) for boards without one.
      type: str
      sample: "1654523003308"
    pci_address:
      description: The GPU's place on the PCI bus.
      type: str
      sample: "00000000:1B:00.0"
    memory_mib:
      description: The GPU's memory in MiB. V(null) where it shares the host's memory.
      type: int
      sample: 81559
    memory_used_mib:
      description: Of it, what is in use.
      type: int
      sample: 4
    persistence:
      description: Whether persistence mode is on, so that the driver keeps the GPU initialised.
      type: bool
      sample: true
    ecc_mode:
      description: V(enabled), V(disabled), or V(null) for a GPU without ECC.
      type: str
      sample: enabled
    mig_mode:
      description: V(enabled), V(disabled), or V(null) for a GPU that cannot be divided into instances.
      type: str
      sample: disabled
    temperature_celsius:
      description: The GPU's temperature.
      type: int
      sample: 31
    power_limit_watts:
      description: The power limit in force.
      type: float
      sample: 700.0
    vbios_version:
      description: The version of the GPU's firmware.
      type: str
      sample: 96.00.A5.00.01
driver_version:
  description: The version of the driver.
  returned: success
  type: str
  sample: 580.95.05
cuda_version:
  description: The newest CUDA version that the driver serves.
  returned: success
  type: str
  sample: "13.0"
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.inference.plugins.module_utils import _gpu
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "nvidia_smi": {"type": "str", "default": "nvidia-smi"},
            "timeout": {"type": "int", "default": 60},
            "required": {"type": "int"},
        },
        supports_check_mode=True,
    )
    try:
        described = _gpu.read(_gpu.ask(module.params["nvidia_smi"], module.params["timeout"]))
    except AirgapError as error:
        module.fail_json(msg=str(error))
    for warning in described.pop("warnings"):
        module.warn(warning)
    refusal = _gpu.count_refusal(described["gpus"], module.params["required"] or 0)
    if refusal is not None:
        module.fail_json(msg=refusal, **described)
    module.exit_json(changed=False, **described)


if __name__ == "__main__":
    main()
