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
    Whatever stops has stopped before anything starts, since GPUs may go from one instance to another. Replicas that keep their GPUs
    are restarted in two halves.
  - A unit of the role inference has started only when its engine has answered, so a start takes as long as a model's loading.
  - Then every instance is asked for a token, a vector or a ranking, whichever its C(probe.json) states; those that were left running too.
  - An instance that does not start or does not answer fails the module, with the errors that the engine gave and its last lines
    in the journal. The others are started all the same.
  - One that was left running and has no time to answer, but says that it is well, is a warning.
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
      base:
        description:
          - What the replicas of one instance have in common. Those that run and must be restarted are restarted in two halves, so that
            clients are served all the while; the second half goes on as it was when one of the first does not start.
          - Only where all of them keep their GPUs. Empty for an instance without replicas.
        type: str
        default: ""
      gpus:
        description: The GPUs that its description gives it, as in the CDI names C(nvidia.com/gpu=…).
        type: list
        elements: str
        default: []
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
busy:
  description: Instances that were left running, had no time to answer, and say that they are well.
  returned: success
  type: list
  elements: str
left:
  description: Replicas that were left running as they were, since others of the same instance did not start.
  returned: always
  type: list
  elements: str
"""

from typing import Any, Mapping

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.inference.plugins.module_utils import _instance_rolling, _instance_service
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._instance_rolling import Wanted
from ansible_collections.airgap.inference.plugins.module_utils._instance_service import Decision, Unit


def converge(module: AnsibleModule) -> dict[str, Any]:
    """From what is there to what is wanted; AirgapError tells what failed, instance by instance."""
    given = module.params
    wanted = {entry["name"]: Wanted(entry["changed"], entry["base"], entry["gpus"]) for entry in given["instances"]}
    before = _instance_service.units(list(wanted))
    for name, unit in before.items():
        if name in wanted and _instance_service.outdated(unit, given["directory"]):
            wanted[name] = wanted[name]._replace(changed=True)
    changed = {name: entry.changed for name, entry in wanted.items()}
    decision = _instance_service.decide(changed, before, given["remove_others"])
    left: list[str] = []
    due = [*decision.start, *decision.restart, *decision.join]
    if module.check_mode:
        failed: dict[str, str] = {}
        asked = [name for name in wanted if name not in due]
        difference = _difference(decision, before, None)
    else:
        failed, left = _apply(decision, before, wanted, given)
        asked = [name for name in wanted if name not in failed]
        difference = _difference(decision, before, _instance_service.units(list(wanted)))
    served = [name for name in wanted if name not in due or name in left]
    silent, busy = _instance_service.silences(
        asked, given["directory"], given["timeout"], given["journal_lines"], served
    )
    failed.update(silent)
    for text in busy.values():
        module.warn(text)
    result = {
        "changed": decision.changes,
        "started": decision.start,
        "restarted": [name for name in decision.restart if name not in left],
        "enabled": decision.enable,
        "removed": decision.remove,
        "left": left,
        "diff": difference,
    }
    if failed:
        told = [*failed.values()]
        if left:
            told.append(
                f"Left running as they were, since other replicas of the same instance did not start: {', '.join(left)}."
            )
        module.fail_json(msg="\n\n".join(told), failed_instances=sorted(failed), **result)
    return dict(result, asked=[name for name in asked if name not in busy], busy=sorted(busy))


def _apply(
    decision: Decision, before: Mapping[str, Unit], wanted: Mapping[str, Wanted], given: Mapping[str, Any]
) -> tuple[dict[str, str], list[str]]:
    """What failed and why, and which replicas were left running because of it."""
    running = [name for name, unit in before.items() if unit.runs]
    second = _instance_rolling.second_halves(decision.restart, running, wanted)
    first = decision._replace(restart=[name for name in decision.restart if name not in second])
    failed, after = _step(first, before, wanted, given)
    left = [name for name, needed in second.items() if any(other in failed for other in needed)]
    rest = [name for name in second if name not in left]
    if rest:
        failed.update(_step(Decision([], rest, [], [], []), after, wanted, given)[0])
    return failed, left


def _step(
    decision: Decision, before: Mapping[str, Unit], wanted: Mapping[str, Wanted], given: Mapping[str, Any]
) -> tuple[dict[str, str], dict[str, Unit]]:
    """All of it at the same time: why what was started does not run, and the units afterwards."""
    course = _instance_service.apply(decision, before, given["timeout"])
    after = _instance_service.units(list(wanted))
    due = [*decision.start, *decision.restart, *decision.join]
    return _instance_service.failures(due, after, course, given["journal_lines"]), after


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
                    "base": {"type": "str", "default": ""},
                    "gpus": {"type": "list", "elements": "str", "default": []},
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
