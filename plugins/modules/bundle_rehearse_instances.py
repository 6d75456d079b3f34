#!/usr/bin/python
# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bundle_rehearse_instances
short_description: Try the instances from the bundle alone, before it is sealed
version_added: "0.1.0"
author: "airgap.inference contributors (@airgap-inference)"
description:
  - Runs each instance on this machine as its host will, with the same Compose project, the bundle's image and the bundle's model,
    sealed and without a network. Only names, host paths and GPUs that this machine lacks differ; they stand in a second Compose file
    laid over the first.
  - An instance that fails is told with its engine's own last words. So is one that tries to reach a network, although it cannot.
    The kernel counts connections for which it finds no route, and names that it asks for are written down.
  - Of replicas one is tried.
  - Where the engine's data say how, its image is asked for its help first; the flags in it go into the manifest, and options of instances
    are held against them.
  - What has been tried with the same image, model, project and level is not tried again.
  - Images are loaded into Docker under names of this machine's cache directory, and go again once all instances have passed.
options:
  path:
    description: The bundle's directory, with its C(images) and C(models).
    type: path
    required: true
  plan:
    description: The instances as the filter P(airgap.inference.instance_plan#filter) gives them.
    type: list
    elements: dict
    required: true
  projects:
    description: The Compose project of each, by its name.
    type: dict
    required: true
  relays:
    description: The relay's configuration of each instance that has one, by its name.
    type: dict
    default: {}
  relay_image:
    description: The image of relays, as the bundle names it.
    type: str
    default: ""
  images:
    description: The bundle's images by name, each with its C(digest).
    type: dict
    required: true
  models:
    description: The bundle's models by name, each with its C(digest).
    type: dict
    required: true
  level:
    description:
      - How far to try those whose plan says V(auto).
      - V(generate) starts the engine and lets it produce a token. V(load) lets the engine's own code load configuration, tokenizer
        and processor. V(none) leaves the rehearsal out. The manifest says which level was reached.
      - V(auto) is V(generate) where this machine has the GPUs that the instance asks for, or its image needs none; V(load) otherwise.
    type: str
    choices: [auto, generate, load, none]
    default: auto
  timeout:
    description: Seconds that one instance has from its start to its first token.
    type: int
    default: 900
  compose_command:
    description: The words that start Compose (2.24.4 or newer).
    type: list
    elements: str
    default: [docker, compose]
  cache:
    description: The directory of what is kept between runs; results are below C(state), logs below C(rehearsal).
    type: path
    required: true
  keep_images:
    description: Whether images stay in Docker after all instances have passed, for the next change of an instance.
    type: bool
    default: false
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying target.
    support: full
    details: Says what would be tried.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check mode), when in diff mode.
    support: none
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
    support: full
requirements:
  - Docker with Compose 2.24.4 or newer
  - skopeo
  - root
"""

EXAMPLES = r"""
- name: Rehearse the instances
  airgap.inference.bundle_rehearse_instances:
    path: /srv/staging/bundle
    plan: "{{ plan }}"
    projects: "{{ projects }}"
    images: "{{ images }}"
    models: "{{ models }}"
    cache: /var/cache/airgap-staging
"""

RETURN = r"""
artifacts:
  description: What the manifest says about the rehearsals, one entry an instance, with the C(flags) that its engine told of itself.
  returned: success
  type: list
  elements: dict
  sample:
    - {kind: instance, name: chat, level: generate, engine: vllm, image: "docker.io/vllm/vllm-openai:v0.32.0", model: tiny, reason: ""}
rehearsed:
  description: The instances that were tried now (in check mode, that would be).
  returned: success
  type: list
  elements: str
seconds:
  description: How long it took.
  returned: success
  type: float
  sample: 47.1
