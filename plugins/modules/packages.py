#!/usr/bin/python
# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: packages
short_description: Install packages from the depot's repository, and from nowhere else
version_added: "0.1.0"
description:
  - Leads a host's package manager to the depot's signed repository and installs packages from it.
  - Only that repository is read and resolved against. The host's other sources stay configured as they are,
    and are neither asked nor used, since they cannot be reached beyond the gap.
  - Recommended packages are not installed, nothing is ever removed, and a package that somebody else holds is not changed;
    where the package manager would do so, the module fails and names the packages.
  - Check mode asks the depot with a private index and lets the package manager simulate, so it is right on a host that has never seen
    the depot.
  - On a host with C(apt-get) it works with that, elsewhere with C(dnf). With dnf, the signature of the repository's metadata is checked,
    which has the digest of every package; plugins of dnf take no part.
author:
  - airgap.inference contributors (@airgap-inference)
requirements:
  - apt 2.0 or newer, or dnf 4, on the target
  - the package C(python3-dnf-plugin-versionlock) on the target for O(hold) with dnf; it may be among O(packages)
attributes:
  check_mode:
    description: Can run in check mode and say truthfully what would change, without changing it.
    support: full
  diff_mode:
    description: Shows the files, and every package with its version, dependencies too.
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
    description: The depot's repository.
    type: dict
    required: true
    suboptions:
      url:
        description: Where the repository is, an V(https://) or V(file:) URL.
        type: str
        required: true
      suite:
        description: The suite below C(dists/). A dnf repository has none.
        type: str
        default: airgap
      component:
        description: The component of the suite. A dnf repository has none.
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
        description:
          - The CA's certificate as PEM text. When given, it is written to O(repository.ca_path).
          - Check mode on a host where O(repository.ca_path) does not exist yet needs it.
        type: str
  packages:
    description:
      - Names of packages, or C(name=version).
      - The version may be a shell pattern as apt takes it, such as C(580.95.05-*). What is installed and fits it stays as it is.
      - With dnf, C(name-version) and the other ways in which it takes names are understood as well.
    type: list
    elements: str
    default: []
  state:
    description:
      - With V(present), an installed package stays at its version, whatever the bundle carries.
      - With V(latest), packages are brought to the version that the depot has.
    type: str
    choices: [present, latest]
    default: present
  hold:
    description:
      - Names of packages that only this module may change from now on (C(apt-mark hold), C(dnf versionlock add)). They must be
        installed, or in O(packages).
      - A shell pattern such as V(*nvidia*) stands for all packages of such names that are installed or are coming, dependencies too; it may
        stand for none. A pattern after V(!) takes out what other patterns choose.
      - A package that is left out of a later list stays held.
    type: list
    elements: str
    default: []
  modules:
    description:
      - Module streams to enable before, as C(name:stream); only with dnf. Another stream of the module is switched from.
      - A bundle makes the streams that its target states the defaults of its repository, so that this is needed only where the host
        has another stream enabled.
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
"""

EXAMPLES = r"""
- name: Install Docker from the depot
  airgap.inference.packages:
    repository:
      url: https://depot.example.org/packages/debian-trixie
      key: "{{ lookup('ansible.builtin.file', 'archive-key.asc') }}"
      ca_path: /etc/airgap/ca.pem
    packages: [docker.io, docker-cli, docker-compose]

- name: Bring the driver to the bundle's version and hold it there
  airgap.inference.packages:
    repository: "{{ airgap_repository }}"
    packages: [nvidia-open-kernel-dkms, nvidia-smi]
    hold: [nvidia-open-kernel-dkms, nvidia-smi]
    state: latest

- name: The same on Rocky Linux 9
  airgap.inference.packages:
    repository: "{{ airgap_repository }}"
    modules: ["nvidia-driver:580-open"]
    packages: [nvidia-driver-cuda, kmod-nvidia-open-dkms, python3-dnf-plugin-versionlock]
    hold: [nvidia-driver-cuda, kmod-nvidia-open-dkms]
    state: latest
"""

RETURN = r"""
packages:
  description: Packages that were installed or changed, or would be in check mode; dependencies too.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the package.
      type: str
      sample: docker.io
    before:
      description: Version before, null when it was not installed.
      type: str
    after:
      description: Version after.
      type: str
      sample: 26.1.5+dfsg1-9+b9
held:
  description: Packages that were newly held.
  returned: success
  type: list
  elements: str
modules:
  description: Module streams that were newly enabled.
  returned: success
  type: list
  elements: str
files:
  description: Files that were written or removed.
  returned: success
  type: list
  elements: str
  sample: [/etc/apt/sources.list.d/airgap.sources]
"""

import os
import shutil
import tempfile
from types import ModuleType
from typing import Any, Sequence

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.inference.plugins.module_utils import _apt, _dnf
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError


def read(path: str) -> str | None:
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as file:
        return file.read()


def write(module: AnsibleModule, path: str, content: str | None) -> None:
    if content is None:
        os.unlink(path)
        return
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    temporary = os.path.join(module.tmpdir, os.path.basename(path))
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(content)
    # apt reads as its own user, whatever the umask of this connection.
    os.chmod(temporary, 0o644)
    module.atomic_move(temporary, path)


def converge(module: AnsibleModule, run: _apt.Run, backend: ModuleType, private: str | None) -> dict[str, Any]:
    params = module.params
    repository = _apt.Repository(**params["repository"])
    wanted = backend.wanted_files(repository)
    present = {path: read(path) for path in wanted}
    files = sorted(path for path in wanted if wanted[path] != present[path])
    streams = backend.to_enable(params["modules"])
    if not private:
        for path in files:
            write(module, path, wanted[path])

    installed = backend.installed_packages(run)
    ask = backend.lacking(params["packages"], installed, params["state"])
    steps: list[_apt.Step] = []
    if ask or files or streams:
        manager = backend.manager(run, repository, params["lock_timeout"], private, streams, private or module.tmpdir)
        if params["pins"]:
            manager.prefer(params["pins"], private or module.tmpdir)
        manager.update()
        steps = manager.simulate(ask) if ask or streams else []
        reason = backend.refusal(steps, installed, params["hold"])
        if reason:
            raise AirgapError(reason)
    held = backend.to_hold(params["hold"], installed, steps)
    if (steps or streams) and not private:
        manager.install(ask)
    if params["hold"] and not private:
        # apt releases a hold when it changes the package, and a lock of dnf is on the version before.
        after = backend.installed_packages(run) if steps else installed
        backend.hold(run, backend.to_hold(params["hold"], after, steps))

    changes = backend.changes(steps, installed)
    diff = [
        {"before_header": path, "after_header": path, "before": present[path] or "", "after": wanted[path] or ""}
        for path in files
    ]
    if changes or held or streams:
        diff.append(_apt.package_diff(changes, held, streams))
    return {
        "changed": bool(files or steps or held or streams),
        "files": files,
        "packages": changes,
        "held": held,
        "modules": streams,
        "diff": diff,
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
            "packages": {"type": "list", "elements": "str", "default": []},
            "state": {"type": "str", "choices": ["present", "latest"], "default": "present"},
            "hold": {"type": "list", "elements": "str", "default": []},
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

    backend = _apt if module.get_bin_path("apt-get") else _dnf
    if backend is _dnf and not module.get_bin_path("dnf"):
        module.fail_json(
            msg="There is neither apt-get nor dnf on this host; this module knows no other package manager."
        )
    private = tempfile.mkdtemp(prefix="airgap-packages-", dir=module.tmpdir) if module.check_mode else None
    try:
        result = converge(module, run, backend, private)
    except AirgapError as error:
        module.fail_json(msg=str(error))
    finally:
        if private:
            shutil.rmtree(private)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
