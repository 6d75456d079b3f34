# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures by ``ssh-keygen -Y``: any SSH key signs, a file of allowed signers decides."""

from __future__ import annotations

import os
import re
import stat

from ansible_collections.airgap.inference.plugins.module_utils._command import last_words, run
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

NAMESPACE = "airgap-bundle"


def sign(data: bytes, key: str, namespace: str = NAMESPACE) -> bytes:
    """The signature of data. A passphrase, an agent or a touch is between ssh-keygen and its user."""
    if not os.path.isfile(key):
        raise AirgapError(
            f"The signing key {key} is not there; name the path of an SSH private key (or of a public key that the agent holds)."
        )
    result = run(["ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", key], stdin=data)
    if result.rc != 0 or b"BEGIN SSH SIGNATURE" not in result.stdout:
        raise AirgapError(
            f"ssh-keygen did not sign with {key}: {last_words(result)} (A key with a passphrase must be in an agent first: ssh-add {key})"
        )
    return result.stdout


def verify(data: bytes, signature: str, allowed_signers: str, namespace: str = NAMESPACE) -> str:
    """The identity that signed data, as the file of allowed signers names it; an error says why nobody did."""
    if not os.path.isfile(signature):
        raise AirgapError(f"The bundle is not signed: {signature} is missing.")
    if not os.path.isfile(allowed_signers):
        raise AirgapError(
            f"The file of allowed signers {allowed_signers} is missing; write one line '<identity> <public key>' for each key that may sign bundles."
        )
    _require_guarded(allowed_signers)
    found = run(["ssh-keygen", "-Y", "find-principals", "-s", signature, "-f", allowed_signers])
    identities = _identities(found.stdout)
    if not identities:
        # A key that is listed, but not for this day or this purpose, is told apart from one that is not listed.
        unfit = re.findall(r":([0-9]+): (key .+)$", found.stderr, re.M)
        if unfit:
            raise AirgapError(
                f"The bundle is signed by {signer(data, signature, namespace) or 'an unknown key'}, which {allowed_signers} lists, but does not "
                f"allow now: {'; '.join(f'line {number}: {reason}' for number, reason in unfit)}. Nothing was taken from it. "
                "Look at this machine's clock; else renew the key on the connected side, and its line here."
            )
        raise AirgapError(
            f"The bundle is signed by {signer(data, signature, namespace) or 'an unknown key'}, which {allowed_signers} does not allow. "
            "Nothing was taken from it. If that key is right, add it to that file on this machine, never from the drive: "
            "a line with a name, then the key as in its .pub file."
        )
    reasons = []
    for identity in identities:
        checked = run(
            ["ssh-keygen", "-Y", "verify", "-n", namespace, "-I", identity, "-f", allowed_signers, "-s", signature],
            stdin=data,
        )
        if checked.rc == 0:
            return identity
        reasons.append(last_words(checked, 3))
    raise AirgapError(
        f"The seal does not hold: the signature {signature} of {', '.join(identities)} is not valid for this manifest "
        f"and the purpose '{namespace}' ({'; '.join(dict.fromkeys(reasons))}). Nothing was taken from the bundle; carry it again."
    )


def _require_guarded(allowed_signers: str) -> None:
    """Who can change the file of allowed signers decides what this machine installs as root."""
    real = os.path.realpath(allowed_signers)
    places = [allowed_signers, real, os.path.dirname(os.path.abspath(allowed_signers)), os.path.dirname(real)]
    for place in dict.fromkeys(places):
        status = os.stat(place)
        if status.st_uid not in (0, os.geteuid()) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise AirgapError(
                f"The allowed signers {allowed_signers} are not guarded: {place} belongs to the user id {status.st_uid} and has the "
                f"mode {stat.S_IMODE(status.st_mode):04o}, so others than root could add a key. Nothing was taken from the bundle. Make sure that "
                f"the file is right, then run: chown root {place} && chmod go-w {place}"
            )


def _identities(output: bytes) -> list[str]:
    return [name for name in re.split(r"[,\n]", output.decode("utf-8", "replace")) if name.strip()]


def signer(data: bytes, signature: str, namespace: str = NAMESPACE) -> str | None:
    """The fingerprint of the key whose valid signature this is, whoever may own it; None without one."""
    said = run(["ssh-keygen", "-Y", "check-novalidate", "-n", namespace, "-s", signature], stdin=data)
    return _fingerprint(said.stdout) if said.rc == 0 else None


def fingerprint(key: str) -> str:
    """The fingerprint of a key file: what people compare."""
    said = run(["ssh-keygen", "-l", "-f", key])
    found = _fingerprint(said.stdout)
    if said.rc != 0 or found is None:
        raise AirgapError(f"{key} is not an SSH key: {last_words(said, 1)}")
    return found


def _fingerprint(said: bytes) -> str | None:
    match = re.search(rb"SHA256:[A-Za-z0-9+/]+", said)
    return match.group(0).decode() if match else None
