# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""dnf's own words, as recorded from dnf 4.14, and what is made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Sequence

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _apt, _dnf
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

KEY = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabc\n-----END PGP PUBLIC KEY BLOCK-----"
DEPOT = _apt.Repository("https://depot/packages/rocky-9", "", "", KEY, "/etc/airgap/ca.pem")
INSTALLED = {
    "app": _dnf.Installed("1:1.0-1.el9", working=True, held=True, locked=True),
    "library": _dnf.Installed("1.0-1.el9", working=True, held=False),
}

TABLE = """Last metadata expiration check: 0:00:01 ago on Sat Nov 21 08:23:34 2026.
Dependencies resolved.
================================================================================
 Package          Architecture    Version                 Repository       Size
================================================================================
Installing:
 a-name-so-long-that-dnf-breaks-its-table-in-two
                  x86_64          2-1.el9                 airgap          5.7 k
     replacing  library.x86_64 1.0-1.el9
Upgrading:
 app              noarch          1:2.0-1.el9             airgap          5.4 k
Installing dependencies:
 extra            noarch          1-1.el9                 airgap          1.2 M
Removing dependent packages:
 old              noarch          3-1.el9                 @airgap           0  
Enabling module streams:
 nvidia-driver                    580-open                                     

Transaction Summary
================================================================================
Install  2 Packages
Upgrade  1 Package
Remove   1 Package

Total size: 11 k
"""  # noqa: W291 - as dnf prints it


class Host:
    """A host on which every command has an answer prepared; the last one is given again and again."""

    def __init__(self, *answers: tuple[int, str, str]) -> None:
        self.answers = list(answers)
        #: Whether rpm says that nothing is installed, rather than what was prepared.
        self.bare = True
        self.commands: list[list[str]] = []

    def __call__(self, command: Sequence[str], environment: dict[str, str]) -> tuple[int, str, str]:
        if command[0] == "rpm" and self.bare:
            return 0, "", ""
        self.commands.append(list(command))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def rpm(answer: tuple[int, str, str]) -> Host:
    host = Host(answer)
    host.bare = False
    return host


@pytest.fixture(name="locks")
def fixture_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "versionlock.list"
    (tmp_path / "versionlock.conf").write_text(f"[main]\nenabled = 1\nlocklist = {path}\n")
    monkeypatch.setattr(_dnf, "LOCK_SETTINGS", str(tmp_path / "versionlock.conf"))
    return path


def test_the_repository_is_checked_by_the_bundles_key_and_the_sites_ca() -> None:
    files = _dnf.wanted_files(DEPOT._replace(ca="PEM"))
    text = files[_dnf.REPOSITORY_FILE] or ""
    for line in (
        "baseurl=https://depot/packages/rocky-9",
        "repo_gpgcheck=1",
        "sslcacert=/etc/airgap/ca.pem",
        "proxy=_none_",
    ):
        assert line in text.splitlines()
    assert f"gpgkey=file://{_dnf.KEY_FILE}" in text and files[_dnf.KEY_FILE] == KEY + "\n"
    assert files["/etc/airgap/ca.pem"] == "PEM"
    assert "sslcacert" not in (_dnf.wanted_files(DEPOT._replace(url="file:///x"))[_dnf.REPOSITORY_FILE] or "")
    with pytest.raises(AirgapError, match="not an ASCII-armoured"):
        _dnf.wanted_files(DEPOT._replace(key="/root/key.asc"))


