# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""apt's own words, as recorded from apt 3.0 (Debian 13), and what is made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Sequence

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _apt
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

KEY = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabc\n-----END PGP PUBLIC KEY BLOCK-----"
DEPOT = _apt.Repository("https://depot/packages/debian-trixie", "airgap", "main", KEY, "/etc/airgap/ca.pem")

SIMULATED = """Reading package lists...
Inst beta (1.5 airgap:airgap [all])
Inst alpha [1.0] (1.1 airgap:airgap [all]) []
Inst gamma (2.0 airgap:airgap [amd64])
Conf beta (1.5 airgap:airgap [all])
Remv delta [3.1-2]
"""
INSTALLED = {
    "alpha": _apt.Installed("1.0", working=True, held=True),
    "beta": _apt.Installed("1.0", working=False, held=False),
}


class Host:
    """A host on which every command has an answer prepared."""

    def __init__(self, *answers: tuple[int, str, str]) -> None:
        self.answers = list(answers)
        self.commands: list[list[str]] = []

    def __call__(self, command: Sequence[str], environment: dict[str, str]) -> tuple[int, str, str]:
        self.commands.append(list(command))
        return self.answers.pop(0)


def test_files_lead_to_the_depot_with_its_key_and_its_ca() -> None:
    files = _apt.wanted_files(DEPOT)
    assert f"Signed-By: {_apt.KEY_FILE}" in (files[_apt.SOURCE_FILE] or "")
    assert 'Acquire::https::depot::CAInfo "/etc/airgap/ca.pem";' in (files[_apt.CONFIG_FILE] or "")
    assert files[_apt.KEY_FILE] == KEY + "\n"
    assert "/etc/airgap/ca.pem" not in files


def test_a_given_ca_is_written_and_a_local_repository_needs_no_tls() -> None:
    assert _apt.wanted_files(DEPOT._replace(ca="PEM"))["/etc/airgap/ca.pem"] == "PEM"
    assert _apt.wanted_files(DEPOT._replace(url="file:/srv/airgap/packages"))[_apt.CONFIG_FILE] is None


def test_a_path_in_place_of_the_key_is_refused() -> None:
    with pytest.raises(AirgapError, match=r"Give the text of the bundle's archive-key\.asc"):
        _apt.wanted_files(DEPOT._replace(key="/root/archive-key.asc"))


def test_dpkg_tells_what_is_installed_works_and_is_held() -> None:
    host = Host((0, "alpha\tall\t1.0\thi \nbeta\tamd64\t1.5\tiF \nold\tamd64\t\tun \nrc\tamd64\t1\trc \n", ""))
    found = _apt.installed_packages(host)
    assert found["alpha"] == found["alpha:all"] == _apt.Installed("1.0", working=True, held=True)
    assert not found["beta"].working
    assert "old" not in found
    assert not found["rc"].working


def test_a_broken_package_database_is_named() -> None:
    with pytest.raises(AirgapError, match="cannot read the package database: it is broken"):
        _apt.installed_packages(Host((2, "", "it is broken\n")))


@pytest.mark.parametrize(
    ("packages", "state", "asked"),
    [
        (["alpha"], "present", []),
        (["alpha"], "latest", ["alpha"]),
        (["alpha=1.0"], "present", []),
        (["alpha=1.1"], "present", ["alpha=1.1"]),
        (["beta", "gamma"], "present", ["beta", "gamma"]),
    ],
)
def test_apt_is_asked_only_for_what_is_lacking(packages: list[str], state: str, asked: list[str]) -> None:
    assert _apt.lacking(packages, INSTALLED, state) == asked


def test_a_simulation_is_read_with_versions_before_and_after() -> None:
    steps = _apt.parse_simulation(SIMULATED)
    assert steps[1] == _apt.Step("Inst", "alpha", "1.0", "1.1")
    assert steps[-1] == _apt.Step("Remv", "delta", "3.1-2", None)
    assert _apt.changes(steps, INSTALLED)[0] == {"name": "alpha", "before": "1.0", "after": "1.1"}
    assert _apt.changes(steps, INSTALLED)[2] == {"name": "gamma", "before": None, "after": "2.0"}


def test_nothing_is_removed_and_no_foreign_hold_is_broken() -> None:
    steps = _apt.parse_simulation(SIMULATED)
    assert "would remove delta 3.1-2 from this host" in (_apt.refusal(steps, INSTALLED, []) or "")
    assert "would change alpha, held" in (_apt.refusal(steps[:-1], INSTALLED, []) or "")
    assert _apt.refusal(steps[:-1], INSTALLED, ["alpha"]) is None


