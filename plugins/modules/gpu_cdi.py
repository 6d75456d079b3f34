#!/usr/bin/python
# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_cdi
short_description: Describe a host's GPUs to containers by CDI
version_added: "0.1.0"
description:
  - Lets the NVIDIA container toolkit describe the GPUs and MIG devices (C(nvidia-ctk cdi generate)) and holds the result against
    the file that containers get them by. Where they differ, as after a change of the driver or of MIG, the file is replaced.
  - The file, and the variables that shape it, are those of the toolkit's own C(nvidia-cdi-refresh.service)
    (C(/etc/nvidia-container-toolkit/nvidia-cdi-refresh.env)), so that both write the same. The service need not be there.
  - Control nodes of the driver that are missing under C(/dev) are made first.
  - Other files that offer GPUs the host does not have, or that make Docker refuse them, are told as warnings.
author:
  - airgap.inference contributors (@airgap-inference)
requirements:
  - nvidia-container-toolkit-base and a driver that answers
attributes:
  check_mode:
    description:
      - Describes the GPUs and compares without writing anything; missing control nodes are not made.
        Where the driver does not answer yet, a change is foretold and the reason is a warning.
    support: full
  diff_mode:
    description: Shows the text of the file.
    support: full
  idempotent:
    description: When run again on the same hardware, driver and MIG layout, changes nothing.
    support: full
options: {}
"""

EXAMPLES = r"""
- name: Containers can name the GPUs
  airgap.inference.gpu_cdi:
"""

RETURN = r"""
file:
  description: The file that describes the GPUs.
  returned: success
  type: str
  sample: /var/run/cdi/nvidia.yaml
devices:
  description: The devices that containers can name.
  returned: success
  type: list
  elements: str
  sample: ["nvidia.com/gpu=0", "nvidia.com/gpu=1:0", "nvidia.com/gpu=all"]
nodes:
  description: Control nodes of the driver that were made.
  returned: success
  type: list
  elements: str
  sample: [/dev/nvidia-uvm]
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.inference.plugins.module_utils import _cdi
from ansible_collections.airgap.inference.plugins.module_utils import _config_files as config_files
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError


def converge(module: AnsibleModule) -> dict[str, Any]:
    variables = _cdi.toolkit_settings()
    path = _cdi.output(variables)
    nodes = [] if module.check_mode else _cdi.create_nodes(variables)
    # The toolkit takes the format from the name.
    candidate = os.path.join(module.tmpdir, os.path.basename(path))
    try:
        text = _cdi.generate(variables, candidate)
    except AirgapError as error:
        if not module.check_mode:
            raise
        module.warn(str(error))
        return {"changed": True, "file": path, "devices": [], "nodes": []}
    reason = _cdi.refusal(text)
    if reason:
        raise AirgapError(reason)
    for remark in _cdi.remarks(path, text, _cdi.others(path)):
        module.warn(remark)
    differing = config_files.differing([config_files.File(path, text, None)])
    diff = config_files.difference(differing)
    if differing and not module.check_mode:
        config_files.make_parents(path)
        module.atomic_move(candidate, path)
        module.set_mode_if_different(path, "0644", True)
    return {
        "changed": bool(differing or nodes),
        "file": path,
        "devices": _cdi.devices(text),
        "nodes": nodes,
        "diff": diff,
    }


def main() -> None:
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    try:
        result = converge(module)
    except AirgapError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
