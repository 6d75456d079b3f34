# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host beyond the gap without a container: a throwaway Debian 12 that sees a bundle's packages and no network, and modules run in it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import ansible.module_utils
from ansible_collections.airgap.inference.plugins.module_utils import _throwaway_root

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
LENT = _throwaway_root.LENT
# What package managers themselves keep, and what is remade at need.
_KEPT = r"^/(proc|dev|sys|tmp|run|root|airgap)(/|$)|^/var/(cache|log|lib/(dpkg|apt))(/|$)|^/etc/ld\.so\.cache$|/__pycache__(/|$)"


def lend(lent: Path) -> None:
    """Put this collection, and what its modules need of Ansible, where the host sees it."""
    source = Path(ansible.module_utils.__file__).parent
    shutil.copytree(source, lent / "python/ansible/module_utils")
    (lent / "python/ansible/__init__.py").touch()
    shutil.copy(source.parent / "release.py", lent / "python/ansible")
    for part in ("modules", "module_utils"):
        shutil.copytree(PLUGINS / part, lent / "python/ansible_collections/airgap/inference/plugins" / part)


class Host:
    """A copy of Debian 12 that was only just installed; the bundle's packages for it lie in the lent directory's packages."""

    def __init__(self, copy: _throwaway_root.Copy, lent: Path, *packages: str) -> None:
        self.copy = copy
        self.repository = {"url": f"file:{LENT}/packages", "key": (lent / "packages/archive-key.asc").read_text()}
        sources = "/etc/apt/sources.list.d/*"
        self.run(
            *("sh", "-euc", f'sed -i "s,{LENT}$,&/packages,; s,{LENT}/archive,{LENT}/packages/archive," {sources}; apt-get -q update; '
              'apt-get -q -y --no-install-recommends install python3 "$@"', "sh", *packages)
        )  # fmt: skip

    def run(self, *argv: str) -> str:
        done = self.copy.run(list(argv))
        assert done.rc == 0, f"{argv}: {done.stdout!r}{done.stderr}"
        return done.stdout.decode()

    def call(self, module: str, check: bool = False, **arguments: Any) -> dict[str, Any]:
        given = {
            "repository": self.repository,
            **arguments,
            **{"_ansible_check_mode": check, "_ansible_remote_tmp": "/tmp", "_ansible_keep_remote_files": False},
        }
        program = (
            "from ansible.module_utils import basic; basic._ANSIBLE_PROFILE = 'legacy'; import runpy; "
            f"runpy.run_module('ansible_collections.airgap.inference.plugins.modules.{module}', run_name='__main__')"
        )
        python = ["env", f"PYTHONPATH={LENT}/python", "PYTHONDONTWRITEBYTECODE=1", "python3", "-c", program]
        done = self.copy.run(python, stdin=json.dumps({"ANSIBLE_MODULE_ARGS": given}).encode())
        assert "Traceback" not in done.stderr, done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    def state(self) -> list[str]:
        """The packages that are there, and every file that is not a package manager's own."""
        packages = self.run("dpkg-query", "-W", "-f", "${Package} ${Version} ${db:Status-Abbrev}\n").splitlines()
        # How large a directory is depends on its history.
        find = ["find", "/", "-xdev", "(", "-type", "d", "-printf", "%p %y\n", ")", "-o", "-printf", "%p %y %s\n"]
        files = self.run(*find).splitlines()
        return packages + [line for line in files if not re.search(_KEPT, line.split(" ")[0])]


def changed(before: list[str], after: list[str]) -> list[str]:
    return sorted(set(before) ^ set(after))
