#!/usr/bin/python
# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: model_fetch
short_description: Bring a model revision to a host, whole and verified
version_added: "0.1.0"
description:
  - Fetches a model revision from the depot by rsync over TLS, goes on where an interrupted run stopped,
    and checks the SHA-256 of every file against the digest that the bundle's manifest states.
  - Nothing unverified is ever seen under the revision's own name.
  - A later run hashes only those files whose size or times changed since, so it costs little;
    a file that is wrong, missing or not part of the model is named and put right.
author:
  - airgap.inference contributors (@airgap-inference)
requirements:
  - rsync 3.2.3 or newer and openssl 1.1.1 or newer on the target
attributes:
  check_mode:
    description: Says whether something would be fetched, from what is on the host; the depot is not asked.
    support: full
  diff_mode:
    description: Names what is wrong with the revision on the host.
    support: full
  idempotent:
    description: When run again with the same options, changes nothing.
    support: full
options:
  name:
    description: The model's name in the bundle.
    type: str
    required: true
  revision:
    description: The model's revision in the bundle.
    type: str
    required: true
  digest:
    description: The SHA-256, in hex, of the revision's list of digests, as in the manifest.
    type: str
    required: true
  directory:
    description: The directory of all models on the host; the revision is put into C(name/revision) below it.
    type: path
    default: /srv/models
  source:
    description:
      - The depot's model source, as C(host:port). The port is 874 when it is left out.
      - The name or address must be one of those in the depot's certificate.
    type: str
    required: true
  ca_path:
    description: The file on the host with the site's CA.
    type: path
    default: /etc/airgap/ca.pem
  certificate_path:
    description: The host's certificate; the depot gives models only to hosts of its site.
    type: path
    default: /etc/airgap/tls/host.pem
  key_path:
    description: The key of the host's certificate.
    type: path
    default: /etc/airgap/tls/host.key
  bandwidth:
    description: The most that this host may fetch, in KiB a second; 0 for no limit.
    type: int
    default: 0
  timeout:
    description: After how many seconds of silence to give up.
    type: int
    default: 600
  verify:
    description:
      - With V(changed), files that look as they did when they were last hashed are not hashed again.
      - With V(always), every file is.
    type: str
    choices: [changed, always]
    default: changed
"""

EXAMPLES = r"""
- name: Bring a model to the host
  airgap.inference.model_fetch:
    source: depot.example.org:874
    name: llama-3.1-8b-instruct
    revision: 0e9e39f249a16976918f6564b8830bc894c89659
    digest: "{{ bundle.models['llama-3.1-8b-instruct'].digest }}"
"""

RETURN = r"""
path:
  description: Where the revision is on the host.
  returned: success
  type: str
  sample: /srv/models/tiny/4ba8fbcc3a1f8a5c
problems:
  description: What was wrong with it before.
  returned: success
  type: list
  elements: str
fetched:
  description: Files that were fetched. Empty in check mode.
  returned: success
  type: list
  elements: str
bytes:
  description: Their size together.
  returned: success
  type: int
hashed:
  description: How many files on the host were hashed to find out.
  returned: success
  type: int
"""

import re

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.inference.plugins.module_utils import _model_store
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

DEFAULT_PORT = 874


def depot_of(params: dict[str, str], timeout: int, bandwidth: int) -> _model_store.Depot:
    match = re.fullmatch(r"\[?([^\]]+?)\]?(?::(\d+))?", params["source"])
    if not match:
        raise AirgapError(f"source is {params['source']!r}; it must be host:port.")
    return _model_store.Depot(
        host=match.group(1),
        port=int(match.group(2) or DEFAULT_PORT),
        ca_path=params["ca_path"],
        certificate_path=params["certificate_path"],
        key_path=params["key_path"],
        timeout=timeout,
        bandwidth=bandwidth,
    )


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "revision": {"type": "str", "required": True},
            "digest": {"type": "str", "required": True},
            "directory": {"type": "path", "default": "/srv/models"},
            "source": {"type": "str", "required": True},
            "ca_path": {"type": "path", "default": "/etc/airgap/ca.pem"},
            "certificate_path": {"type": "path", "default": "/etc/airgap/tls/host.pem"},
            "key_path": {"type": "path", "default": "/etc/airgap/tls/host.key", "no_log": False},
            "bandwidth": {"type": "int", "default": 0},
            "timeout": {"type": "int", "default": 600},
            "verify": {"type": "str", "choices": ["changed", "always"], "default": "changed"},
        },
        supports_check_mode=True,
    )
    params = module.params
    model = _model_store.Model(params["directory"], params["name"], params["revision"], params["digest"])
    sizes: dict[str, int] = {}
    try:
        depot = depot_of(params, params["timeout"], params["bandwidth"])
        condition = _model_store.inspect(model, params["verify"] == "always")
        if not module.check_mode:
            if not condition.whole:
                sizes = _model_store.fetch(model, depot, condition)
            elif condition.hashed and condition.expected:
                _model_store.record(model, condition.expected)
    except AirgapError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename or model.path}: {error.strerror or error}")
    module.exit_json(
        changed=not condition.whole,
        path=model.path,
        problems=condition.reasons,
        fetched=sorted(sizes),
        bytes=sum(sizes.values()),
        hashed=condition.hashed,
        diff={
            "before_header": model.path,
            "after_header": model.path,
            "before": "".join(reason + "\n" for reason in condition.reasons) or "whole\n",
            "after": "whole\n",
        },
    )


if __name__ == "__main__":
    main()
