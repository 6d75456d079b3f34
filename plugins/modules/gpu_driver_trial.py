#!/usr/bin/python
# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_driver_trial
short_description: Build a driver's kernel modules aside, before the driver is installed
version_added: "0.1.0"
description:
  - A package with a driver that DKMS builds fails in the middle of its installation when the driver does not fit the kernel, and the old
    driver is gone by then. This module takes the sources out of the incoming package and builds them in a directory of their own, for
    the kernel that the host is to run, and before anything is installed.
  - Where the kernel's headers are neither on the host nor at the depot, it fails and names those that the depot has.
  - What the build needs (C(dkms), the headers, and their dependencies) is installed from the depot. It stays when the build succeeds,
    since the driver's installation needs it next; it is purged when the build fails, and the host is as it was. (A system user that
    one of those packages made for itself stays, as Debian has it.)
  - An installed driver that DKMS has not built for the kernel is tried in the same way, after a change of the kernel for example.
  - A failure is told with the compiler's first errors. The whole log is kept in C(/var/log/airgap).
  - When nothing that DKMS builds is coming, nothing is tried. With dnf nothing is built either, and a warning says so. Only what
    installing would change, and the headers, are looked at.
author:
  - airgap.inference contributors (@airgap-inference)
requirements:
  - apt 2.0 or newer, or dnf 4, on the target
attributes:
  check_mode:
    description: Can run in check mode and say truthfully what would change, without changing it.
    support: partial
    details: Refuses what lacks headers, and says whether a trial would be made; nothing is built, so that its outcome stays open.
  diff_mode:
    description: Shows the packages that are installed for the trial and stay.
    support: full
  idempotent:
    description: When run again with the same options and the same repository, changes nothing.
    support: full
  platform:
    description: Systems that the module runs on.
    support: full
    platforms: debian, rhel