def test_holds_are_what_is_not_held_yet_and_must_exist() -> None:
    steps = _apt.parse_simulation(SIMULATED)
    assert _apt.to_hold(["alpha", "gamma"], INSTALLED, steps) == ["gamma"]
    with pytest.raises(AirgapError, match="hold names zeta, which is not installed"):
        _apt.to_hold(["zeta"], INSTALLED, steps)


def test_a_pattern_holds_what_is_installed_or_coming_and_may_hold_nothing() -> None:
    here = {
        name: _apt.Installed("1", working=name != "alpha-removed", held=name == "alpha-held")
        for name in ("alpha", "alpha:amd64", "alpha-held", "alpha-removed", "beta", "toolkit-alpha")
    }
    steps = [_apt.Step("Inst", "alpha-new", None, "1"), _apt.Step("Inst", "alpha-new:i386", None, "1")]
    assert _apt.to_hold(["*alpha*", "!toolkit-*", "zeta*"], here, steps) == ["alpha", "alpha-new"]
    # A name stands, whatever patterns take out.
    assert _apt.to_hold(["*alpha*", "!toolkit-*", "toolkit-alpha"], here, []) == ["toolkit-alpha", "alpha"]
    assert _apt.to_hold(["zeta*"], here, steps) == []


def test_what_a_pattern_holds_may_change() -> None:
    steps = _apt.parse_simulation(SIMULATED)[:-1]
    assert _apt.refusal(steps, INSTALLED, ["alph*"]) is None
    assert "would change alpha, held" in (_apt.refusal(steps, INSTALLED, ["*", "!alpha"]) or "")


@pytest.mark.parametrize(
    ("name", "there", "words"),
    [
        ("linux-headers-6.1.0-56-amd64", [], ["airgap_targets[].kernels", "uname -r"]),
        ("linux-modules-nvidia-580-server-open-6.8.0-60-generic", [], ["airgap_targets[].kernels", "gpu_host_source"]),
        ("nvidia-kernel-dkms", [], ["gpu_host_kernel_modules", "gpu_host_source"]),
        ("kmod-nvidia-open-dkms", [], ["gpu_host_kernel_modules"]),
        ("docker.io", [], ["Check the spelling", "bundle_extra_packages"]),
        (
            "nvidia-fabricmanager=580.95.05-*",
            ["nvidia-fabricmanager 580.105.08-1"],
            ["the depot has only nvidia-fabricmanager 580.105.08-1", "gpu_host_packages_state: latest"],
        ),
        ("docker.io=1", ["docker.io 2"], ["the depot has only docker.io 2", "bundle_extra_packages"]),
    ],
)
def test_what_the_bundle_lacks_has_a_remedy_that_carries_it(name: str, there: list[str], words: list[str]) -> None:
    message = _apt.not_carried([name], "https://depot", lambda _name: there)
    assert all(word in message for word in [name, *words]), message
    assert ("bundle_extra_packages" in message) == ("bundle_extra_packages" in words)


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("E: Unable to locate package nosuch", ["nosuch: not in the bundle's packages", "bundle_extra_packages"]),
        ("E: Version '9' for 'alpha' was not found", ["alpha=9: not in the bundle's packages"]),
        ("E: Package 'x' has no installation candidate", ["x: not in the bundle's packages"]),
        (
            "The following packages have unmet dependencies:\n broken : Depends: nowhere\nE: Unable to correct problems",
            ["unmet dependencies: broken : Depends: nowhere.", "E: Unable to correct problems"],
        ),
        (
            "Err:1 https://depot airgap InRelease\n  SSL connection failed: certificate verify failed\n"
            "E: Failed to fetch https://depot/dists/airgap/InRelease",
            ["SSL connection failed", "repository.ca_path does not vouch"],
        ),
        ("E: The repository 'https://depot airgap InRelease' is not signed.", ["archive-key.asc of the bundle"]),
    ],
)
def test_a_failure_says_what_to_do(output: str, words: list[str]) -> None:
    message = _apt.explain("install alpha", DEPOT, output)
    assert all(word in message for word in words), message
    assert "Failed to fetch" not in message


