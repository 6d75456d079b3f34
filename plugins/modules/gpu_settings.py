#!/usr/bin/python
# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_settings
short_description: Set power limit and ECC of GPUs
version_added: "0.1.0"
description:
  - Sets the power limit and the ECC mode of GPUs with C(nvidia-smi). What is not stated stays as it is.
  - A limit outside of what a GPU takes, and a GPU without the setting, are refused for all GPUs in one message, before anything is changed.
    So is a power limit where persistence is off, since the driver would soon forget it.
  - A change of ECC takes effect with a reset of the GPU. It is reset at once where it is idle, undivided and not behind an NVSwitch;
    services that only watch GPUs or keep them open are stopped for that and started again. Otherwise the change waits
    for a restart of the host, told in RV(ignore:reboot_required).
  - ECC of all GPUs comes first, and power limits last, since a reset takes power limits away, also those of other idle GPUs.
    GPUs that are not named get the power limit again that they had.
  - The driver forgets power limits when the host restarts or the driver is unloaded. RV(ignore:commands) are what sets them again;
    the role gpu_host puts them into a unit.
author:
  - airgap.inference contributors (@airgap-inference)
attributes:
  check_mode:
    support: partial
    description: Can run in check mode and tell what would change, without changing it.
    details:
      - Says what would be set. It cannot tell whether a change of ECC will need a restart of the host,
        and does not look at persistence, which an earlier task may be about to switch on.
  diff_mode:
    support: full
    description: Shows both settings of each GPU that changes.
  idempotent:
    support: full
    description: Settings that are as stated, or that only wait for a restart of the host, are left alone.
options:
  gpus:
    description: The GPUs, by index, UUID or PCI address; V(all) for all of them.
    type: list
    elements: str
    default: [all]
  power_limit_watts:
    description: The power limit of each GPU, between the least and the most that it takes.
    type: float
  ecc:
    description: Whether ECC is on.
    type: bool
  nvidia_smi:
    description: The program to use, as a name on the C(PATH) or as a path.
    type: str
    default: nvidia-smi
  timeout:
    description: Seconds to wait for each of its answers.
    type: int
    default: 120
"""

EXAMPLES = r"""
- name: The rack's supply is not overdrawn
  airgap.inference.gpu_settings:
    power_limit_watts: 500

- name: Memory errors are noticed
  airgap.inference.gpu_settings:
    gpus: [0, 1]
    ecc: true
"""

RETURN = r"""
gpus:
  description: The GPUs that were changed, or would be in check mode.
  returned: always
  type: list
  elements: dict
  contains:
    index:
      description: The GPU's number.
      type: int
      sample: 0
    uuid:
      description: The GPU's identity.
      type: str
      sample: GPU-8a56a4bc-e184-a047-2620-be19fdf913d5
    before:
      description: The settings before. C(ecc_pending) is the ECC mode after a restart.
      type: dict
      sample: {power_limit_watts: 700.0, ecc: enabled, ecc_pending: enabled}
    after:
      description: The settings after.
      type: dict
      sample: {power_limit_watts: 500.0, ecc: enabled, ecc_pending: enabled}
reboot_required:
  description: Whether the ECC mode of a GPU waits for a restart of the host.
  returned: success
  type: bool
reasons:
  description: Why it has to restart. Empty when it does not.
  returned: success
  type: list
  elements: str
commands:
  description: The commands, as lists of arguments, that set the power limit again after a restart of the host.
  returned: success
  type: list
  elements: list
  sample:
    - [nvidia-smi, -i, GPU-8a56a4bc-e184-a047-2620-be19fdf913d5, -pl, "500"]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.inference.plugins.module_utils import _gpu_settings
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._gpu_change import Smi


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "gpus": {"type": "list", "elements": "str", "default": ["all"]},
            "power_limit_watts": {"type": "float"},
            "ecc": {"type": "bool"},
            "nvidia_smi": {"type": "str", "default": "nvidia-smi"},
            "timeout": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    params = module.params
    smi = Smi(params["nvidia_smi"], params["timeout"])
    wanted = _gpu_settings.Wanted(params["power_limit_watts"], params["ecc"])
    outcome = _gpu_settings.Outcome([], [], [])
    try:
        result = _gpu_settings.converge(smi, params["gpus"], wanted, module.check_mode, outcome)
    except AirgapError as error:
        module.fail_json(msg=str(error), changed=bool(outcome.gpus), gpus=outcome.gpus)
    for warning in outcome.warnings:
        module.warn(warning)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
