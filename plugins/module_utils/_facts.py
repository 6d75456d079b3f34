# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a depot holds, in the form that the roles of the hosts use."""

from __future__ import annotations

import os
from typing import Any

from ansible_collections.airgap.inference.plugins.module_utils import _manifest
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError


def read(directory: str) -> dict[str, Any]:
    """The published manifest by names, with the keys that sign the package repositories."""
    try:
        with open(os.path.join(directory, _manifest.MANIFEST), "rb") as handle:
            manifest = _manifest.parse(handle.read())
        packages = manifest.artifacts["packages"]
        keys = {item["directory"]: _text(os.path.join(directory, item["key"])) for item in packages}
    except OSError as error:
        raise AirgapError(
            f"The depot has nothing to give: {error.filename} cannot be read ({error.strerror}). "
            "Run the playbook airgap.inference.import first; it publishes a bundle there."
        ) from error
    return {
        "site": manifest.site,
        "created": manifest.created,
        **_held(manifest.artifacts),
        "packages": packages,
        "keys": keys,
        "repositories": {
            f"{item['distribution']}-{item['release']}-{item['architecture']}": {
                "path": item["directory"],
                # A repository of dnf has neither.
                "suite": item.get("suite", ""),
                "component": item.get("component", ""),
                "key": keys[item["directory"]],
            }
            for item in packages
        },
    }


def contents(images: list[dict[str, Any]], models: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What an instance can name, from the manifest's artifacts: images and models by their names."""
    return {
        "images": {
            item["name"]: {"reference": f"{item['repository']}@{item['digest']}", "digest": item["digest"]}
            for item in images
        },
        "models": {
            item["name"]: {
                **{name: item[name] for name in ("revision", "digest", "size")},
                # Which file an engine is given that takes a file.
                "gguf": [str(path) for path in item.get("gguf") or []],
            }
            for item in models
        },
    }


def _held(artifacts: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The contents, with what else is known of the images: what they take, and which CUDA they are built with."""
    held = contents(artifacts["images"], artifacts["models"])
    for item in artifacts["images"]:
        stated = item.get("cuda")
        cuda = {key: str(value) for key, value in stated.items()} if isinstance(stated, dict) else {}
        held["images"][item["name"]].update(size=item["size"], cuda=cuda, flags={})
    for item in artifacts.get("rehearsals") or []:
        # What the engine in an image told of its flags when it was rehearsed.
        image, told = held["images"].get(str(item.get("image"))), item.get("flags")
        if image is not None and isinstance(told, list) and told:
            image["flags"][str(item.get("engine"))] = [str(flag) for flag in told]
    return held


def _text(path: str) -> str:
    with open(path, encoding="ascii", errors="replace") as handle:
        return handle.read()
