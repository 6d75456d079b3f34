#!/usr/bin/python
# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: config_files
short_description: Write a set of configuration files together, checked before any is put in place
version_added: "0.1.0"
description:
  - Writes several files in one go, with their parent directories.
  - A checker can see all files of the set side by side before any of them is put in place,
    as C(nginx -t) needs it; M(ansible.builtin.copy) checks one file at a time and knows only one.
  - In check mode it works where the parent directories and the checkers do not exist yet; checkers do not run then.
author:
  - airgap.inference contributors (@airgap-inference)
attributes:
  check_mode:
    description: Can run in check mode and say truthfully what would change, without changing it.
    support: full
  diff_mode:
    description: Shows the text of every file that changes.
    support: full
  idempotent:
    description: When run again with the same options, changes nothing.
    support: full
options:
  files:
    description: The files.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Where the file belongs. Missing directories above it are made with mode 0755.
        type: path
        required: true
      content:
        description: The text of the file.
        type: str
        required: true
      mode:
        description: The file's permissions.
        type: str
        default: "0644"
      validate:
        description: A command that checks this file alone; V(%s) becomes the path of the candidate.
        type: str
  owner:
    description: The owner of the files.
    type: str
    default: root
  group:
    description: The group of the files.
    type: str
    default: root
  validate:
    description: A command that checks the set; V(%s) becomes a directory with all the files under their own names.
    type: str
"""

EXAMPLES = r"""
- name: Configure nginx
  airgap.inference.config_files:
    files:
      - path: /etc/airgap/gateway/nginx.conf
        content: "{{ lookup('ansible.builtin.template', 'nginx.conf.j2') }}"
      - path: /etc/airgap/gateway/gateway.js
        content: "{{ lookup('ansible.builtin.file', 'gateway.js') }}"
    validate: nginx -t -p %s -c %s/nginx.conf
"""

RETURN = r"""
changed_files:
  description: Paths of the files that changed, or in check mode would change.
  returned: success
  type: list
  elements: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.inference.plugins.module_utils import _config_files as config_files
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError


def put_in_place(module: AnsibleModule, entry: dict[str, Any], replace: bool) -> bool:
    """Write one file if its text is new, and set its owner and mode; whether anything changed."""
    path = entry["path"]
    if replace:
        config_files.make_parents(path)
        with open(module.tmpdir + "/candidate", "w", encoding="utf-8", newline="") as stream:
            stream.write(entry["content"])
        module.atomic_move(module.tmpdir + "/candidate", path)
    arguments = module.load_file_common_arguments(
        {
            "path": path,
            "mode": entry["mode"],
            "owner": module.params["owner"],
            "group": module.params["group"],
            "attributes": None,
        }
    )
    return bool(module.set_fs_attributes_if_different(arguments, replace))


def main() -> None:
    entry_spec = {
        "path": {"type": "path", "required": True},
        "content": {"type": "str", "required": True},
        "mode": {"type": "str", "default": "0644"},
        "validate": {"type": "str"},
    }
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "list", "elements": "dict", "required": True, "options": entry_spec},
            "owner": {"type": "str", "default": "root"},
            "group": {"type": "str", "default": "root"},
            "validate": {"type": "str"},
        },
        supports_check_mode=True,
    )
    entries: list[dict[str, Any]] = module.params["files"]
    changed_files: list[str] = []
    try:
        files = [config_files.File(entry["path"], entry["content"], entry["validate"]) for entry in entries]
        differing = config_files.differing(files)
        difference = config_files.difference(differing)
        if differing and not module.check_mode:
            config_files.check(files, differing, module.params["validate"])
        replaced = {file.path for file in differing}
        for entry in entries:
            replace = entry["path"] in replaced
            if (module.check_mode and replace) or put_in_place(module, entry, replace):
                changed_files.append(entry["path"])
    except AirgapError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(changed_files), changed_files=changed_files, diff=difference)


if __name__ == "__main__":
    main()
