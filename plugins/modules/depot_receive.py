#!/usr/bin/python
# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: depot_receive
short_description: Take from a drive what the depot lacks of a sealed bundle
version_added: "0.1.0"
author: "airgap.inference contributors (@airgap-inference)"
description:
  - Verifies the seal, compares names and sizes with the manifest, then copies what the depot lacks to C(incoming) in its directory.
    Each file is hashed while it is copied. Hosts see nothing of it before it is published.
  - Takes whole bundles, bundles that build on one imported before (what the depot has is linked, by digest), and bundles in volumes,
    one drive at a time and in any order.
  - A run that was killed, or that met a damaged file, keeps what is right. The next one goes on from there, inside a large file too.
  - Files that were damaged on the way are all named.
options:
  bundle:
    description: The directory of the bundle or of one of its volumes, for example where the drive is mounted.
    type: path
    required: true
  directory:
    description: The directory of the depot.
    type: path
    default: /srv/airgap
  allowed_signers:
    description: The file of allowed signers, in the format of C(ssh-keygen). Only root may be able to change it.
    type: path
    default: /etc/airgap/allowed_signers
  workers:
    description:
      - How many files are read at a time.
      - The default is one more than there are cores, and no more than four.
    type: int
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying target.
    support: full
    details:
      - Every file that would be taken is read and compared with the manifest.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check mode), when in diff mode.
    support: full
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
    support: full
requirements:
  - ssh-keygen (OpenSSH 8.2 or newer)
"""

EXAMPLES = r"""
- name: Take what is on the drive
  airgap.inference.depot_receive:
    bundle: /media/airgap
  register: received

- name: Publish its packages, when all of it has come
  airgap.inference.depot_publish:
    bundle: "{{ received.bundle }}"
    kind: packages
  when: received.complete
"""

RETURN = r"""
complete:
  description: Whether everything has come, so that it can be published.
  returned: success
  type: bool
missing_volumes:
  description: The volumes that are still to come.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The name of the volume.
      type: str
      sample: volume-2
    files:
      description: How many files and parts of files it will bring.
      type: int
    bytes:
      description: How many bytes these have.
      type: int
bundle:
  description:
    - Where M(airgap.inference.depot_publish) and M(airgap.inference.depot_images) take the bundle from.
    - In check mode it is the directory on the drive.
  returned: success
  type: str
  sample: /srv/airgap/incoming/0123456789abcdef/bundle
incoming:
  description: The directory that can be removed when everything is published.
  returned: success
  type: str
  sample: /srv/airgap/incoming/0123456789abcdef
received:
  description: The files that were taken from the drive, or would be in check mode.
  returned: success
  type: list
  elements: str
size:
  description: How many bytes these have.
  returned: success
  type: int
signer:
  description: The identity that sealed the bundle, as the file of allowed signers names it.
  returned: success
  type: str
  sample: release@example.org
site:
  description: The site that the bundle was made for.
  returned: success
  type: str
  sample: clinic-a
created:
  description: When the bundle was sealed.
  returned: success
  type: str
  sample: "2026-11-21T00:00:00Z"
artifacts:
  description: The packages, images, models and the controller that the bundle holds.
  returned: success
  type: dict
seconds:
  description: How long it took.
  returned: success
  type: float
  sample: 3.1
"""

import contextlib
import os
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.inference.plugins.module_utils import _check, _incoming, _receive
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "bundle": {"type": "path", "required": True},
            "directory": {"type": "path", "default": "/srv/airgap"},
            "allowed_signers": {"type": "path", "default": "/etc/airgap/allowed_signers"},
            "workers": {"type": "int"},
        },
        supports_check_mode=True,
    )
    bundle, directory = os.path.abspath(module.params["bundle"]), os.path.abspath(module.params["directory"])
    started = time.monotonic()
    # Hosts read what will be published, whatever the umask of this connection is.
    os.umask(0o022)
    try:
        sealed = _check.read_sealed(bundle, module.params["allowed_signers"])
        receiver = _receive.Receiver(bundle, directory, sealed)
        with contextlib.nullcontext() if module.check_mode else _incoming.lock(directory):
            received = receiver.receive(module.params["workers"], module.check_mode)
    except (AirgapError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=bool(received.copied),
        bundle=bundle if module.check_mode else receiver.area.bundle,
        incoming=receiver.area.root,
        signer=sealed.signer,
        site=sealed.manifest.site,
        created=sealed.manifest.created,
        artifacts=sealed.manifest.artifacts,
        seconds=round(time.monotonic() - started, 2),
        diff={"before": "", "after": "".join(f"{path}\n" for path in received.copied)},
        **_receive.summary(received),
    )


if __name__ == "__main__":
    main()
