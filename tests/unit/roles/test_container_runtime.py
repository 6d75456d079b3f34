# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role container_runtime writes for systemd, and which packages it takes on which system."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.airgap.inference.tests.unit.roles.rendering import REPOSITORY, render

ROLE = REPOSITORY / "roles/container_runtime"
SYSTEMS = sorted(path for path in (ROLE / "vars").glob("*.yml") if path.stem != "main")


def settings(text: str) -> dict[str, dict[str, list[str]]]:
    """The settings of a unit; systemd allows a name more than once."""
    found: dict[str, dict[str, list[str]]] = {}
    section = ""
    for line in text.splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            name, _assigned, value = line.partition("=")
            found.setdefault(section, {}).setdefault(name, []).append(value)
    return found


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    variables: list[dict[str, Any]] = [
        {},
        {
            "container_runtime_data_root": "/data/100% docker",
            "container_runtime_environment": {"PROXY": 'http://a%20b:"c"@example.org', "ANSWER": 42},
        },
        {"container_runtime_gpus": False},
    ]
    into = tmp_path_factory.mktemp("container_runtime")
    names = ["docker.conf", "airgap-cdi.service"]
    return [render("container_runtime", names, values, into / str(index)) for index, values in enumerate(variables)]


def test_docker_waits_for_the_description_of_the_gpus(rendered: list[dict[str, str]]) -> None:
    unit = settings(rendered[0]["docker.conf"])["Unit"]
    assert unit == {"Wants": ["airgap-cdi.service"], "After": ["airgap-cdi.service"]}
    assert "Unit" not in settings(rendered[2]["docker.conf"])


def test_the_description_comes_after_the_driver_and_waits_for_no_target(rendered: list[dict[str, str]]) -> None:
    unit = settings(rendered[0]["airgap-cdi.service"])
    # What is ordered after multi-user.target, as the toolkit's own unit was in 1.19.0, must not be before Docker.
    assert unit["Unit"]["After"] == ["nvidia-persistenced.service airgap-gpu.service"]
    assert "nvidia-cdi-refresh" not in str(unit["Unit"])
    assert unit["Service"]["Type"] == ["oneshot"]
    assert unit["Service"]["ExecStart"][0].startswith("/usr/bin/nvidia-ctk cdi generate --output=")
    # Docker's drop-in calls for it.
    assert "Install" not in unit


def test_docker_waits_for_the_disk_of_its_data(rendered: list[dict[str, str]]) -> None:
    assert settings(rendered[1]["docker.conf"])["Unit"]["RequiresMountsFor"] == ['"/data/100%% docker"']
    assert "RequiresMountsFor" not in rendered[0]["docker.conf"]


def test_the_environment_survives_systemd(rendered: list[dict[str, str]]) -> None:
    assert settings(rendered[1]["docker.conf"])["Service"]["Environment"] == [
        '"ANSWER=42"',
        r'"PROXY=http://a%%20b:\"c\"@example.org"',
    ]


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda path: str(path.stem))
def test_only_the_toolkits_base_is_installed(system: Path) -> None:
    packages = yaml.safe_load(system.read_text())["__container_runtime_packages"]
    assert [name for name in packages if "nvidia" in name] == ["nvidia-container-toolkit-base"]
    assert packages == sorted(packages)
    # Docker from the archive, or from its maker: never half of each.
    archive = {"docker.io"} & set(packages)
    vendor = {"containerd.io", "docker-ce", "docker-ce-cli", "docker-compose-plugin"} & set(packages)
    assert len(archive) + len(vendor) in (1, 4) and not (archive and vendor)


def test_nothing_in_the_role_asks_for_one_package_manager() -> None:
    texts = [path.read_text() for part in ("tasks", "templates") for path in (ROLE / part).iterdir()]
    assert not [word for text in texts for word in ("apt", "dpkg", "dnf", "yum") if word in text.split()]
