# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role container_runtime writes for systemd, and which packages it takes on which system."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.airgap.inference.tests.unit.roles.rendering import REPOSITORY, render

ROLE = REPOSITORY / "roles/container_runtime"
ENVIRONMENT = {"PROXY": 'http://a%20b:"c\\d$e `f`"@example.org', "ANSWER": 42, "EMPTY": "", "TWO": " words # here; "}
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
            "container_runtime_environment": ENVIRONMENT,
        },
        {"container_runtime_gpus": False},
        # As -e and AWX give it.
        {"container_runtime_gpus": "false"},
    ]
    into = tmp_path_factory.mktemp("container_runtime")
    names = ["docker.conf", "docker.env", "airgap-cdi.service"]
    return [render("container_runtime", names, values, into / str(index)) for index, values in enumerate(variables)]


def test_docker_waits_for_the_description_of_the_gpus(rendered: list[dict[str, str]]) -> None:
    unit = settings(rendered[0]["docker.conf"])["Unit"]
    assert unit == {"Wants": ["airgap-cdi.service"], "After": ["airgap-cdi.service"]}
    assert "Unit" not in settings(rendered[2]["docker.conf"])
    assert rendered[3] == rendered[2]


def test_the_description_comes_after_the_driver_and_waits_for_no_target(rendered: list[dict[str, str]]) -> None:
    unit = settings(rendered[0]["airgap-cdi.service"])
    # What is ordered after multi-user.target, as the toolkit's own unit was in 1.19.0, must not be before Docker.
    assert unit["Unit"]["After"] == ["nvidia-persistenced.service airgap-gpu.service"]
    assert "nvidia-cdi-refresh" not in str(unit["Unit"])
    assert unit["Service"]["Type"] == ["oneshot"]
    # Nothing else ends a oneshot whose driver hangs, and Docker waits for it.
    assert unit["Service"]["TimeoutStartSec"] == ["120"]
    assert unit["Service"]["ExecStart"][0].startswith("/usr/bin/nvidia-ctk cdi generate --output=")
    # Docker's drop-in calls for it.
    assert "Install" not in unit


def test_docker_waits_for_the_disk_of_its_data(rendered: list[dict[str, str]]) -> None:
    assert settings(rendered[1]["docker.conf"])["Unit"]["RequiresMountsFor"] == ['"/data/100%% docker"']
    assert "RequiresMountsFor" not in rendered[0]["docker.conf"]


def test_the_environment_is_read_as_it_was_stated(rendered: list[dict[str, str]]) -> None:
    text = rendered[1]["docker.env"]
    # No specifiers in such a file (systemd.exec(5), EnvironmentFile=), so one percent sign stays one.
    assert r'PROXY="http://a%20b:\"c\\d\$e \`f\`\"@example.org"' in text.splitlines()
    # What systemd unescapes between double quotes is what a shell does there: parse_env_file_internal in its env-file.c.
    show = [
        "env",
        "-i",
        "sh",
        "-ac",
        f'. "$0"; {sys.executable} -c "import json, os; print(json.dumps(dict(os.environ)))"',
    ]
    with tempfile.NamedTemporaryFile("w", suffix=".env") as file:
        file.write(text)
        file.flush()
        read = json.loads(subprocess.run([*show, file.name], capture_output=True, check=True, text=True).stdout)
    assert {name: read[name] for name in ENVIRONMENT} == {name: str(value) for name, value in ENVIRONMENT.items()}


def test_the_environment_stands_in_no_unit(rendered: list[dict[str, str]]) -> None:
    service = settings(rendered[1]["docker.conf"])["Service"]
    assert service == {"EnvironmentFile": ["/etc/docker/airgap.env"]}
    assert "example.org" not in rendered[1]["docker.conf"]


def play(into: Path, stated: dict[str, Any], *asked: str) -> str:
    """What Ansible says to a run of the role's preflight with variables from -e; of some variables, their values afterwards."""
    tasks: list[dict[str, Any]] = [
        {
            "ansible.builtin.include_role": {
                "name": "airgap.inference.container_runtime",
                "tasks_from": "preflight",
                "public": True,
            }
        },
        {"ansible.builtin.debug": {"msg": "{{ [" + ", ".join(asked) + "] | to_json }}"}},
    ]
    facts = {
        "distribution": "Rocky",
        "distribution_version": "9.6",
        "distribution_major_version": "9",
        "os_family": "RedHat",
    }
    variables = {"ansible_facts": facts, "airgap_repository": {"url": "https://depot.example.org/packages/rocky-9"}}
    (into / "play.json").write_text(
        json.dumps([{"hosts": "localhost", "gather_facts": False, "vars": variables, "tasks": tasks}])
    )
    options = [part for name, value in stated.items() for part in ("-e", json.dumps({name: value}))]
    done = subprocess.run(
        [
            Path(sys.executable).parent / "ansible-playbook",
            "-i",
            "localhost,",
            "-c",
            "local",
            *options,
            into / "play.json",
        ],
        env={**os.environ, "ANSIBLE_LOCALHOST_WARNING": "0", "ANSIBLE_HOME": str(into / "ansible")},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def answers(said: str) -> list[Any]:
    """The values of what was asked in a play."""
    line = next(line for line in said.splitlines() if '"msg"' in line)
    values = json.loads(line.partition(":")[2])
    return list(json.loads(values) if isinstance(values, str) else values)


def test_false_on_the_command_line_is_false(tmp_path: Path) -> None:
    asked = ("__container_runtime_wanted", "__container_runtime_required_options", "__container_runtime_files | length")
    values = answers(play(tmp_path, {"container_runtime_gpus": "false"}, *asked))
    assert "docker-ce" in values[0] and "nvidia-container-toolkit-base" not in values[0]
    assert values[1:] == [{}, 1]


def test_stated_packages_stand_in_place_of_the_roles_own(tmp_path: Path) -> None:
    stated = {"container_runtime_packages": "{{ ['docker-ce', 'nvidia-container-toolkit-base=1.18*'] }}"}
    values = answers(play(tmp_path, stated, "__container_runtime_wanted", "__container_runtime_held"))
    assert values == [["docker-ce", "nvidia-container-toolkit-base=1.18*"], ["nvidia-container-toolkit-base"]]


@pytest.mark.parametrize("name", ["packages", "environment", "daemon_options"])
def test_a_text_in_place_of_data_is_refused_by_name(name: str, tmp_path: Path) -> None:
    said = play(tmp_path, {f"container_runtime_{name}": '["docker-ce"]' if name == "packages" else "A=b"})
    assert f"container_runtime_{name}. State them in the inventory" in " ".join(said.split())


def test_an_odd_name_is_refused_before_systemd_quotes_its_value(tmp_path: Path) -> None:
    stated = {"container_runtime_environment": "{{ {'HTTPS-PROXY': 'hunter2-hunter2'} }}"}
    said = play(tmp_path, stated)
    assert "names that no environment variable can have: HTTPS-PROXY" in " ".join(said.split())
    assert "hunter2" not in said


def test_no_task_takes_a_text_for_true() -> None:
    texts = [path.read_text() for part in ("tasks", "templates", "vars") for path in (ROLE / part).iterdir()]
    uses = [
        use
        for text in texts
        for use in re.findall(r"(?<![\w'])container_runtime_(?:gpus|hold)\b(?! does)(.{0,8})", text)
    ]
    assert len(uses) >= 8 and all(use.startswith(" | bool") for use in uses)


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
