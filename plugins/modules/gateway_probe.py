#!/usr/bin/python
# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gateway_probe
short_description: See gateways as a client sees them
version_added: "0.1.0"
description:
  - Runs every check against every gateway and returns what each found; a check that fails does not fail the module,
    so that a report is whole.
  - TLS with the site's CA, older TLS refused, 401 without a key and with a wrong one, 404 for paths that are not offered,
    and a streamed generation of each instance.
author:
  - airgap.inference contributors (@airgap-inference)
attributes:
  check_mode:
    description: Only reads, so it does the same in check mode.
    support: full
  diff_mode:
    description: Changes nothing, so it has nothing to show.
    support: N/A
  idempotent:
    description: Only reads.
    support: full
options:
  gateways:
    description: The gateways.
    type: list
    elements: dict
    required: true
    suboptions:
      host:
        description: The name in the report.
        type: str
        required: true
      url:
        description: Its address, V(https://host:port).
        type: str
        required: true
      instances:
        description: What is expected behind it, in the order of the gateway. The first is asked without a prefix.
        type: list
        elements: dict
        default: []
        suboptions:
          name:
            description: The instance.
            type: str
            required: true
          model:
            description: The model that it serves.
            type: str
            required: true
  ca_path:
    description: The site's CA.
    type: path
    required: true
  api_key_file:
    description: A file with a client's key and nothing else. Without it, what needs a key is reported as failed.
    type: path
  timeout:
    description: Seconds for each check.
    type: int
    default: 120
seealso:
  - module: airgap.inference.endpoint_probe
"""

EXAMPLES = r"""
- name: See the gateways as a client does
  airgap.inference.gateway_probe:
    gateways:
      - host: gpu1
        url: https://gpu1.example.org:443
        instances:
          - {name: chat, model: llama-3.1-8b-instruct}
    ca_path: /etc/airgap/ca.pem
    api_key_file: /etc/airgap/client.key
  register: seen
"""

RETURN = r"""
checks:
  description: What each check found.
  returned: success
  type: list
  elements: dict
  sample: [{host: gpu1, subject: chat, ok: true, detail: "streamed generation by tiny: 16 tokens, first after 85 ms; /v1/models lists tiny"}]
time:
  description: When it began.
  returned: success
  type: str
  sample: "2026-11-21T09:30:00Z"
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.inference.plugins.module_utils import _gateway, _openai
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

INSTANCE = {"name": {"type": "str", "required": True}, "model": {"type": "str", "required": True}}
GATEWAY = {
    "host": {"type": "str", "required": True},
    "url": {"type": "str", "required": True},
    "instances": {"type": "list", "elements": "dict", "default": [], "options": INSTANCE},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "gateways": {"type": "list", "elements": "dict", "required": True, "options": GATEWAY},
            "ca_path": {"type": "path", "required": True},
            "api_key_file": {"type": "path", "no_log": False},
            "timeout": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    checks: list[dict[str, Any]] = []
    try:
        key_file = module.params["api_key_file"]
        key = _openai.read_key(key_file) if key_file else None
        for gateway in module.params["gateways"]:
            instances = [
                _gateway.Instance(entry["name"], entry["model"], f"/{entry['name']}" if position else "")
                for position, entry in enumerate(gateway["instances"])
            ]
            found = _gateway.examine(gateway["url"], module.params["ca_path"], key, instances, module.params["timeout"])
            checks.extend({"host": gateway["host"], **check._asdict()} for check in found)
    except AirgapError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, checks=checks, time=started)


if __name__ == "__main__":
    main()
