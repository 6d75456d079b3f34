# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which other drivers and kernels are choices, how many are tried, and what is said of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.airgap.inference.plugins.module_utils import _apt_repository, _package_choices, _package_stage
from ansible_collections.airgap.inference.plugins.module_utils._command import Result
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._package_stage import Group, Proof, RehearsalError
from ansible_collections.airgap.inference.plugins.module_utils._repository import Target

COLLECTION = Path(_apt_repository.__file__).parents[2]
FLAVOURS: list[dict[str, Any]] = yaml.safe_load((COLLECTION / "roles/bundle/vars/main.yml").read_text())[
    "__bundle_driver_flavours"
]
# apt-get install --simulate nvidia-open-kernel-dkms on Debian 12 with its security updates
UNMET = """\
The following packages have unmet dependencies:
 nvidia-open-kernel-dkms : Depends: firmware-nvidia-gsp (= 535.261.03) or
                                    firmware-nvidia-gsp-535.261.03
                           Depends: nvidia-open-kernel-support--v1
E: Unable to correct problems, you have held broken packages.
"""
HOSTS = Group("hosts", ["rsync", "nvidia-open-kernel-dkms=550.163.01-2"], True)
KERNELS = [f"6.12.{number}+deb13-amd64" for number in (94, 107, 111)] + ["6.12.107+deb13-rt-amd64", "6.12-amd64"]


def test_the_roles_flavours_are_each_others_choices() -> None:
    for name, other in {
        "nvidia-open-kernel-dkms": "nvidia-kernel-dkms",
        "nvidia-kernel-dkms": "nvidia-open-kernel-dkms",
        "nvidia-kernel-open-dkms": "nvidia-kernel-dkms",
        "nvidia-headless-580-server-open": "nvidia-headless-580-server",
        "nvidia-dkms-580": "nvidia-dkms-580-open",
        "nvidia-dkms-open": "nvidia-dkms",
    }.items():
        assert other in _package_choices.others(name, FLAVOURS)
        assert name not in _package_choices.others(name, FLAVOURS)
    assert _package_choices.others("nvidia-smi", FLAVOURS) == []


def test_kernels_of_one_line_differ_in_numbers_only() -> None:
    assert _package_choices.alike("6.1.0-56-amd64", "6.1.0-9-amd64")
    for other in ("6.1.0-56-cloud-amd64", "6.12.107+deb12-amd64", "6.12-amd64"):
        assert not _package_choices.alike("6.1.0-56-amd64", other)


def test_apts_reason_is_its_list_of_unmet_dependencies() -> None:
    assert _package_stage.apt_reasons(Result(100, UNMET.encode(), "")) == [
        "nvidia-open-kernel-dkms : Depends: firmware-nvidia-gsp (= 535.261.03) or firmware-nvidia-gsp-535.261.03",
        "Depends: nvidia-open-kernel-support--v1",
    ]


def test_dpkgs_reason_is_the_package_and_its_script() -> None:
    said = (
        "dpkg: error processing package lab (--configure):\n"
        " installed lab package post-installation script subprocess returned error exit status 3\n"
        "Errors were encountered while processing:\n lab\nE: Sub-process /usr/bin/dpkg returned an error code (1)\n"
    )
    assert _package_stage.apt_reasons(Result(100, b"", said)) == [
        "dpkg: error processing package lab (--configure): "
        "installed lab package post-installation script subprocess returned error exit status 3"
    ]


