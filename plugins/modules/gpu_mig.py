#!/usr/bin/python
# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_mig
short_description: Divide GPUs into MIG instances
version_added: "0.1.0"
description:
  - Brings the named GPUs to the stated division by C(nvidia-smi mig), with one compute instance of the whole size in each GPU instance.
    GPUs that are not named stay as they are.
  - A GPU that differs is divided anew as a whole, so nobody may work on it. A GPU in use is refused, with the names and ids of the processes.
    So are a profile that the GPU does not have, more instances than there is room for, and a GPU without MIG.
    All refusals are in one message, and come before anything is changed.
  - If dividing a GPU fails half-way, the division that it had is made again.
  - Where MIG mode needs a reset of the GPU (Ampere), services that only watch GPUs or keep them open are stopped for it and started again.
    Behind an NVSwitch, or where the reset is refused, the mode waits for a restart of the host, told in RV(ignore:reboot_required).
    Run the module again after the restart.
  - Power limits that a reset or the stopped services took away, on these GPUs or on others, are set again.
  - Instances do not outlive a restart of the host or a change of its driver, and from the Hopper generation on MIG mode does not either.
    RV(ignore:commands) are what makes the layout after a restart; the role gpu_host puts them into a unit.
author:
  - airgap.inference contributors (@airgap-inference)
attributes:
  check_mode:
    support: partial
    description: Can run in check mode and tell what would change, without changing it.
    details:
      - Says which GPUs would be divided anew, and refuses what would be refused. It cannot tell whether MIG mode will need a restart of the host,
        nor, on branches that list profiles only with MIG mode on, whether the profiles exist.
  diff_mode:
    support: full
    description: Shows the division of each GPU that differs, before and after.
  idempotent:
    support: full
    description: A GPU that has the stated instances, in whatever places, is left alone.
options:
  layout:
    description: How to divide which GPUs. Each GPU may be named once.
    type: list
    elements: dict
    required: true
    suboptions:
      gpus:
        description: The GPUs, by index, UUID or PCI address; V(all) for all of them.
        type: list
        elements: str
        default: [all]
      instances:
        description:
          - The profiles of the instances, as C(nvidia-smi mig -lgip) names them, with or without C(MIG) in front.
          - An empty list switches MIG mode off.
        type: list
        elements: str
        required: true
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
- name: The first GPU serves three small models, the others one large model each
  airgap.inference.gpu_mig:
    layout:
      - {gpus: [0], instances: [3g.40gb, 2g.20gb, 1g.10gb]}
      - {gpus: [1, 2, 3], instances: []}
  register: mig
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
      description: MIG mode and the instances' profiles before.
      type: dict
      sample: {mode: disabled, instances: []}
    after:
      description: MIG mode and the instances' profiles after.
      type: dict
      sample: {mode: enabled, instances: [3g.40gb, 2g.20gb, 1g.10gb]}
reboot_required:
  description: Whether MIG mode of a GPU waits for a restart of the host.
  returned: success
  type: bool
reasons:
  description: Why it has to restart. Empty when it does not.
  returned: success
  type: list
  elements: str
  sample: ["GPU 0 (GPU-8a56a4bc-e184-a047-2620-be19fdf913d5, PCI 00000000:1B:00.0): MIG mode will be enabled after a restart; it cannot be reset"]
commands:
  description: The commands, as lists of arguments, that make the layout after a restart of the host.
  returned: success
  type: list
  elements: list
  sample:
    - [nvidia-smi, -i, GPU-8a56a4bc-e184-a047-2620-be19fdf913d5, -mig, "1"]
    - [nvidia-smi, mig, -i, GPU-8a56a4bc-e184-a047-2620-be19fdf913d5, -cgi, "3g.40gb,2g.20gb,1g.10gb", -C]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.inference.plugins.module_utils import _mig
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._gpu_change import Smi


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "layout": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "gpus": {"type": "list", "elements": "str", "default": ["all"]},
                    "instances": {"type": "list", "elements": "str", "required": True},
                },
            },
            "nvidia_smi": {"type": "str", "default": "nvidia-smi"},
            "timeout": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    smi = Smi(module.params["nvidia_smi"], module.params["timeout"])
    done: list[dict[str, Any]] = []
    try:
        result = _mig.converge(smi, module.params["layout"], module.check_mode, done)
    except AirgapError as error:
        module.fail_json(msg=str(error), changed=bool(done), gpus=done)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