options:
  repository:
    description: The depot's repository, as for M(airgap.inference.packages).
    type: dict
    required: true
    suboptions:
      url:
        description: Where the repository is, an V(https://) or V(file:) URL.
        type: str
        required: true
      suite:
        description: The suite below C(dists/).
        type: str
        default: airgap
      component:
        description: The component of the suite.
        type: str
        default: main
      key:
        description: The ASCII-armoured OpenPGP public key that signs the repository; the text, not a path.
        type: str
        required: true
      ca_path:
        description:
          - The file on the host with the CA that vouches for the depot's TLS certificate.
          - Without it, the host's own trusted CAs decide.
        type: path
      ca:
        description: The CA's certificate as PEM text; needed where O(repository.ca_path) does not exist yet.
        type: str
  packages:
    description: The driver's packages as M(airgap.inference.packages) will be asked for them, names or C(name=version).
    type: list
    elements: str
    required: true
  state:
    description: As M(airgap.inference.packages) will be asked for it.
    type: str
    choices: [present, latest]
    default: present
  hold:
    description:
      - Names of packages, or patterns, that M(airgap.inference.packages) will be allowed to change although they are held.
      - When it is given and others that are held would change, the module fails as M(airgap.inference.packages) would.
    type: list
    elements: str
  kernel:
    description: The kernel that the modules are for, as C(uname -r) prints it; the running one by default.
    type: str
  headers:
    description: The package with the kernel's headers. An empty string says that there is none of a known name.
    type: str
    default: ""
  modules:
    description: Module streams as M(airgap.inference.packages) will be asked to enable them; only with dnf.
    type: list
    elements: str
    default: []
  pins:
    description:
      - Versions of packages that belong together although nobody lists them all, as the filter P(airgap.inference.gpu_host_plan#filter) returns them;
        for this run only, where the depot has several versions. With apt only.
    type: list
    elements: dict
    default: []
    suboptions:
      packages:
        description: Names, as the preferences of apt take them.
        type: list
        elements: str
        required: true
      version:
        description: Their version, with V(*) at its end for any release of it.
        type: str
        required: true
  lock_timeout:
    description: Seconds to wait for another package manager to finish.
    type: int
    default: 60
seealso:
  - module: airgap.inference.packages
"""

EXAMPLES = r"""
- name: The driver builds for the running kernel, or nothing changes
  airgap.inference.gpu_driver_trial:
    repository: "{{ airgap_repository }}"
    packages: [nvidia-open-kernel-dkms, nvidia-smi]
    headers: linux-headers-{{ ansible_facts.kernel }}
    state: latest
"""

RETURN = r"""
changes:
  description: Packages that installing O(packages) would change; dependencies too.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the package.
      type: str
      sample: nvidia-open-kernel-dkms
    before:
      description: Version now, null when it is not installed.
      type: str
    after:
      description: Version after.
      type: str
      sample: 580.105.08-1
trial_needed:
  description: Whether modules have to be built; in check mode, whether a trial would be made.
  returned: success
  type: bool
tried:
  description: Whether modules were built aside now.
  returned: success
  type: bool
modules:
  description: The modules that were built, with their versions.
  returned: success
  type: list
  elements: str
  sample: [nvidia-current 535.309.01]
tools:
  description: Packages that were installed for the trial, or would be in check mode.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the package.
      type: str
      sample: dkms
    before:
      description: Version before, null when it was not installed.
      type: str
    after:
      description: Version after.
      type: str
kernel:
  description: The kernel that the modules are for.
  returned: success
  type: str
  sample: 6.1.0-56-amd64
seconds:
  description: How long the trial took, with the installation of its tools.
  returned: success
  type: float
"""

import os
import time
from typing import Any, Sequence

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.inference.plugins.module_utils import _apt, _dnf, _driver_trial
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError


def plan(module: AnsibleModule, run: _apt.Run, kernel: str, private: str) -> tuple[_driver_trial.Plan, _apt.Apt | None]:
    repository = _apt.Repository(**module.params["repository"])
    wanted = {**module.params, "kernel": kernel}
    timeout = module.params["lock_timeout"]
    if module.get_bin_path("apt-get"):
        _apt.to_enable(wanted["modules"])
        apt = _apt.Apt(run, repository, timeout, private)
        if wanted["pins"]:
            apt.prefer(wanted["pins"], private)
        return _driver_trial.plan(run, apt, repository, wanted), apt
    wanted["modules"] = _dnf.to_enable(wanted["modules"])
    dnf = _dnf.Dnf(run, repository, timeout, private, wanted["modules"], private)
    if wanted["pins"]:
        dnf.prefer(wanted["pins"], private)
    planned = _driver_trial.plan_with_dnf(run, dnf, repository, wanted)
    if any("dkms" in str(change["name"]) for change in planned.changes):
        module.warn(
            "The driver's modules are not built before its installation, since that is done on hosts with apt only."
        )
    return planned, None


def attempt(module: AnsibleModule, run: _apt.Run, kernel: str, private: str) -> dict[str, Any]:
    planned, apt = plan(module, run, kernel, private)
    built: list[str] = []
    started = time.monotonic()
    if apt and planned.needed and not module.check_mode:
        built = _driver_trial.Trial(run, apt, private).perform(planned, kernel)
    tools = _apt.changes(planned.tools, planned.installed) if built or module.check_mode else []
    return {
        "changed": bool(tools),
        "changes": planned.changes,
        "trial_needed": planned.needed,
        "tried": bool(built),
        "modules": built,
        "tools": tools,
        "kernel": kernel,
        "seconds": round(time.monotonic() - started, 1),
        "diff": [_apt.package_diff(tools, [])] if tools else [],
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "repository": {
                "type": "dict",
                "required": True,
                "options": {
                    "url": {"type": "str", "required": True},
                    "suite": {"type": "str", "default": "airgap"},
                    "component": {"type": "str", "default": "main"},
                    "key": {"type": "str", "required": True, "no_log": False},
                    "ca_path": {"type": "path"},
                    "ca": {"type": "str"},
                },
            },
            "packages": {"type": "list", "elements": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "latest"], "default": "present"},
            "hold": {"type": "list", "elements": "str"},
            "kernel": {"type": "str"},
            "headers": {"type": "str", "default": ""},
            "modules": {"type": "list", "elements": "str", "default": []},
            "pins": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "packages": {"type": "list", "elements": "str", "required": True},
                    "version": {"type": "str", "required": True},
                },
            },
            "lock_timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )

    def run(command: Sequence[str], environment: dict[str, str]) -> tuple[int, str, str]:
        rc, out, err = module.run_command(list(command), environ_update=environment)
        return rc, out, err

    kernel = module.params["kernel"] or os.uname().release
    try:
        with _driver_trial.room(module.tmpdir if module.check_mode else _driver_trial.ROOM) as private:
            result = attempt(module, run, kernel, private)
    except AirgapError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