class Bench:
    """Sources and a stage that answer from tables."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stated: list[str]) -> None:
        self.directory = str(tmp_path)
        self.rehearsed: list[tuple[list[str], list[str]]] = []
        self.uninstallable = ""
        for name, answer in {
            "knows": lambda _root, name: name in ("nvidia-kernel-dkms", "nvidia-open-kernel-dkms"),
            "kernels": lambda _root: KERNELS,
            "resolve": lambda _root, requests: self.resolve(requests),
            "download": lambda *_arguments: None,
        }.items():
            monkeypatch.setattr(_apt_repository.Root, name, answer)
        monkeypatch.setattr(_apt_repository, "publish", lambda *_arguments: True)
        self.root = _apt_repository.Root(str(tmp_path), Target("Debian", "trixie", "amd64", [{}], (), stated))

    def open(self) -> None:
        """The empty root is there."""

    def resolve(self, requests: dict[str, list[str]]) -> list[Any]:
        if any(name.split("=")[0] == self.uninstallable for names in requests.values() for name in names):
            raise AirgapError(f"The packages cannot be installed together; apt's reason:\n{UNMET}")
        return []

    def rehearse(self, _repository: str, group: Group, kernels: list[str], _until: float) -> Proof:
        self.rehearsed.append((group.packages, kernels))
        if "6.12.111+deb13-amd64" in kernels:
            raise RehearsalError("DKMS cannot build it", ["a.c:1:1: error: no"], "does not build: a.c:1:1: error: no")
        return Proof({kernel: ["nvidia-current 550.163.01"] for kernel in kernels}, True)

    def outcomes(self, number: int = 9, minutes: float = 5, kernel: str = "") -> list[str]:
        limits = _package_choices.Limits(FLAVOURS, number, minutes)
        return _package_choices.Sources(self, self.root, limits).outcomes(HOSTS, kernel)  # type: ignore[arg-type]


def test_other_flavours_then_other_kernels_the_nearest_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, monkeypatch, ["6.12.107+deb13-amd64"])
    assert bench.outcomes(kernel="6.12.107+deb13-amd64") == [
        "nvidia-kernel-dkms instead of nvidia-open-kernel-dkms, for 6.12.107+deb13-amd64: "
        "builds: nvidia-current 550.163.01 for 6.12.107+deb13-amd64",
        "the kernel 6.12.111+deb13-amd64: does not build: a.c:1:1: error: no",
        "the kernel 6.12.94+deb13-amd64: builds: nvidia-current 550.163.01 for 6.12.94+deb13-amd64",
    ]
    assert bench.rehearsed[0] == (["rsync", "nvidia-kernel-dkms=550.163.01-2"], ["6.12.107+deb13-amd64"])
    assert bench.rehearsed[2] == (HOSTS.packages, ["6.12.94+deb13-amd64"])


def test_no_more_are_tried_than_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, monkeypatch, ["6.12.107+deb13-amd64"])
    lines = bench.outcomes(number=1)
    assert len(bench.rehearsed) == 1
    assert [line.partition("not tried ")[2] for line in lines[1:]] == ["(bundle_rehearsal_alternatives is 1)"] * 2
    assert "not tried (the time of bundle_rehearsal_minutes is over)" in bench.outcomes(minutes=0)[0]


def test_no_kernel_mends_what_apt_cannot_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, monkeypatch, ["6.12.107+deb13-amd64"])
    bench.uninstallable = "nvidia-open-kernel-dkms"
    assert [line.split(",")[0] for line in bench.outcomes()] == [
        "nvidia-kernel-dkms instead of nvidia-open-kernel-dkms"
    ]
    bench.uninstallable = "nvidia-kernel-dkms"
    assert bench.outcomes(number=0)[0].endswith(
        "cannot be installed: nvidia-open-kernel-dkms : Depends: firmware-nvidia-gsp (= 535.261.03) or "
        "firmware-nvidia-gsp-535.261.03; Depends: nvidia-open-kernel-support--v1"
    )


def test_a_kernel_without_headers_has_neighbours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, monkeypatch, ["6.12.100+deb13-amd64"])
    assert [line.partition(": ")[0] for line in bench.outcomes(number=0)] == [
        "nvidia-kernel-dkms instead of nvidia-open-kernel-dkms",
        "the kernel 6.12.94+deb13-amd64",
        "the kernel 6.12.107+deb13-amd64",
        "the kernel 6.12.111+deb13-amd64",
    ]
