#!/usr/bin/python
# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: docker_daemon
short_description: Configure Docker's daemon beside what a host already tells it
version_added: "0.1.0"
description:
  - Merges options into C(/etc/docker/daemon.json), with the files of systemd that belong to it and the CA of a registry.
    Options that are stated win, all others stay. When the log driver changes, the options of the former one go.
  - A present file that is not valid JSON is refused, and so is a new data root while the present one is in use; nothing is changed then.
  - C(dockerd --validate) checks the result before it is put in place. A daemon that runs is restarted, with live-restore in force first,
    so that containers live on. If it does not start again, the former files are put back, it is started with them, and the module fails.
  - A daemon that runs with other options than its file has, as after a run that was cut off, is restarted too.
  - A daemon that does not run is left so; M(ansible.builtin.systemd_service) starts it.
  - What O(secret_files) say is in no result, difference, message or log; of these files only the paths are told.
author:
  - airgap.inference contributors (@airgap-inference)
requirements:
  - Docker under systemd
attributes:
  check_mode:
    description: Can run in check mode and say truthfully what would change, without changing it; C(dockerd --validate) does not run then.
    support: full
  diff_mode:
    description: Shows the text of every file that changes, but not of O(secret_files).
    support: full
  idempotent:
    description: When run again with the same options, changes nothing.
    support: full
options:
  options:
    description: Options of the daemon, by the names that they have in its configuration file.
    type: dict
    default: {}
  data_root:
    description:
      - The directory for images, containers and volumes. The directory above it must exist.
      - Without it, Docker's own or what the host's file states.
      - When it is new, Docker is told to keep images there too (C(features.containerd-snapshotter) is V(false) unless O(options) state it),
        since containerd's store would stay at C(/var/lib/containerd).
    type: path
  files:
    description: Other files that Docker is to be restarted for, such as drop-ins for its unit.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Where the file belongs. Missing directories above it are made with mode 0755.
        type: path
        required: true
      content:
        description: The text of the file.
        type: str
        required: true
  secret_files:
    description:
      - Files like O(files) whose texts are nobody's business, by path, such as a unit's C(EnvironmentFile). They are readable by root
        alone (mode 0600) from the moment they are there.
      - A mode that somebody widened is set again; that needs no restart.
    type: dict
    default: {}
  registry:
    description: A registry, as C(host:port), that O(registry_ca_path) vouches for.
    type: str
  registry_ca_path:
    description:
      - The file on the host with the registry's CA, copied to where Docker looks for it. This needs no restart.
      - In check mode it may still be missing.
    type: path
"""

EXAMPLES = r"""
- name: Docker rotates its logs and lets containers live through a restart
  airgap.inference.docker_daemon:
    options:
      live-restore: true
      log-driver: json-file
      log-opts: {max-size: 50m, max-file: "5"}
    registry: depot.example.org:5000
    registry_ca_path: /etc/airgap/ca.pem
"""

RETURN = r"""
changed_files:
  description: Paths of the files that changed, or in check mode would change.
  returned: success
  type: list
  elements: str
restarted:
  description: Whether the daemon was restarted, or in check mode would be.
  returned: success
  type: bool
restart_reasons:
  description: In what a daemon that ran differed from its file, where that was so.
  returned: success
  type: list
  elements: str
  sample: ["live-restore is False, and shall be True"]
"""

import os
import stat
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.inference.plugins.module_utils import _config_files as config_files
from ansible_collections.airgap.inference.plugins.module_utils import _docker_options, _docker_service
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

CONFIGURATION = _docker_options.CONFIGURATION
CERTIFICATES = "/etc/docker/certs.d"
VALIDATE = "dockerd --validate --config-file=%s"


def put(module: AnsibleModule, path: str, text: str | None) -> None:
    """Put a text in the place of a file, or take the file away."""
    if text is None:
        module.cleanup(path)
        return
    config_files.make_parents(path)
    mode = "0600" if path in module.params["secret_files"] else "0644"
    if mode == "0600":
        # What comes takes the mode of what is there, so nobody reads it in between.
        close(path)
    with open(module.tmpdir + "/candidate", "w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
        stream.write(text)
    module.atomic_move(module.tmpdir + "/candidate", path)
    module.set_mode_if_different(path, mode, True)


def close(path: str) -> None:
    """Let root alone read a file; where there is none, it is empty at first."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    os.fchmod(descriptor, 0o600)
    os.close(descriptor)


def is_open(path: str) -> bool:
    """Whether others than root may read a file."""
    return os.path.exists(path) and stat.S_IMODE(os.stat(path).st_mode) != 0o600


