# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks pass at a good gateway, and each fault of a bad one fails its own check and no other."""

from __future__ import annotations

import hashlib
import pathlib
import ssl
from typing import Any, Iterator

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _gateway
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._gateway_client import Asked, Check, Client, Instance
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.gateway_server import Site, serve
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.openai_server import (
    event,
    make_authority,
    make_certificate,
)

MARKER = "airgap-acceptance-1234"
INSTANCES = [Instance("chat-1", ["tiny"]), Instance("chat-2", ["tiny"]), Instance("find", ["find"], "embed"), Instance("rank", ["rank"], "rerank")]  # fmt: skip
GOOD = Client("radiology", "good-key")


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[pathlib.Path, tuple[str, str]]:
    directory = tmp_path_factory.mktemp("tls")
    make_authority(directory)
    return directory / "ca.pem", make_certificate(directory, "gateway", "DNS:localhost")


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def port(site: Site, tls: tuple[pathlib.Path, tuple[str, str]]) -> Iterator[int]:
    with serve(site, tls[1]) as port:
        yield port


class See:
    """Examines the gateway of a test."""

    def __init__(self, port: int, ca: pathlib.Path) -> None:
        self.url = f"https://localhost:{port}"
        self.ca = str(ca)
        self.asked: list[Asked] = []

    def __call__(self, *clients: Client, networks: tuple[str, ...] = (), timeout: int = 20) -> list[Check]:
        seat = _gateway.seat_at(self.url, self.ca, None, None, timeout)
        told = _gateway.examine(_gateway.Gateway(self.url, INSTANCES, networks), clients, seat, MARKER, 50)
        self.asked = told.asked
        return told.checks

    def failed(self, *clients: Client, **more: Any) -> list[str]:
        return [f"{check.subject}: {check.detail}" for check in self(*clients, **more) if not check.ok]


@pytest.fixture
def see(port: int, tls: tuple[pathlib.Path, tuple[str, str]]) -> See:
    return See(port, tls[0])


def test_a_good_gateway_passes(see: See) -> None:
    checks = see(GOOD)
    assert [check for check in checks if not check.ok] == []
    told = [f"{check.subject} {check.client} {check.detail}" for check in checks]
    assert told[0].startswith("TLS  TLSv1.3, certificate of the site's CA, valid for")
    assert any(line.startswith("TLS  TLS 1.2 is refused") for line in told)
    for words in (
        "models radiology /v1/models lists find, rank, tiny",
        "chat-1, chat-2 radiology generation by tiny: 2 tokens",
        "chat-1, chat-2 radiology streamed generation by tiny: 2 tokens",
        "find radiology embedding by find: 3 numbers",
        "rank radiology ranking by rank: 2 documents",
        "models radiology POST /v1/chat/completions for no-such-model: 404 model_not_found",
    ):
        assert any(line.startswith(words) for line in told), words


def test_what_was_asked_is_kept_for_the_audit_log(see: See, site: Site) -> None:
    see(GOOD)
    assert [asked.id for asked in see.asked] == [entry["id"] for entry in site.log if entry["path"] != "/"]
    counted = [(asked.path, asked.model) for asked in see.asked if asked.tokens]
    assert counted == [("/v1/chat/completions", "tiny")] * 2 + [("/v1/embeddings", "find")]
    assert {asked.client for asked in see.asked} == {"", "radiology"}


def test_a_model_that_is_not_allowed_is_refused(see: See, site: Site) -> None:
    site.allowed["low-key"] = ["find"]
    client = Client("trial", "low-key", models=["find"])
    checks = see(client)
    assert [check for check in checks if not check.ok] == []
    assert any("for tiny: 403 model_not_allowed" in check.detail for check in checks)
    assert not any("generation by tiny" in check.detail for check in checks)
    site.allowed["low-key"] = None
    assert see.failed(client) == [
        "models: /v1/models lists find, rank, tiny, and this client may use find",
        "models: POST /v1/chat/completions for tiny is answered with 200, not 403",
    ]


def test_a_client_that_may_all_has_no_model_to_refuse(see: See) -> None:
    assert [check.detail for check in see(GOOD) if not check.made] == [
        "a refused model was not tried: this client may use all that are served here"
    ]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"headers": {"Content-Type": "application/json", "Cache-Control": "no-store"}}, "x-content-type-options is absent"),
        ({"statuses": {"/docs": 200}}, "GET /docs with a key is answered with 200, not 404"),
        ({"statuses": {"/metrics": 200}}, "GET /metrics with a key is answered with 200, not 403 or 404"),
        ({"models": ["tiny", "find", "rank", "more"]}, "lists find, more, rank, tiny, and this client may use find, rank, tiny"),
        ({"stream": [event(choices=[])]}, "cannot generate: POST /v1/chat/completions for tiny"),
    ],
)  # fmt: skip
def test_a_fault_fails_its_own_check(see: See, site: Site, fault: dict[str, Any], words: str) -> None:
    for name, value in fault.items():
        setattr(site, name, value)
    failed = see.failed(GOOD)
    assert len(failed) == 1, failed
    assert words in failed[0]


