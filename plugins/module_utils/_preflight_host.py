# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host as a preflight sees it: its GPUs, by whoever can tell, its disks and what it already holds, and what is wrong with it."""

from __future__ import annotations

import re
from typing import Any, Iterator, Mapping, NamedTuple, Sequence

from ansible_collections.airgap.inference.plugins.module_utils import (
    _driver_plan,
    _gpu_catalogue,
    _instance,
    _placement_host,
    _system,
)
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._placement_terms import REFUSED
from ansible_collections.airgap.inference.plugins.module_utils._preflight_problem import STOPS, WARNS, Problem

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_UNIT = re.compile(r"airgap-inference@(.+)\.service\Z")
# A GPU that is set aside for virtual machines is not the engines'.
_SET_ASIDE = "vfio-pci"
# What a GPU may show more or less of its memory than another one of the same product (ECC, reserved pages).
_TOLERANCE = 0.03


class Hardware(NamedTuple):
    """The GPUs for which the answers hold, and who says so."""

    gpus: list[dict[str, Any]]
    source: str
    notes: list[str]


class Held(NamedTuple):
    """What a host already has: model revisions by their paths, images by their digests, running instances by their names."""

    models: frozenset[str]
    images: frozenset[str]
    running: frozenset[str]


def reached(seen: Mapping[str, Any]) -> str | None:
    """Why the host could not be looked at, or None."""
    facts = seen.get("facts") or {}
    if facts.get("unreachable") or "ansible_facts" not in facts:
        message = str(facts.get("msg") or "it gave no answer").strip().splitlines() or ["it gave no answer"]
        return message[0]
    return None


def hardware(seen: Mapping[str, Any], expected: Mapping[str, Any]) -> Hardware:
    """Those that the driver shows; else those on the bus, by their PCI ids; else those that the inventory states."""
    stated = _gpu_catalogue.stated(dict(expected))
    asked, bus = seen.get("gpus") or {}, (seen.get("found") or {}).get("gpus")
    if "gpus" in asked:
        return Hardware([_of_driver(gpu) for gpu in asked["gpus"]], "as the driver shows them", [])
    bus = bus if bus is not None else asked.get("gpus_on_bus")
    if bus is not None:
        gpus, notes = [], []
        for index, device in enumerate(gpu for gpu in bus if gpu.get("driver") != _SET_ASIDE):
            gpu, note = _of_bus(index, device, stated)
            gpus.append(gpu)
            notes.extend([note] if note else [])
        return Hardware(gpus, "told by their PCI ids, since no driver shows them yet", list(dict.fromkeys(notes)))
    number = expected.get("count")
    if not isinstance(number, int) or number < 1:
        return Hardware([], "not known", ["gpu_host_expected.count does not say how many GPUs the host has"])
    missing = [key for key in ("memory_mib", "compute_capability") if stated[key] is None]
    notes = [_unknown(stated.get("name"), missing)] if missing else []
    return Hardware([{**stated, "index": index} for index in range(number)], "as gpu_host_expected states them", notes)


def problems(host: Mapping[str, Any], bundle: Mapping[str, Any], gpus: Hardware) -> Iterator[Problem]:
    """What stands in the way on the host itself, whatever its instances are."""
    name, seen, expected = str(host["host"]), host.get("seen") or {}, host.get("expected") or {}
    facts = (seen.get("facts") or {}).get("ansible_facts") or {}
    yield from _system_problem(name, _plain(facts), bundle)
    yield from _gateway_problem(name, str(host.get("gateway_image") or ""), bundle)
    yield from _driver_problem(name, host, seen)
    asked = seen.get("gpus") or {}
    if "gpus" not in asked and asked.get("msg") and _has_driver(seen):
        yield Problem(
            (name,),
            "",
            WARNS,
            [f"the host has a driver, and does not show its GPUs: {asked['msg']}"],
            ["gpu_host_*"],
            [],
            "worth knowing",
        )
    sick = [f"GPU {gpu.get('index')} ({gpu.get('name')}, {gpu.get('uuid')}) at {gpu.get('pci_address')}: {problem}"
            for gpu in asked.get("gpus") or [] for problem in gpu.get("problems") or []]  # fmt: skip
    sick.extend(str(problem) for problem in asked.get("problems") or [])
    if sick:
        refuse = host.get("refuse_sick", True)
        yield Problem((name,), "", STOPS if refuse else WARNS, sick, [f"gpu_host_refuse_sick is {refuse}"], [])
    other = list(_unexpected(expected, gpus))
    if other:
        yield Problem(
            (name,),
            "",
            STOPS,
            [text for text, _path in other],
            [f"gpu_host_expected.{path} is {expected[path]!r}" for _text, path in other],
            ["Correct gpu_host_expected, or the hardware"],
        )