def test_the_index_is_read_from_the_depot_alone_and_leaves_other_lists() -> None:
    host = Host((0, "", ""))
    _apt.Apt(host, DEPOT).update()
    command = " ".join(host.commands[0])
    assert f"Dir::Etc::sourcelist={_apt.SOURCE_FILE} -o Dir::Etc::sourceparts=/dev/null" in command
    assert "APT::Get::List-Cleanup=0" in command


def test_an_index_that_could_not_be_fetched_is_an_error_though_old_apt_says_0() -> None:
    with pytest.raises(AirgapError, match="could not read the index"):
        _apt.Apt(Host((0, "", "W: Failed to fetch https://depot/dists/airgap/InRelease")), DEPOT).update()


def test_a_busy_list_lock_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    busy = (100, "", "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 1 (apt-get)")
    host = Host(busy, busy, (0, "", ""))
    _apt.Apt(host, DEPOT).update()
    assert len(host.commands) == 3
    with pytest.raises(AirgapError, match="Another package manager is at work"):
        _apt.Apt(Host(busy), DEPOT, lock_timeout=-1).update()


def test_an_exact_version_may_go_back_and_nothing_may_be_removed() -> None:
    host = Host((0, "", ""), (0, "", ""))
    apt = _apt.Apt(host, DEPOT)
    apt.install(["alpha=1.0"])
    apt.install(["alpha"])
    assert "--allow-downgrades" in host.commands[0]
    assert "--allow-downgrades" not in host.commands[1]
    assert "--no-remove" in host.commands[1]


def test_versions_that_belong_together_are_preferred_for_this_run_alone(tmp_path: Path) -> None:
    host = Host((0, "", ""))
    apt = _apt.Apt(host, DEPOT)
    apt.prefer([{"packages": ["*nvidia*", "libcuda1"], "version": "580.95.05-*"}], str(tmp_path))
    apt.install(["alpha"])
    assert f"Dir::Etc::preferences={tmp_path}/preferences" in host.commands[0]
    assert "--allow-downgrades" in host.commands[0]
    text = "Package: *nvidia* libcuda1\nPin: version 580.95.05-*\nPin-Priority: 1001\n"
    assert (tmp_path / "preferences").read_text() == text


def test_a_private_folder_keeps_the_hosts_configuration_out(tmp_path: Path) -> None:
    host = Host((0, SIMULATED, ""))
    steps = _apt.Apt(host, DEPOT._replace(ca="PEM"), private=str(tmp_path)).simulate(["alpha"])
    assert len(steps) == 5
    config = (tmp_path / "apt.conf").read_text()
    assert f'Dir::State::lists "{tmp_path}/lists"' in config
    assert f'CAInfo "{tmp_path}/ca.pem"' in config
    assert f"Signed-By: {tmp_path}/airgap.asc" in (tmp_path / "airgap.sources").read_text()


def test_check_mode_without_any_ca_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(AirgapError, match=r"Give the CA's text as repository\.ca"):
        _apt.Apt(Host(), DEPOT._replace(ca_path="/nonexistent/ca.pem"), private=str(tmp_path))


def test_a_failed_hold_is_reported() -> None:
    _apt.hold(Host(), [])
    with pytest.raises(AirgapError, match="could not hold alpha: no"):
        _apt.hold(Host((1, "", "no\n")), ["alpha"])


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("580.95.05-*", True),
        ("580.95.05*", True),
        ("58?.95.05-1", True),
        ("*580.95.05-1", True),
        ("580.95.05-1", True),
        ("580.105*", False),
        ("580.95.05", False),
        # As apt: before a * at the end nothing else is special.
        ("58?.95.05-*", False),
    ],
)
def test_a_version_may_be_a_pattern_as_apt_takes_it(pattern: str, fits: bool) -> None:
    assert _apt.is_version("580.95.05-1", pattern) is fits
    present = {"driver": _apt.Installed("580.95.05-1", working=True, held=True)}
    wanted = f"driver={pattern}"
    assert _apt.lacking([wanted], present, "present") == ([] if fits else [wanted])


def test_module_streams_are_not_for_apt() -> None:
    assert _apt.to_enable([]) == []
    with pytest.raises(AirgapError, match="knows no module streams"):
        _apt.to_enable(["nvidia-driver:580-open"])


