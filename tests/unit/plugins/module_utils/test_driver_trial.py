# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a driver is tried, what a trial does with apt, dpkg and dkms, and what it says. tests/staging shows it with the real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Sequence

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _apt, _dnf, _driver_trial
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

KEY = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabc\n-----END PGP PUBLIC KEY BLOCK-----"
DEPOT = _apt.Repository("file:/depot", "airgap", "main", KEY)
KERNEL = "6.1.0-56-amd64"
HEADERS = f"linux-headers-{KERNEL}"
DRIVER = "nvidia-kernel-dkms"
CONF = 'PACKAGE_NAME="nvidia-current"\nPACKAGE_VERSION="535.1"\n'
INCOMING = f"Inst dkms (3.0 airgap:airgap [all])\nInst {DRIVER} (535.1-1 airgap:airgap [amd64])\nInst libc6 (2 airgap:airgap [amd64])\n"
TOOLS = f"Inst dkms (3.0 airgap:airgap [all])\nInst {HEADERS} (6.1 airgap:airgap [amd64])\n"
SHOWN = f"Package: dkms\nDepends: gcc, make\n\nPackage: {DRIVER}\nDepends: dkms, nvidia-support\n\nPackage: libc6\n"


class Host:
    """A host with apt whose depot has a driver; dpkg-deb and dkms leave what the real ones leave."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []
        self.installed: dict[str, str] = {"libc6": "1"}
        self.headers = [HEADERS]
        self.incoming = INCOMING
        self.tools = TOOLS
        self.owned = ""
        self.builds = True
        self.says = ""
        self.purges = True

    def __call__(self, command: Sequence[str], environment: dict[str, str]) -> tuple[int, str, str]:
        words = list(command)
        self.commands.append(words)
        name = Path(words[0]).name
        if name == "dpkg-query":
            if "-S" in words:
                return (0, self.owned, "") if self.owned else (1, "", "no path found")
            return 0, "".join(f"{one}\tamd64\t{version}\tii \n" for one, version in self.installed.items()), ""
        if name == "apt-cache":
            return 0, SHOWN if "show" in words else "".join(f"{one} - x\n" for one in self.headers), ""
        if name == "dkms":
            return self._dkms(words)
        if name == "dpkg-deb":
            source = Path(words[-1], "usr/src/nvidia-current-535.1")
            source.mkdir(parents=True)
            (source / "dkms.conf").write_text(CONF)
            return 0, "", ""
        return self._apt_get(words)

    def _apt_get(self, words: list[str]) -> tuple[int, str, str]:
        if "download" in words:
            Path(words[1].partition("=")[2], f"{DRIVER}_535.1-1_amd64.deb").touch()
        elif "purge" in words:
            names = words[words.index("--") + 1 :]
            if not self.purges:
                return 100, "", "E: locked"
            if "-s" not in words:
                for name in names:
                    del self.installed[name]
            return 0, "".join(f"Purg {name} [1]\n" for name in names), ""
        elif "install" in words:
            if "-s" in words:
                return 0, self.tools if "dkms" in words or HEADERS in words else self.incoming, ""
            self.installed.update({"dkms": "3.0", HEADERS: "6.1"})
        return 0, "", ""

    def _dkms(self, words: list[str]) -> tuple[int, str, str]:
        if "status" in words:
            return 0, self.says, ""
        version = Path(words[words.index("--dkmstree") + 1], "nvidia-current/535.1")
        if self.builds:
            (version / KERNEL / "x86_64/module").mkdir(parents=True)
            (version / KERNEL / "x86_64/module/nvidia.ko").touch()
            return 0, "", ""
        if self.says:
            return 7, "", self.says
        (version / "build").mkdir(parents=True)
        (version / "build/make.log").write_text(f"make: x\n{version}/build/nv.c:3:1: error: too few arguments\n")
        return 10, "", "Error! Bad return status"


def wanted(**changed: object) -> dict[str, object]:
    return {
        "packages": [DRIVER],
        "state": "present",
        "kernel": KERNEL,
        "headers": HEADERS,
        "hold": None,
        "modules": [],
        **changed,
    }


def plan(host: Host, modules: Path, **changed: object) -> _driver_trial.Plan:
    return _driver_trial.plan(host, _apt.Apt(host, DEPOT), DEPOT, wanted(**changed), str(modules))


def trial(host: Host, path: Path, planned: _driver_trial.Plan) -> list[str]:
    return _driver_trial.Trial(host, _apt.Apt(host, DEPOT), str(path / "room"), str(path / "logs")).perform(
        planned, KERNEL
    )


def with_headers(path: Path) -> Path:
    (path / KERNEL / "build").mkdir(parents=True)
    (path / KERNEL / "build/Makefile").touch()
    return path


def test_what_needs_dkms_is_tried_with_the_tools_that_are_lacking(tmp_path: Path) -> None:
    planned = plan(Host(), tmp_path)
    assert [step.name for step in planned.carriers] == [DRIVER]
    assert planned.ask == ["dkms", HEADERS] and planned.needed
    assert [change["name"] for change in planned.changes] == ["dkms", "libc6", DRIVER]
    host = Host()
    host.installed["dkms"] = "3.0"
    assert plan(host, with_headers(tmp_path)).ask == []


def test_sources_in_a_package_of_their_own_are_found() -> None:
    steps = [
        _apt.Step("Inst", name, None, "1") for name in ("dkms", "nvidia-dkms-580", "nvidia-kernel-source-580", "gcc")
    ]
    needs = {"nvidia-dkms-580": {"dkms", "nvidia-kernel-source-580"}, "dkms": {"gcc"}}
    found = [step.name for step in _driver_trial.carrying(steps, needs)]
    assert found == ["nvidia-dkms-580", "nvidia-kernel-source-580"]
    assert _driver_trial.carrying(steps, {"nvidia-dkms-580": {"libc6"}}) == []


def test_nothing_is_tried_where_nothing_comes(tmp_path: Path) -> None:
    host = Host()
    host.installed[DRIVER] = "535.1-1"
    planned = plan(host, tmp_path)
    assert not planned.needed and planned.changes == []
    assert not any("update" in command for command in host.commands)


def test_headers_are_asked_for_before_anything_changes(tmp_path: Path) -> None:
    host = Host()
    host.headers = ["linux-headers-6.1.0-50-amd64", "linux-headers-6.1.0-50-common"]
    with pytest.raises(AirgapError) as raised:
        plan(host, tmp_path)
    said = str(raised.value)
    assert KERNEL in said and f"has no {HEADERS}" in said and f"({tmp_path}/{KERNEL}/build)" in said
    assert "it has linux-headers-6.1.0-50-amd64 (file:/depot)" in said and "airgap_targets[].kernels" in said
    assert not any("install" in command and "-s" not in command for command in host.commands)
    host.headers = []
    with pytest.raises(AirgapError, match=r"no package named for them.*none at all"):
        plan(host, tmp_path, headers="")


def test_what_packages_would_refuse_is_refused_before(tmp_path: Path) -> None:
    host = Host()
    host.incoming = INCOMING + "Remv old [1]\n"
    with pytest.raises(AirgapError, match="would remove old 1"):
        plan(host, tmp_path)
    host = Host()
    host.tools = TOOLS + "Remv old [1]\n"
    with pytest.raises(
        AirgapError, match=r"What DKMS needs \(dkms, .* cannot be installed. Installing would remove old"
    ):
        plan(host, tmp_path)


def test_a_driver_that_builds_leaves_the_tools(tmp_path: Path) -> None:
    host = Host()
    assert trial(host, tmp_path, plan(host, tmp_path)) == ["nvidia-current 535.1"]
    assert "dkms" in host.installed and not any("purge" in command for command in host.commands)
    (build,) = [command for command in host.commands if "build" in command]
    room = tmp_path / "room"
    assert build[build.index("--dkmstree") + 1] == str(room / "dkms")
    assert build[build.index("--sourcetree") + 1] == str(room / "tree/usr/src")
    assert not (tmp_path / "logs").exists()


def test_a_driver_that_does_not_build_takes_the_tools_with_it(tmp_path: Path) -> None:
    host = Host()
    host.builds = False
    planned = plan(host, tmp_path)
    with pytest.raises(AirgapError) as raised:
        trial(host, tmp_path, planned)
    said = str(raised.value)
    assert f"DKMS cannot build nvidia-current 535.1 (package {DRIVER}) for the kernel {KERNEL}" in said
    assert "nv.c:3:1: error: too few arguments" in said and str(tmp_path / "room") not in said
    assert "(2 packages, dkms or headers among them) was purged again; the host is as it was." in said
    log = tmp_path / f"logs/dkms-nvidia-current-535.1-{KERNEL}.log"
    assert str(log) in said and "too few arguments" in log.read_text()
    assert host.installed == {"libc6": "1"}


def test_where_dkms_itself_refuses_its_own_words_are_kept(tmp_path: Path) -> None:
    host = Host()
    host.builds, host.says = False, "Error! The module is BUILD_EXCLUSIVE for another kernel"
    with pytest.raises(AirgapError, match="BUILD_EXCLUSIVE for another kernel"):
        trial(host, tmp_path, plan(host, tmp_path))


def test_what_cannot_be_taken_back_is_said(tmp_path: Path) -> None:
    host = Host()
    host.builds = host.purges = False
    with pytest.raises(AirgapError, match=r"is still there, since it could not be purged: .*E: locked"):
        trial(host, tmp_path, plan(host, tmp_path))
    host = Host()
    host.builds, host.tools = False, TOOLS + "Inst libc6 [1] (2 airgap:airgap [amd64])\n"
    with pytest.raises(AirgapError, match=r"brought to newer versions for it and stay so: libc6 \(1\)"):
        trial(host, tmp_path / "second", plan(host, tmp_path))
    assert "libc6" in host.installed and "dkms" not in host.installed


def test_where_the_tools_were_there_nothing_is_purged(tmp_path: Path) -> None:
    host = Host()
    host.builds = False
    host.installed["dkms"] = "3.0"
    with pytest.raises(AirgapError, match=r"The host is as it was\."):
        trial(host, tmp_path, plan(host, with_headers(tmp_path)))
    assert host.installed == {"libc6": "1", "dkms": "3.0"}


def test_an_installed_driver_is_tried_for_a_kernel_that_it_was_not_built_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = tmp_path / "nvidia-current-535.1/dkms.conf"
    conf.parent.mkdir()
    conf.write_text(CONF)
    (tmp_path / "dkms").touch()
    monkeypatch.setattr(_driver_trial, "DKMS", str(tmp_path / "dkms"))
    host = Host()
    host.owned = f"{DRIVER}: {conf}\nraid-dkms: {conf}\n"
    host.says = "nvidia-current/535.1, 6.1.0-50-amd64, x86_64: installed"
    found = _driver_trial.unbuilt(host, [DRIVER], KERNEL)
    assert [(str(source), source.package, source.tree) for source in found] == [
        ("nvidia-current 535.1", DRIVER, str(tmp_path))
    ]
    host.says = f"nvidia-current/535.1, {KERNEL}, x86_64: installed"
    assert _driver_trial.unbuilt(host, [DRIVER], KERNEL) == []
    monkeypatch.setattr(_driver_trial, "DKMS", "/nonexistent/dkms")
    assert len(_driver_trial.unbuilt(host, [DRIVER], KERNEL)) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (CONF, ("nvidia-current", "535.1")),
        ("PACKAGE_NAME=nvidia-current\nPACKAGE_VERSION=535.1\n", ("nvidia-current", "535.1")),
        ('NAME=x\nPACKAGE_NAME="$NAME"\n', ("nvidia-current", "535.1")),
        ('PACKAGE_NAME="nvidia"\nPACKAGE_VERSION="current-535.1"\n', ("nvidia", "current-535.1")),
    ],
    ids=["quoted", "bare", "computed", "dashes"],
)
def test_dkms_conf_says_what_it_builds(tmp_path: Path, text: str, expected: tuple[str, str]) -> None:
    path = tmp_path / "nvidia-current-535.1/dkms.conf"
    path.parent.mkdir()
    path.write_text(text)
    source = _driver_trial.described("p", str(path))
    assert (source.module, source.version) == expected


def test_the_room_goes_and_so_does_what_a_killed_trial_left(tmp_path: Path) -> None:
    parent = tmp_path / "airgap"
    with _driver_trial.room(str(parent)) as private:
        assert Path(private).parent == parent
        (parent / "driver-trial-999999999-x").mkdir()
        (parent / "reports").mkdir()
        with _driver_trial.room(str(parent)):
            assert not (parent / "driver-trial-999999999-x").exists() and Path(private).is_dir()
    assert [path.name for path in parent.iterdir()] == ["reports"]
    (parent / "reports").rmdir()
    parent.rmdir()
    with _driver_trial.room(str(parent)):
        pass
    assert not parent.exists()


TABLE = "Installing:\n kmod-nvidia-open-dkms  x86_64  3:580-1.el9  airgap  5 k\n{more}\nInstall  {count} Package\n"


@pytest.mark.parametrize(("more", "there", "refused"), [("", "", True), ("", "x86", False), ("coming", "", False)])
def test_with_dnf_headers_are_looked_at_and_nothing_is_built(
    tmp_path: Path, more: str, there: str, refused: bool
) -> None:
    row = " kernel-devel  x86_64  5.14.0-1.el9  airgap  5 k\n" if more else ""
    kernel = "5.14.0-1.el9.x86_64"

    def run(command: Sequence[str], environment: dict[str, str]) -> tuple[int, str, str]:
        if command[0] == "rpm" or "makecache" in command:
            return 0, "", ""
        if "repoquery" in command:
            return 0, f"kernel-devel-{kernel if there else '5.14.0-9.el9.x86_64'}\n", ""
        return 1, TABLE.format(more=row, count=2 if row else 1), "Operation aborted."

    asked = wanted(packages=["kmod-nvidia-open-dkms"], kernel=kernel, headers=f"kernel-devel-{kernel}")
    depot = DEPOT._replace(url="file:///depot")

    def look() -> _driver_trial.Plan:
        return _driver_trial.plan_with_dnf(run, _dnf.Dnf(run, depot), depot, asked, str(tmp_path))

    if refused:
        with pytest.raises(AirgapError, match=r"it has kernel-devel-5\.14\.0-9\.el9\.x86_64"):
            look()
    else:
        planned = look()
        assert not planned.needed and planned.changes[0]["name"] in ("kernel-devel", "kmod-nvidia-open-dkms")
