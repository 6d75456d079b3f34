# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which questions a site asks of model_placement: one for each instance on each host, and each different one once."""

from __future__ import annotations

import json
from typing import Any, Mapping, Sequence

from ansible_collections.airgap.inference.plugins.module_utils import (
    _instance,
    _instance_flags,
    _preflight_host,
    _preflight_instance,
)
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._preflight_host import Hardware, Held
from ansible_collections.airgap.inference.plugins.module_utils._preflight_problem import STOPS, Problem

# Of a GPU, what an answer depends on; who it is, is added to the answer for each host.
_STEP = 64
_DEPENDS = ("index", "name", "memory_mib", "memory_used_mib", "compute_capability", "nvlink", "promised_to")


def plan(site: Mapping[str, Any]) -> dict[str, Any]:
    """The rows of the page, host by host, each with the number of its question; the questions; and what is wrong already."""
    cases: list[dict[str, Any]] = []
    numbers: dict[str, int] = {}
    hosts, problems = [], []

    def number(question: dict[str, Any]) -> int:
        key = json.dumps(question, sort_keys=True)
        if key not in numbers:
            numbers[key] = len(cases)
            cases.append(question)
        return numbers[key]

    bundle = site.get("bundle") or {}
    if site.get("bundle_why"):
        problems.append(
            Problem((), "", STOPS, [f"the depot cannot tell what it holds: {site['bundle_why']}"], ["airgap_depot"])
        )
    for host in site["hosts"]:
        described, found, questions = _host(host, site, bundle)
        largest = max((size for gpu in described["gpus"] for size in gpu.get("memories") or []), default=None)
        for row, question in zip(described["rows"], questions):
            if question is None:
                continue
            row["case"] = number(question)
            if largest is not None and question["gpus"]:
                row["case_at_most"] = number(
                    {**question, "gpus": [{**gpu, "memory_mib": largest} for gpu in question["gpus"]]}
                )
        hosts.append(described)
        problems.extend(found)
    return {"hosts": hosts, "cases": cases, "problems": [problem.document() for problem in Problem.merged(problems)]}


def _host(
    host: Mapping[str, Any], site: Mapping[str, Any], bundle: Mapping[str, Any]
) -> tuple[dict[str, Any], list[Problem], list[dict[str, Any] | None]]:
    name, seen = str(host["host"]), host.get("seen")
    why = _preflight_host.reached(seen) if seen is not None else None
    instances: Sequence[Mapping[str, Any]] = host.get("instances") or []
    facts = ((seen or {}).get("facts") or {}).get("ansible_facts") or {}
    gpus = Hardware([], "not known", []) if why else _preflight_host.hardware(seen or {}, host.get("expected") or {})
    problems: list[Problem] = []
    if why:
        problems.append(
            Problem(
                (name,),
                "",
                STOPS,
                [f"the host could not be looked at: {why}"],
                ["the host's connection"],
                [],
                "not reached",
            )
        )
    elif seen is not None:
        problems.extend(_preflight_host.problems(host, bundle, gpus))
        problems.extend(_preflight_host.disk_problems(host, bundle))
    have = _preflight_host.held((seen or {}).get("held") or [])
    engines = {str(engine["name"]): engine for engine in site["engines"]}
    # One row for each replica; its place in the inventory is that of the instance.
    expanded = _instance.expand(instances)
    indices = _instance.assign_gpus(expanded)
    rows: list[dict[str, Any]] = []
    questions: list[dict[str, Any] | None] = []
    for instance, given in zip(expanded, indices):
        row: dict[str, Any] = {
            "instance": str(instance["name"]),
            "model": str(instance["model"]),
            "gpus": given,
            "variable": str(host["variable"]),
            "position": instance["position"],
            "case": None,
            # Where the stated GPUs are sold in several sizes: the same with the largest.
            "case_at_most": None,
            "unknown": [],
            "refused": [],
            "not_checked": _instance_flags.unchecked(
                instance, engines[str(instance["engine"])], bundle.get("images") or {}
            ),
        }
        questions.append(
            None
            if why
            else _question(row, instance, host, engines, site, gpus, facts, have, _owners(expanded, indices))
        )
        rows.append(row)
    described = {
        "host": name,
        "not_reached": why,
        "system": _preflight_host.system(facts),
        "driver_version": ((seen or {}).get("gpus") or {}).get("driver_version"),
        "gpus": gpus.gpus,
        "gpu_source": gpus.source,
        "notes": [*gpus.notes, *_not_checked(expanded, rows)],
        "rows": rows,
        "instances": [dict(instance) for instance in instances],
    }
    return described, problems, questions


