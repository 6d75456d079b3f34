# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What sslyze's results mean, with results of its form; with sslyze itself where it is installed."""

from __future__ import annotations

import importlib
import pathlib
import ssl
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _tls_scan
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.gateway_server import Site, serve
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.openai_server import (
    make_authority,
    make_certificate,
)

CA = "/tmp/ca.pem"


class _Key:
    pass


def attempt(**result: Any) -> Any:
    return SimpleNamespace(result=SimpleNamespace(**result), error_reason=None, error_trace=None)


def broken() -> Any:
    return SimpleNamespace(result=None, error_reason=SimpleNamespace(value="CONNECTIVITY_ISSUE"), error_trace=None)


def suites(*names: str) -> Any:
    return attempt(accepted_cipher_suites=[SimpleNamespace(cipher_suite=SimpleNamespace(name=name)) for name in names])


def chain(**changes: Any) -> Any:
    leaf = SimpleNamespace(public_key=_Key, not_valid_after_utc=SimpleNamespace(date=lambda: "2027-01-01"))
    deployment = {
        "received_certificate_chain": [leaf, leaf],
        "received_chain_has_valid_order": True,
        "verified_chain_has_sha1_signature": False,
        "path_validation_results": [
            SimpleNamespace(trust_store=SimpleNamespace(path="/mozilla.pem"), was_validation_successful=False),
            SimpleNamespace(
                trust_store=SimpleNamespace(path=pathlib.Path(CA)),
                was_validation_successful=True,
                validation_error=None,
            ),
        ],
        **changes,
    }
    return attempt(certificate_deployments=[SimpleNamespace(**deployment)])


def attempts(**changes: Any) -> Any:
    good: dict[str, Any] = {name: suites() for name in _tls_scan._VERSIONS}
    good["tls_1_3_cipher_suites"] = suites("TLS_AES_256_GCM_SHA384")
    good.update({name: attempt(**{field: False}) for name, (field, _meaning) in _tls_scan._ATTACKS.items()})
    good["certificate_info"] = chain()
    return SimpleNamespace(**{**good, **changes})


def test_a_good_gateway() -> None:
    findings = list(_tls_scan.judge(attempts(), CA))
    assert [finding.ok for finding in findings] == [True, True, True]
    assert findings[0].detail.startswith("TLS 1.3 alone, with TLS_AES_256_GCM_SHA384")
    assert findings[1].detail == "2 certificates in order up to the site's CA, Key, until 2027-01-01"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tls_1_2_cipher_suites": suites("X")}, "it speaks TLS 1.2, TLS 1.3"),
        ({"tls_1_3_cipher_suites": suites()}, "it speaks no version"),
        ({"ssl_3_0_cipher_suites": broken()}, "could not try SSL 3.0 (CONNECTIVITY_ISSUE)"),
        ({"certificate_info": chain(path_validation_results=[])}, "does not lead to the site's CA: not tried"),
        ({"certificate_info": chain(received_chain_has_valid_order=False)}, "wrong order"),
        ({"certificate_info": chain(verified_chain_has_sha1_signature=True)}, "SHA-1"),
        ({"certificate_info": broken()}, "could not read the certificates"),
        ({"heartbleed": attempt(is_vulnerable_to_heartbleed=True)}, "open to: Heartbleed"),
        ({"tls_1_3_early_data": broken()}, "could not try tls_1_3_early_data"),
    ],
)
def test_a_fault_is_told(changes: dict[str, Any], words: str) -> None:
    failed = [finding.detail for finding in _tls_scan.judge(attempts(**changes), CA) if not finding.ok]
    assert len(failed) == 1
    assert words in failed[0]


def test_without_sslyze_it_says_what_was_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", missing)
    sslyze, reason = _tls_scan.load()
    assert sslyze is None
    for words in ("No module named 'sslyze'", "Not checked: SSL 2.0", "acceptance_tls_python"):
        assert words in reason


@pytest.mark.skipif(_tls_scan.load()[0] is None, reason="needs sslyze")
def test_sslyze_itself(tmp_path: pathlib.Path) -> None:
    make_authority(tmp_path)
    pair = make_certificate(tmp_path, "gateway", "DNS:localhost")
    sslyze = _tls_scan.load()[0]
    with serve(Site(), pair) as port:
        findings = _tls_scan.scan(sslyze, "localhost", port, str(tmp_path / "ca.pem"))
    assert [finding for finding in findings if not finding.ok] == []
    with serve(Site(), pair, ssl.TLSVersion.TLSv1_2) as port:
        findings = _tls_scan.scan(sslyze, "localhost", port, str(tmp_path / "ca.pem"))
    assert [finding.ok for finding in findings] == [False, True, True]
    closed = _tls_scan.scan(sslyze, "localhost", port, str(tmp_path / "ca.pem"))
    assert [(finding.ok, finding.made) for finding in closed] == [(True, False)]
