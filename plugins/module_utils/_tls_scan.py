# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What sslyze finds at a gateway: versions, cipher suites, chain, known attacks. Without sslyze, what was not looked at.

Names are those of sslyze 6: https://nabla-c0d3.github.io/sslyze/documentation/available-scan-commands.html
"""

from __future__ import annotations

import importlib
import pathlib
import sys
from typing import Any, Iterator, NamedTuple

_VERSIONS = {
    "ssl_2_0_cipher_suites": "SSL 2.0",
    "ssl_3_0_cipher_suites": "SSL 3.0",
    "tls_1_0_cipher_suites": "TLS 1.0",
    "tls_1_1_cipher_suites": "TLS 1.1",
    "tls_1_2_cipher_suites": "TLS 1.2",
    "tls_1_3_cipher_suites": "TLS 1.3",
}
# Each with the field of its result that must be false, and what it would mean.
_ATTACKS = {
    "tls_compression": ("supports_compression", "compresses (CRIME)"),
    "tls_1_3_early_data": ("supports_early_data", "takes early data, which can be replayed"),
    "heartbleed": ("is_vulnerable_to_heartbleed", "Heartbleed"),
    "openssl_ccs_injection": ("is_vulnerable_to_ccs_injection", "CCS injection (CVE-2014-0224)"),
    "session_renegotiation": ("is_vulnerable_to_client_renegotiation_dos", "client renegotiation"),
}
NOT_CHECKED = (
    "In the client's seat Python's own TLS looks at the version, the chain, the name, and whether TLS 1.2 is refused. Not checked: SSL 2.0 to "
    "TLS 1.1, each cipher suite, compression, early data, renegotiation, Heartbleed, CCS injection"
)


class Finding(NamedTuple):
    """One line of the report."""

    ok: bool
    detail: str
    made: bool = True


def load() -> tuple[Any, str]:
    """sslyze, or why there is none."""
    try:
        return importlib.import_module("sslyze"), ""
    except ImportError as error:
        return None, (
            f"sslyze cannot be used by {sys.executable} ({error}). {NOT_CHECKED}. Install sslyze 6 into an environment of its own and "
            "state its Python in acceptance_tls_python; the README of the role acceptance says how"
        )


def scan(sslyze: Any, host: str, port: int, ca_path: str) -> list[Finding]:
    """All findings at one gateway."""
    try:
        location = sslyze.ServerNetworkLocation(hostname=host, port=port)
    except sslyze.ServerHostnameCouldNotBeResolved:
        return [_unreached(host, port, "its name cannot be resolved")]
    commands = {sslyze.ScanCommand(name) for name in (*_VERSIONS, *_ATTACKS, "certificate_info")}
    extra = sslyze.ScanCommandsExtraArguments(
        certificate_info=sslyze.CertificateInfoExtraArgument(custom_ca_file=pathlib.Path(ca_path))
    )
    scanner = sslyze.Scanner()
    scanner.queue_scans(
        [
            sslyze.ServerScanRequest(
                server_location=location, scan_commands=commands, scan_commands_extra_arguments=extra
            )
        ]
    )
    result = next(iter(scanner.get_results()))
    if result.scan_result is None:
        trace = result.connectivity_error_trace
        said = "".join(trace.format_exception_only()).strip() if trace else "no reason was given"
        return [_unreached(host, port, said)]
    return list(judge(result.scan_result, ca_path))


def judge(attempts: Any, ca_path: str) -> Iterator[Finding]:
    """What the results of all commands mean."""
    yield _versions(attempts)
    yield _chain(attempts.certificate_info, ca_path)
    yield _attacks(attempts)


def _versions(attempts: Any) -> Finding:
    accepted, broken = {}, []
    for name, version in _VERSIONS.items():
        attempt = getattr(attempts, name)
        if attempt.result is None:
            broken.append(f"{version} ({_why(attempt)})")
        elif attempt.result.accepted_cipher_suites:
            accepted[version] = [entry.cipher_suite.name for entry in attempt.result.accepted_cipher_suites]
    if broken:
        return Finding(False, f"sslyze could not try {', '.join(broken)}")
    if list(accepted) != ["TLS 1.3"]:
        return Finding(False, f"it speaks {', '.join(accepted) or 'no version'}; only TLS 1.3 is meant to be on")
    return Finding(True, f"TLS 1.3 alone, with {', '.join(accepted['TLS 1.3'])}; SSL 2.0 to TLS 1.2 are refused")


def _chain(attempt: Any, ca_path: str) -> Finding:
    if attempt.result is None:
        return Finding(False, f"sslyze could not read the certificates: {_why(attempt)}")
    told = []
    for deployment in attempt.result.certificate_deployments:
        own = [entry for entry in deployment.path_validation_results if str(entry.trust_store.path) == ca_path]
        if not own or not own[0].was_validation_successful:
            return Finding(
                False, f"the chain does not lead to the site's CA: {own[0].validation_error if own else 'not tried'}"
            )
        if deployment.received_chain_has_valid_order is False:
            return Finding(False, "the certificates of the chain are sent in the wrong order")
        if deployment.verified_chain_has_sha1_signature:
            return Finding(False, "a certificate of the chain is signed with SHA-1")
        leaf = deployment.received_certificate_chain[0]
        told.append(
            f"{len(deployment.received_certificate_chain)} certificates in order up to the site's CA, "
            f"{type(leaf.public_key()).__name__.strip('_')}, until {_until(leaf)}"
        )
    return Finding(bool(told), "; ".join(told) or "it shows no certificate")


def _attacks(attempts: Any) -> Finding:
    open_to, untried = [], []
    for name, (field, meaning) in _ATTACKS.items():
        attempt = getattr(attempts, name)
        if attempt.result is None:
            untried.append(f"{name} ({_why(attempt)})")
        elif getattr(attempt.result, field):
            open_to.append(meaning)
    if open_to or untried:
        tried = [f"open to: {', '.join(open_to)}"] if open_to else []
        return Finding(False, "; ".join([*tried, *(f"sslyze could not try {name}" for name in untried)]))
    return Finding(True, "no compression, early data or client renegotiation; not open to Heartbleed or CCS injection")


def _until(certificate: Any) -> str:
    # The older name is gone in newer versions of cryptography, the newer is not in older ones.
    end = getattr(certificate, "not_valid_after_utc", None) or certificate.not_valid_after
    return str(end.date())


def _why(attempt: Any) -> str:
    reason = getattr(attempt.error_reason, "value", attempt.error_reason)
    trace = attempt.error_trace
    said = "".join(trace.format_exception_only()).strip() if trace else ""
    return ": ".join(part for part in (str(reason or "no reason"), said) if part)


def _unreached(host: str, port: int, reason: str) -> Finding:
    """The client's seat is what must reach it; that this machine does not is no fault of the gateway's."""
    return Finding(
        True,
        f"{host}:{port} is not reached from where sslyze runs ({' '.join(reason.split())}). {NOT_CHECKED}",
        made=False,
    )