def _question(
    row: dict[str, Any],
    instance: Mapping[str, Any],
    host: Mapping[str, Any],
    engines: Mapping[str, Mapping[str, Any]],
    site: Mapping[str, Any],
    hardware: Hardware,
    facts: Mapping[str, Any],
    have: Held,
    owner: Mapping[int, str],
) -> dict[str, Any] | None:
    engine = engines[str(instance["engine"])]
    bundle = site.get("bundle") or {}
    image_name, model_name = str(instance["image"]), str(instance["model"])
    model = (site.get("model_paths") or {}).get(model_name) or {}
    lacking = _lacking(instance, bundle)
    if lacking:
        row["refused"].extend(lacking)
        return None
    # By what the image itself told when it was staged; what the inventory alone shows has been told before.
    row["refused"].extend(_instance_flags.unknown_options(instance, engine, bundle.get("images") or {}))
    if engine["name"] not in _preflight_instance.KNOWN_ENGINES:
        row["unknown"].append(f"the engine is {engine['name']}, whose memory this collection cannot reckon with yet")
        return None
    if not model.get("path"):
        why = model.get("why") or ("the depot gave no answer" if site.get("bundle_why") else "it is not there")
        row["unknown"].append(f"the model {model_name} cannot be looked at: {why}")
        return None
    try:
        wish = _preflight_instance.wish(instance, engine, host.get("expected"))
    except (AirgapError, TypeError, ValueError) as error:
        row["refused"].append(str(error))
        return None
    row["refused"].extend(wish.faults)
    row["unknown"].extend(wish.unknown)
    gpus = [] if wish.parameters["device"] == "cpu" else _promised(row, hardware, owner, have)
    if wish.faults or row["refused"]:
        return None
    if wish.parameters["device"] == "cuda" and not hardware.gpus:
        if hardware.source == "not known":
            row["unknown"].extend(hardware.notes or ["the GPUs of the host are not known"])
        else:
            row["refused"].append(
                f"gpus is {len(row['gpus'])}, and the host's PCI bus shows no NVIDIA GPU for the engines"
            )
        return None
    image = (bundle.get("images") or {}).get(image_name) or {}
    cuda = image.get("cuda") or {}
    asked = (host.get("seen") or {}).get("gpus") or {}
    own: dict[str, Any] = {"shm_mib": _preflight_instance.shared_memory_mib(instance, engine)}
    # Engines on GPUs keep nothing large there, and like hosts differ in it by some MiB.
    if wish.parameters["device"] == "cpu":
        own["memory_mib"] = _preflight_instance.memory_mib(instance, _preflight_host.memory_mib(facts))
    # A driver that the next deploy replaces says nothing.
    if host.get("packages_state", "present") != "latest":
        own.update(driver_version=asked.get("driver_version"), cuda_version=asked.get("cuda_version"))
    return {
        "path": model["path"],
        **wish.parameters,
        "gpus": gpus,
        "image": {"cuda_version": cuda.get("version"), "require_cuda": cuda.get("require")},
        "host": {key: value for key, value in own.items() if value is not None},
    }


def _not_checked(instances: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each instance, however many replicas it has."""
    told = {
        str(instance.get("base") or instance["name"]): str(row["not_checked"])
        for instance, row in zip(instances, rows)
        if row["not_checked"]
    }
    return [f"{name}: {what}" for name, what in told.items()]


def _owners(instances: Sequence[Mapping[str, Any]], indices: Sequence[Sequence[int]]) -> dict[int, str]:
    """Which instance gets which GPU."""
    return {index: str(instance["name"]) for instance, numbers in zip(instances, indices) for index in numbers}


def _lacking(instance: Mapping[str, Any], bundle: Mapping[str, Any]) -> list[str]:
    """What the bundle does not hold, where there is one."""
    lacking = []
    image = str(instance["image"])
    if bundle.get("images") is not None and "@sha256:" not in image and image not in bundle["images"]:
        lacking.append(
            f"the image {image} is not in the bundle, which has {', '.join(sorted(bundle['images'])) or 'none'}. Stage a bundle with it"
        )
    for model in _instance.model_names(instance):
        if bundle.get("models") is not None and model not in bundle["models"]:
            lacking.append(
                f"the model {model} is not in the bundle, which has {', '.join(sorted(bundle['models'])) or 'none'}. Stage a bundle with it"
            )
    return lacking


def _promised(
    row: dict[str, Any],
    hardware: Hardware,
    owner: Mapping[int, str],
    have: Held,
) -> list[dict[str, Any]]:
    """The host's GPUs as this instance finds them: those of others are promised to them."""
    gpus = []
    for gpu in hardware.gpus:
        index = gpu["index"]
        seen = {key: gpu[key] for key in _DEPENDS if gpu.get(key) is not None}
        if owner.get(index) not in (None, row["instance"]):
            seen["promised_to"] = owner[index]
        elif gpu.get("divided"):
            seen["promised_to"] = "MIG"
            if index in row["gpus"]:
                row["refused"].append(
                    f"GPU {index} is divided by MIG, and this instance is to get it as a whole (gpu_host_mig with no instances undoes that)"
                )
        # What a running instance uses, it gives back before it starts anew. Idle GPUs differ by some MiB.
        used = 0 if owner.get(index) in have.running else seen.get("memory_used_mib") or 0
        seen["memory_used_mib"] = -(-used // _STEP) * _STEP
        gpus.append(seen)
    return gpus
