# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bundle holds what the roles install: their lists are read, none is left out, and nothing comes from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.airgap.inference.plugins.module_utils import _system
from installs import Reader

COLLECTION = Path(__file__).resolve().parents[3]
ROLES = COLLECTION / "roles"
# The connected side fetches; it is the one that fills the bundle.
CONNECTED = "bundle"


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8")) or {}


BUNDLE: dict[str, Any] = {**load(ROLES / "bundle/defaults/main.yml"), **load(ROLES / "bundle/vars/main.yml")}
INSTALLING: list[str] = BUNDLE["__bundle_installing_roles"]
SYSTEM_FILES = [path for path in ROLES.glob("*/vars/*.yml") if path.stem != "main"]


def reader() -> Reader:
    """What the bundle reads: the roles' lists by system, the hosts' own drivers, the images of instances and gateway."""
    lists = {name for path in SYSTEM_FILES for name in load(path) if name.endswith("_packages")}
    variables: dict[str, Any] = {}
    for role in ROLES.iterdir():
        for part in ("defaults", "vars"):
            path = role / part / "main.yml"
            variables.update(load(path) if path.is_file() and role.name != CONNECTED else {})
    # The plan of a host has what the bundle's lists have for its settings (test_driver_plan.py).
    lists.add("__gpu_host_plan")
    images = {"gateway_image", "gateway_images", "gateway_registry", "__gateway_reference", "__inference_plan"}
    # The gateway's image again, see below.
    images.add("__inference_relay_reference")
    return Reader(lists | {"gpu_host_packages", "container_runtime_packages"}, images, variables)


def task_files() -> list[Path]:
    roles = [role for role in sorted(ROLES.iterdir()) if role.name != CONNECTED]
    parts = [path for role in roles for part in ("tasks", "handlers") for path in sorted((role / part).rglob("*.yml"))]
    return [*parts, *sorted((COLLECTION / "playbooks").glob("*.yml"))]


def test_every_role_with_a_list_of_packages_is_read() -> None:
    lists = ("_packages", "_drivers")
    having = {path.parents[1].name for path in SYSTEM_FILES if any(name.endswith(lists) for name in load(path))}
    assert sorted(having) == INSTALLING


@pytest.mark.parametrize("role", INSTALLING)
def test_a_list_has_the_name_of_its_role(role: str) -> None:
    for path in (ROLES / role / "vars").glob("*.yml"):
        if path.stem != "main":
            kind, name = (dict, "__gpu_host_drivers") if role == "gpu_host" else (list, f"__{role}_packages")
            assert isinstance(load(path).get(name), kind), path


@pytest.mark.parametrize("distribution", sorted(_system.FAMILIES))
def test_every_role_knows_every_system(distribution: str) -> None:
    system = {"distribution": distribution, "release": "any"}
    silent = [role for role in INSTALLING if not _system.variable_files(system, str(ROLES / role / "vars"))]
    # The depot is made for Debian's family alone; its preflight says so.
    assert silent == ([] if _system.family(distribution) == "Debian" else ["depot"])


def test_hosts_and_bundle_find_the_same_file() -> None:
    facts = {"distribution": "Debian", "distribution_release": "bookworm", "os_family": "Debian"}
    target = {"distribution": "Debian", "release": "bookworm"}
    rocky = {"distribution": "Rocky", "distribution_major_version": "9", "distribution_release": "Blue Onyx"}
    for role in INSTALLING:
        directory = str(ROLES / role / "vars")
        assert _system.variable_files(facts, directory) == _system.variable_files(target, directory)
        assert _system.variable_files({**rocky, "os_family": "RedHat"}, directory) == _system.variable_files(
            {"distribution": "Rocky", "release": 9}, directory
        )


def test_the_bundle_knows_which_systems_have_dnf() -> None:
    dnf = sorted(name for name in _system.FAMILIES if _system.package_format(name) == "dnf")
    assert f"{dnf}" in BUNDLE["__bundle_dnf_targets"]


