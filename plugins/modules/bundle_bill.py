#!/usr/bin/python
# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bundle_bill
short_description: Write the software bill of a bundle
version_added: "0.1.0"
author: "airgap.inference contributors (@airgap-inference)"
description:
  - Writes C(sbom.cdx.json) into a bundle, in CycloneDX 1.6. It lists packages, images, models, Python wheels and Ansible collections,
    each with its package URL, its SHA-256, and its licence where that is known.
  - The same bundle gives the same bytes. The bill therefore has no time of its own; the manifest says when the bundle was made.
options:
  path:
    description: The directory of the bundle.
    type: path
    required: true
  site:
    description: The site that the bundle is for.
    type: str
    required: true
  artifacts:
    description:
      - What the bundle holds, in lists C(packages), C(images) and C(models), and in a dictionary C(controller),
        as the modules that collect them return them.
      - What else the dictionary has is not read.
    type: dict
    required: true
  digests:
    description: A file that remembers the digests of what was copied, so that the bill need not read it again.
    type: path
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying target.
    support: full
    details: What is not collected yet has no digest in the predicted bill.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check mode), when in diff mode.
    support: full
    details: Shows the bills themselves.
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
    support: full
requirements:
  - cyclonedx-python-lib (11.12 or newer)
notes:
  - Package indexes of Debian and Ubuntu state no licences, so the bill has none for their packages.
"""

EXAMPLES = r"""
- name: Write the software bill
  airgap.inference.bundle_bill:
    path: /srv/staging/bundle
    site: clinic-a
    artifacts:
      packages: "{{ packages.results | map(attribute='artifact') }}"
      images: "{{ images.artifacts }}"
      models: "{{ models.artifacts }}"
      controller: "{{ controller.artifact }}"
"""

RETURN = r"""
components:
  description: How many components the bill lists.
  returned: success
  type: int
  sample: 214
unlicensed:
  description: How many of them state no licence.
  returned: success
  type: int
  sample: 180
seconds:
  description: How long it took.
  returned: success
  type: float
  sample: 0.4
"""

import json
import os
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.inference.plugins.module_utils import _bill, _digest
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError


def write(module: AnsibleModule) -> dict[str, object]:
    """Bring the bill to what the bundle holds."""
    params = module.params
    started = time.monotonic()
    lacking = [kind for kind in ("packages", "images", "models", "controller") if kind not in params["artifacts"]]
    if lacking:
        raise AirgapError(f"artifacts lacks {', '.join(lacking)}; give them as the modules that collect return them.")
    record = _digest.Record(params["digests"])
    after = _bill.render(params["path"], params["site"], params["artifacts"], record, complete=not module.check_mode)
    file = os.path.join(params["path"], _bill.FILE)
    before = b""
    if os.path.isfile(file):
        with open(file, "rb") as handle:
            before = handle.read()
    if not module.check_mode:
        _digest.write_if_changed(file, after)
        record.note(file, _digest.sha256_bytes(after))
        record.save()
    listed = json.loads(after).get("components", [])
    unlicensed = sum("licenses" not in item for item in listed)
    return {
        "changed": before != after,
        "components": len(listed),
        "unlicensed": unlicensed,
        "seconds": round(time.monotonic() - started, 2),
        "msg": f"Software bill: {len(listed)} components, {unlicensed} of them without a stated licence",
        "diff": {
            "before": before.decode("utf-8", "replace"),
            "after": after.decode(),
            "before_header": file,
            "after_header": file,
        },
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "site": {"type": "str", "required": True},
            "artifacts": {"type": "dict", "required": True},
            "digests": {"type": "path"},
        },
        supports_check_mode=True,
    )
    try:
        result = write(module)
    except (AirgapError, OSError) as error:
        module.fail_json(msg=str(error))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        module.fail_json(
            msg=f"artifacts is not as the modules that collect return it: {type(error).__name__}: {error}. Pass their results unchanged."
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
