# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every role: defaults and argument specs agree for all entry points, templates use only what exists, nothing is missing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jinja2
import jinja2.meta
import pytest
import yaml
from ansible.plugins.loader import filter_loader, test_loader

ROLES = sorted(path for path in (Path(__file__).resolve().parents[3] / "roles").iterdir() if path.is_dir())
TEMPLATES = sorted(path for role in ROLES for path in (role / "templates").rglob("*.j2"))

# What Ansible gives every template.
GIVEN = {"ansible_facts", "ansible_managed", "ansible_play_hosts", "ansible_play_hosts_all", "group_names", "groups"}
GIVEN |= {
    "ansible_check_mode",
    "ansible_host",
    "hostvars",
    "inventory_hostname",
    "lookup",
    "now",
    "omit",
    "query",
    "role_path",
}


def load(path: Path) -> dict[str, Any]:
    """Read a YAML file that may be absent or empty."""
    return (yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None) or {}


def defaults(role: Path) -> dict[str, Any]:
    return load(role / "defaults" / "main.yml")


def entry_points(role: Path) -> dict[str, dict[str, Any]]:
    specs = load(role / "meta" / "argument_specs.yml").get("argument_specs") or {}
    return {name: spec.get("options") or {} for name, spec in specs.items()}


def variables_of(role: Path) -> set[str]:
    """The names that a role gives values to: defaults, vars, required options, registers, facts and loops."""
    names = set(defaults(role))
    names |= {name for options in entry_points(role).values() for name in options}
    for path in (role / "vars").rglob("*.yml"):
        names |= set(load(path))
    for directory in ("tasks", "handlers"):
        for path in (role / directory).rglob("*.yml"):
            text = path.read_text(encoding="utf-8")
            names |= set(re.findall(r"^\s*(?:register|loop_var|index_var|name): (\w+)$", text, re.MULTILINE))
            names |= set(re.findall(r"^\s+(__\w+):", text, re.MULTILINE))
    return names


class Plugins(dict[str, Any]):
    """Jinja's own filters or tests, then Ansible's, in the way that Jinja asks for them."""

    def __init__(self, builtin: dict[str, Any], loader: Any) -> None:
        super().__init__(builtin)
        self.loader = loader

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name) or self.loader.get(name) or default


by_role = pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)


@by_role
def test_a_role_is_complete(role: Path) -> None:
    for name in ("README.md", "tasks/main.yml", "defaults/main.yml", "meta/main.yml", "meta/argument_specs.yml"):
        assert (role / name).is_file(), f"roles/{role.name}/{name} is missing"
    assert entry_points(role), f"roles/{role.name}/meta/argument_specs.yml describes no entry point"
    galaxy = load(role / "meta" / "main.yml")["galaxy_info"]
    assert galaxy["license"] == "GPL-3.0-or-later"
    assert galaxy["description"]


@by_role
def test_entry_points_are_task_files(role: Path) -> None:
    for entry_point in entry_points(role):
        assert (role / "tasks" / f"{entry_point}.yml").is_file()


@by_role
def test_every_option_has_a_default_or_is_required(role: Path) -> None:
    known = set(defaults(role))
    for entry_point, options in entry_points(role).items():
        required = {name for name, option in options.items() if option.get("required")}
        assert set(options) - known - required == set(), f"{entry_point}: neither required nor in defaults/main.yml"
        assert required & known == set(), f"{entry_point}: required, and yet in defaults/main.yml"


@by_role
def test_every_default_is_an_option(role: Path) -> None:
    options = {name for options in entry_points(role).values() for name in options}
    assert set(defaults(role)) - options == set(), "in defaults/main.yml, and in no entry point of argument_specs.yml"


@by_role
def test_names_carry_the_role(role: Path) -> None:
    names = {name for options in entry_points(role).values() for name in options}
    assert {name for name in names if not name.startswith(f"{role.name}_")} == set()


@by_role
def test_stated_defaults_are_the_defaults(role: Path) -> None:
    values = defaults(role)
    for entry_point, options in entry_points(role).items():
        for name in set(options) & set(values):
            where = f"{entry_point}: {name}"
            # The documentation wants a default of the option's type, so an expression that gives one is told in words.
            if options[name]["type"] in ("list", "dict", "int", "float", "bool") and isinstance(values[name], str):
                assert "default" not in options[name], where
                assert "by default" in options[name]["description"], where
            else:
                assert options[name]["default"] == values[name], where


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: f"{path.parents[1].name}/{path.name}")
def test_templates_use_only_what_exists(template: Path) -> None:
    role = next(role for role in ROLES if role in template.parents)
    environment = jinja2.Environment(trim_blocks=True, autoescape=False)
    environment.filters = Plugins(environment.filters, filter_loader)
    environment.tests = Plugins(environment.tests, test_loader)
    syntax = environment.parse(template.read_text(encoding="utf-8"))
    # A name that only some branches set counts as undeclared in Jinja's eyes.
    own = {name.name for name in syntax.find_all(jinja2.nodes.Name) if name.ctx == "store"}
    unknown = (
        jinja2.meta.find_undeclared_variables(syntax) - own - variables_of(role) - GIVEN - set(environment.globals)
    )
    assert unknown == set(), "nothing gives these names a value"