def disk_problems(host: Mapping[str, Any], bundle: Mapping[str, Any]) -> Iterator[Problem]:
    """Whether what comes to the host has room, all of it together on each of its file systems."""
    seen = host.get("seen") or {}
    facts = (seen.get("facts") or {}).get("ansible_facts") or {}
    have = held(seen.get("held") or [])
    instances = host.get("instances") or []
    store, root = str(host.get("model_directory") or "/srv/models"), str(host.get("docker_root") or "/var/lib/docker")
    coming: list[tuple[str, str, str, int]] = []
    for name in dict.fromkeys(name for instance in instances for name in _instance.model_names(instance)):
        model = (bundle.get("models") or {}).get(name) or {}
        if model.get("size") and f"{store}/{name}/{model.get('revision')}" not in have.models:
            coming.append(("the model store", store, "model_store_directory", int(model["size"])))
    for name in dict.fromkeys(str(instance.get("image")) for instance in instances):
        image = (bundle.get("images") or {}).get(name) or {}
        # Unpacked it is larger: what its layers have when they are compressed is the least.
        if image.get("size") and image.get("digest") not in have.images:
            coming.append(
                (
                    "Docker's root (images at the least, compressed)",
                    root,
                    "container_runtime_data_root",
                    int(image["size"]),
                )
            )
    for point in dict.fromkeys(_mount(facts, path) for _what, path, _variable, _size in coming):
        free = free_bytes(facts, point) if point else None
        here = [entry for entry in coming if _mount(facts, entry[1]) == point]
        if free is None:
            continue
        stop = {
            "name": " and ".join(dict.fromkeys(what for what, _path, _variable, _size in here)),
            "path": ", ".join(dict.fromkeys(path for _what, path, _variable, _size in here)),
            "free_bytes": free,
            "needed_bytes": sum(size for _what, _path, _variable, size in here),
        }
        for finding in _placement_host.disks([stop]):
            level = STOPS if finding.level == REFUSED else WARNS
            variables = dict.fromkeys(f"{variable} is {path!r}" for _what, path, variable, _size in here)
            yield Problem((str(host["host"]),), "", level, [finding.text], list(variables), [])


def held(lines: Sequence[str]) -> Held:
    """What the playbook's own look at the host printed: a word for the kind and the thing, or a line of systemctl."""
    kinds: dict[str, set[str]] = {"model": set(), "image": set(), "instance": set()}
    for line in lines:
        kind, _space, thing = str(line).strip().partition(" ")
        unit = _UNIT.match(kind)
        if unit:
            kinds["instance"].add(unit.group(1))
        elif kind in kinds and thing:
            kinds[kind].add(thing.strip().rstrip("/"))
    return Held(frozenset(kinds["model"]), frozenset(kinds["image"]), frozenset(kinds["instance"]))


def free_bytes(facts: Mapping[str, Any], path: str) -> int | None:
    """The free space where a path is or will be: of the file system that is mounted nearest above it."""
    point = _mount(facts, path)
    sizes = [mount.get("size_available") for mount in _plain(facts).get("mounts") or [] if mount.get("mount") == point]
    return next((size for size in reversed(sizes) if isinstance(size, int)), None)


def _mount(facts: Mapping[str, Any], path: str) -> str:
    """The mount point nearest above a path; empty where the facts know none."""
    points = [str(mount.get("mount") or "") for mount in _plain(facts).get("mounts") or []]
    above = [point for point in points if point and (path == point or path.startswith(point.rstrip("/") + "/"))]
    return max(above, key=len, default="")


def memory_mib(facts: Mapping[str, Any]) -> int | None:
    size = _plain(facts).get("memtotal_mb")
    return size if isinstance(size, int) else None


def system(facts: Mapping[str, Any]) -> str:
    """The operating system, for people."""
    plain = _plain(facts)
    return " ".join(
        str(plain[key]) for key in ("distribution", "distribution_version", "architecture") if plain.get(key)
    )