def test_rpm_tells_what_is_installed_and_versionlock_what_is_held(locks: Path) -> None:
    locks.write_text("# Added lock\napp-1:1.0-1.el9.*\nlibrary-0:9-1.el9.*\n!extra-0:1-1.el9.*\nkernel*\n")
    listed = "app\t1\t1.0\t1.el9\tnoarch\nlibrary\t0\t1.0\t1.el9\tx86_64\nextra\t0\t1\t1.el9\tnoarch\nkernel-core\t0\t5\t1\tx86_64\n"
    found = _dnf.installed_packages(rpm((0, listed, "")))
    assert found["app"] == _dnf.Installed("1:1.0-1.el9", working=True, held=True, locked=True)
    assert found["app-1.0-1.el9.noarch"] == found["app-1:1.0"] == found["app.noarch"] == found["app"]
    # Locked to a version that is not the one that is there.
    assert (found["library"].held, found["library"].locked, found["library"].version) == (True, False, "1.0-1.el9")
    assert not found["extra"].held and found["kernel-core"].locked
    with pytest.raises(AirgapError, match="cannot read the package database: it is broken"):
        _dnf.installed_packages(rpm((1, "", "it is broken\n")))


@pytest.mark.parametrize(
    ("package", "state", "asked"),
    [
        ("app", "present", []),
        ("app", "latest", ["app"]),
        ("app=1.0", "present", []),
        ("app=1:1.0-*", "present", []),
        ("app=2.*", "present", ["app-2.*"]),
        ("app-1.0-1.el9", "present", []),
        ("kernel-devel-5.14.0-1.el9.x86_64", "present", ["kernel-devel-5.14.0-1.el9.x86_64"]),
        ("*", "present", []),
    ],
)
def test_dnf_is_asked_only_for_what_is_lacking(package: str, state: str, asked: list[str]) -> None:
    found = _dnf.installed_packages(rpm((0, "app\t1\t1.0\t1.el9\tnoarch\n", "")))
    assert _dnf.lacking([package], found, state) == asked


def test_a_table_is_read_with_broken_rows_and_what_is_replaced() -> None:
    steps = _dnf.parse_table(TABLE, INSTALLED)
    assert _dnf.changes(steps, INSTALLED) == [
        {"name": "a-name-so-long-that-dnf-breaks-its-table-in-two", "before": None, "after": "2-1.el9"},
        {"name": "app", "before": "1:1.0-1.el9", "after": "1:2.0-1.el9"},
        {"name": "extra", "before": None, "after": "1-1.el9"},
    ]
    assert "would remove library.x86_64, old 3-1.el9 from this host" in (_dnf.refusal(steps, INSTALLED, ["app"]) or "")


def test_a_table_that_is_not_understood_is_not_believed() -> None:
    with pytest.raises(AirgapError, match="announces 5 packages and lists 4"):
        _dnf.parse_table(TABLE.replace("Install  2", "Install  3"), INSTALLED)


def test_no_foreign_hold_is_broken() -> None:
    steps = [_apt.Step("Inst", "app", "1:1.0-1.el9", "1:2.0-1.el9")]
    assert "would change app, held on this host" in (_dnf.refusal(steps, INSTALLED, []) or "")
    assert _dnf.refusal(steps, INSTALLED, ["app"]) is None


def test_holds_need_the_package_and_the_plugin(locks: Path) -> None:
    steps = [_apt.Step("Inst", "new", None, "1-1.el9")]
    assert _dnf.to_hold(["app", "library", "new"], INSTALLED, steps) == ["library", "new"]
    with pytest.raises(AirgapError, match="hold names zeta, which is not installed"):
        _dnf.to_hold(["zeta"], INSTALLED, steps)
    locks.with_name("versionlock.conf").unlink()
    with pytest.raises(AirgapError, match=f"Add {_dnf.LOCK_PLUGIN} to packages"):
        _dnf.to_hold(["app"], INSTALLED, [])
    assert _dnf.to_hold(["library"], INSTALLED, [_apt.Step("Inst", _dnf.LOCK_PLUGIN, None, "4-1")]) == ["library"]
    assert _dnf.to_hold([], INSTALLED, []) == []


