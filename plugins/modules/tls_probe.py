#!/usr/bin/python
# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: tls_probe
short_description: Let sslyze examine the TLS of gateways
version_added: "0.1.0"
description:
  - Which versions and cipher suites are spoken, whether the chain leads to the site's CA, and whether known attacks would work.
  - Where sslyze is not installed, or a gateway is not reached from here, that is said together with what was therefore not checked;
    it is not a failure, since M(airgap.inference.gateway_probe) sees versions and chain from the client's seat.
author:
  - airgap.inference contributors (@airgap-inference)
requirements:
  - sslyze 6 in the Python that runs the module; without it one check says that it was not made
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
    description: The gateways, each with C(host), its name in the report, and C(url), V(https://host:port).
    type: list
    elements: dict
    required: true
  ca:
    description: The certificate of the site's CA, in PEM.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Examine TLS from the controller
  airgap.inference.tls_probe:
    gateways:
      - {host: gpu1, url: "https://gpu1.example.org:443"}
    ca: "{{ lookup('ansible.builtin.file', '/etc/airgap/ca.pem') }}"
  delegate_to: localhost
  vars:
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
"""

RETURN = r"""
checks:
  description: What was found. A check that was not made is not a failure, and its detail says what was not checked.
  returned: success
  type: list
  elements: dict
  sample:
    - host: gpu1
      subject: TLS
      client: ""
      ok: true
      made: true
      detail: TLS 1.3 alone, with TLS_AES_256_GCM_SHA384; SSL 2.0 to TLS 1.2 are refused
sslyze:
  description: The version that was used; empty when there is none.
  returned: success
  type: str
  sample: 6.3.1
"""

import os
import tempfile
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.inference.plugins.module_utils import _http, _tls_scan
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError


def examine(gateways: list[dict[str, Any]], ca: str) -> tuple[list[dict[str, Any]], str]:
    """The checks of all gateways, and the version of sslyze."""
    sslyze, reason = _tls_scan.load()
    with tempfile.TemporaryDirectory() as directory:
        ca_path = os.path.join(directory, "ca.pem")
        with open(ca_path, "w", encoding="utf-8") as stream:
            stream.write(ca)
        checks: list[dict[str, Any]] = []
        for gateway in gateways:
            if sslyze is None:
                findings = [_tls_scan.Finding(True, reason, made=False)]
            else:
                address = _http.parse_url(str(gateway["url"]), None)
                findings = _tls_scan.scan(sslyze, address.host, address.port, ca_path)
            checks.extend(
                {"host": str(gateway["host"]), "subject": "TLS", "client": "", **finding._asdict()}
                for finding in findings
            )
    return checks, str(sslyze.__version__.__version__) if sslyze else ""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "gateways": {"type": "list", "elements": "dict", "required": True},
            "ca": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    try:
        checks, version = examine(module.params["gateways"], module.params["ca"])
    except KeyError as error:
        module.fail_json(msg=f"An entry of gateways states no {error.args[0]}; each needs host and url")
    except AirgapError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, checks=checks, sslyze=version)


if __name__ == "__main__":
    main()
