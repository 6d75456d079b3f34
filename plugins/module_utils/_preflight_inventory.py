# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the inventory alone shows to be wrong, before any host is contacted: everything at once."""

from __future__ import annotations

import re
from typing import Any, Iterator, Mapping, Sequence

from ansible_collections.airgap.inference.plugins.module_utils import (
    _instance,
    _instance_engines,
    _instance_presets,
    _instance_refusals,
    _instance_routes,
    _preflight_instance,
)
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._preflight_problem import STOPS, Problem

# As the role gateway wants them.
_KEY = re.compile(r"[0-9a-f]{64}\Z")
_CLIENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
_RATE = re.compile(r"[1-9][0-9]*r/[sm]\Z")


def problems(site: Mapping[str, Any]) -> list[Problem]:
    """Every problem of a site's description. Hosts that have the same one share it."""
    found = list(_groups(site))
    found.extend(_models(site))
    incomplete = _instance_engines.faults(site["engines"])
    if incomplete:
        # Nothing can be held against these.
        found.append(Problem((), "", STOPS, incomplete, ["inference_engine_directories"], []))
        return Problem.merged(found)
    for host in site["hosts"]:
        found.extend(_host(host, site))
        found.extend(_clients(host))
    return Problem.merged(found)


def _groups(site: Mapping[str, Any]) -> Iterator[Problem]:
    depots = site.get("depots") or []
    if site.get("needs_depot", True) and len(depots) != 1:
        yield Problem(
            (),
            "",
            STOPS,
            [f"a site has one depot, and the group airgap_depot has {', '.join(depots) or 'no host'}"],
            ["the group airgap_depot of the inventory"],
            ["Leave one host in the group airgap_depot"],
        )


def _models(site: Mapping[str, Any]) -> Iterator[Problem]:
    names = [str(model.get("name")) for model in site.get("models") or [] if isinstance(model, Mapping)]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Problem(
            (),
            "",
            STOPS,
            [f"airgap_models has {name} twice; a name means one model"],
            [f"airgap_models[{position}].name is {name!r}" for position, other in enumerate(names) if other == name],
            ["Give each model a name of its own"],
        )


def _host(host: Mapping[str, Any], site: Mapping[str, Any]) -> Iterator[Problem]:
    name, variable, instances = str(host["host"]), str(host["variable"]), host.get("instances")
    if not isinstance(instances, (list, tuple)) or not all(isinstance(item, Mapping) for item in instances):
        yield Problem(
            (name,),
            "",
            STOPS,
            [f"{variable} is no list of instances"],
            [variable],
            ["Write one entry for each instance"],
        )
        return
    engines = {str(engine["name"]): engine for engine in site["engines"]}
    listed = {str(model["name"]): model for model in site.get("models") or [] if isinstance(model, Mapping)}
    expected, divided = host.get("expected") or {}, host.get("mig") or []
    together = _together(instances, engines)
    readable = True
    for position, instance in enumerate(instances):
        what = _refusals(instance, engines, listed, expected)
        what.extend(reason for where, reason in together if where == position)
        engine = engines.get(str(instance.get("engine")))
        if engine is not None and engine["name"] in _preflight_instance.KNOWN_ENGINES:
            what.extend(_faults(instance, engine, expected))
        if what:
            readable = False
            yield Problem(
                (name,),
                str(instance.get("name") or position),
                STOPS,
                what,
                [f"{variable}[{position}]"],
                [],
            )
    for variable_, value, kind, form in (
        ("gpu_host_expected", expected, Mapping, "a dictionary such as {count: 8, name: H100}"),
        ("gpu_host_mig", divided, (list, tuple), "a list such as [{gpus: [0], instances: [3g.40gb]}]"),
    ):
        if not isinstance(value, kind):
            readable = False
            yield Problem((name,), "", STOPS, [f"{variable_} is {value!r}; it is {form}"], [variable_], [])
    if readable:
        yield from _promises(name, variable, instances, expected, divided)


def _refusals(
    instance: Mapping[str, Any], engines: Mapping[str, Mapping[str, Any]], models: Mapping[str, Any], expected: Any
) -> list[str]:
    """Those of the role inference, against what the inventory itself lists; which images a bundle has is seen later."""
    # Which files a model has is seen later. Without a list the models are the depot's, which is asked later as well.
    listed = models or dict.fromkeys(_instance.model_names(instance))
    known = {name: {"gguf": None} for name in listed}
    images: Mapping[str, Any] = {str(instance.get("image", "")): {}}
    generation = _instance_presets.generation(expected)
    try:
        told = list(_instance_refusals.of_instance(instance, engines, images, known, generation))
    except (AirgapError, TypeError, ValueError, AttributeError) as error:
        return [f"the description cannot be read: {error}"]
    return [
        reason.replace("is not in the bundle, which has", "is not in airgap_models, which has").replace(
            "Stage a bundle with it.", "Add it there, and stage a bundle with it."
        )
        if not reason.startswith("image ")
        else reason
        for reason in told
    ]


