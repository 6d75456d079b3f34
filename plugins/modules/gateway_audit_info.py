#!/usr/bin/python
# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gateway_audit_info
short_description: Look for requests in a gateway's audit log
version_added: "0.1.0"
description:
  - Reads the journal namespace into which the gateway of this host writes its audit log, and holds the lines of given
    requests against what is known of them, client, path, status, model, whether tokens were counted.
  - Says whether a marker that stood in the prompts appears anywhere, which it must not.
author:
  - airgap.inference contributors (@airgap-inference)
requirements:
  - journalctl of systemd 245 or newer on the target
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
  requests:
    description: The requests, as M(airgap.inference.gateway_probe) returns them.
    type: list
    elements: dict
    required: true
  since:
    description: The time from which lines are read, as C(journalctl --since) takes it. Empty reads all.
    type: str
    default: ""
  marker:
    description: A text that stood in every prompt.
    type: str
    default: ""
  namespace:
    description: The journal namespace.
    type: str
    default: airgap-gateway
  timeout:
    description: Seconds to wait for lines that are not there yet.
    type: int
    default: 10
seealso:
  - module: airgap.inference.gateway_probe
"""

EXAMPLES = r"""
- name: See whether the audit log knows what was asked
  airgap.inference.gateway_audit_info:
    requests: "{{ seen.requests }}"
    since: 10 minutes ago
    marker: "{{ seen.marker }}"
"""

RETURN = r"""
checks:
  description: One entry for each client of the requests, and one for the marker.
  returned: success
  type: list
  elements: dict
  sample:
    - subject: audit
      client: radiology
      ok: true
      made: true
      detail: the audit log has a line for each of 9 requests, 2 of them with tokens; answered by chat
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.inference.plugins.module_utils import _audit
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "requests": {"type": "list", "elements": "dict", "required": True},
            "since": {"type": "str", "default": ""},
            "marker": {"type": "str", "default": ""},
            "namespace": {"type": "str", "default": "airgap-gateway"},
            "timeout": {"type": "int", "default": 10},
        },
        supports_check_mode=True,
    )
    params = module.params
    ids = [str(request.get("id", "")) for request in params["requests"]]
    try:
        log = _audit.wait_for(params["namespace"], params["since"], params["marker"], ids, params["timeout"])
        checks = list(_audit.checks(params["requests"], log))
    except AirgapError as error:
        checks = [{"subject": "audit", "client": "", "ok": False, "made": True, "detail": str(error)}]
    module.exit_json(changed=False, checks=checks)


if __name__ == "__main__":
    main()
