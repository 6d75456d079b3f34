# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Routes by model, and what nginx's script is told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _gateway_plan
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.test_jwks import EC_KEY

CHAT = [{"path": "/v1/chat/completions", "methods": ["POST"]}, {"path": "/v1/completions", "methods": ["POST"]}]
TRITON = [{"path": "/v2/models/{model}/infer", "methods": ["POST"]}, {"path": "/v2", "methods": ["GET"]}]


def instance(name: str, *models: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "models": list(models), "api": CHAT, **more}


def test_replicas_share_a_route_and_models_of_one_instance_as_well() -> None:
    planned = _gateway_plan.plan(
        [instance("chat-1", "m", "legal"), instance("chat-2", "m", "legal"), instance("vec", "v")], []
    )
    assert [(route["instances"], route["models"]) for route in planned["routes"]] == [
        (["chat-1", "chat-2"], ["m", "legal"]),
        (["vec"], ["v"]),
    ]
    assert planned["config"]["models"] == {"m": "route_1", "legal": "route_1", "v": "route_2"}


def test_a_name_that_only_one_of_two_serves_has_a_route_of_its_own() -> None:
    planned = _gateway_plan.plan([instance("one", "m", "only"), instance("two", "m")], [])
    assert planned["config"]["models"] == {"m": "route_1", "only": "route_2"}
    assert planned["routes"][1]["instances"] == ["one"]


def test_locations_are_every_path_once() -> None:
    planned = _gateway_plan.plan([instance("a", "x"), instance("b", "y"), instance("t", "z.1", api=TRITON)], [])
    assert [(entry["path"], entry["methods"]) for entry in planned["locations"]] == [
        ("/v1/chat/completions", ["POST"]),
        ("/v1/completions", ["POST"]),
        ("/v2", ["GET"]),
        ("/v2/models/{model}/infer", ["POST"]),
    ]
    assert [entry["expression"] for entry in planned["locations"][2:]] == [
        "",
        "^/v2/models/(?<asked_model>[^/]+)/infer$",
    ]
    assert planned["config"]["paths"]["route_3"] == {"/v2/models/{model}/infer": {"POST": True}, "/v2": {"GET": True}}
    assert planned["config"]["pathways"] == {"/v2": "route_3"}


def test_clients_by_key_and_metrics_by_instance() -> None:
    clients = [
        {"name": "a", "key_sha256": "aa", "rate": "1r/s"},
        {"name": "b", "key_sha256": "bb", "models": ["m"], "metrics": True},
        {"name": "c", "claims": {"azp": "c"}, "models": []},
    ]
    config = _gateway_plan.plan([instance("chat", "m", metrics="/metrics"), instance("x", "y", metrics="")], clients)[
        "config"
    ]
    assert config["keys"] == {"aa": "a", "bb": "b"}
    assert config["clients"] == {
        "a": {"models": None, "metrics": False},
        "b": {"models": {"m": True}, "metrics": True},
        "c": {"models": {}, "metrics": False},
    }
    assert config["metrics"] == {"chat": "/metrics"}
    assert config["tokens"] is None


def test_tokens_with_their_keys_and_clients() -> None:
    tokens = {"jwks": "x", "issuer": "https://sso", "audience": "here", "scopes": ["infer"]}
    clients = [{"name": "a", "key_sha256": "aa"}, {"name": "c", "claims": {"azp": "c", "level": 3}}]
    told = _gateway_plan.plan([instance("chat", "m")], clients, tokens, json.dumps({"keys": [EC_KEY]}))["config"][
        "tokens"
    ]
    assert told["audience"] == {"here": True}
    assert told["scopes"] == {"infer": True}
    assert told["leeway"] == 30
    assert told["clients"] == [{"name": "c", "claims": {"azp": "c", "level": "3"}}]
    assert [key["alg"] for key in told["keys"]] == ["ES256"]


def test_clients_with_the_same_limits_share_a_zone() -> None:
    clients = [
        {"name": "a", "rate": "1r/s", "burst": 5, "concurrency": 2},
        {"name": "b", "rate": "1r/s", "concurrency": 2},
        {"name": "c", "rate": "1r/s", "burst": 5},
        {"name": "d"},
    ]
    planned = _gateway_plan.plan([instance("chat", "m")], clients)
    assert planned["rates"] == [
        {"rate": "1r/s", "burst": 5, "retry_after": 1, "clients": ["a", "c"]},
        {"rate": "1r/s", "burst": 0, "retry_after": 1, "clients": ["b"]},
    ]
    assert planned["concurrencies"] == [{"concurrency": 2, "clients": ["a", "b"]}]


@pytest.mark.parametrize(
    ("rate", "seconds"),
    [("10r/s", 1), ("1r/s", 1), ("90r/m", 1), ("60r/m", 1), ("20r/m", 3), ("7r/m", 9), ("1r/m", 60)],
)
def test_a_client_comes_again_when_its_rate_has_room(rate: str, seconds: int) -> None:
    assert _gateway_plan.retry_after(rate) == seconds
