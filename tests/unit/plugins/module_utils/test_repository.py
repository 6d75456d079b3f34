# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Targets as an inventory describes them, the kernels whose headers there are, and the systems that roles know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _digest, _repository, _system
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

APT = {"uris": "http://mirror.example.org/debian", "suites": "trixie", "signed_by": "/k"}
DNF = {"uris": "http://mirror.example.org/rocky", "signed_by": "/k"}


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ({"distribution": "Fedora", "release": 41, "sources": [DNF]}, "Fedora"),
        ({"distribution": "Debian", "release": "trixie", "sources": []}, "has no sources"),
        ({"distribution": "Ubuntu", "release": "noble", "sources": [APT, DNF]}, "has no suites"),
        (
            {"distribution": "Debian", "release": "trixie", "sources": [APT], "modules": ["a:b"]},
            "only systems with dnf",
        ),
        ({"distribution": "Rocky", "release": 9, "sources": [APT]}, "has suites (trixie)"),
        ({"distribution": "Rocky", "release": 9, "sources": [{**DNF, "components": "main"}]}, "has components (main)"),
        ({"distribution": "RedHat", "release": "Plow", "sources": [DNF]}, "Plow"),
        ({"distribution": "Rocky", "release": 9, "sources": [DNF], "modules": ["nvidia-driver"]}, "name:stream"),
    ],
)
def test_a_target_that_does_not_fit_is_refused(target: dict[str, Any], said: str) -> None:
    (reason,) = _repository.refusals([target])
    assert said in reason


def test_targets_that_fit_are_not_refused() -> None:
    debian = {"distribution": "Debian", "release": "trixie", "sources": [APT], "kernels": ["6.12.107+deb13-amd64"]}
    rocky = {"distribution": "Rocky", "release": 9, "sources": [DNF], "modules": ["nvidia-driver:580-open"]}
    assert _repository.refusals([debian, rocky, {**rocky, "release": "9.6", "modules": None}]) == []


@pytest.mark.parametrize(
    ("wanted", "available", "first"),
    [
        (
            "6.1.0-54-amd64",
            ["6.1.0-9-amd64", "6.1.0-56-amd64", "6.1.0-54-cloud-amd64", "6.12.1-amd64"],
            "6.1.0-56-amd64",
        ),
        ("6.8.0-45-generic", ["6.8.0-45", "6.8.0-44-lowlatency", "6.8.0-31-generic"], "6.8.0-31-generic"),
        ("5.14.0-503.11.1.el9_5.x86_64", ["5.14.0-427.el9.x86_64", "5.14.0-570.el9.x86_64"], "5.14.0-570.el9.x86_64"),
        ("6.1.0-2-amd64", ["6.1.0-1-amd64", "6.1.0-3-amd64"], "6.1.0-3-amd64"),
    ],
)
def test_the_nearest_kernel_comes_first(wanted: str, available: list[str], first: str) -> None:
    assert _repository.nearest(wanted, available)[0] == first


def test_a_kernel_without_headers_names_what_there_is() -> None:
    target = _repository.Target("Debian", "trixie", "amd64", [], [], ["6.1.0-1-amd64"])
    assert _repository.without_headers(target, ["6.1.0-1-amd64", "6.1.0-2-amd64"]) is None
    reason = _repository.without_headers(target, ["6.1.0-2-amd64"]) or ""
    assert "6.1.0-1-amd64 (asked for by airgap_targets[].kernels)" in reason and "for 6.1.0-2-amd64." in reason
    assert "no kernel at all" in (_repository.without_headers(target, []) or "")


def test_who_asks_is_named_by_variable() -> None:
    requests = {"a": ["docker.io", "x=1.0"], "b": ["x/trixie", "kernel-devel-5.14.0-1.el9.x86_64"]}
    assert (
        _repository.who_asks(requests, ["x", "nobody"])
        == "x (asked for by a, b); nobody (asked for by nobody by this name)"
    )
    assert _repository.who_asks(requests, ["kernel-devel-5.14.0-1.el9.x86_64"]).endswith("(asked for by b)")


def package(tmp_path: Path, data: bytes = b"data") -> _repository.Package:
    (tmp_path / "cache/partial").mkdir(parents=True)
    (tmp_path / "cache/p.deb").write_bytes(data)
    return _repository.Package("p", "1", "all", len(data), _digest.sha256_bytes(b"data"), "pool/p.deb", "p.deb")


def test_what_is_copied_is_noted_and_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    item = package(tmp_path)
    record = _digest.Record(str(tmp_path / "digests.json"))
    repository = tmp_path / "repository"
    assert _repository.missing(str(repository), [item], record) == [item]
    assert _repository.bring(str(repository), str(tmp_path / "cache"), [item], "x", record)
    assert record.known(str(repository / "pool/p.deb")) == item.sha256
    monkeypatch.setattr(_repository, "sha256_file", lambda path: pytest.fail(f"{path} is read again"))
    assert not _repository.bring(str(repository), str(tmp_path / "cache"), [item], "x", record)


def test_what_was_damaged_in_the_cache_does_not_stay_in_the_bundle(tmp_path: Path) -> None:
    item = package(tmp_path, b"dama")
    with pytest.raises(AirgapError, match="damaged on the way"):
        _repository.bring(str(tmp_path / "repository"), str(tmp_path / "cache"), [item], "x")
    assert not (tmp_path / "repository/pool/p.deb").exists()


def test_progress_counts_what_has_arrived_and_the_cache_is_trimmed(tmp_path: Path) -> None:
    item = package(tmp_path)
    other = item._replace(cached="other.deb", size=10)
    (tmp_path / "cache/partial/other.deb").write_bytes(b"half")
    (tmp_path / "cache/lock").touch()
    (tmp_path / "cache/old.deb").touch()
    assert _repository.arrived(str(tmp_path / "cache"), [item, other]) == 8
    _repository.trim(str(tmp_path / "cache"), [item])
    assert sorted(path.name for path in (tmp_path / "cache").rglob("*")) == ["lock", "p.deb", "partial"]


def test_the_nearest_file_describes_a_system(tmp_path: Path) -> None:
    for name in ("Debian", "Debian-bookworm", "Ubuntu", "RedHat"):
        (tmp_path / f"{name}.yml").touch()

    def found(**system: Any) -> list[str]:
        return [Path(path).stem for path in _system.variable_files(system, str(tmp_path))]

    assert found(distribution="Debian", release="bookworm") == ["Debian-bookworm", "Debian"]
    assert found(distribution="Debian", release="trixie") == ["Debian"]
    assert found(distribution="Ubuntu", distribution_release="noble", os_family="Debian") == ["Ubuntu", "Debian"]
    assert found(distribution="Rocky", release=9) == ["RedHat"]
    assert found(distribution="Linux Mint", distribution_release="wilma", os_family="Debian") == ["Debian"]
    assert found(distribution="Gentoo", os_family="Gentoo") == []
    with pytest.raises(AirgapError, match="Gentoo"):
        _system.package_format("Gentoo")
