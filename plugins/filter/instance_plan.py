# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: instance_plan
short_description: Work out what a host runs from the instances that a person described
version_added: "0.1.0"
description:
  - Resolves each instance to its image by digest, model revision, command line, environment and GPUs.
  - Replicas become instances of their own, named C(name-1) to C(name-N).
  - GPUs are handed out in the order of the instances and their replicas, each to one only.
author:
  - airgap.inference contributors (@airgap-inference)
positional: _input
options:
  _input:
    description: The instances, as in C(inference_instances).
    type: list
    elements: dict
    required: true
  engines:
    description: The engines' data.
    type: list
    elements: dict
    required: true
  images:
    description: The bundle's images by name, each with its C(reference).
    type: dict
    required: true
  models:
    description: The bundle's models by name, each with its C(revision) and, for engines that take a file, its C(gguf) files.
    type: dict
    required: true
  registry:
    description: The registry that the host pulls from, C(host:port); empty for references as they are.
    type: str
    default: ""
  expected:
    description: What the inventory states of the host's GPUs, C(gpu_host_expected); presets may be for one generation.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Show the command lines
  ansible.builtin.debug:
    msg: "{{ plan | map(attribute='command') }}"
  vars:
    plan: "{{ instances | airgap.inference.instance_plan(engines=engines, images=images, models=models) }}"
"""

RETURN = r"""
_value:
  description: One entry an instance, and one a replica.
  type: list
  elements: dict
  contains:
    name:
      description: Names the unit, the container and the directories.
      type: str
    base:
      description: The name that the person gave, without a replica's number.
      type: str
    engine:
      description: The engine's name.
      type: str
    task:
      description: What it is for, V(generate), V(embed) or V(rerank).
      type: str
    image:
      description: By digest, at the registry that the host pulls from.
      type: str
    image_name:
      description: As the bundle names it.
      type: str
    model:
      description: C(name) and C(revision).
      type: dict
    model_file:
      description: The file below the model's directory, for engines that take one; else empty.
      type: str
    models:
      description: C(name) and C(revision) of all that must be on the host, its draft's and its adapters' too.
      type: list
      elements: dict
    mounts:
      description: C(model), C(revision) and C(target), the directory in the container, of each of these.
      type: list
      elements: dict
    serves:
      description: The names that clients ask for.
      type: list
      elements: str
    tensor_parallel_size:
      description: How often tensors are divided.
      type: int
    splits:
      description: Whether the engine is told by an option how to divide the model over the GPUs.
      type: bool
    gpus:
      description: The indices of its GPUs.
      type: list
      elements: int
    command:
      description: The command line, word by word.
      type: list
      elements: str
    environment:
      description: By name.
      type: dict
    container:
      description: The C(container) of the engine's data.
      type: dict
    supports_user:
      description: Whether the image runs as another user than its own.
      type: bool
    listens:
      description: V(unix) or V(tcp).
      type: str
    port:
      description: Where it listens on its own C(lo), for V(tcp).
      type: int
    health:
      description: A path; empty where it has none.
      type: str
    metrics:
      description: A path; empty where it has none.
      type: str
    probe:
      description: C(path), C(body) and C(expects) of the request that a started instance must answer.
      type: dict
    upstream:
      description: For the gateway, C(name), C(models) that it serves, C(api) and C(metrics).
      type: dict
    drain:
      description: Seconds that a stop lets running requests finish.
      type: int
    memory:
      description: As the person wrote it, if so.
      type: str
    shm_size:
      description: As the person wrote it, if so.
      type: str
    cpus:
      description: As the person wrote it, if so.
      type: float
    rehearsal:
      description: C(level), C(cpu_images), C(load), what is run where it cannot generate, and C(help), what makes it tell its flags.
      type: dict
"""

from typing import Any, Callable

from ansible_collections.airgap.inference.plugins.module_utils import _instance


class FilterModule:
    """Ansible's way to a filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"instance_plan": _instance.plan}