def _together(
    instances: Sequence[Mapping[str, Any]], engines: Mapping[str, Mapping[str, Any]]
) -> list[tuple[int, str]]:
    try:
        return list(_instance_routes.refusals(instances, engines))
    except (TypeError, ValueError, AttributeError):
        # Told with the instance that cannot be read.
        return []


def _faults(instance: Mapping[str, Any], engine: Mapping[str, Any], expected: Any) -> list[str]:
    try:
        return _preflight_instance.wish(instance, engine, expected).faults
    except (TypeError, ValueError, AttributeError) as error:
        return [f"the description cannot be read: {error}"]


def _promises(
    host: str,
    variable: str,
    instances: Sequence[Mapping[str, Any]],
    expected: Mapping[str, Any],
    divided: Sequence[Mapping[str, Any]],
) -> Iterator[Problem]:
    """Each GPU is promised once: to an instance as a whole, or to be divided, and there are no more than were paid for."""
    expanded = _instance.expand(instances)
    counts = [int(instance.get("gpus") or 0) for instance in expanded]
    total, there = sum(counts), expected.get("count")
    asked = ", ".join(f"{instance['name']} {number}" for instance, number in zip(expanded, counts) if number)
    if isinstance(there, int) and total > there:
        yield Problem(
            (host,),
            "",
            STOPS,
            [
                f"the instances need {total} GPUs together ({asked}), and the host has {there}; a GPU is given to one instance only"
            ],
            [
                f"gpu_host_expected.count is {there}",
                *(
                    f"{variable}[{position}].gpus is {instance['gpus']}{_times(instance)}"
                    for position, instance in enumerate(instances)
                    if instance.get("gpus")
                ),
            ],
            ["Take GPUs from an instance, give one of them to another host, or correct gpu_host_expected.count"],
        )
    for instance, indices in zip(expanded, _instance.assign_gpus(expanded)):
        for part, layout in enumerate(divided):
            if not isinstance(layout, Mapping) or not layout.get("instances"):
                continue
            named = layout.get("gpus")
            both = [index for index in indices if named == "all" or (isinstance(named, list) and index in named)]
            if both:
                yield Problem(
                    (host,),
                    str(instance.get("name")),
                    STOPS,
                    [
                        f"GPU {', '.join(str(index) for index in both)} is promised to this instance as a whole, and is to be divided by MIG; "
                        "GPUs are given to the instances in their order, from GPU 0 on"
                    ],
                    [
                        f"gpu_host_mig[{part}].gpus is {named!r}",
                        f"{variable}[{instance['position']}].gpus is {instance.get('gpus')!r}",
                    ],
                    ["Divide other GPUs, or take instances off this host"],
                )


def _times(instance: Mapping[str, Any]) -> str:
    return f", replicas is {instance['replicas']}" if instance.get("replicas", 1) != 1 else ""


def _clients(host: Mapping[str, Any]) -> Iterator[Problem]:
    clients = host.get("clients")
    if clients is None:
        return
    where = str(host.get("clients_variable") or "airgap_clients")
    if not isinstance(clients, (list, tuple)) or not all(isinstance(client, Mapping) for client in clients):
        yield Problem(
            (str(host["host"]),),
            "",
            STOPS,
            [f"{where} is no list of clients"],
            [where],
            ["Write one entry for each client"],
        )
        return
    for position, client in enumerate(clients):
        what = list(_client(client, clients[:position]))
        if what:
            yield Problem(
                (str(host["host"]),),
                "",
                STOPS,
                [f"client {client.get('name') or position}: {reason}" for reason in what],
                [f"{where}[{position}]"],
                [],
            )


def _client(client: Mapping[str, Any], before: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    name, key, rate = str(client.get("name") or ""), str(client.get("key_sha256") or ""), client.get("rate")
    if not _CLIENT.match(name):
        yield f"name is {name!r}; letters, digits, dots and hyphens are needed, since the audit log names it so"
    if name in [str(other.get("name")) for other in before]:
        yield f"name {name!r} stands twice"
    # A key's hash is no secret, but it is nobody's business in a log either.
    if client.get("claims") and not key:
        # Known by a token instead (gateway_tokens).
        if not isinstance(client["claims"], Mapping):
            yield f"claims is {client['claims']!r}; it is a dictionary such as {{azp: radiology-app}}"
    elif not _KEY.match(key):
        yield 'key_sha256 is no SHA-256 of 64 lower-case hexadecimal digits: printf %s "$key" | sha256sum prints it'.replace(
            '"', "'"
        )
    elif not key.strip("0"):
        yield "key_sha256 is the example's zeros; make a key with openssl rand -hex 32, and write its SHA-256"
    elif key in [str(other.get("key_sha256")) for other in before]:
        yield "key_sha256 is another client's as well; a key means one client"
    if rate is not None and not _RATE.match(str(rate)):
        yield f"rate is {rate!r}; it is written like 10r/s or 30r/m"
