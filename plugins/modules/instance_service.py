#!/usr/bin/python
# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: instance_service
short_description: Run a host's engine instances, and prove that each does what it is for
version_added: "0.1.0"
description:
  - Enables the instances' units, starts those that do not run, and restarts those whose description is new, all at the same time.
    Whatever stops has stopped before anything starts, since GPUs may go from one instance to another.
  - A unit of the role inference has started only when its engine has answered, so a start takes as long as a model's loading.
  - Then every instance is asked for a token, a vector or a ranking, whichever its C(probe.json) states; those that were left running too.
  - An instance that does not start or does not answer fails the module, with the errors that the engine gave and its last lines
    in the journal. The others are started all the same.
  - Instances that have left the inventory are stopped and disabled. Their files are left.
author:
  - airgap.inference contributors (@airgap-inference)
requirements:
  - systemd on the target
attributes:
  check_mode:
    support: full
    description: Can run in check mode and say truthfully what would change. Instances that would be left running are asked nevertheless.
  diff_mode:
    support: full
    description: Shows the states of the units that change.
  idempotent:
    support: full
    description: Running instances whose description is not new are asked, and otherwise left alone.
options:
  instances:
    description:
      - All instances of the host.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The instance's name; its unit is C(airgap-inference@name.service).
        type: str
        required: true
      changed:
        description:
          - Whether its description is new, so that it must be restarted.
          - It is restarted as well where C(compose.yml), C(relay.conf) or the unit's file is younger than its start.
        type: bool
        default: false
  directory:
    description:
      - Where the instances' descriptions are, a directory for each, with C(probe.json) in it.
    type: path
    default: /etc/airgap/instances
  timeout:
    description:
      - Seconds that an instance has from its start to its first answer, as its unit has it. What systemd does takes somewhat longer.
    type: int
    default: 900
  journal_lines:
    description:
      - How many of an engine's last lines a failure shows.
    type: int
    default: 40
  remove_others:
    description:
      - Whether instances that are not in O(instances) are stopped and disabled.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: The instances run, and answer
  airgap.inference.instance_service:
    instances:
      - name: chat
        changed: "{{ chat_description is changed }}"
      - name: embeddings
"""

RETURN = r"""
started:
  description: Instances that did not run, and were started.
  returned: success
  type: list
  elements: str
  sample: [chat]
restarted:
  description: Instances that were restarted, since their description is new or they failed and paused.
  returned: success
  type: list
  elements: str
enabled:
  description: Instances that were not enabled.
  returned: success
  type: list
  elements: str
removed:
  description: Instances that are not wanted any more, and were stopped and disabled.
  returned: success
  type: list
  elements: str
asked:
  description: Instances that answered. In check mode, those that would be left running.
  returned: success
  type: list
  elements: str
  sample: [chat, embeddings]
"""

from typing import Any, Mapping

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.inference.plugins.module_utils import _instance_service
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._instance_service import Decision, Unit


def converge(module: AnsibleModule) -> dict[str, Any]:
    """From what is there to what is wanted; AirgapError tells what failed, instance by instance."""
    given = module.params
    wanted = {entry["name"]: entry["changed"] for entry in given["instances"]}
    before = _instance_service.units(list(wanted))
    for name, unit in before.items():
        if name in wanted and _instance_service.outdated(unit, given["directory"]):
            wanted[name] = True
    decision = _instance_service.decide(wanted, before, given["remove_others"])
    result = {
        "changed": decision.changes,
        "started": decision.start,
        "restarted": decision.restart,
        "enabled": decision.enable,
        "removed": decision.remove,
    }
    due = [*decision.start, *decision.restart, *decision.join]
    if module.check_mode:
        failed: dict[str, str] = {}
        asked = [name for name in wanted if name not in due]
        result["diff"] = _difference(decision, before, None)
    else:
        course = _instance_service.apply(decision, before, given["timeout"])
        after = _instance_service.units(list(wanted))
        failed = _instance_service.failures(due, after, course, given["journal_lines"])
        asked = [name for name in wanted if name not in failed]
        result["diff"] = _difference(decision, before, after)
    failed.update(_instance_service.silences(asked, given["directory"], given["timeout"], given["journal_lines"]))
    if failed:
        module.fail_json(msg="\n\n".join(failed.values()), failed_instances=sorted(failed), **result)
    return dict(result, asked=asked)


def _difference(decision: Decision, before: Mapping[str, Unit], after: Mapping[str, Unit] | None) -> dict[str, str]:
    """The units that change; without the second state, as they would be."""
    removed = set(decision.remove)
    names = sorted({*decision.start, *decision.restart, *decision.enable, *removed})

    def lines(units: Mapping[str, Unit]) -> str:
        return "".join(f"{name}: {units.get(name, Unit(name))}\n" for name in names)

    if after is None:
        after = {
            name: Unit(name)
            if name in removed
            else before.get(name, Unit(name))._replace(active="active", sub="running", enabled=True)
            for name in names
        }
    return {"before": lines(before), "after": lines(after)}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "instances": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "changed": {"type": "bool", "default": False},
                },
            },
            "directory": {"type": "path", "default": "/etc/airgap/instances"},
            "timeout": {"type": "int", "default": 900},
            "journal_lines": {"type": "int", "default": 40},
            "remove_others": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    try:
        result = converge(module)
    except AirgapError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