def test_patterns_hold_names_and_none_of_their_spellings(locks: Path) -> None:
    listed = "app\t1\t1.0\t1.el9\tnoarch\napp-libs\t0\t1.0\t1.el9\tx86_64\nother\t0\t1\t1.el9\tnoarch\n"
    found = _dnf.installed_packages(rpm((0, listed, "")))
    steps = [_apt.Step("Inst", "app-new", None, "1-1.el9"), _apt.Step("Inst", "app-libs", "1.0-1.el9", "2-1.el9")]
    assert _dnf.to_hold(["app*", "!*-new"], found, steps) == ["app", "app-libs"]
    assert _dnf.to_hold(["zeta*"], found, steps) == []
    locks.write_text("app-libs-0:1.0-1.el9.*\n")
    held = _dnf.installed_packages(rpm((0, listed, "")))
    assert _dnf.to_hold(["app*"], held, []) == ["app"]
    assert _dnf.refusal(steps, held, ["app*"]) is None and "app-libs" in (_dnf.refusal(steps, held, ["app"]) or "")


def test_a_lock_on_another_version_is_no_hold(locks: Path) -> None:
    moved = {"app": INSTALLED["app"]._replace(version="1:2.0-1.el9", locked=False)}
    assert _dnf.to_hold(["app"], moved, []) == ["app"]


def test_a_hold_takes_the_place_of_the_one_before() -> None:
    host = Host((0, "", ""))
    _dnf.hold(host, [])
    _dnf.hold(host, ["app"])
    assert [command[-2:] for command in host.commands] == [["delete", "app"], ["add", "app"]]
    with pytest.raises(AirgapError, match="could not hold app: no"):
        _dnf.hold(Host((1, "", "no\n")), ["app"])


def test_streams_are_enabled_once(tmp_path: Path) -> None:
    (tmp_path / "driver.module").write_text("[driver]\nname=driver\nstream=580-open\nprofiles=\nstate=enabled\n")
    (tmp_path / "off.module").write_text("[off]\nname=off\nstream=1\nprofiles=\nstate=disabled\n")
    wanted = ["driver:580-open", "driver:590-open", "off:1", "new:1"]
    assert _dnf.to_enable(wanted, str(tmp_path)) == wanted[1:]
    for module in ("driver", "driver:", "driver:580/default"):
        with pytest.raises(AirgapError, match="name:stream"):
            _dnf.to_enable([module], str(tmp_path))


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (
            "No match for argument: nosuch\nError: Unable to find a match: nosuch",
            ["nosuch: not in the bundle's packages"],
        ),
        (
            "Error: Problems in request:\nmissing groups or modules: a:1, b:2",
            ["a:1, b:2: no such module stream", "airgap_targets[].modules"],
        ),
        (
            "Dependencies resolved.\n(try to add '--allowerasing')\nError: \n Problem: package rival conflicts with app",
            ["could not install app", "Problem: package rival conflicts with app"],
        ),
        ("Error: Failed: Curl error (60): SSL peer certificate", ["repository.ca_path does not vouch"]),
        ("Error: GPG signature verification error: Bad GPG signature", ["archive-key.asc of the bundle"]),
        ("All matches were filtered out by modular filtering for argument: x", ["state the stream in modules"]),
        ("All matches were filtered out by exclude filtering for argument: x", ["/etc/dnf/dnf.conf"]),
    ],
    ids=["name", "stream", "conflict", "tls", "signature", "modular", "exclude"],
)
def test_a_failure_says_what_to_do(output: str, words: list[str]) -> None:
    message = _dnf.explain("install app", DEPOT, output)
    assert all(word in message for word in words), message
    assert "allowerasing" not in message


def test_only_the_depot_is_asked_and_nothing_is_removed() -> None:
    host = Host((0, "", ""))
    _dnf.Dnf(host, DEPOT).update()
    command = host.commands[0]
    assert {"--repo=airgap", "--noplugins", "--setopt=installonly_limit=0", "--setopt=install_weak_deps=0"} <= set(
        command
    )
    assert "--allowerasing" not in command


