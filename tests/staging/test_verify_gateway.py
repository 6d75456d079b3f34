# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What verify says of the real gateway, of a good one and of one that another site's description was deployed to."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _audit, _gateway, _tls_scan
from ansible_collections.airgap.inference.plugins.module_utils._gateway_client import Client, Instance
from gateway_room import API, Room, StandIn, sha256

MARKER = "airgap-acceptance-1234"
SITE: list[dict[str, Any]] = [
    {"name": "radiology", "key_sha256": sha256("key-of-radiology")},
    {
        **{"name": "trial", "key_sha256": sha256("key-of-trial"), "models": ["vec"]},
        **{"rate": "5r/s", "burst": 20, "concurrency": 3},
    },
    {"name": "monitor", "key_sha256": sha256("key-of-monitor"), "models": [], "metrics": True},
]
INSTANCES = [
    Instance("twin-1", ["twin", "legal"]),
    Instance("twin-2", ["twin", "legal"]),
    Instance("embed", ["vec"], "embed"),
]


@pytest.fixture(name="room", scope="module")
def fixture_room() -> Iterator[Room]:
    with Room() as room:
        for name in ("twin-1", "twin-2"):
            room.engine(name, StandIn(["twin", "legal"]))
        room.engine("embed", StandIn(["vec"], api=API[2:]))
        room.start(clients=SITE)
        yield room


def clients(site: Sequence[dict[str, Any]] = tuple(SITE)) -> list[Client]:
    keys = [f"key-of-{entry['name']}" for entry in SITE]
    return [_gateway.described({"key_file": "/k"}, key, site, sha256(key), 0) for key in keys]


def look(room: Room, who: list[Client]) -> _gateway.Told:
    seat = _gateway.seat_at(room.url, str(room.ca), None, None, 30)
    return _gateway.examine(_gateway.Gateway(room.url, INSTANCES), who, seat, MARKER, 60)


def test_a_good_gateway_passes_and_its_audit_log_knows_all(room: Room) -> None:
    told = look(room, clients())
    lines = [f"{check.subject} {check.client} {check.detail}" for check in told.checks]
    assert [check for check in told.checks if not check.ok] == []
    for words in (
        "models radiology /v1/models lists legal, twin, vec",
        "twin-1, twin-2 radiology streamed generation by legal: 4 tokens",
        "embed trial embedding by vec: 8 numbers",
        "models trial POST /v1/chat/completions for twin: 403 model_not_allowed",
        "limits trial the limit of 3 requests at the same time bites: 429, Retry-After 1",
        "limits trial the limit of 5r/s with burst 20 bites: 429, Retry-After 1",
        "metrics monitor GET /metrics: 200",
        "models monitor /v1/models lists nothing",
    ):
        assert any(line.startswith(words) for line in lines), "\n".join(lines)
    time.sleep(0.5)
    log = _audit.parse(room.log.read_text(), MARKER)
    checks = list(_audit.checks([asked._asdict() for asked in told.asked], log))
    assert [entry["detail"] for entry in checks if not entry["ok"]] == []
    assert any("answered by" in entry["detail"] and "twin" in entry["detail"] for entry in checks)


def test_a_gateway_that_lets_more_through_than_the_site_says_fails(room: Room) -> None:
    stricter = [{**SITE[0], "models": ["vec"], "rate": "1r/s", "burst": 2, "concurrency": 1}]
    failed = [check.detail for check in look(room, clients(stricter)[:1]).checks if not check.ok]
    for words in (
        "/v1/models lists legal, twin, vec, and this client may use vec",
        "for twin is answered with 200, not 403",
        "the limit of 1r/s with burst 2 does not bite",
        "the limit of 1 requests at the same time does not bite",
    ):
        assert any(words in detail for detail in failed), failed


@pytest.mark.skipif(_tls_scan.load()[0] is None, reason="needs sslyze")
def test_sslyze_finds_no_fault(room: Room) -> None:
    findings = _tls_scan.scan(_tls_scan.load()[0], "localhost", room.port, str(room.ca))
    assert [finding.detail for finding in findings if not finding.ok and "chain" not in finding.detail] == []
