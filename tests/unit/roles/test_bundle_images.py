# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bundle holds the images that roles run by themselves: they are read from the roles, and none is left out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROLES = Path(__file__).resolve().parents[3] / "roles"
# A registry's host, a repository, a tag or a digest: docker.io/library/nginx:1.30
IMAGE = re.compile(
    r"[a-z0-9-]+(\.[a-z0-9-]+)+(:[0-9]+)?(/[a-z0-9._-]+)+(:[A-Za-z0-9_][A-Za-z0-9._-]*|@sha256:[0-9a-f]{64})"
)


def images(data: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Images by the variable (or the task's argument) that names them."""
    if isinstance(data, dict):
        for name, value in data.items():
            yield from images(value, str(name))
    elif isinstance(data, list):
        for value in data:
            yield from images(value, key)
    elif isinstance(data, str) and IMAGE.fullmatch(data):
        yield key, data


def test_every_image_of_a_role_is_in_a_bundle() -> None:
    files = [path for part in ("defaults", "vars", "tasks", "handlers") for path in ROLES.glob(f"*/{part}/**/*.yml")]
    found = {
        (path.relative_to(ROLES).parts[0], key)
        for path in files
        for key, _image in images(yaml.safe_load(path.read_text(encoding="utf-8")))
    }
    defaults = yaml.safe_load((ROLES / "bundle/defaults/main.yml").read_text(encoding="utf-8"))
    variables = yaml.safe_load((ROLES / "bundle/vars/main.yml").read_text(encoding="utf-8"))
    for role, name in found:
        assert name.startswith(f"{role}_"), f"the role {role} hides an image in {name}; make it a default of its own"
        assert f"__bundle_{role}_defaults.{name}" in defaults.get(f"bundle_{name}", ""), (
            f"no bundle holds {name} of {role}"
        )
        assert f"/../{role}/defaults/main.yml" in variables[f"__bundle_{role}_defaults"]
        assert f"bundle_{name}" in variables["__bundle_images"]
    assert ("gateway", "gateway_image") in found


def test_no_template_names_an_image() -> None:
    """What a template runs comes from a variable, so that a bundle can hold it."""
    texts = {path: path.read_text(encoding="utf-8") for path in ROLES.glob("*/templates/**/*") if path.is_file()}
    named = {
        str(path.relative_to(ROLES)): line
        for path, text in texts.items()
        for line in text.splitlines()
        if re.match(r"\s*image\s*:", line) and "{{" not in line
    }
    assert not named


def test_an_image_is_recognised() -> None:
    assert dict(
        images({"a_image": "docker.io/library/nginx:1.30", "b": ["x.org:5000/a/b@sha256:" + "a" * 64], "c": "/etc/x.d"})
    ) == {
        "a_image": "docker.io/library/nginx:1.30",
        "b": "x.org:5000/a/b@sha256:" + "a" * 64,
    }