def _plain(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts by their own names: setup returns them with ansible_ before them."""
    return {str(key)[8:] if str(key).startswith("ansible_") else str(key): value for key, value in facts.items()}


def _of_driver(gpu: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("index", "name", "uuid", "pci_address", "memory_mib", "memory_used_mib", "compute_capability", "nvlink")
    found = {key: gpu[key] for key in keys if gpu.get(key) is not None}
    if gpu.get("mig_mode") == "enabled":
        found["divided"] = True
    if found.get("compute_capability") is None:
        # An old nvidia-smi does not tell it.
        products = {product.compute_capability for product in _gpu_catalogue.by_name(str(gpu.get("name") or ""))}
        if len(products) == 1:
            found["compute_capability"] = products.pop()
    return found


def _of_bus(index: int, device: Mapping[str, Any], stated: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    product = _gpu_catalogue.by_device(str(device.get("device_id") or ""))
    gpu: dict[str, Any] = {"index": index, "pci_address": device.get("pci_address")}
    if product is not None:
        gpu.update(name=product.name, memory_mib=product.memory_mib, compute_capability=product.compute_capability)
        return gpu, ""
    gpu.update({key: value for key, value in stated.items() if value})
    missing = [key for key in ("memory_mib", "compute_capability") if not gpu.get(key)]
    return gpu, _unknown(f"10de:{device.get('device_id')}", missing) if missing else ""


def _unknown(name: Any, missing: Sequence[str]) -> str:
    return (
        f"of {name or 'GPUs without a stated name'} this collection does not know {' and '.join(missing)}; state "
        f"{' and '.join(f'gpu_host_expected.{key}' for key in missing)}"
    )


def _has_driver(seen: Mapping[str, Any]) -> bool:
    found = seen.get("found") or {}
    return bool((found.get("loaded") or {}).get("nvidia") or (found.get("kernel") or {}).get("module_version"))


def _system_problem(name: str, facts: Mapping[str, Any], bundle: Mapping[str, Any]) -> Iterator[Problem]:
    repositories = bundle.get("repositories")
    if not repositories or not facts.get("distribution"):
        return
    architecture = str(facts.get("architecture") or "")
    target = f"{facts['distribution']}-{_system.release(facts)}-{_ARCHITECTURES.get(architecture, architecture)}"
    if target not in repositories:
        yield Problem(
            (name,),
            "",
            STOPS,
            [f"the host is {target}, and the bundle has packages for {', '.join(sorted(repositories))}"],
            ["airgap_targets"],
            ["Add the system to airgap_targets, stage and import again"],
        )


def _gateway_problem(name: str, image: str, bundle: Mapping[str, Any]) -> Iterator[Problem]:
    images = bundle.get("images")
    if image and images is not None and "@sha256:" not in image and image not in images:
        what = f"the gateway's image {image} is not in the bundle, which has {', '.join(sorted(images)) or 'none'}"
        yield Problem(
            (name,),
            "",
            STOPS,
            [what],
            [f"gateway_image is {image!r}"],
            ["Stage a bundle with it, or name one of these"],
        )


def _driver_problem(name: str, host: Mapping[str, Any], seen: Mapping[str, Any]) -> Iterator[Problem]:
    """What the role gpu_host would refuse there, by the same rule."""
    driver, found = host.get("driver") or {}, seen.get("found") or {}
    if not driver.get("data") or "kernel" not in found:
        return
    source = driver.get("source") or "auto"
    try:
        plan = _driver_plan.plan(
            found,
            driver["data"],
            driver.get("default_source", "") if source == "auto" else source,
            modules=driver.get("modules") or "auto",
            branch=driver.get("branch") or "",
            version=driver.get("version") or "",
            packages=driver.get("packages") or [],
        )
    except (AirgapError, KeyError, TypeError) as error:
        yield Problem(
            (name,), "", WARNS, [f"which driver the host would get cannot be told: {error}"], ["gpu_host_*"], []
        )
        return
    if plan["refusals"]:
        yield Problem(
            (name,),
            "",
            STOPS,
            list(plan["refusals"]),
            ["gpu_host_source, gpu_host_kernel_modules, gpu_host_branch"],
            [],
        )


def _unexpected(expected: Mapping[str, Any], found: Hardware) -> Iterator[tuple[str, str]]:
    """Where the hardware is not what was paid for; what gpu_host_expected itself was used for is not held against it."""
    gpus = found.gpus
    if found.source.startswith("as gpu_host_expected") or found.source == "not known":
        return
    count, name = expected.get("count"), str(expected.get("name") or "")
    if isinstance(count, int) and count != len(gpus):
        yield f"the host has {len(gpus)} GPUs ({found.source}), and {count} are expected: {_listing(gpus)}", "count"
    others = [gpu for gpu in gpus if name and gpu.get("name") and name.lower() not in str(gpu["name"]).lower()]
    if others:
        yield f"the host has another GPU than {name}: {_listing(others)}", "name"
    memory, capability = expected.get("memory_mib"), expected.get("compute_capability")
    less = [gpu for gpu in gpus if memory and gpu.get("memory_mib") and gpu["memory_mib"] < memory * (1 - _TOLERANCE)]
    if less:
        yield f"GPUs with less memory than {memory} MiB: {_listing(less)}", "memory_mib"
    unlike = [
        gpu
        for gpu in gpus
        if capability and gpu.get("compute_capability") and str(gpu["compute_capability"]) != str(capability)
    ]
    if unlike:
        yield f"GPUs of another compute capability than {capability}: {_listing(unlike)}", "compute_capability"


def _listing(gpus: Sequence[Mapping[str, Any]]) -> str:
    told = []
    for gpu in gpus:
        parts = [str(gpu[key]) for key in ("name", "uuid", "pci_address") if gpu.get(key)]
        memory = [f"{gpu['memory_mib']} MiB"] if gpu.get("memory_mib") else []
        told.append(f"GPU {gpu.get('index')} ({', '.join(parts + memory)})")
    return "; ".join(told) or "none"


def summary(gpus: Sequence[Mapping[str, Any]]) -> str:
    """The GPUs in few words: like ones are counted."""
    kinds: dict[str, int] = {}
    for gpu in gpus:
        memory = f", {gpu['memory_mib']} MiB" if gpu.get("memory_mib") else ""
        kind = re.sub(r"\s+", " ", f"{gpu.get('name') or 'unknown GPU'}{memory}")
        kinds[kind] = kinds.get(kind, 0) + 1
    return "; ".join(f"{number} x {kind}" for kind, number in kinds.items()) or "no GPU"