def test_the_bundle_reads_drivers_of_hosts_and_the_images_that_are_pulled() -> None:
    spec = load(ROLES / "gpu_host/meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    stated = set(re.findall(r"its\.(gpu_host_\w+)", BUNDLE["__bundle_driver_wishes"]))
    names = ("source", "kernel_modules", "branch", "version", "packages")
    assert stated == {f"gpu_host_{name}" for name in names} <= set(spec)
    assert "__bundle_driver_packages" in BUNDLE["__bundle_packages"]
    spec = load(ROLES / "container_runtime/meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    assert "container_runtime_packages" in spec
    assert "hostvars[host].container_runtime_packages" in BUNDLE["__bundle_runtime_wishes"]
    assert "bundle_instances | map(attribute='image')" in BUNDLE["__bundle_images"]
    assert "bundle_gateway_image" in BUNDLE["__bundle_images"]
    assert "gateway_image" in BUNDLE["bundle_gateway_image"]
    image = load(ROLES / "gateway/defaults/main.yml")["gateway_image"]
    relays = load(ROLES / "inference/defaults/main.yml")["inference_relay_image"]
    assert relays == f"{{{{ gateway_image | default('{image}') }}}}"


def test_no_role_installs_what_a_bundle_would_not_hold() -> None:
    files = task_files()
    # The scan sees the tasks that it is about.
    text = "".join(path.read_text(encoding="utf-8") for path in files)
    assert text.count("airgap.inference.packages:") >= 5 and text.count("airgap.inference.image_pull:") >= 2
    assert [fault for path in files for fault in reader().faults(path)] == []


def test_no_template_names_an_image_or_fetches_anything() -> None:
    roles = [role for role in ROLES.iterdir() if role.name != CONNECTED]
    texts = [path for role in roles for part in ("templates", "vars") for path in (role / part).rglob("*.*")]
    assert any("image:" in path.read_text(encoding="utf-8") for path in texts)
    assert [fault for path in sorted(texts) for fault in reader().text_faults(path)] == []


@pytest.mark.parametrize(
    ("task", "fault"),
    [
        ("airgap.inference.packages: {packages: [tcpdump]}", "tcpdump is named"),
        ("airgap.inference.packages: {packages: \"{{ __base_packages + ['tcpdump'] }}\"}", "tcpdump is named"),
        ("airgap.inference.packages: {packages: \"{{ __base_packages | union(['tcpdump']) }}\"}", "tcpdump is named"),
        ("airgap.inference.packages: {packages: '{{ depot_extra }}'}", "depot_extra is not among"),
        ("block: [{airgap.inference.packages: {packages: ['nginx-{{ depot_flavour }}']}}]", "nginx- is named"),
        ("block: []\n  rescue: [{airgap.inference.packages: {packages: [tcpdump]}}]", "tcpdump is named"),
        ("ansible.builtin.apt: {name: '{{ __base_packages }}'}", "does not install from the depot"),
        ("ansible.builtin.package: {name: rsync}", "does not install from the depot"),
        ("ansible.builtin.pip: {name: requests}", "does not install from the depot"),
        ("community.docker.docker_image_pull: {name: '{{ gateway_image }}'}", "does not install from the depot"),
        ("ansible.builtin.command: {argv: [docker, pull, busybox]}", "the command fetches"),
        ("ansible.builtin.shell: apt-get -y install rsync", "the command fetches"),
        ("ansible.builtin.command: docker run --rm busybox true", "the command fetches"),
        (
            "airgap.inference.image_pull: {images: ['docker.io/library/busybox:1']}",
            "docker.io/library/busybox:1 is named",
        ),
        ("airgap.inference.image_pull: {images: ['{{ helper_image }}']}", "helper_image is not among"),
        ("airgap.inference.image_pull: {images: [\"{{ gateway_images['redis'].reference }}\"]}", "redis is named"),
    ],
)
def test_what_would_be_missing_is_seen(tmp_path: Path, task: str, fault: str) -> None:
    (tmp_path / "main.yml").write_text(f"- name: A task\n  {task}\n")
    assert fault in " ".join(reader().faults(tmp_path / "main.yml"))


@pytest.mark.parametrize(
    "task",
    [
        "airgap.inference.packages: {packages: '{{ __base_packages }}'}",
        "airgap.inference.packages: {packages: '{{ __gpu_host_wanted }}', hold: '{{ __gpu_host_plan.hold }}'}",
        "airgap.inference.packages: {packages: \"{{ __depot_packages | reject('match', 'curl') | list }}\"}",
        "airgap.inference.image_pull: {images: ['{{ __gateway_reference }}']}",
        "ansible.builtin.command: docker info --format json",
    ],
)
def test_what_the_bundle_reads_is_not_held_against_a_role(tmp_path: Path, task: str) -> None:
    (tmp_path / "main.yml").write_text(f"- name: A task\n  {task}\n")
    assert reader().faults(tmp_path / "main.yml") == []


def test_a_template_that_names_an_image_is_seen(tmp_path: Path) -> None:
    (tmp_path / "compose.yml.j2").write_text("services:\n  helper:\n    image: docker.io/library/busybox:1\n")
    (tmp_path / "helper.service.j2").write_text("ExecStartPre=/usr/bin/docker run busybox\n")
    assert "is named here" in reader().text_faults(tmp_path / "compose.yml.j2")[0]
    assert "no bundle holds" in reader().text_faults(tmp_path / "helper.service.j2")[0]