def test_dependencies_are_names_of_every_alternative() -> None:
    shown = "Package: beta\nVersion: 1.5\nPre-Depends: dpkg\nDepends: dkms (>= 3), one:any | two\nDescription: x\n\nPackage: gamma\n\n"
    steps = _apt.parse_simulation(SIMULATED)
    host = Host((0, shown, ""))
    assert _apt.Apt(host, DEPOT).dependencies(steps)["beta"] == {"dkms", "one", "two", "dpkg"}
    assert host.commands[0][-4:] == ["--", "beta=1.5", "alpha=1.1", "gamma=2.0"] and host.commands[0][0] == "apt-cache"
    assert _apt.Apt(Host(), DEPOT).dependencies([]) == {}
    with pytest.raises(AirgapError, match="could not read the index"):
        _apt.Apt(Host((100, "", "E: no")), DEPOT).names("^linux-headers-")


def test_exactly_what_was_named_is_purged() -> None:
    host = Host((0, "Purg alpha [1.0]\n", ""), (0, "", ""))
    _apt.Apt(host, DEPOT).purge(["alpha"])
    assert "-s" in host.commands[0] and "-s" not in host.commands[1]
    with pytest.raises(AirgapError, match="could not purge alpha: beta would go along"):
        _apt.Apt(Host((0, "Purg alpha [1.0]\nRemv beta [1.5]\n", "")), DEPOT).purge(["alpha"])
    with pytest.raises(AirgapError, match="could not purge alpha: E: no"):
        _apt.Apt(Host((100, "", "E: no")), DEPOT).purge(["alpha"])


def test_packages_are_downloaded_where_they_are_wanted(tmp_path: Path) -> None:
    (tmp_path / "beta_1.5_all.deb").touch()
    host = Host((0, "", ""), (100, "", "E: no"))
    apt = _apt.Apt(host, DEPOT)
    assert apt.download(_apt.parse_simulation(SIMULATED)[:1], str(tmp_path)) == [str(tmp_path / "beta_1.5_all.deb")]
    assert host.commands[0][:2] == ["env", f"--chdir={tmp_path}"]
    with pytest.raises(AirgapError, match=r"could not download beta=1\.5"):
        apt.download(_apt.parse_simulation(SIMULATED)[:1], str(tmp_path))


def test_what_changes_the_host_runs_with_the_hosts_own_hooks(tmp_path: Path) -> None:
    _apt.Apt(Host(), DEPOT._replace(ca="PEM"), private=str(tmp_path))
    assert "Dir::Etc::parts" in (tmp_path / "apt.conf").read_text()
    changing = (tmp_path / "changing.conf").read_text()
    assert "Dir::Etc::parts" not in changing and f'Dir::State::lists "{tmp_path}/lists"' in changing


def test_what_dpkg_says_is_told() -> None:
    said = (
        "Setting up alpha (1.0) ...\n"
        "Error! Bad return status for module build on kernel: 6.1.0-56-amd64 (x86_64)\n"
        "Consult /var/lib/dkms/alpha/1.0/build/make.log for more information.\n"
        "dpkg: error processing package alpha (--configure):\n"
        " installed alpha package post-installation script subprocess returned error exit status 10\n"
        "Errors were encountered while processing:\n alpha\n"
        "E: Sub-process /usr/bin/dpkg returned an error code (1)\n"
    )
    told = _apt.explain("install alpha", DEPOT, said)
    assert "Error! Bad return status for module build on kernel: 6.1.0-56-amd64" in told
    assert (
        "dpkg: error processing package alpha (--configure): installed alpha package post-installation script" in told
    )
    assert "error code (1)" not in told


def test_a_version_that_the_depot_lacks_is_told_with_those_that_it_has() -> None:
    # apt-cache madison of apt 2.6.
    listed = " nvidia-fabricmanager | 580.105.08-1 | https://depot/packages/debian-trixie airgap/main amd64 Packages\n"
    missing = "E: Version '580.95.05-*' for 'nvidia-fabricmanager' was not found\n"
    host = Host((100, "", missing), (0, listed, ""))
    with pytest.raises(
        AirgapError, match=r"the depot has only nvidia-fabricmanager 580.105.08-1.*: latest brings driver"
    ):
        _apt.Apt(host, DEPOT).simulate(["nvidia-fabricmanager=580.95.05-*"])
    assert host.commands[-1][-3:] == ["madison", "--", "nvidia-fabricmanager"]
    with pytest.raises(AirgapError, match=r"nosuch: not in the bundle's packages at [^;]*Check the spelling"):
        _apt.Apt(Host((100, "", "E: Unable to locate package nosuch\n")), DEPOT).simulate(["nosuch"])
