#!/usr/bin/python
# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gateway_probe
short_description: See gateways as their clients see them
version_added: "0.1.0"
description:
  - Runs every check against every gateway for every client and returns what each found; a check that fails does not fail
    the module, so that a report is whole.
  - TLS with the site's CA, older TLS refused, 401 without a key and with a wrong one, 404 for paths that are not offered,
    metrics for those alone that may read them, the headers of answers.
  - For each client, the models that are listed, a plain and a streamed generation (or an embedding, or a ranking) by each,
    a model that is refused, and the limits that the site states, as far as they can be tried with few requests.
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
      metrics_networks:
        description: Whoever asks from these networks (CIDR) may read metrics.
        type: list
        elements: str
        default: []
      instances:
        description: What is expected behind it.
        type: list
        elements: dict
        default: []
        suboptions:
          name:
            description: The instance.
            type: str
            required: true
          models:
            description: The names that clients ask for; the first is that of the model, others are those of adapters.
            type: list
            elements: str
            required: true
          task:
            description: What it is for.
            type: str
            choices: [generate, embed, rerank]
            default: generate
          probe:
            description: What the model is asked, C(path), C(body) and C(expects); by default what is usual for the task.
            type: dict
  clients:
    description: The clients to verify with. Without one, what needs a key is reported as failed.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The name in O(site_clients) and in the report; by default that of the entry with the key's hash.
        type: str
      key_file:
        description: A file with the client's key (or token) and nothing else.
        type: path
        required: true
  site_clients:
    description:
      - What the site says of its clients, as in C(airgap_clients), C(name), C(key_sha256), C(models), C(rate), C(burst),
        C(concurrency), C(metrics). A client that stands here is held against it.
    type: list
    elements: dict
    default: []
  ca_path:
    description: The site's CA.
    type: path
    required: true
  client_certificate:
    description: A certificate of the client with its chain, for gateways that demand one.
    type: path
  client_certificate_key:
    description: The key of O(client_certificate).
    type: path
  limit_requests:
    description: How many requests are sent at most to see a rate bite; a rate that would take more is not tried, and that is told.
    type: int
    default: 100
  timeout:
    description: Seconds for each check.
    type: int
    default: 120
seealso:
  - module: airgap.inference.endpoint_probe
  - module: airgap.inference.gateway_audit_info
"""

EXAMPLES = r"""
- name: See the gateways as a client does
  airgap.inference.gateway_probe:
    gateways:
      - host: gpu1
        url: https://gpu1.example.org:443
        instances:
          - {name: chat, models: [llama-3.1-8b-instruct]}
          - {name: find, models: [bge-m3], task: embed}
    clients:
      - {name: radiology, key_file: /etc/airgap/radiology.key}
    site_clients: "{{ airgap_clients }}"
    ca_path: /etc/airgap/ca.pem
  register: seen
"""

RETURN = r"""
checks:
  description: What each check found. One that was not made is not a failure, and its detail says why.
  returned: success
  type: list
  elements: dict
  sample:
    - host: gpu1
      subject: chat
      client: radiology
      ok: true
      made: true
      detail: "streamed generation by tiny: 16 tokens, first after 85 ms"
requests:
  description: The requests that the audit logs must know.
  returned: success
  type: list
  elements: dict
  sample: [{host: gpu1, id: 5b1c, client: radiology, path: /v1/models, status: 200, model: "", tokens: false}]
marker:
  description: What every prompt said, and no log may hold.
  returned: success
  type: str
  sample: airgap-acceptance-1f0c5a
time:
  description: When it began.
  returned: success
  type: str
  sample: "2026-11-21T09:30:00Z"
seconds:
  description: How long it took; an audit log is read from before that on.
  returned: success
  type: int
  sample: 12
"""

import hashlib
import secrets
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.inference.plugins.module_utils import _gateway, _gateway_client, _openai
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

INSTANCE = {
    "name": {"type": "str", "required": True},
    "models": {"type": "list", "elements": "str", "required": True},
    "task": {"type": "str", "choices": ["generate", "embed", "rerank"], "default": "generate"},
    "probe": {"type": "dict"},
}
GATEWAY = {
    "host": {"type": "str", "required": True},
    "url": {"type": "str", "required": True},
    "metrics_networks": {"type": "list", "elements": "str", "default": []},
    "instances": {"type": "list", "elements": "dict", "default": [], "options": INSTANCE},
}
CLIENT = {"name": {"type": "str"}, "key_file": {"type": "path", "required": True, "no_log": False}}


def read_clients(module: AnsibleModule) -> list[_gateway_client.Client]:
    """The clients with their keys; a key is never shown, whatever an answer may repeat."""
    clients = []
    for position, stated in enumerate(module.params["clients"]):
        key = _openai.read_key(stated["key_file"])
        module.no_log_values.add(key)
        digest = hashlib.sha256(key.encode("utf-8")).hexdigest()
        clients.append(_gateway.described(stated, key, module.params["site_clients"], digest, position))
    return clients


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "gateways": {"type": "list", "elements": "dict", "required": True, "options": GATEWAY},
            "clients": {"type": "list", "elements": "dict", "default": [], "options": CLIENT},
            "site_clients": {"type": "list", "elements": "dict", "default": []},
            "ca_path": {"type": "path", "required": True},
            "client_certificate": {"type": "path"},
            "client_certificate_key": {"type": "path", "no_log": False},
            "limit_requests": {"type": "int", "default": 100},
            "timeout": {"type": "int", "default": 120},
        },
        required_together=[("client_certificate", "client_certificate_key")],
        supports_check_mode=True,
    )
    params = module.params
    began = time.monotonic()
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    marker = f"airgap-acceptance-{secrets.token_hex(6)}"
    checks: list[dict[str, Any]] = []
    requests: list[dict[str, Any]] = []
    try:
        clients = read_clients(module)
        for stated in params["gateways"]:
            seat = _gateway.seat_at(
                stated["url"],
                params["ca_path"],
                params["client_certificate"],
                params["client_certificate_key"],
                params["timeout"],
            )
            instances = [_gateway_client.Instance(**entry) for entry in stated["instances"]]
            gateway = _gateway.Gateway(stated["url"], instances, stated["metrics_networks"])
            told = _gateway.examine(gateway, clients, seat, marker, params["limit_requests"])
            found = [*told.checks, *_gateway.unseen(clients, params["site_clients"])]
            checks.extend({"host": stated["host"], **check._asdict()} for check in found)
            requests.extend({"host": stated["host"], **asked._asdict()} for asked in told.asked)
    except AirgapError as error:
        module.fail_json(msg=str(error))
    seconds = int(time.monotonic() - began) + 1
    module.exit_json(changed=False, checks=checks, requests=requests, marker=marker, time=started, seconds=seconds)


if __name__ == "__main__":
    main()