def wanted_options(module: AnsibleModule, daemon: _docker_options.Daemon | None) -> dict[str, Any]:
    params = module.params
    present = _docker_options.parse(config_files.current(CONFIGURATION), CONFIGURATION)
    stated = _docker_options.stated_root(params["options"], params["data_root"] or "")
    root = _docker_options.root(present, daemon)
    refusal = _docker_options.root_refusal(root, stated, _docker_options.contents(root, daemon))
    if refusal:
        raise AirgapError(refusal)
    remark = daemon and _docker_options.store_remark(daemon, params["options"], stated)
    if remark and present.get("data-root"):
        module.warn(remark)
    return _docker_options.wanted(present, params["options"], root, stated)


def authority(module: AnsibleModule) -> list[config_files.File]:
    registry, path = module.params["registry"], module.params["registry_ca_path"]
    if not registry or not path:
        return []
    text = config_files.current(path)
    if text is None and not module.check_mode:
        raise AirgapError(f"There is no {path} on this host, which shall vouch for the registry {registry}.")
    return [] if text is None else [config_files.File(f"{CERTIFICATES}/{registry}/ca.crt", text, None)]


def restart(module: AnsibleModule, before: dict[str, str | None], keep: bool) -> None:
    """Restart the daemon with what was written; where it does not start, with what was there before."""
    if keep and not _docker_service.keep_containers():
        module.warn("Docker did not take up live-restore by a reload; the restart stopped its containers.")
    reason = _docker_service.restart()
    if reason is None:
        return
    for path, text in before.items():
        put(module, path, text)
    where = ", ".join(before) or "its configuration"
    _docker_service.require_restart(f"{where} changed, Docker did not start with it ({reason}), it was put back")
    raise AirgapError(
        f"Docker does not start with what was to become {where}; the former state was put back, and Docker runs with it. It said:\n{reason}"
    )


def converge(module: AnsibleModule) -> dict[str, Any]:
    daemon = _docker_service.daemon()
    options = wanted_options(module, daemon)
    texts = [config_files.File(CONFIGURATION, _docker_options.rendered(options), VALIDATE)]
    # Before the units that name them.
    secrets = module.params["secret_files"]
    texts += [config_files.File(path, text, None) for path, text in sorted(secrets.items())]
    texts += [config_files.File(entry["path"], entry["content"], None) for entry in module.params["files"]]
    if _docker_options.parse(config_files.current(CONFIGURATION), CONFIGURATION) == options:
        # The host's own way of writing the same is left alone.
        texts = texts[1:]
    changed = config_files.differing(texts)
    trusted = config_files.differing(authority(module))
    opened = [path for path in sorted(secrets) if is_open(path)]
    reasons = _docker_options.restart_reasons(daemon, options) if daemon else []
    result = {
        "changed_files": list(dict.fromkeys([file.path for file in changed + trusted] + opened)),
        "restarted": _docker_service.active() and bool(changed or reasons),
        "restart_reasons": [] if changed else reasons,
        "diff": config_files.difference(changed + trusted, secrets),
    }
    if not module.check_mode:
        for path in opened:
            close(path)
        config_files.check(texts, changed, None)
        before = {file.path: config_files.current(file.path) for file in changed}
        for file in changed + trusted:
            put(module, file.path, file.content)
        if result["restarted"]:
            keep = daemon is not None and daemon.running > 0 and not daemon.live_restore
            restart(module, before, keep and bool(options.get("live-restore")))
    return {"changed": bool(result["changed_files"] or result["restarted"]), **result}


def main() -> None:
    file_spec = {"path": {"type": "path", "required": True}, "content": {"type": "str", "required": True}}
    module = AnsibleModule(
        argument_spec={
            "options": {"type": "dict", "default": {}},
            "data_root": {"type": "path"},
            "files": {"type": "list", "elements": "dict", "default": [], "options": file_spec},
            # Masked as a whole: a text among `files` would be quoted by the system's log.
            "secret_files": {"type": "dict", "default": {}, "no_log": True},
            "registry": {"type": "str"},
            "registry_ca_path": {"type": "path"},
        },
        supports_check_mode=True,
    )
    secrets = list(module.params["secret_files"].values())
    try:
        secrets += [config_files.current(path) or "" for path in module.params["secret_files"]]
        result = converge(module)
    except AirgapError as error:
        # A daemon that does not start may quote its environment, the former one too.
        module.fail_json(msg=config_files.without_secrets(str(error), secrets))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