@pytest.mark.parametrize(("path", "words"), [("/v1/chat/completions", "it generated nothing"), ("/v1/embeddings", "no vector of numbers")])  # fmt: skip
def test_an_answer_that_proves_nothing_fails(see: See, site: Site, path: str, words: str) -> None:
    site.answers[path] = {"choices": [], "data": []}
    failed = see.failed(GOOD)
    assert len(failed) == 1, failed
    assert words in failed[0]


def test_a_wrong_key_is_told_and_not_shown(see: See) -> None:
    failed = see.failed(Client("radiology", "bad-key-of-mine"))
    assert any("401" in line for line in failed)
    assert "bad-key-of-mine" not in str(failed)


def test_without_a_client_the_report_says_so(see: See) -> None:
    assert see.failed() == ["keys: no client key to verify with, so nothing behind the lock was seen"]


def test_a_rate_must_bite(see: See, site: Site) -> None:
    # What is asked before the rate is tried must not be used up.
    site.left = 18
    client = GOOD._replace(rate="2r/s", burst=8)
    checks = see(client)
    assert [check.detail for check in checks if check.subject == "limits"] == [
        "the limit of 2r/s with burst 8 bites: 429, Retry-After 1"
    ]
    site.left = None
    assert "does not bite: 14 requests" in see.failed(client)[-1]
    site.left, site.retry_after = 18, None
    assert "has no Retry-After" in see.failed(client)[-1]


def test_a_rate_that_takes_many_requests_is_not_tried(see: See) -> None:
    last = see(GOOD._replace(rate="100r/s", burst=10))[-1]
    assert (last.ok, last.made) == (True, False)
    assert "it takes 212 requests, and verify sends 50 at most" in last.detail


def test_a_limit_on_concurrency_must_bite(see: See, site: Site) -> None:
    site.most = 2
    client = GOOD._replace(concurrency=2)
    assert see(client)[-1].detail == "the limit of 2 requests at the same time bites: 429, Retry-After 1"
    site.most = None
    assert "does not bite" in see.failed(client)[-1]


def test_a_client_that_has_used_its_limit_up_waits(see: See, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        site.left = 100

    site.left = 3
    monkeypatch.setattr("time.sleep", sleep)
    assert see.failed(GOOD) == []
    assert pauses == [1.0]


def test_metrics_are_for_those_who_may(see: See, site: Site) -> None:
    site.statuses["/metrics"] = 200
    assert see.failed(GOOD._replace(metrics=True)) == []
    assert see.failed(GOOD, networks=("127.0.0.0/8", "::1/128")) == []
    site.statuses["/metrics"] = 404
    assert "though this client" in see.failed(GOOD._replace(metrics=True))[0]


def test_old_tls_is_told(site: Site, tls: tuple[pathlib.Path, tuple[str, str]]) -> None:
    with serve(site, tls[1], ssl.TLSVersion.TLSv1_2) as port:
        assert "still speaks TLSv1.2" in See(port, tls[0]).failed(GOOD)[0]


def test_keys_are_never_sent_in_the_clear() -> None:
    with pytest.raises(AirgapError, match="not https"):
        _gateway.seat_at("http://localhost:80", "/ca", None, None, 5)


SITE = [
    {"name": "radiology", "key_sha256": hashlib.sha256(b"a").hexdigest(), "models": ["tiny"], "rate": "1r/s"},
    {"name": "monitor", "key_sha256": hashlib.sha256(b"b").hexdigest(), "metrics": True},
    {"name": "app", "claims": {"azp": "app"}},
]


class TestWhoAClientIs:
    """A client is found by its name, or by the hash of its key."""

    def of(self, key: bytes, name: str = "") -> Client:
        digest = hashlib.sha256(key).hexdigest()
        return _gateway.described({"name": name, "key_file": "/k"}, key.decode(), SITE, digest, 0)

    def test_by_the_hash(self) -> None:
        client = self.of(b"a")
        assert (client.name, client.models, client.rate, client.fault) == ("radiology", ["tiny"], "1r/s", "")

    def test_by_the_name(self) -> None:
        assert self.of(b"b", "monitor").metrics
        app = self.of(b"a token", "app")
        assert app.fault == ""

    def test_a_key_of_another_client_is_a_fault(self) -> None:
        assert "the key in /k is not the one" in self.of(b"b", "radiology").fault

    def test_one_that_the_site_does_not_know(self) -> None:
        client = self.of(b"c")
        assert (client.name, client.models, client.fault) == ("client 1", None, "")
