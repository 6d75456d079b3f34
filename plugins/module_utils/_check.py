# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is this bundle what was sealed? The seal first, then every file."""

from __future__ import annotations

import os
from typing import NamedTuple

from ansible_collections.airgap.inference.plugins.module_utils import _digest, _manifest, _signature
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._progress import Progress


class Checked(NamedTuple):
    """A bundle whose seal holds, and what is wrong with its files (nothing, one hopes)."""

    manifest: _manifest.Manifest
    signer: str
    problems: list[_manifest.Problem]


def check(root: str, allowed_signers: str, workers: int | None = None) -> Checked:
    """Check a bundle. A seal that does not hold is an error; faults of files are listed, all of them."""
    try:
        with open(os.path.join(root, _manifest.MANIFEST), "rb") as handle:
            data = handle.read()
    except OSError as error:
        raise AirgapError(
            f"There is no bundle at {root}: {_manifest.MANIFEST} cannot be read ({error.strerror or error}). Is the drive mounted there?"
        ) from error
    # The bytes that were verified are the bytes that are parsed: the file is read once.
    signer = _signature.verify(data, os.path.join(root, _manifest.SIGNATURE), allowed_signers)
    manifest = _manifest.parse(data)
    try:
        tree = _digest.scan(root)
    except OSError as error:
        raise AirgapError(f"The bundle at {root} cannot be read: {error}.") from error
    problems = _manifest.compare_tree(manifest, tree)
    faulty = {problem.path for problem in problems}
    sizes = {file.path: file.size for file in manifest.files if file.path not in faulty}
    with Progress("check of the bundle", sum(sizes.values())) as progress:
        problems += _manifest.compare_digests(manifest, _digest.sha256_files(root, sizes, workers, progress.add))
    return Checked(manifest, signer, sorted(problems))


def refusal(root: str, problems: list[_manifest.Problem], limit: int = 20) -> str:
    """One message that names what is wrong, so long as that is readable."""
    lines = [
        f"The bundle at {root} is not what was sealed ({len(problems)} {'problem' if len(problems) == 1 else 'problems'}); nothing was taken from it."
    ]
    lines += [f"  {problem.path}: {problem.problem}" for problem in problems[:limit]]
    if len(problems) > limit:
        lines.append(f"  … and {len(problems) - limit} more.")
    lines.append("Carry these files again from the connected side, or remove what does not belong.")
    return "\n".join(lines)
