# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure the bundle itself: how fast it is hashed, and how little a second one carries."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import import_local

sys.path.insert(0, str(import_local.COLLECTIONS))

from ansible_collections.airgap.inference.plugins.module_utils import _digest


def hashing(size: int) -> tuple[float, float, int]:
    """Bytes a second that are hashed by one core and by all, from memory; and how many cores these are."""
    cores = _digest.default_workers()
    with tempfile.TemporaryDirectory(prefix="airgap-bench-") as name:
        block = os.urandom(2**20)
        sizes = {str(number): size // cores for number in range(cores)}
        for path in sizes:
            with open(os.path.join(name, path), "wb") as handle:
                for _chunk in range(size // cores // len(block)):
                    handle.write(block)
        rates = []
        for workers in (1, cores):
            spent = []
            for _turn in range(3):
                start = time.monotonic()
                _digest.sha256_files(name, sizes, workers)
                spent.append(time.monotonic() - start)
            rates.append(size / min(spent))
    return rates[0], rates[1], cores


def difference(size: int) -> tuple[int, int, list[str]]:
    """The bytes of a bundle with one small model more, the bytes of its difference, and the files that it has."""
    with tempfile.TemporaryDirectory(prefix="airgap-bench-") as name:
        place = Path(name)
        bundle, _allowed = import_local.make(place, size, 3)
        base = place / "base.json"
        base.write_bytes((bundle / "manifest.json").read_bytes())
        source = place / "small"
        source.mkdir()
        (source / "config.json").write_text("{}")
        (source / "model.safetensors").write_bytes(os.urandom(2**20))
        models: list[dict[str, Any]] = json.loads(base.read_text())["artifacts"]["models"]
        # The model of the base is at its place; only the new one is collected.
        (place / "collected").mkdir()
        wanted = {"name": "small", "source": str(source)}
        collected: Any = import_local.run(
            "bundle_models", path=str(place / "collected"), models=[wanted], cache=str(place / "cache")
        )
        os.rename(place / "collected/small", bundle / "models/small")
        artifacts = {"packages": [], "images": [], "models": [*models, *collected["artifacts"]], "controller": {}}
        sealed: Any = import_local.run(
            "bundle_manifest",
            **{"path": str(bundle), "site": "bench", "created_by": "bench", "artifacts": artifacts},
            **{"signing_key": str(place / "key"), "base": str(base), "carry_directory": str(place / "carry")},
        )
        carried = {
            str(path.relative_to(place / "carry")): path for path in (place / "carry").rglob("*") if path.is_file()
        }
        return int(sealed["size"]), sum(path.stat().st_size for path in carried.values()), sorted(carried)


def main() -> None:
    """Print the figures."""
    one, every, cores = hashing(2 * 10**9)
    print(f"hashing: {one / 1e9:.2f} GB/s with one core, {every / 1e9:.2f} GB/s with {cores} (aim 1.5 a core)")
    whole, carried, files = difference(2 * 10**9)
    print(f"a small model more: the bundle has {whole} bytes, the difference {carried}: {', '.join(files)}")


if __name__ == "__main__":
    main()
