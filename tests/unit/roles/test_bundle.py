# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bundle holds what the roles install: their lists are read, none is left out."""

from __future__ import annotations

from pathlib import Path

import yaml

ROLES = Path(__file__).resolve().parents[3] / "roles"


def test_every_role_with_a_list_of_packages_is_read() -> None:
    read = yaml.safe_load((ROLES / "bundle/vars/main.yml").read_text(encoding="utf-8"))["__bundle_installing_roles"]
    lists = {path: yaml.safe_load(path.read_text(encoding="utf-8")) for path in ROLES.glob("*/vars/*.yml")}
    having = {
        path.parents[1].name
        for path, data in lists.items()
        if path.stem != "main" and any(name.endswith("_packages") for name in data or {})
    }
    assert sorted(having) == read


def test_every_listed_role_describes_the_same_distributions() -> None:
    read = yaml.safe_load((ROLES / "bundle/vars/main.yml").read_text(encoding="utf-8"))["__bundle_installing_roles"]
    described = {role: {path.stem for path in (ROLES / role / "vars").glob("*.yml")} - {"main"} for role in read}
    assert all(names == described["base"] for names in described.values()), described
