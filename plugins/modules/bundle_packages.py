#!/usr/bin/python
# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bundle_packages
short_description: Make the bundle's package repository for one operating system
version_added: "0.1.0"
author: "airgap.inference contributors (@airgap-inference)"
description:
  - Lets the target's own package manager (apt for Debian and Ubuntu, dnf for RHEL, Rocky and AlmaLinux) resolve packages and all their
    dependencies in a private root in which nothing is installed, so that what the staging machine has installed plays no part.
  - Publishes the solution as a signed repository of the same format, and removes what no longer belongs to it.
  - Every source must be signed by the key that the target names for it. With apt that is the index, which vouches for the packages;
    with dnf it is every package, and the metadata too where the source signs it.
  - dnf asks for root even in a private root. An ordinary user gets it in a namespace of his own (C(unshare --map-root-user)).
  - Proxies are taken from apt's configuration for apt, and for both from the environment (E(http_proxy), E(https_proxy), E(no_proxy));
    a private CA likewise, in E(SSL_CERT_FILE).
options:
  path:
    description: The directory of the repository in the bundle.
    type: path
    required: true
  target:
    description: The operating system beyond the gap.
    type: dict
    required: true
    suboptions:
      distribution:
        description: Its name as Ansible's facts give it, V(Debian), V(Ubuntu), V(RedHat), V(Rocky) or V(AlmaLinux).
        type: str
        required: true
      release:
        description: Its code name, for example V(trixie); with dnf its number, for example V(9).
        type: str
        required: true
      architecture:
        description: Its architecture, as Debian names it.
        type: str
        default: amd64
      sources:
        description: Where its packages come from, for apt in the fields of deb822.
        type: list
        elements: dict
        required: true
        suboptions:
          uris:
            description: Addresses of the source. For dnf, the directory that holds C(repodata); several are mirrors of each other.
            type: str
            required: true
          suites:
            description: Suites, separated by blanks. A path that ends in a slash is a flat repository. Needed by apt, unknown to dnf.
            type: str
          components:
            description: Components, separated by blanks. Not for a flat repository, and not for dnf.
            type: str
          signed_by:
            description:
              - The key that signs the source, as a path on the staging machine, or the armoured key itself.
              - For apt a path may be a keyring; for dnf the file must be armoured.
            type: str
            required: true
      modules:
        description: Module streams to enable, as V(name:stream). For dnf only; they are the default streams of the published repository.
        type: list
        elements: str
        default: []
      kernels:
        description:
          - Kernels that the hosts run, as C(uname -r) tells. The headers of each travel, so that drivers can be built.
          - A kernel whose headers no source has is refused, with those that there are.
        type: list
        elements: str
        default: []
  packages:
    description:
      - Names of packages by the variable that asks for them.
      - The variable is named when a package cannot be had.
    type: dict
    required: true
  apart:
    description:
      - Names in O(packages) of which each is resolved beside the rest, but not beside each other, since no machine has two of them.
        So drivers travel together that exclude each other.
    type: list
    elements: str
    default: []
  pins:
    description:
      - By name in O(packages), packages that belong together at a version, those too that only others depend on. For apt only.
    type: dict
    default: {}
  cache:
    description: A directory in which indexes and packages are kept between runs.
    type: path
    required: true
  signing_key:
    description: The file of the repository's OpenPGP key. It is made when it is missing, readable by its owner alone.
    type: path
    required: true
  owner:
    description: The name that a new key gets.
    type: str
    default: airgap.inference package repository
  digests:
    description: A file that remembers what was hashed while it was copied, so that the seal need not read it again.
    type: path
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying target.
    support: full
    details: Indexes are fetched into a temporary directory, to tell what would be downloaded.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check mode), when in diff mode.
    support: full
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
    support: full
    details: As long as the sources offer the same versions.
requirements:
  - gpg
  - for apt, apt-get and apt-ftparchive (apt-utils)
  - for dnf, dnf 4 with its plugin download (dnf-plugins-core), createrepo_c and modifyrepo_c (createrepo-c), rpmkeys (rpm)
"""

EXAMPLES = r"""
- name: Collect the packages for Debian 13
  airgap.inference.bundle_packages:
    path: /srv/staging/bundle/packages/debian-trixie
    target:
      distribution: Debian
      release: trixie
      sources:
        - uris: http://mirror.example.org/debian
          suites: trixie trixie-updates
          components: main
          signed_by: /usr/share/keyrings/debian-archive-keyring.gpg
    packages:
      __depot_packages: [nginx, rsync, skopeo]
    cache: /var/cache/airgap
    signing_key: /var/cache/airgap/state/packages.asc

