"""Run ansible-test on a copy of the collection, on a machine that reaches package registries only.

ansible-test wants a path ending in ansible_collections/<namespace>/<name>. For its own virtual environments it would
download a get-pip script from a server of the Ansible project; it takes one from its cache when there is one, so the
same version of pip is put there, from PyPI. Its home is .cache/ansible-test, so nothing of the user's is touched.

Usage: tests/gates/ansible_test.py sanity|units [argument ...]
"""

# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import configparser
import os
import subprocess
import sys
from pathlib import Path

from tree import CACHE, copy_tree

# ansible-test of ansible-core 2.19 asks for exactly this version; it says so when a later one asks for another.
PIP_VERSION = "24.2"
HOME = CACHE / "ansible-test"

GET_PIP = '''"""Installs pip from the wheel beside this file: what get-pip.py does, without its server."""
import sys
from pathlib import Path

wheel = next(Path(__file__).parent.glob("pip-{version}-*.whl"))
sys.path.insert(0, str(wheel))
arguments = [a for a in sys.argv[1:] if a not in ("--no-setuptools", "--no-wheel")]
sys.argv = ["pip", "install", str(wheel), *arguments]

from pip._internal.cli.main import main

sys.exit(main(sys.argv[1:]))
'''


def provide_pip() -> None:
    """Put a get-pip script and the wheel it installs where ansible-test looks for a downloaded one."""
    cache = HOME / ".ansible" / "test" / "cache"
    script = cache / f"get_pip_{PIP_VERSION.replace('.', '_')}.py"
    if not list(cache.glob(f"pip-{PIP_VERSION}-*.whl")):
        cache.mkdir(parents=True, exist_ok=True)
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        subprocess.run([*download, f"--dest={cache}", f"pip=={PIP_VERSION}"], check=True)
    script.write_text(GET_PIP.format(version=PIP_VERSION), encoding="utf-8")


def provide_pip_configuration() -> None:
    """Hand on the user's way to a package index: ansible-test drops PIP_* variables, and its home is not the user's."""
    configuration = configparser.RawConfigParser()
    configuration.read(
        [Path.home() / ".pip" / "pip.conf", Path.home() / ".config" / "pip" / "pip.conf"], encoding="utf-8"
    )
    if not configuration.has_section("global"):
        configuration.add_section("global")
    for name, value in os.environ.items():
        if name.startswith("PIP_") and name != "PIP_CONFIG_FILE":
            configuration.set("global", name[4:].lower().replace("_", "-"), value)
    target = HOME / ".config" / "pip" / "pip.conf"
    target.parent.mkdir(parents=True, exist_ok=True)
    # It may hold the password of a private index.
    with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as stream:
        configuration.write(stream)


def main() -> int:
    """Prepare what ansible-test needs, and run it."""
    command, *arguments = sys.argv[1:]
    provide_pip()
    provide_pip_configuration()
    collection = copy_tree(command)
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    ansible_test = ["ansible-test", command, "--python", python, "--color", "no", *arguments]
    return subprocess.run(ansible_test, cwd=collection, env={**os.environ, "HOME": str(HOME)}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
