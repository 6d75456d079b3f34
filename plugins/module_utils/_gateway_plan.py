# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a host's instances and clients to what its gateway does: routes by model, allowed paths, who is who."""

from __future__ import annotations

import re
from typing import Any, Mapping, Sequence

from ansible_collections.airgap.inference.plugins.module_utils import _jwks

Entry = Mapping[str, Any]

# What stands in a path for the model that is asked.
MODEL = "{model}"


def plan(
    instances: Sequence[Entry],
    clients: Sequence[Entry],
    tokens: Entry | None = None,
    jwks: str = "",
) -> dict[str, Any]:
    """What nginx and its script are to be told. Call it after refusals() found none."""
    routes, models = _routes(instances)
    return {
        "routes": routes,
        "locations": _locations(instances),
        "rates": [{**limit, "retry_after": retry_after(limit["rate"])} for limit in _alike(clients, ("rate", "burst"))],
        "concurrencies": _alike(clients, ("concurrency",)),
        "config": {
            "models": models,
            "paths": {
                route["name"]: {path: _set(methods) for path, methods in route["paths"].items()} for route in routes
            },
            "pathways": _pathways(routes),
            "clients": {
                str(client["name"]): {
                    "models": None if client.get("models") is None else _set(client["models"]),
                    "metrics": bool(client.get("metrics")),
                }
                for client in clients
            },
            "keys": {str(client["key_sha256"]): str(client["name"]) for client in clients if client.get("key_sha256")},
            "tokens": _tokens(clients, tokens, jwks) if tokens else None,
            "metrics": {
                str(instance["name"]): str(instance["metrics"]) for instance in instances if instance.get("metrics")
            },
        },
    }


def _alike(clients: Sequence[Entry], names: Sequence[str]) -> list[dict[str, Any]]:
    """Clients with the same limits: they share a zone of nginx's memory, and each is counted for itself."""
    groups: dict[tuple[Any, ...], list[str]] = {}
    for client in clients:
        if client.get(names[0]):
            groups.setdefault(tuple(client.get(name) or 0 for name in names), []).append(str(client["name"]))
    return [{**dict(zip(names, values)), "clients": members} for values, members in groups.items()]


def retry_after(rate: str) -> int:
    """Whole seconds after which a rate like 10r/s or 20r/m has room for one more request."""
    count, _slash, unit = rate.partition("r/")
    return -(-(60 if unit == "m" else 1) // int(count))


def api(instance: Entry) -> dict[str, list[str]]:
    """The methods of an instance by path."""
    return {str(entry["path"]): [str(method) for method in entry["methods"]] for entry in instance["api"]}


def _set(names: Sequence[Any]) -> dict[str, bool]:
    """As nginx's script looks names up: a list that nginx has loaded has no methods there."""
    return {str(name): True for name in names}


def _routes(instances: Sequence[Entry]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Instances that serve the same name share its route; instances that share all their names share one."""
    serving: dict[str, list[Entry]] = {}
    for instance in instances:
        for model in instance["models"]:
            serving.setdefault(str(model), []).append(instance)
    routes: dict[tuple[str, ...], dict[str, Any]] = {}
    models = {}
    for model, behind in serving.items():
        names = tuple(str(instance["name"]) for instance in behind)
        route = routes.setdefault(
            names, {"name": f"route_{len(routes) + 1}", "instances": list(names), "models": [], "paths": api(behind[0])}
        )
        route["models"].append(model)
        models[model] = route["name"]
    return list(routes.values()), models


def _locations(instances: Sequence[Entry]) -> list[dict[str, Any]]:
    """Every path that some instance has, with all its methods; those with a model's name in them as an expression."""
    methods: dict[str, set[str]] = {}
    for instance in instances:
        for path, allowed in api(instance).items():
            methods.setdefault(path, set()).update(allowed)
    return [
        {
            "path": path,
            "methods": sorted(allowed),
            "expression": "^" + "(?<asked_model>[^/]+)".join(re.escape(part) for part in path.split(MODEL)) + "$"
            if MODEL in path
            else "",
        }
        for path, allowed in sorted(methods.items())
    ]


def _pathways(routes: Sequence[Entry]) -> dict[str, str]:
    """The route of a GET that names no model: there is one only (refusals() saw to it)."""
    return {
        path: route["name"]
        for route in routes
        for path, methods in route["paths"].items()
        if MODEL not in path and "GET" in methods
    }


def _tokens(clients: Sequence[Entry], tokens: Entry, jwks: str) -> dict[str, Any]:
    audience = tokens["audience"]
    return {
        "issuer": str(tokens["issuer"]),
        "audience": _set([audience] if isinstance(audience, str) else audience),
        "scopes": _set(tokens.get("scopes") or []),
        "leeway": int(tokens.get("leeway", 30)),
        "keys": _jwks.keys(jwks),
        "clients": [
            {"name": str(client["name"]), "claims": {str(name): str(value) for name, value in client["claims"].items()}}
            for client in clients
            if client.get("claims")
        ],
    }