- name: Collect the packages for Rocky 9, with the driver of one branch and the headers of one kernel
  airgap.inference.bundle_packages:
    path: /srv/staging/bundle/packages/rocky-9
    target:
      distribution: Rocky
      release: "9"
      sources:
        - uris: http://mirror.example.org/rocky/9/BaseOS/x86_64/os
          signed_by: /etc/airgap/keys/rocky-9.asc
        - uris: http://mirror.example.org/rocky/9/AppStream/x86_64/os
          signed_by: /etc/airgap/keys/rocky-9.asc
        - uris: http://mirror.example.org/cuda/rhel9/x86_64
          signed_by: /etc/airgap/keys/nvidia.asc
      modules: ["nvidia-driver:580-open"]
      kernels: [5.14.0-570.12.1.el9_6.x86_64]
    packages:
      __gpu_host_packages: [nvidia-driver-cuda, kmod-nvidia-open-dkms]
    cache: /var/cache/airgap
    signing_key: /var/cache/airgap/state/packages.asc
"""

RETURN = r"""
artifact:
  description: What the manifest says about the repository.
  returned: success
  type: dict
fetched:
  description: How many packages the repository lacked.
  returned: success
  type: int
  sample: 131
fetched_bytes:
  description: The bytes of these packages.
  returned: success
  type: int
  sample: 139466572
seconds:
  description: How long it took.
  returned: success
  type: float
  sample: 11.2
"""

import os
import shutil
import tempfile
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.inference.plugins.module_utils import _repository, _system
from ansible_collections.airgap.inference.plugins.module_utils._digest import Record
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._openpgp import SigningKey
from ansible_collections.airgap.inference.plugins.module_utils._package_formats import FORMATS
from ansible_collections.airgap.inference.plugins.module_utils._progress import Progress


def collect(module: AnsibleModule, target: _repository.Target, directory: str) -> dict[str, object]:
    """Resolve, fetch and publish; in check mode only resolve."""
    params = module.params
    started = time.monotonic()
    reason = _repository.refusal(target)
    if reason:
        raise AirgapError(reason)
    kind = FORMATS[_system.package_format(target.distribution)]
    record = Record(params["digests"]) if params["digests"] else None
    before = kind.published(params["path"], target.architecture)
    root = kind.Root(directory, target)
    with Progress(f"index of {target.label}"):
        root.prepare()
        root.update()
        requests = {**params["packages"], **root.requests()}
        selections = []
        for lists, pins in _repository.beside_each_other(requests, params["apart"], params["pins"]):
            root.pin(pins)
            selections.append((lists, pins, root.resolve(lists)))
        packages = sorted({package for _lists, _pins, found in selections for package in found})
    missing = _repository.missing(params["path"], packages, record)
    size = sum(package.size for package in missing)
    after = [package.identity for package in packages]
    changed = bool(missing) or before != after
    if not module.check_mode:
        if missing:
            with Progress(
                f"packages of {target.label}", size, measure=lambda: _repository.arrived(root.archives, missing)
            ):
                for lists, pins, found in selections:
                    root.pin(pins)
                    root.download(lists, found)
        key = SigningKey(params["signing_key"], params["owner"])
        cache = os.path.join(params["cache"], "indexes")
        changed = kind.publish(params["path"], root, packages, key, cache, record)
        _repository.trim(root.archives, packages)
        if record:
            record.save()
    return {
        "changed": changed,
        "artifact": kind.artifact(target, packages),
        "fetched": len(missing),
        "fetched_bytes": size,
        "seconds": round(time.monotonic() - started, 2),
        "msg": f"{target.label}: {len(packages)} packages, {len(missing)} of them new ({size} bytes)",
        "diff": {"before": _lines(before), "after": _lines(after)},
    }


def _lines(packages: list[tuple[str, str, str]]) -> str:
    return "".join(f"{name} {version} {architecture}\n" for name, version, architecture in packages)


def main() -> None:
    source = {
        "uris": {"type": "str", "required": True},
        "suites": {"type": "str"},
        "components": {"type": "str"},
        "signed_by": {"type": "str", "required": True, "no_log": False},
    }
    system = {
        "distribution": {"type": "str", "required": True},
        "release": {"type": "str", "required": True},
        "architecture": {"type": "str", "default": "amd64"},
        "sources": {"type": "list", "elements": "dict", "required": True, "options": source},
        "modules": {"type": "list", "elements": "str", "default": []},
        "kernels": {"type": "list", "elements": "str", "default": []},
    }
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "target": {"type": "dict", "required": True, "options": system},
            "packages": {"type": "dict", "required": True},
            "apart": {"type": "list", "elements": "str", "default": []},
            "pins": {"type": "dict", "default": {}},
            "cache": {"type": "path", "required": True},
            "signing_key": {"type": "path", "required": True, "no_log": False},
            "owner": {"type": "str", "default": "airgap.inference package repository"},
            "digests": {"type": "path"},
        },
        supports_check_mode=True,
    )
    target = _repository.Target(**module.params["target"])
    # Check mode leaves no trace, so its root is a temporary one.
    scratch = tempfile.mkdtemp(prefix="airgap-packages-") if module.check_mode else None
    name = f"{target.directory}-{target.architecture}"
    try:
        kind = _system.FORMATS.get(_system.FAMILIES.get(target.distribution, ""), "")
        result = collect(module, target, scratch or os.path.join(module.params["cache"], kind, name))
    except (AirgapError, OSError) as error:
        module.fail_json(msg=str(error))
    finally:
        if scratch:
            shutil.rmtree(scratch, ignore_errors=True)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