"""

import json
import os
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.inference.plugins.module_utils import _rehearsal, _rehearsal_flags, _rehearsal_image
from ansible_collections.airgap.inference.plugins.module_utils._digest import write_if_changed
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._progress import Progress

ARGUMENTS: dict[str, Any] = {
    "path": {"type": "path", "required": True},
    "plan": {"type": "list", "elements": "dict", "required": True},
    "projects": {"type": "dict", "required": True},
    "relays": {"type": "dict", "default": {}},
    "relay_image": {"type": "str", "default": ""},
    "images": {"type": "dict", "required": True},
    "models": {"type": "dict", "required": True},
    "level": {"type": "str", "choices": ["auto", "generate", "load", "none"], "default": "auto"},
    "timeout": {"type": "int", "default": 900},
    "compose_command": {"type": "list", "elements": "str", "default": ["docker", "compose"]},
    "cache": {"type": "path", "required": True},
    "keep_images": {"type": "bool", "default": False},
}


class Memory:
    """The successes of earlier runs, kept in the cache."""

    def __init__(self, cache: str) -> None:
        self._path = os.path.join(cache, "state", "rehearsals.json")
        self._keys: list[str] = []
        if os.path.exists(self._path):
            with open(self._path, "rb") as handle:
                try:
                    self._keys = [str(key) for key in json.load(handle)]
                except ValueError:
                    # Lost successes cost time only.
                    self._keys = []

    def __contains__(self, key: str) -> bool:
        return key in self._keys

    def note(self, key: str) -> None:
        # The last ones are enough: instances are few.
        self._keys = [*self._keys, key][-200:]
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        write_if_changed(self._path, json.dumps(self._keys, indent=1).encode())


def rehearse(module: AnsibleModule) -> dict[str, Any]:
    """Try what has not been tried; one instance that fails does not keep the others from being tried."""
    params = module.params
    started = time.monotonic()
    stage = _rehearsal.Stage(
        params["path"], params["cache"], params["compose_command"], params["level"], params["timeout"]
    )
    memory, flags = Memory(params["cache"]), _rehearsal_flags.Memory(params["cache"])
    # Replicas differ by their names and GPUs only.
    firsts = {str(item["base"]): item for item in reversed(params["plan"])}
    cases = [_case(item, params) for item in params["plan"] if item is firsts[str(item["base"])]]
    levels = {case.name: _level(case, stage) for case in cases}
    tried = [
        case
        for case in cases
        if levels[case.name].name != "none" and _rehearsal.key(case, levels[case.name]) not in memory
    ]
    # Where nobody said that nothing shall be tried, an image can tell its flags at least.
    due = [case for case in cases if case in tried or (flags.lacks(case) and _wished(case, stage) != "none")]
    failures = []
    if due and not module.check_mode:
        _rehearsal.sweep(stage)
        for case in due:
            try:
                _try(case, stage, levels[case.name] if case in tried else None, flags)
                if case in tried:
                    memory.note(_rehearsal.key(case, levels[case.name]))
            except AirgapError as error:
                failures.append((case, str(error)))
        if not params["keep_images"]:
            kept = {stage.tag(case.digest) for case, _said in failures}
            kept |= {stage.tag(case.relay.digest) for case, _said in failures if case.relay is not None}
            _rehearsal_image.remove(stage.repository, kept)
    if failures:
        raise AirgapError("\n\n".join(said for _case, said in failures))
    names = [case.base for case in tried]
    return {
        "changed": bool(due),
        "artifacts": [_artifact(case, levels[case.name], flags.of(case)) for case in cases],
        "rehearsed": names,
        "seconds": round(time.monotonic() - started, 1),
        "msg": _summary(cases, levels, names),
    }


def _case(item: dict[str, Any], params: dict[str, Any]) -> _rehearsal.Case:
    image, relay = str(item["image_name"]), None
    if item["name"] in params["relays"]:
        beside = params["relay_image"]
        relay = _rehearsal.Relay(beside, _digest(params["images"], beside), params["relays"][item["name"]])
    models = {model["name"]: _digest(params["models"], model["name"]) for model in item["models"]}
    return _rehearsal.Case(
        item, params["projects"][item["name"]], image, _digest(params["images"], image), models, relay
    )


def _digest(artifacts: dict[str, Any], name: str) -> str:
    """In check mode they may still have to be collected."""
    return str(artifacts.get(name, {}).get("digest", ""))


def _level(case: _rehearsal.Case, stage: _rehearsal.Stage) -> _rehearsal.Level:
    gpus = len(case.plan["gpus"])
    shortage = _rehearsal.gpu_shortage(gpus) if gpus else ""
    return _rehearsal.choose_level(case.plan, case.image, stage.level, shortage)


def _wished(case: _rehearsal.Case, stage: _rehearsal.Stage) -> str:
    own = str(case.plan["rehearsal"]["level"])
    return stage.level if own == "auto" else own


def _try(
    case: _rehearsal.Case, stage: _rehearsal.Stage, level: _rehearsal.Level | None, flags: _rehearsal_flags.Memory
) -> None:
    """Without a level the image is asked for its flags, and nothing else."""
    with Progress(f"rehearsal of {case.name}") as progress:
        progress.at("its image is loaded into Docker")
        _rehearsal_image.load(os.path.join(stage.bundle, "images"), case.image, case.digest, stage.tag(case.digest))
        if case.relay is not None:
            relay = case.relay
            _rehearsal_image.load(
                os.path.join(stage.bundle, "images"), relay.image, relay.digest, stage.tag(relay.digest)
            )
        if flags.lacks(case):
            progress.at("its image tells its flags")
            flags.note(case, _rehearsal_flags.ask(case, stage))
        if level is not None:
            progress.at("its engine starts, without a network")
            _rehearsal.rehearse(case, stage, level)


def _artifact(case: _rehearsal.Case, level: _rehearsal.Level, flags: list[str]) -> dict[str, Any]:
    told = {"flags": flags} if flags else {}
    return {
        "kind": "instance",
        "name": case.base,
        "level": level.name,
        "engine": str(case.plan["engine"]),
        "image": case.image,
        "model": str(case.plan["model"]["name"]),
        "reason": level.reason,
        **told,
    }


def _summary(cases: list[_rehearsal.Case], levels: dict[str, _rehearsal.Level], tried: list[str]) -> str:
    if not cases:
        return "Instances: none to rehearse"
    said = []
    for case in cases:
        level = levels[case.name]
        before = "" if case.base in tried or level.name == "none" else ", tried before"
        said.append(f"{case.base} ({level.name}{': ' + level.reason if level.reason else ''}{before})")
    return f"Instances rehearsed without a network: {', '.join(said)}"


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        result = rehearse(module)
    except AirgapError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
