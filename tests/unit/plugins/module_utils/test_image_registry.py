# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why an image cannot be had is told in the registry's words, and what to do about it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _image_registry, _oci
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.images import sha256

NAME = _oci.parse_name("registry.example.org:8443/x/engine:1")


@pytest.fixture(name="skopeo")
def fixture_skopeo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program of that name that writes its arguments down and says what it is told to."""
    program = tmp_path / "skopeo"
    program.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/arguments\nif [ -e {tmp_path}/says ]; then cat {tmp_path}/says; exit; fi\n'
        f"cat {tmp_path}/fails >&2; exit 1\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        (
            "reading manifest 1: unauthorized: authentication required",
            "skopeo login --authfile FILE registry.example.org:8443, and name the file in bundle_registry_authfile",
        ),
        ("Get: x509: certificate signed by unknown authority", "bundle_registry_certificates"),
        ("dial tcp: lookup registry.example.org: no such host", "HTTPS_PROXY"),
        ("manifest unknown", "manifest unknown."),
    ],
)
def test_a_refusal_says_what_to_do(skopeo: Path, said: str, hint: str) -> None:
    (skopeo / "fails").write_text(
        'time="2026-11-21T04:17:52Z" level=warning msg="Failed, retrying in 1s"\n'
        f'time="2026-11-21T04:17:52Z" level=fatal msg="Error parsing \\"x\\": {said}"\n'
    )
    with pytest.raises(AirgapError) as refused:
        _image_registry.resolve(NAME, "amd64", _image_registry.Registry())
    message = str(refused.value)
    assert message.startswith(f'The image {NAME.full} cannot be had: Error parsing "x": {said}.') and hint in message
    assert "retrying" not in message


def test_credentials_and_certificates_are_given_as_paths(skopeo: Path) -> None:
    (skopeo / "says").write_text("")
    registry = _image_registry.Registry("/etc/r.conf", "/root/auth.json", "/etc/certs")
    with pytest.raises(AirgapError):
        _image_registry.resolve(NAME, "amd64", registry)
    asked = (skopeo / "arguments").read_text().split()
    assert asked[:2] == ["--registries-conf", "/etc/r.conf"]
    assert asked[-5:] == ["--authfile", "/root/auth.json", "--cert-dir", "/etc/certs", f"docker://{NAME.full}"]
    _image_registry.copy(str(skopeo / "layout"), NAME, "sha256:" + "a" * 64, registry)
    copied = (skopeo / "arguments").read_text().split()
    assert copied[copied.index("--src-cert-dir") + 1] == "/etc/certs" and "--preserve-digests" in copied


def test_another_manifest_than_the_one_asked_for_is_refused(skopeo: Path) -> None:
    (skopeo / "says").write_text('{"schemaVersion": 2}')
    with pytest.raises(AirgapError, match="gave another manifest"):
        _image_registry.parts(NAME, sha256(b"something else"), _image_registry.Registry())


@pytest.mark.skipif(not shutil.which("skopeo"), reason="skopeo is not installed")
def test_a_registry_that_cannot_be_reached_is_told() -> None:
    with pytest.raises(AirgapError, match=r"localhost:1/x:1 cannot be had: .*refused"):
        _image_registry.resolve(_oci.parse_name("localhost:1/x:1"), "amd64", _image_registry.Registry())
