# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's site description: each client has a key of its own, which stands nowhere in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import site_description
import yaml
from airgap_lab import models


@pytest.fixture
def lab(tmp_path: Path) -> site_description.Lab:
    described: dict[str, Any] = {
        "models": {name: f"/models/{name}" for name in models.NAMES},
        "targets": [],
        "room": {"signing_key": str(tmp_path / "keys/staging")},
        "registry": {"registries_conf": "/registries.conf"},
        "compose_command": ["docker", "compose"],
    }
    return site_description.Lab(tmp_path / "cache", tmp_path, tmp_path / "drive", "bastion", described)


def test_clients_have_keys_of_their_own_which_are_not_written_down(
    lab: site_description.Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site_description.subprocess, "run", lambda *_arguments, **_options: None)
    site_description.write_site(lab, tmp_path / "site")
    written = "".join(path.read_text() for path in tmp_path.glob("site/**/*.yml"))
    clients = json.loads((tmp_path / "site/group_vars/all/lab.yml").read_text())["airgap_clients"]
    keys = [site_description.client_key(lab, client["name"]) for client in clients]
    assert len(set(keys)) == len(site_description.CLIENTS)
    assert not [key for key in keys if key in written]
    assert len({client["key_sha256"] for client in clients}) == len(keys)
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "keys").iterdir())


def test_what_instances_name_is_there() -> None:
    inventories = site_description.REPOSITORY / "inventories"
    described = yaml.safe_load((inventories / "lab/group_vars/all/site.yml").read_text())
    carried = {model["name"] for model in described["airgap_models"]}
    engines = {path.stem for path in inventories.glob("engines/*.yml")}
    engines |= {path.stem for path in (inventories.parent / "roles/inference/vars/engines").glob("*.yml")}
    for instance in described["airgap_instances"]:
        assert instance["model"] in carried
        assert instance["engine"] in engines
    allowed = {name for client in site_description.CLIENTS.values() for name in client.get("models", [])}
    assert allowed <= carried
    assert carried <= set(models.NAMES)
