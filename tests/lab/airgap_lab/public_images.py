# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds an image that stands for a public one, and puts it into the lab's registry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from airgap_lab import cache, debian, oci, registry
from airgap_lab.debian import Recipe


class PublicImage(NamedTuple):
    step: str
    name: str
    recipe: Recipe
    settings: dict[str, Any]

    def key(self) -> str:
        return cache.key(self.name, *self.recipe.inputs(), json.dumps(self.settings, sort_keys=True))

    def built(self) -> bool:
        """The step's folder keeps the image's digest; the image itself is in the registry."""
        digest = cache.built(self.step, self.key()) / "digest"
        return digest.exists() and registry.has(self.name, digest.read_text(encoding="utf-8").strip())

    def build(self, environment: Mapping[str, str]) -> None:
        registry.ensure()
        if not self.built():
            cache.remove(cache.built(self.step, self.key()))

        def make(half: Path) -> None:
            archive = half / "root.tar"
            debian.bootstrap(self.recipe, archive, self.step, environment)
            digest = oci.layout(archive, self.settings, half / "layout", cache.log(self.step))
            registry.push(half / "layout", self.name, cache.log(self.step))
            cache.remove(half / "layout")
            cache.write(half / "digest", digest + "\n")

        cache.build(self.step, self.key(), f"{self.step} image ({self.name})", make)
