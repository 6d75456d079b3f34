# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is remembered of a rehearsal, and what the manifest says of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _package_rehearsal, _throwaway_root
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._package_choices import Limits
from ansible_collections.airgap.inference.plugins.module_utils._package_rehearsal import Memory, Rehearsal
from ansible_collections.airgap.inference.plugins.module_utils._package_stage import (
    Group,
    Proof,
    RehearsalError,
    Stage,
)
from ansible_collections.airgap.inference.plugins.module_utils._repository import Target

KERNEL = "6.1.0-56-amd64"
SOURCE = {"uris": "http://mirror.example.org", "suites": "bookworm", "signed_by": "/k"}
TARGET = Target("Debian", "bookworm", "amd64", [SOURCE], (), [KERNEL])
HOSTS, DEPOT = Group("hosts", ["nvidia-kernel-dkms"], True), Group("the depot", ["nginx"])
BUILT = Proof({KERNEL: ["nvidia-current 535.309.01"]}, True)


def rehearsal(cache: Path, target: Target = TARGET) -> Rehearsal:
    return Rehearsal(target, [HOSTS, DEPOT], str(cache), 7, Limits([], 0, 0))


@pytest.fixture(name="repository")
def fixture_repository(tmp_path: Path) -> Path:
    index = tmp_path / "repository/dists/airgap/main/binary-amd64/Packages"
    index.parent.mkdir(parents=True)
    index.write_text("Package: nginx\n")
    return tmp_path / "repository"


@pytest.fixture(name="rehearsed")
def fixture_rehearsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    groups: list[str] = []

    def rehearse(_stage: Stage, _repository: str, group: Group, _kernels: list[str]) -> Proof:
        groups.append(group.name)
        return BUILT if group.kernels else Proof({}, False)

    monkeypatch.setattr(Stage, "open", lambda _stage: None)
    monkeypatch.setattr(Stage, "rehearse", rehearse)
    monkeypatch.setattr(_throwaway_root, "refusal", lambda _architecture: None)
    return groups


def test_what_was_shown_is_remembered_until_something_changes(
    tmp_path: Path, repository: Path, rehearsed: list[str]
) -> None:
    first = rehearsal(tmp_path)
    assert first.remembered(str(repository)) is None
    shown = first.perform(str(repository))
    assert rehearsed == ["hosts", "the depot"]
    assert shown == {
        "kind": "packages",
        "name": "debian-bookworm-amd64",
        "level": "modules",
        "kernels": {KERNEL: ["nvidia-current 535.309.01"]},
    }
    assert rehearsal(tmp_path).remembered(str(repository)) == shown
    assert rehearsal(tmp_path, TARGET._replace(kernels=[])).remembered(str(repository)) is None
    other = Rehearsal(TARGET, [HOSTS], str(tmp_path), 7, Limits([], 0, 0))
    assert other.remembered(str(repository)) is None
    (repository / "dists/airgap/main/binary-amd64/Packages").write_text("Package: nginx\nVersion: 2\n")
    assert rehearsal(tmp_path).remembered(str(repository)) is None


def test_a_failure_is_told_and_not_remembered(
    tmp_path: Path, repository: Path, rehearsed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> Proof:
        raise RehearsalError(f"DKMS cannot build x 1 for the kernel {KERNEL}", ["x.c:1: error: no"], "", KERNEL)

    monkeypatch.setattr(Stage, "rehearse", fail)
    monkeypatch.setattr(
        _package_rehearsal.Sources,
        "outcomes",
        lambda _sources, _group, kernel: [f"y instead of x, for {kernel}: builds"],
    )
    with pytest.raises(AirgapError) as caught:
        rehearsal(tmp_path).perform(str(repository))
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("Debian bookworm amd64: the packages of hosts") and KERNEL in lines[0]
    assert lines[1] == "  x.c:1: error: no"
    assert lines[3] == f"  y instead of x, for {KERNEL}: builds"
    assert "gpu_host_packages" in lines[4] and "airgap_targets[].kernels" in lines[4]
    assert rehearsal(tmp_path).remembered(str(repository)) is None


def test_a_repository_that_is_not_there_is_no_success(tmp_path: Path, rehearsed: list[str]) -> None:
    with pytest.raises(AirgapError, match="is no repository of packages for Debian bookworm amd64"):
        rehearsal(tmp_path).perform(str(tmp_path / "none"))


def test_modules_for_no_kernel_are_said_to_be_unproven() -> None:
    bare = TARGET._replace(kernels=[])
    shown = _package_rehearsal.entry("n", bare, [Proof({}, True), Proof({}, False)])
    assert shown["level"] == "installed" and "airgap_targets[].kernels" in shown["reason"]
    assert "reason" not in _package_rehearsal.entry("n", bare, [Proof({}, False)])


def test_other_systems_are_not_rehearsed(tmp_path: Path) -> None:
    rocky = Target("Rocky", "9", "amd64", [{"uris": "http://mirror.example.org", "signed_by": "/k"}])
    assert rehearsal(tmp_path, rocky).obstacle() == "only targets with apt are rehearsed"
    shown = _package_rehearsal.unproven(rocky, "only targets with apt are rehearsed")
    assert (shown["level"], shown["name"]) == ("none", "rocky-9-amd64")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"n": 1}', '{"n": {"of": "x"}}'])
def test_a_damaged_memory_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "memory").write_text(text)
    memory = Memory(str(tmp_path / "memory"))
    assert memory.recall("n", "x") is None
    memory.keep("n", "x", {"level": "installed"})
    assert Memory(str(tmp_path / "memory")).recall("n", "x") == {"level": "installed"}
