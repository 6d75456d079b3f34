#!/usr/bin/python
# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bundle_models
short_description: Collect model directories into the bundle
version_added: "0.1.0"
author: "airgap.inference contributors (@airgap-inference)"
description:
  - Copies model directories into the bundle, each under a revision that is made from its content, with a list of SHA-256 digests beside it.
  - Files are hashed while they are copied. An interrupted run goes on with the files that are still missing.
  - A model whose files have the same sizes and times as its source is not read again.
  - Links inside the directory, and those of a hub's cache, are followed. Links that leave it and special files are refused.
  - Directories C(.git) and C(.cache) at the top of a source are left out.
  - Models that are no longer listed are removed from the bundle.
options:
  path:
    description: The directory of models in the bundle.
    type: path
    required: true
  models:
    description: The models.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The name that clients ask for.
        type: str
        required: true
      source:
        description: The absolute path of its directory on the staging machine.
        type: str
        required: true
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying target.
    support: full
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check mode), when in diff mode.
    support: none
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
    support: full
"""

EXAMPLES = r"""
- name: Collect a model
  airgap.inference.bundle_models:
    path: /srv/staging/bundle/models
    models:
      - name: llama-3.1-8b-instruct
        source: /srv/staging/models/Llama-3.1-8B-Instruct
"""

RETURN = r"""
artifacts:
  description: What the manifest says about the models. In check mode, those that the bundle already holds.
  returned: success
  type: list
  elements: dict
fetched:
  description: The models that were copied.
  returned: success
  type: list
  elements: str
fetched_bytes:
  description: The bytes of these models.
  returned: success
  type: int
  sample: 16060522496
removed:
  description: The models and revisions that were removed.
  returned: success
  type: list
  elements: str
seconds:
  description: How long it took.
  returned: success
  type: float
  sample: 14.2
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.inference.plugins.module_utils import _model_source
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError


def collect(module: AnsibleModule) -> dict[str, object]:
    """Bring the bundle's models to what is listed."""
    path, models = module.params["path"], module.params["models"]
    started = time.monotonic()
    twice = sorted({item["name"] for item in models if sum(other["name"] == item["name"] for other in models) > 1})
    if twice:
        raise AirgapError(f"These models are listed twice: {', '.join(twice)}. A name means one model.")
    # Every source is looked at before the first byte is copied.
    wanted = {item["name"]: _model_source.read_source(item["name"], item["source"]) for item in models}
    kept, fetched = [], []
    for item in models:
        model = _model_source.held(path, item["name"], item["source"], wanted[item["name"]])
        if model is None:
            fetched.append(item["name"])
            if module.check_mode:
                continue
            model = _model_source.take(path, item["name"], item["source"], wanted[item["name"]])
        kept.append(model)
    removed = [] if module.check_mode else _model_source.prune(path, kept)
    size = sum(entry.size for name in fetched for entry in wanted[name].values())
    return {
        "changed": bool(fetched or removed),
        "artifacts": [model.artifact() for model in kept],
        "fetched": fetched,
        "fetched_bytes": size,
        "removed": removed,
        "seconds": round(time.monotonic() - started, 2),
        "msg": f"{len(models)} models, {len(fetched)} of them new ({size} bytes)",
    }


def main() -> None:
    model = {"name": {"type": "str", "required": True}, "source": {"type": "str", "required": True}}
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "models": {"type": "list", "elements": "dict", "required": True, "options": model},
        },
        supports_check_mode=True,
    )
    try:
        result = collect(module)
    except (AirgapError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
