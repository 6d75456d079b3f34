# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A dnf repository of tiny RPMs, built and signed here: what a vendor would offer. And bundle_packages as Ansible runs it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

TOOLS = ("dnf", "rpmbuild", "rpmsign", "createrepo_c", "modifyrepo_c", "gpg")

_MODULE = "ansible_collections.airgap.inference.plugins.modules.bundle_packages"
# What the machine itself is set up with plays no part, unless a test says so.
_FOREIGN = re.compile(r"SSL_CERT|AIRGAP_|.*_proxy\Z", re.IGNORECASE)


def run(environment: dict[str, str] | None = None, **arguments: Any) -> dict[str, Any]:
    """What the module answers; failures in words and never as a traceback."""
    given = {"_ansible_remote_tmp": "/tmp", "_ansible_keep_remote_files": False, **arguments}
    program = (
        # The profile by which ansible-core reads arguments has a name of its own since 2.19.
        "from ansible.module_utils import basic; basic._ANSIBLE_PROFILE = 'legacy'; import runpy, sys; "
        f"sys.path[:] = {sys.path!r}; runpy.run_module({_MODULE!r}, run_name='__main__')"
    )
    own = {name: value for name, value in os.environ.items() if not _FOREIGN.match(name)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": given}),
        env={**own, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (1 if result.get("failed") else 0), done.stdout
    return result


class Vendor:
    """An OpenPGP key in a home of its own; gpg's agent wants a short path."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.home = tempfile.mkdtemp(prefix="gpg-", dir="/tmp")
        self.gpg("--quick-generate-key", name, "rsa2048", "sign", "never")
        self.key = self.gpg("--armor", "--export").decode()

    def gpg(self, *arguments: str) -> bytes:
        command = ["gpg", "--homedir", self.home, "--batch", "--yes", "--quiet", "--no-tty"]
        return subprocess.run(
            [*command, "--pinentry-mode", "loopback", "--passphrase", "", *arguments], check=True, capture_output=True
        ).stdout

    def sign(self, package: Path) -> None:
        """Put the signature into an RPM, in the place of any other."""
        macros = {"__gpg": shutil.which("gpg") or "", "_gpg_name": self.name, "_gpg_path": self.home}
        defined = [part for name, value in macros.items() for part in ("--define", f"{name} {value}")]
        quietly(["rpmsign", *defined, "--resign", str(package)])

    def close(self) -> None:
        subprocess.run(["gpgconf", "--homedir", self.home, "--kill", "all"], check=False)
        shutil.rmtree(self.home, ignore_errors=True)


class Source:
    """A directory with RPMs and repodata."""

    def __init__(self, root: Path, vendor: Vendor) -> None:
        self.root = root
        self.vendor = vendor
        self.modules: list[str] = []
        (root / "Packages").mkdir(parents=True)

    def add(self, name: str, version: str, *fields: str, arch: str = "noarch", stream: str = "") -> Path:
        """Build and sign one package; with a stream (module:stream) it belongs to it."""
        lines = [f"Name: {name}", f"Version: {version}", "Release: 1.el9", "Summary: x", "License: MIT OR Apache-2.0"]
        if stream:
            lines.append(f"ModularityLabel: {stream}:20251101:abcd1234")
        text = "\n".join([*lines, *fields, "%description", "x", "%files", ""])
        with tempfile.TemporaryDirectory() as build:
            spec = Path(build) / f"{name}.spec"
            spec.write_text(text)
            quietly(
                [
                    *("rpmbuild", "-bb", "--quiet", "--target", arch, "--define", f"_topdir {build}"),
                    *("--define", f"_rpmdir {build}/rpms", "--define", "_build_id_links none", str(spec)),
                ]
            )
            (built,) = Path(build, "rpms").rglob("*.rpm")
            package = self.root / "Packages" / built.name
            shutil.move(str(built), package)
        self.vendor.sign(package)
        return package

    def stream(self, module: str, stream: str, *packages: str, version: int = 20251101, requires: str = "") -> None:
        """Describe a stream; packages are written as modular metadata wants them."""
        listed = "".join(f"\n    - {package}" for package in packages)
        self.modules.append(
            f'---\ndocument: modulemd\nversion: 2\ndata:\n  name: {module}\n  stream: "{stream}"\n  version: {version}\n'
            "  context: abcd1234\n  arch: x86_64\n  summary: x\n  description: x\n  license: {module: [MIT]}\n"
            f"  dependencies: [{{buildrequires: {{platform: [el9]}}, requires: {{platform: [el9]{requires}}}}}]\n"
            f"  artifacts:\n    rpms:{listed or ' []'}\n...\n"
        )

    def default_stream(self, module: str, stream: str) -> None:
        self.modules.append(
            f'---\ndocument: modulemd-defaults\nversion: 1\ndata:\n  module: {module}\n  stream: "{stream}"\n...\n'
        )

    def publish(self, signer: Vendor | None = None, signed: bool = True) -> None:
        """Write repodata, and its signature."""
        shutil.rmtree(self.root / "repodata", ignore_errors=True)
        quietly(["createrepo_c", "--quiet", str(self.root)])
        if self.modules:
            text = self.root.parent / f"{self.root.name}-modules.yaml"
            text.write_text("".join(self.modules))
            quietly(["modifyrepo_c", "--mdtype=modules", str(text), str(self.root / "repodata")])
        if signed:
            index = self.root / "repodata/repomd.xml"
            signature = (signer or self.vendor).gpg("--armor", "--detach-sign", "--output", "-", str(index))
            (self.root / "repodata/repomd.xml.asc").write_bytes(signature)

    def target(self, **fields: Any) -> dict[str, Any]:
        """A system whose packages come from here."""
        source = {"uris": f"file://{self.root}", "signed_by": self.vendor.key}
        return {"distribution": "Rocky", "release": "9", "sources": [source], **fields}


def quietly(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C.UTF-8"})
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
