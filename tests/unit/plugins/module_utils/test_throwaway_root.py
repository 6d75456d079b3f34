# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No root goes with what is mounted in it; empty roots are kept while they are good."""

from __future__ import annotations

import json
import platform
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _throwaway_root
from ansible_collections.airgap.inference.plugins.module_utils._command import Result
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

MOUNTS = "36 35 98:0 / {0} rw,noatime master:1 - ext3 /dev/root rw\n37 36 0:5 / {0}/a\\040b/dev rw - devtmpfs udev rw\n"


def test_mounts_below_a_path_are_found(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(MOUNTS.format("/srv/cache"))
    assert _throwaway_root.mounts_below("/srv/cache/a b", str(table)) == ["/srv/cache/a b/dev"]
    assert _throwaway_root.mounts_below("/srv/cache/a", str(table)) == []
    assert _throwaway_root.mounts_below("/srv/cache", str(table)) == ["/srv/cache", "/srv/cache/a b/dev"]


def test_a_root_with_a_mount_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "system/dev").mkdir(parents=True)
    monkeypatch.setattr(_throwaway_root, "mounts_below", lambda path: [f"{path}/dev"])
    with pytest.raises(AirgapError, match=r"system/dev is a mount point, so .*/system is not removed"):
        _throwaway_root.remove(str(tmp_path / "system"))
    assert (tmp_path / "system/dev").is_dir()


def test_what_killed_runs_left_goes_and_the_rest_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_throwaway_root, "_as_root", list)
    for name in ("copy-abc/root", "system.part/etc", "system/etc", "indexes"):
        (tmp_path / name).mkdir(parents=True)
    _throwaway_root.sweep(str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["indexes", "system"]


def test_only_this_machines_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert _throwaway_root.refusal("amd64") is None
    assert _throwaway_root.refusal("arm64") == "this machine is amd64 and cannot run arm64"


class TestTheEmptySystem:
    """mmdebstrap is played by a function that makes a directory."""

    @pytest.fixture(autouse=True)
    def fixture_machine(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = tmp_path / "rehearsal"
        self.sources = tmp_path / "target.sources"
        self.sources.write_text("Types: deb\n")
        self.configuration = tmp_path / "apt.conf"
        self.configuration.write_text('Dir "/x";\nAcquire::http::Proxy "http://proxy.example.org";\n')
        self.made: list[list[str]] = []
        self.rc = 0

        def run(argv: list[str], **_options: Any) -> Result:
            if "mmdebstrap" in argv:
                self.made.append(argv)
                Path(argv[-2], "etc").mkdir(parents=True)
            if "rm" in argv:
                shutil.rmtree(argv[-1])
            return Result(self.rc if "mmdebstrap" in argv else 0, b"", "E: no release file")

        monkeypatch.setattr(_throwaway_root, "run", run)

    def make(self, days: float = 7) -> str:
        return _throwaway_root.system(
            str(self.directory), "Debian trixie amd64", str(self.sources), str(self.configuration), "amd64", days, {}
        )

    def test_is_made_once_and_starts_nothing(self) -> None:
        path = Path(self.make())
        assert self.make() == str(path) and len(self.made) == 1
        assert (path / "usr/sbin/policy-rc.d").stat().st_mode & 0o777 == 0o755
        assert "exit 101" in (path / "usr/sbin/policy-rc.d").read_text()
        assert '--aptopt=Acquire::http::Proxy "http://proxy.example.org";' in self.made[0]
        assert not [word for word in self.made[0] if "Dir" in word]

    def test_is_made_anew_when_sources_change_or_it_is_old_or_asked(self) -> None:
        self.make()
        self.sources.write_text("Types: deb\nSuites: trixie\n")
        self.make()
        assert len(self.made) == 2
        note = self.directory / "system.json"
        note.write_text(json.dumps({**json.loads(note.read_text()), "made": time.time() - 8 * 86400}))
        self.make()
        assert len(self.made) == 3
        self.make(days=0)
        assert len(self.made) == 4
        note.write_text("{")
        self.make()
        assert len(self.made) == 5

    def test_the_reason_when_it_cannot_be_made(self) -> None:
        self.rc = 1
        with pytest.raises(AirgapError, match=r"No empty root of Debian trixie amd64(?s:.*)no release file"):
            self.make()
        assert not (self.directory / "system").exists() and not (self.directory / "system.part").exists()
