# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What need not travel again, because a bundle that was carried before brought it.

Files are the same when their content is: by SHA-256, whatever their name. What the depot does not keep by its
content travels with every difference: the controller (all of it or nothing), the software bill, and the images' index
as soon as any image is new.
"""

from __future__ import annotations

import os

from ansible_collections.airgap.inference.plugins.module_utils import _digest, _manifest
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

# Kept beyond the gap by content: pools of packages, model files, layers in the registry.
_KEPT = ("packages/", "models/", "images/blobs/")
_CONTROLLER = ("bootstrap", "controller/")
_IMAGES = ("images/index.json", "images/oci-layout")


def read_base(path: str) -> tuple[_manifest.Base, _manifest.Manifest]:
    """The manifest of the base, named by its file or by the directory of its bundle."""
    file = os.path.join(path, _manifest.MANIFEST) if os.path.isdir(path) else path
    try:
        with open(file, "rb") as handle:
            data = handle.read()
    except OSError as error:
        raise AirgapError(
            f"bundle_base is {path}, and {file} cannot be read: {error.strerror or error}. Name the manifest.json of the "
            "bundle that was imported last; the depot keeps it too."
        ) from error
    manifest = _manifest.parse(data)
    return _manifest.Base(_digest.sha256_bytes(data), manifest.created), manifest


def mark(files: list[_manifest.File], base: _manifest.Manifest) -> list[_manifest.File]:
    """The same files, each marked when the base brought its content and the depot still has it."""
    brought = {file.sha256 for file in base.files if file.path.startswith(_KEPT)}
    before = {(file.path, file.sha256) for file in base.files}

    def all_same(start: tuple[str, ...]) -> bool:
        wanted = {(file.path, file.sha256) for file in files if file.path.startswith(start)}
        return wanted == {entry for entry in before if entry[0].startswith(start)}

    same_controller, same_images = all_same(_CONTROLLER), all_same(("images/",))

    def has(file: _manifest.File) -> bool:
        if file.path.startswith(_CONTROLLER):
            return same_controller
        if file.path in _IMAGES:
            return same_images
        return file.path.startswith(_KEPT) and file.sha256 in brought

    return [file._replace(base=has(file)) for file in files]
