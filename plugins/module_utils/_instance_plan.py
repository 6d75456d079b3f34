# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host runs, instance by instance, with nothing left open."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

from ansible_collections.airgap.inference.plugins.module_utils import (
    _instance_expand,
    _instance_files,
    _instance_options,
    _instance_presets,
    _instance_words,
)
from ansible_collections.airgap.inference.plugins.module_utils._instance_types import Engine, Instance, task, task_data


def plan(
    instances: Sequence[Instance],
    engines: Sequence[Engine],
    images: Mapping[str, Any],
    models: Mapping[str, Any],
    registry: str = "",
    expected: Any = None,
) -> list[dict[str, Any]]:
    """One entry an instance, and one a replica. Call it after refusals() found none. expected: gpu_host_expected."""
    known = {str(engine["name"]): engine for engine in engines}
    expanded = _instance_expand.expand(instances)
    gpus = _instance_expand.assign_gpus(expanded)
    generation = _instance_presets.generation(expected)
    return [
        _entry(instance, known[str(instance["engine"])], indices, images, models, registry, generation)
        for instance, indices in zip(expanded, gpus)
    ]


def _entry(
    described: Instance,
    engine: Engine,
    indices: list[int],
    images: Mapping[str, Any],
    models: Mapping[str, Any],
    registry: str,
    generation: str,
) -> dict[str, Any]:
    instance = {**described, **_instance_files.chosen(described, engine, models)}
    mounts = _mounts(instance, engine, models)
    data = task_data(instance, engine)
    serves = _instance_expand.serves(instance)
    metrics = str(engine.get("metrics") or "")
    return {
        "name": instance["name"],
        "base": instance["base"],
        "engine": engine["name"],
        "task": task(instance),
        "image": image_reference(str(instance["image"]), images, registry),
        "image_name": str(instance["image"]),
        "model": _revision(str(instance["model"]), models),
        "model_file": str(instance.get("model_file") or ""),
        # All that must be on the host, and where in the container each of it stands.
        "models": [_revision(name, models) for name in _instance_expand.model_names(instance)],
        "mounts": mounts,
        "serves": serves,
        "tensor_parallel_size": _instance_options.sizes(instance, engine)[0],
        # Whether the role has the engine divide the model; if not, it cannot be told whether that works.
        "splits": bool(engine.get("gpu_option")),
        "gpus": indices,
        "command": command(instance, engine, generation=generation),
        "environment": environment(instance, engine),
        "container": dict(engine["container"]),
        "supports_user": bool(engine.get("supports_user", True)),
        "listens": str(engine.get("listens") or "unix"),
        "port": engine.get("port"),
        "health": str(engine.get("health") or ""),
        "metrics": metrics,
        "probe": _instance_words.filled(data["probe"], _instance_words.words(instance, engine)),
        "upstream": {
            "name": instance["name"],
            "models": serves,
            # A path's {model} is the gateway's to read.
            "api": [dict(entry) for entry in data["api"]],
            "metrics": metrics,
        },
        "drain": _instance_options.drain(instance, engine),
        "memory": instance.get("memory"),
        "shm_size": instance.get("shm_size"),
        "cpus": instance.get("cpus"),
        "rehearsal": rehearsal(instance, engine, generation),
    }


def command(instance: Instance, engine: Engine, fixed: Sequence[Any] | None = None, generation: str = "") -> list[str]:
    """The engine's command line: its fixed part (or another one), then the options by name."""
    parts = engine.get("command") or [] if fixed is None else fixed
    values = _instance_words.words(instance, engine)
    return [
        *(_instance_words.fill(str(part), values) for part in parts),
        *_instance_options.arguments(instance, engine, generation),
    ]


def rehearsal(instance: Instance, engine: Engine, generation: str = "") -> dict[str, Any]:
    """How the instance can be tried where its hosts are not; ``load`` is what is run where it cannot generate."""
    data = engine.get("rehearsal") or {}
    load, told = data.get("load"), data.get("help")
    values = _instance_words.words(instance, engine)
    return {
        "level": str(instance.get("rehearsal") or "auto"),
        "cpu_images": list(data.get("cpu_images", [])),
        "load": {
            "command": command(instance, engine, load["command"], generation),
            "environment": {
                name: _instance_words.fill(str(value), values) for name, value in load.get("environment", {}).items()
            },
            "path": load["path"],
            "body": _instance_words.filled(load["body"], values),
        }
        if load
        else None,
        # How the engine tells its flags, and those that it tells at least: the role itself uses them.
        "help": {
            "command": [str(word) for word in told["command"]],
            "environment": {name: str(value) for name, value in told.get("environment", {}).items()},
            "shows": [str(word) for word in engine.get("command") or [] if str(word).startswith("--")],
        }
        if told
        else None,
    }


def environment(instance: Instance, engine: Engine) -> dict[str, str]:
    """The engine's offline environment, then the instance's own."""
    values = _instance_words.words(instance, engine)
    merged = {
        **{name: _instance_words.fill(str(value), values) for name, value in (engine.get("environment") or {}).items()},
        **{name: str(value) for name, value in (instance.get("environment") or {}).items()},
    }
    return {name: merged[name] for name in sorted(merged)}


def image_reference(image: str, images: Mapping[str, Any], registry: str = "") -> str:
    """The image by digest, at the registry that the host pulls from."""
    reference = image if "@sha256:" in image else str(images[image]["reference"])
    return f"{registry}/{reference}" if registry else reference


def _mounts(instance: Instance, engine: Engine, models: Mapping[str, Any]) -> list[dict[str, str]]:
    """Each model that the container sees, read-only, with the directory where it sees it."""
    container = engine["container"]
    wanted = [(str(instance["model"]), container.get("model_directory"))]
    if instance.get("draft_model"):
        wanted.append((str(instance["draft_model"]), container.get("draft_directory")))
    for entry in _instance_expand.adapters(instance):
        wanted.append((str(entry["model"]), f"{container['adapters_directory']}/{entry['name']}"))
    return [
        {"model": model, "revision": str(models[model]["revision"]), "target": str(target)}
        for model, target in wanted
        if target
    ]


def _revision(name: str, models: Mapping[str, Any]) -> dict[str, str]:
    return {"name": name, "revision": str(models[name]["revision"])}
