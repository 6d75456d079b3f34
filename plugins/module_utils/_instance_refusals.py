# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every reason why instances cannot run, as far as their description, the engines' data and the bundle show it."""

from __future__ import annotations

import re
from typing import Any, Iterator, Mapping, Sequence

from ansible_collections.airgap.inference.plugins.module_utils import (
    _instance_engines,
    _instance_files,
    _instance_flags,
    _instance_models,
    _instance_options,
    _instance_presets,
    _instance_routes,
)
from ansible_collections.airgap.inference.plugins.module_utils._instance_expand import MOST_REPLICAS
from ansible_collections.airgap.inference.plugins.module_utils._instance_types import (
    Engine,
    Instance,
    names,
    task,
    task_data,
    underscored,
)

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?\Z")
# How far an instance is rehearsed before its bundle is sealed; auto is as far as the staging machine can.
REHEARSALS = ("auto", "generate", "load", "none")


def refusals(
    instances: Sequence[Instance],
    engines: Sequence[Engine],
    images: Mapping[str, Any],
    models: Mapping[str, Any],
    expected: Any = None,
) -> list[str]:
    """Every reason, each with the instance that it is about. expected: gpu_host_expected."""
    reasons = _instance_engines.faults(engines)
    if reasons:
        return reasons
    known = {str(engine["name"]): engine for engine in engines}
    generation = _instance_presets.generation(expected)
    for position, instance in enumerate(instances):
        where = called(instance, position)
        told = of_instance(instance, known, images, models, generation)
        reasons.extend(f"{where}: {reason}" for reason in told)
    together = _instance_routes.refusals(instances, known)
    return [*reasons, *(f"{called(instances[position], position)}: {reason}" for position, reason in together)]


def called(instance: Instance, position: int) -> str:
    """How a message calls an instance, which may lack a name."""
    name = str(instance.get("name", ""))
    return f"instance {name}" if name else f"instance number {position + 1}"


def of_instance(
    instance: Instance,
    engines: Mapping[str, Engine],
    images: Mapping[str, Any],
    models: Mapping[str, Any],
    generation: str = "",
) -> Iterator[str]:
    """Why one instance cannot run, whatever stands beside it."""
    yield from _name(instance)
    engine = engines.get(str(instance.get("engine")))
    if engine is None:
        yield f"engine is {instance.get('engine')!r}; the engines are {names(engines)}."
    else:
        yield from _task(instance, engine)
        yield from _preset(instance, engine, generation)
        yield from _environment(instance, engine)
        yield from _options(instance, engine, images, generation)
        yield from _gpus(instance, engine)
        reason = _instance_flags.too_old(str(instance.get("image", "")), engine, images)
        if reason:
            yield reason
        yield from _instance_models.unsupported(instance, engine)
        yield from _instance_files.refusals(instance, engine, models)
    level = instance.get("rehearsal")
    if level is not None and level not in REHEARSALS:
        yield f"rehearsal is {level!r}; it is one of {', '.join(REHEARSALS)}."
    cpus = instance.get("cpus")
    if cpus is not None and (isinstance(cpus, bool) or not isinstance(cpus, (int, float)) or cpus <= 0):
        yield f"cpus is {cpus!r}; it is a number of CPUs above 0, such as 16 or 0.5."
    image = str(instance.get("image", ""))
    if "@sha256:" not in image and image not in images:
        yield f"image {image!r} is not in the bundle, which has {names(images)}. Stage a bundle with it."
    yield from _instance_models.refusals(instance, models)


def _name(instance: Instance) -> Iterator[str]:
    name, count = str(instance.get("name", "")), instance.get("replicas", 1)
    if not _NAME.match(name):
        yield (
            f"name is {name!r}; use 1 to 32 lower-case letters, digits and hyphens, "
            "since it names a systemd unit and a directory."
        )
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MOST_REPLICAS:
        yield f"replicas is {count!r}; it is a number from 1 to {MOST_REPLICAS}."
    elif count > 1 and _NAME.match(name) and not _NAME.match(f"{name}-{count}"):
        yield f"the name of its last replica, {name}-{count}, is longer than 32 characters; shorten name."


def _task(instance: Instance, engine: Engine) -> Iterator[str]:
    if not task_data(instance, engine):
        tasks = names(engine.get("tasks") or {})
        yield f"task is {task(instance)!r}, and {engine['name']} can do {tasks}. Change task or engine."


def _preset(instance: Instance, engine: Engine, generation: str) -> Iterator[str]:
    preset = instance.get("preset")
    if preset is None:
        return
    presets = engine.get("presets") or {}
    if preset not in presets:
        yield f"preset is {preset!r}, and {engine['name']} has {names(presets)}. Leave it out, or state options."
        return
    there = {str(entry.get("gpus", _instance_presets.ANY)) for entry in presets[preset]}
    mine = _instance_presets.of(instance, generation)
    if _instance_presets.ANY not in there and mine not in there:
        yield (
            f"preset is {preset!r}, which {engine['name']} has for {names(there)}, and the instance computes on "
            f"{mine or 'GPUs of a generation that gpu_host_expected does not tell'}. Leave it out, or state options."
        )


def _environment(instance: Instance, engine: Engine) -> Iterator[str]:
    own = instance.get("environment") or {}
    for name in sorted(set(own) & set(engine.get("forbidden_environment") or [])):
        yield (
            f"environment sets {name}, which an isolated {engine['name']} must not have: it is a credential for, "
            "or opens a door to, somewhere else. Remove it."
        )
    for name, value in sorted(own.items()):
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            yield f"environment.{name} is {value!r}; write it as a quoted string, as the engine shall read it."


def _options(instance: Instance, engine: Engine, images: Mapping[str, Any], generation: str) -> Iterator[str]:
    reserved = {underscored(option) for option in engine.get("reserved_options") or []}
    for option in sorted(instance.get("options") or {}):
        # vLLM takes a part of a mapping as option.part.
        if underscored(option).partition(".")[0] in reserved:
            yield (
                f"options.{option} is not an instance's to state: the role sets it, or it leads elsewhere "
                "(reserved_options in the engine's data). Remove it."
            )
    needed, own = _instance_options.mounted_options(instance, engine), _instance_options.own_options(instance)
    for option, value in sorted(needed.items()):
        if option in own and isinstance(value, Mapping) and not isinstance(own[option], Mapping):
            yield (
                f"options.{option} is {own[option]!r}; the role adds where the draft and the adapters are, "
                "so write it as a mapping."
            )
    yield from _instance_flags.unknown_options(instance, engine, images)
    yield from _instance_flags.unknown_of_preset(instance, engine, images, generation)


def _gpus(instance: Instance, engine: Engine) -> Iterator[str]:
    count = instance.get("gpus", 0)
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        yield f"gpus is {count!r}; it is a number of GPUs, 0 for an engine on the CPU."
        return
    try:
        needed = _instance_options.sizes(instance, engine)[1]
    except (TypeError, ValueError):
        yield "a parallel size in options is not a number."
        return
    if 0 < count != needed:
        yield (
            f"gpus is {count}, but the parallel sizes in options use {needed}; make them agree, "
            "or leave the sizes out and gpus decides."
        )
