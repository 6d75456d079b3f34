# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The OpenPGP key that signs the bundle's package repositories, whatever their format."""

from __future__ import annotations

import os
import shutil
import tempfile

from ansible_collections.airgap.inference.plugins.module_utils._command import require, run
from ansible_collections.airgap.inference.plugins.module_utils._digest import write_if_changed


class SigningKey:
    """Made once, kept on the staging machine."""

    def __init__(self, path: str, owner: str) -> None:
        self.path = path
        self.owner = owner

    def public(self) -> bytes:
        """The armoured public key; the pair is made at the first call."""
        with _GnuPG() as gpg:
            if not os.path.exists(self.path):
                gpg.run("--quick-generate-key", self.owner, "rsa4096", "sign", "never")
                write_if_changed(self.path, gpg.run("--armor", "--export-secret-keys"), mode=0o600)
            else:
                gpg.run("--import", self.path)
            return gpg.run("--armor", "--export", "--export-options", "export-minimal")

    def clearsign(self, path: str) -> bytes:
        """The inline-signed form of a file."""
        return self._sign("--clearsign", path)

    def detach_sign(self, path: str) -> bytes:
        """The armoured signature of a file, to stand beside it."""
        return self._sign("--armor", "--detach-sign", path)

    def _sign(self, *how: str) -> bytes:
        with _GnuPG() as gpg:
            gpg.run("--import", self.path)
            return gpg.run("--digest-algo", "SHA512", "--output", "-", *how)


class _GnuPG:
    """gpg in a throw-away home: its agent's socket needs a short path, and nothing is left behind."""

    def __enter__(self) -> _GnuPG:
        self._home = tempfile.mkdtemp(prefix="gpg-", dir="/tmp")
        return self

    def __exit__(self, *_error: object) -> None:
        run(["gpgconf", "--homedir", self._home, "--kill", "all"])
        shutil.rmtree(self._home, ignore_errors=True)

    def run(self, *arguments: str) -> bytes:
        options = [
            "--homedir",
            self._home,
            "--batch",
            "--quiet",
            "--no-tty",
            "--pinentry-mode",
            "loopback",
            "--passphrase",
            "",
        ]
        return require(["gpg", *options, *arguments], "Signing the bundle's package repository")
