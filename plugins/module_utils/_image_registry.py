# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images from registries on the connected side. skopeo asks and copies.

Proxies are taken from the environment (HTTPS_PROXY, HTTP_PROXY, NO_PROXY); credentials from a file, never from a
command line.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from ansible_collections.airgap.inference.plugins.module_utils import _oci
from ansible_collections.airgap.inference.plugins.module_utils._command import Result, last_words, run
from ansible_collections.airgap.inference.plugins.module_utils._digest import sha256_bytes
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

_HINTS = (
    (
        re.compile(r"unauthorized|authentication required|denied|invalid status code[^\n]*40[13]", re.I),
        " If it needs credentials: skopeo login --authfile FILE {host}, and name the file in bundle_registry_authfile.",
    ),
    (
        re.compile(r"x509|unknown authority|certificate", re.I),
        " If the registry, or a proxy before it, has a CA of its own, put the CA's certificate as ca.crt into a directory "
        "and name the directory in bundle_registry_certificates.",
    ),
    (
        re.compile(r"no such host|timeout|unreachable|proxyconnect", re.I),
        " Is there a proxy? It is taken from HTTPS_PROXY, HTTP_PROXY and NO_PROXY in the environment of ansible-playbook.",
    ),
)


class Registry(NamedTuple):
    """How registries are reached."""

    registries_conf: str | None = None
    authfile: str | None = None
    certificates: str | None = None


def resolve(name: _oci.Name, architecture: str, registry: Registry) -> str:
    """Ask the registry, by its manifest only, which digest a name means now."""
    return _oci.choose_instance(_inspect(name, name.version, registry), architecture, name.full)


def parts(name: _oci.Name, digest: str, registry: Registry) -> list[_oci.Blob]:
    """The configuration and the layers of an image, as the registry describes them."""
    raw = _inspect(name, f"@{digest}", registry)
    if f"sha256:{sha256_bytes(raw)}" != digest:
        raise AirgapError(f"The registry of {name.full} gave another manifest than {digest} when asked for that one.")
    return _oci.parse_parts(raw, f"The manifest of {name.full}")


def architecture(name: _oci.Name, digest: str, registry: Registry) -> str:
    """What an image was made for, as the registry has it; asked before gigabytes of it are fetched."""
    return _oci.parse_architecture(
        _inspect(name, f"@{digest}", registry, "--config"), f"The configuration of {name.full}"
    )


def copy(layout: str, name: _oci.Name, digest: str, registry: Registry) -> None:
    """Copy one image into the layout. Layers that are there already are not fetched again.

    One image at a time: two copies would write the layout's index over each other, and fetch a layer that both have
    twice. Of one image skopeo fetches several layers at a time.
    """
    os.makedirs(layout, exist_ok=True)
    command = ["skopeo", *_conf(registry), "copy", "--quiet", "--preserve-digests", "--retry-times", "3"]
    command += [*_auth(registry), *(["--src-cert-dir", registry.certificates] if registry.certificates else [])]
    result = run([*command, f"docker://{name.source}@{digest}", f"oci:{layout}:{name.full}"])
    if result.rc != 0:
        raise AirgapError(f"The image {name.full} ({digest}) could not be copied: {_reason(name, result)}")
    _oci.mend(layout)


def said(result: Result) -> str:
    """skopeo logs in logfmt; the message is what a person reads."""
    text = last_words(result, 3)
    match = re.search(r'level=fatal msg="((?:[^"\\]|\\.)*)"', text)
    return re.sub(r"\\(.)", r"\1", match[1]) if match else text


def _inspect(name: _oci.Name, version: str, registry: Registry, *options: str) -> bytes:
    command = ["skopeo", *_conf(registry), "inspect", "--raw", *options, "--retry-times", "2", *_auth(registry)]
    command += ["--cert-dir", registry.certificates] if registry.certificates else []
    result = run([*command, f"docker://{name.source}{version}"])
    if result.rc != 0:
        raise AirgapError(f"The image {name.full} cannot be had: {_reason(name, result)}")
    return result.stdout


def _reason(name: _oci.Name, result: Result) -> str:
    text = said(result)
    hint = next((hint for pattern, hint in _HINTS if pattern.search(text)), "")
    return f"{text.rstrip('.')}.{hint.format(host=name.source.split('/')[0])}"


def _conf(registry: Registry) -> list[str]:
    return ["--registries-conf", registry.registries_conf] if registry.registries_conf else []


def _auth(registry: Registry) -> list[str]:
    return ["--authfile", registry.authfile] if registry.authfile else []
