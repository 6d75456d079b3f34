# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From an instance as a person describes it to what a host runs: refusals, command line, environment, GPUs.

An engine is data (roles/inference/vars/engines); nothing here knows one by name.
"""

from __future__ import annotations

import json
import re
from typing import Any, Mapping, Sequence

from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

Instance = Mapping[str, Any]
Engine = Mapping[str, Any]

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?\Z")
_VERSION_TAG = re.compile(r"v?(\d+(?:\.\d+)+)\Z")
# How far an instance is rehearsed before its bundle is sealed; auto is as far as the staging machine can.
REHEARSALS = ("auto", "generate", "load", "none")
_PARALLEL = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")


def refusals(
    instances: Sequence[Instance],
    engines: Sequence[Engine],
    images: Mapping[str, Any],
    models: Mapping[str, Any],
) -> list[str]:
    """Every reason why these instances cannot run, as far as the description and the bundle show it."""
    known = {str(engine["name"]): engine for engine in engines}
    reasons: list[str] = []
    seen: dict[str, int] = {}
    for position, instance in enumerate(instances):
        name = str(instance.get("name", ""))
        where = f"instance {name}" if name else f"instance number {position + 1}"
        if not _NAME.match(name):
            reasons.append(
                f"{where}: name is {name!r}; use 1 to 32 lower-case letters, digits and hyphens, "
                "since it names a systemd unit and a directory."
            )
        elif name in seen:
            reasons.append(f"{where}: the name stands twice; give each instance of a host its own.")
        seen[name] = position
        engine = known.get(str(instance.get("engine")))
        if engine is None:
            reasons.append(
                f"{where}: engine is {instance.get('engine')!r}; the engines are {', '.join(sorted(known)) or 'none'}."
            )
        else:
            reasons.extend(f"{where}: {reason}" for reason in _engine_refusals(instance, engine))
        reasons.extend(f"{where}: {reason}" for reason in _bundle_refusals(instance, images, models))
    return reasons


def plan(
    instances: Sequence[Instance],
    engines: Sequence[Engine],
    images: Mapping[str, Any],
    models: Mapping[str, Any],
    registry: str = "",
) -> list[dict[str, Any]]:
    """What the host runs, instance by instance, with nothing left open. Call it after refusals() found none."""
    known = {str(engine["name"]): engine for engine in engines}
    gpus = assign_gpus(instances)
    planned = []
    for instance, indices in zip(instances, gpus):
        engine = known[str(instance["engine"])]
        model = models[instance["model"]]
        planned.append(
            {
                "name": instance["name"],
                "engine": engine["name"],
                "image": image_reference(str(instance["image"]), images, registry),
                "image_name": str(instance["image"]),
                "model": {"name": instance["model"], "revision": model["revision"]},
                "tensor_parallel_size": _sizes(instance)[0],
                "gpus": indices,
                "command": command(instance, engine),
                "environment": environment(instance, engine),
                "container": dict(engine["container"]),
                "health": engine["health"],
                "upstream": {"name": instance["name"], "api": [dict(entry) for entry in engine["api"]]},
                "drain": drain(instance, engine),
                "memory": instance.get("memory"),
                "shm_size": instance.get("shm_size"),
                "rehearsal": rehearsal(instance, engine),
            }
        )
    return planned


def assign_gpus(instances: Sequence[Instance]) -> list[list[int]]:
    """The GPUs of a host, handed out in the order of the instances, each to one instance only."""
    assigned: list[list[int]] = []
    first = 0
    for instance in instances:
        count = int(instance.get("gpus") or 0)
        assigned.append(list(range(first, first + count)))
        first += count
    return assigned


def command(instance: Instance, engine: Engine, fixed: Sequence[Any] | None = None) -> list[str]:
    """The engine's command line: its fixed part (or another one), then the options by name."""
    parts = engine["command"] if fixed is None else fixed
    argv = [_fill(str(part), _values(instance, engine)) for part in parts]
    for option, value in sorted(_options(instance, engine).items()):
        argv.extend(option_arguments(option, value, negated=bool(engine.get("negated_options", False))))
    return argv


def rehearsal(instance: Instance, engine: Engine) -> dict[str, Any]:
    """How the instance can be tried where its hosts are not; ``load`` is what is run where it cannot generate."""
    data = engine.get("rehearsal") or {}
    load = data.get("load")
    return {
        "level": str(instance.get("rehearsal") or "auto"),
        "cpu_images": list(data.get("cpu_images", [])),
        "load": {
            "command": command(instance, engine, load["command"]),
            "environment": {name: str(value) for name, value in load.get("environment", {}).items()},
            "path": load["path"],
            "body": _filled(load["body"], _values(instance, engine)),
        }
        if load
        else None,
    }


def option_arguments(option: str, value: Any, negated: bool = True) -> list[str]:
    """One option in the engine's own spelling.

    true is the bare flag; false its --no- form where the engine has these, else nothing; null is nothing;
    a list is the flag followed by its values; a mapping is JSON.
    """
    flag = "--" + option.replace("_", "-")
    if value is None:
        return []
    if value is True:
        return [flag]
    if value is False:
        return ["--no-" + flag[2:]] if negated else []
    if isinstance(value, Mapping):
        return [flag, json.dumps(value, sort_keys=True, separators=(",", ":"))]
    if isinstance(value, (list, tuple)):
        return (
            [flag, *(json.dumps(part) if isinstance(part, Mapping) else str(part) for part in value)] if value else []
        )
    return [flag, str(value)]