def test_a_private_folder_keeps_the_hosts_repositories_out(tmp_path: Path) -> None:
    host = Host(
        (1, TABLE.partition("Removing")[0] + "\nInstall  2 Packages\nUpgrade  1 Package\n", "Operation aborted."),
        (0, "", ""),
    )
    dnf = _dnf.Dnf(host, DEPOT._replace(ca="PEM"), private=str(tmp_path))
    assert len(dnf.simulate(["app"])) == 4
    assert f"--setopt=reposdir={tmp_path}/reposdir" in host.commands[0] and "--assumeno" in host.commands[0]
    text = (tmp_path / "reposdir/airgap.repo").read_text()
    assert f"sslcacert={tmp_path}/ca.pem" in text and f"gpgkey=file://{tmp_path}/airgap.asc" in text
    with pytest.raises(AirgapError, match=r"Give the CA's text as repository\.ca"):
        _dnf.Dnf(host, DEPOT._replace(ca_path="/nonexistent/ca.pem"), private=str(tmp_path / "other"))


def test_streams_and_packages_are_one_transaction(tmp_path: Path) -> None:
    host = Host((0, "Nothing to do.\nComplete!\n", ""))
    dnf = _dnf.Dnf(host, DEPOT, modules=["driver:580-open"], scratch=str(tmp_path))
    assert dnf.simulate(["driver"]) == []
    assert host.commands[0][-2:] == ["shell", str(tmp_path / "transaction")]
    assert (tmp_path / "transaction").read_text() == "module enable driver:580-open\ninstall driver\nrun\n"
    dnf.simulate([])
    assert "install" not in (tmp_path / "transaction").read_text()
    # The shell itself ends well whatever happened in it.
    failing = _dnf.Dnf(
        Host((0, "Error: Transaction failed", "")), DEPOT, modules=["driver:580-open"], scratch=str(tmp_path)
    )
    with pytest.raises(AirgapError, match="Transaction failed"):
        failing.install(["driver"])


def test_what_should_have_come_and_did_not_is_named() -> None:
    table = "Installing:\n app  noarch  1-1.el9  airgap  5 k\n\nInstall  1 Package\n"
    dnf = _dnf.Dnf(Host((1, table, "Operation aborted."), (0, "", "")), DEPOT)
    dnf.simulate(["app"])
    with pytest.raises(AirgapError, match=r"Not there: app-1-1\.el9"):
        dnf.install(["app"])


def test_a_busy_dnf_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    busy = (200, "", "Error: Failed to obtain the metadata lock")
    host = Host(busy, busy, (0, "", ""))
    _dnf.Dnf(host, DEPOT).update()
    assert len(host.commands) == 3
    with pytest.raises(AirgapError, match="Another package manager is at work"):
        _dnf.Dnf(Host(busy), DEPOT, lock_timeout=-1).update()


def test_the_depots_versions_of_a_package_are_listed() -> None:
    listed = "kernel-devel-5.14.0-2.el9.x86_64\nkernel-devel-5.14.0-1.el9.x86_64\n"
    assert _dnf.Dnf(Host((0, listed, "")), DEPOT).names("kernel-devel") == sorted(listed.split())
    with pytest.raises(AirgapError, match="could not read the metadata"):
        _dnf.Dnf(Host((1, "", "Error: no")), DEPOT).names("kernel-devel")


def test_a_version_that_the_depot_lacks_is_told_with_those_that_it_has() -> None:
    missing = "No match for argument: nvidia-fabricmanager-580.95.05\n"
    listed = "nvidia-fabricmanager-580.105.08-1.x86_64\nnvidia-fabricmanager-devel-580.105.08-1.x86_64\n"
    host = Host((1, missing, "Error: Unable to find a match"), (0, listed, ""))
    with pytest.raises(
        AirgapError, match=r"only nvidia-fabricmanager-580.105.08-1.x86_64\. gpu_host_packages_state: latest"
    ):
        _dnf.Dnf(host, DEPOT).simulate(["nvidia-fabricmanager-580.95.05"])