def environment(instance: Instance, engine: Engine) -> dict[str, str]:
    """The engine's offline environment, then the instance's own."""
    merged = {**engine.get("environment", {}), **(instance.get("environment") or {})}
    return {name: str(merged[name]) for name in sorted(merged)}


def image_reference(image: str, images: Mapping[str, Any], registry: str = "") -> str:
    """The image by digest, at the registry that the host pulls from."""
    reference = image if "@sha256:" in image else str(images[image]["reference"])
    return f"{registry}/{reference}" if registry else reference


def drain(instance: Instance, engine: Engine) -> int:
    """How many seconds a stop lets running requests finish."""
    option = engine.get("drain_option")
    return int(_options(instance, engine).get(option, 0)) if option else 0


def _options(instance: Instance, engine: Engine) -> dict[str, Any]:
    own = {_underscored(name): value for name, value in (instance.get("options") or {}).items()}
    options: dict[str, Any] = {**engine.get("options", {}), **own}
    gpu_option = engine.get("gpu_option")
    if gpu_option and int(instance.get("gpus") or 0) > 1 and not any(option in own for option in _PARALLEL):
        options[gpu_option] = int(instance["gpus"])
    return options


def _sizes(instance: Instance) -> tuple[int, int]:
    """Tensor parallel size, and how many GPUs all kinds of parallelism together need."""
    own = {_underscored(name): value for name, value in (instance.get("options") or {}).items()}
    if not any(option in own for option in _PARALLEL):
        count = int(instance.get("gpus") or 0)
        return max(count, 1), count
    tensor, pipeline, data = (int(own.get(option) or 1) for option in _PARALLEL)
    return tensor, tensor * pipeline * data


def _engine_refusals(instance: Instance, engine: Engine) -> list[str]:
    reasons = []
    own_environment = instance.get("environment") or {}
    for name in sorted(set(own_environment) & set(engine.get("forbidden_environment", []))):
        reasons.append(
            f"environment sets {name}, which an isolated {engine['name']} must not have: it is a credential for, "
            "or opens a door to, somewhere else. Remove it."
        )
    for name, value in sorted(own_environment.items()):
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            reasons.append(
                f"environment.{name} is {value!r}; write it as a quoted string, as the engine shall read it."
            )
    reserved = {_underscored(option) for option in engine.get("reserved_options", [])}
    for option in sorted(instance.get("options") or {}):
        if _underscored(option) in reserved:
            reasons.append(f"options.{option} is set by the role itself (see the engine's data); remove it.")
    level = instance.get("rehearsal")
    if level is not None and level not in REHEARSALS:
        reasons.append(f"rehearsal is {level!r}; it is one of {', '.join(REHEARSALS)}.")
    count = instance.get("gpus", 0)
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        reasons.append(f"gpus is {count!r}; it is a number of GPUs, 0 for an engine on the CPU.")
    else:
        try:
            needed = _sizes(instance)[1]
        except (TypeError, ValueError):
            reasons.append("a parallel size in options is not a number.")
        else:
            if 0 < count != needed:
                reasons.append(
                    f"gpus is {count}, but the parallel sizes in options use {needed}; make them agree, "
                    "or leave the sizes out and gpus decides."
                )
    reason = _version_refusal(str(instance.get("image", "")), engine)
    return [*reasons, reason] if reason else reasons


def _version_refusal(image: str, engine: Engine) -> str | None:
    """A tag that is a version must reach the engine's minimum; other tags and digests say nothing."""
    tag = image.split("@")[0].rpartition(":")[2]
    match = _VERSION_TAG.match(tag)
    minimum = engine.get("minimum_version")
    if not match or not minimum or _numbers(match.group(1)) >= _numbers(str(minimum)):
        return None
    return f"image is {image}; below {minimum} {engine['name']} has faults that matter here. Use {minimum} or newer."


def _bundle_refusals(instance: Instance, images: Mapping[str, Any], models: Mapping[str, Any]) -> list[str]:
    reasons = []
    image = str(instance.get("image", ""))
    if "@sha256:" not in image and image not in images:
        reasons.append(f"image {image!r} is not in the bundle, which has {_names(images)}. Stage a bundle with it.")
    if instance.get("model") not in models:
        reasons.append(
            f"model {instance.get('model')!r} is not in the bundle, which has {_names(models)}. Stage a bundle with it."
        )
    return reasons


def _values(instance: Instance, engine: Engine) -> dict[str, str]:
    """What an engine's data may name in braces."""
    return {
        "name": str(instance["name"]),
        "model": str(instance["model"]),
        "model_directory": str(engine["container"]["model_directory"]),
        "socket": str(engine["container"]["socket_directory"]) + "/engine.sock",
    }


def _filled(data: Any, values: Mapping[str, str]) -> Any:
    """The same data with {word} replaced in each of its texts."""
    if isinstance(data, str):
        return _fill(data, values)
    if isinstance(data, Mapping):
        return {name: _filled(value, values) for name, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_filled(value, values) for value in data]
    return data


def _fill(part: str, values: Mapping[str, str]) -> str:
    """Replace {word}; anything else in braces is a fault of the engine's data."""

    def value(match: re.Match[str]) -> str:
        try:
            return values[match.group(1)]
        except KeyError as error:
            raise AirgapError(
                f"An engine's command names {match.group(0)}; it may use {', '.join(sorted(values))}."
            ) from error

    return re.sub(r"\{(\w+)\}", value, part)


def _underscored(name: str) -> str:
    return name.replace("-", "_")


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def _names(entries: Mapping[str, Any]) -> str:
    return ", ".join(sorted(entries)) or "none"
