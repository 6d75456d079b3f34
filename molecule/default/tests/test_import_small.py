# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``import`` of a bundle that builds on the one before, and of one in volumes, at the lab's depot."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Iterator

import pytest
import site_under_test
from site_under_test import PlaybookRun, run_playbook
from testinfra.host import Host

MODEL = "models/added/0123456789abcdef"
MEGABYTE = 1_000_000


class Added:
    """The lab's bundle and one more model, carried without what the depot has."""

    def __init__(self, drive: Path, signing_key: str) -> None:
        self.drive = drive
        self.signing_key = signing_key
        whole = (drive / "bundle/manifest.json").read_bytes()
        self.base: dict[str, Any] = json.loads(whole)
        weights = {f"{MODEL}/model-{number}.safetensors": os.urandom(12 * MEGABYTE) for number in (1, 2)}
        self.content = {**weights, f"{MODEL}/config.json": b"{}"}
        sums = "".join(
            f"{hashlib.sha256(data).hexdigest()}  {path[len(MODEL) + 1 :]}\n"
            for path, data in sorted(self.content.items())
        ).encode()
        self.content[f"{MODEL}.sha256"] = sums
        model = {
            **{"name": "added", "revision": MODEL.rpartition("/")[2], "directory": MODEL, "source": "/srv/added"},
            **{"digest": hashlib.sha256(sums).hexdigest(), "files": 3, "size": 24 * MEGABYTE + 2},
        }
        artifacts = self.base["artifacts"]
        self.manifest: dict[str, Any] = {
            **self.base,
            "created": "2099-01-01T00:00:00Z",
            "base": {"manifest": hashlib.sha256(whole).hexdigest(), "created": self.base["created"]},
            "artifacts": {**artifacts, "models": [*artifacts["models"], model]},
            "files": [
                *({**file, "base": True} for file in self.base["files"]),
                *(
                    {"path": path, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
                    for path, data in self.content.items()
                ),
            ],
        }

    def carry(self, name: str, files: dict[str, bytes]) -> str:
        """Files on the drive with the sealed manifest; returns where the bastion finds them."""
        place = self.drive / name
        shutil.rmtree(place, ignore_errors=True)
        for path, data in files.items():
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            (place / path).write_bytes(data)
        (place / "manifest.json").write_text(json.dumps(self.manifest))
        sign = ["ssh-keygen", "-q", "-Y", "sign", "-n", "airgap-bundle", "-f", self.signing_key]
        subprocess.run([*sign, str(place / "manifest.json")], check=True)
        return f"/media/airgap/{name}"

    def volumes(self) -> list[dict[str, bytes]]:
        """Lay it out on three drives, files above 5 MB in parts, and describe that; what each drive has."""
        contents: list[dict[str, bytes]] = [{}, {}, {}]
        self.manifest["volumes"] = [
            {"name": f"volume-{number}", "files": [], "parts": []} for number in range(1, len(contents) + 1)
        ]
        turn = 0
        for path, data in self.content.items():
            for number, offset in enumerate(range(0, len(data), 5 * MEGABYTE), start=1):
                volume, here = self.manifest["volumes"][turn % 3], contents[turn % 3]
                part = data[offset : offset + 5 * MEGABYTE]
                turn += 1
                if len(part) == len(data):
                    volume["files"].append(path)
                    here[path] = data
                    continue
                name = f"{path}.part-{number:04d}"
                here[name] = part
                volume["parts"].append(
                    {
                        **{"path": path, "file": name, "offset": offset, "size": len(part)},
                        "sha256": hashlib.sha256(part).hexdigest(),
                    }
                )
        return contents


@pytest.fixture
def added(bastion: Host) -> Iterator[Added]:
    """Afterwards the depot has the lab's own bundle again, and nothing else."""
    lab = site_under_test.lab()
    bundle = Added(lab.drive, lab.described["room"]["signing_key"])
    yield bundle
    for place in lab.drive.glob("small*"):
        shutil.rmtree(place)
    again = run_playbook("import")
    assert again.status == 0, again.output
    bastion.check_output("rm -rf /srv/airgap/models/added /srv/airgap/incoming/*/")


def served(bastion: Host, bundle: Added) -> None:
    """The depot has the model, bit by bit, and names it."""
    manifest = json.loads(bastion.file("/srv/airgap/manifest.json").content_string)
    assert manifest["created"] == bundle.manifest["created"]
    listed = "".join(
        f"{hashlib.sha256(data).hexdigest()}  /srv/airgap/{path}\n" for path, data in bundle.content.items()
    )
    bastion.check_output("printf %%s %s | sha256sum --check --strict --quiet", listed)
    assert not bastion.file(f"/srv/airgap/incoming/{bundle_name(bundle)}").exists


def bundle_name(bundle: Added) -> str:
    """What its area is called, while it is there."""
    return hashlib.sha256(json.dumps(bundle.manifest).encode()).hexdigest()[:16]


def imported(name: str, *arguments: str) -> PlaybookRun:
    """An import that ends well."""
    run = run_playbook("import", *arguments, airgap_bundle=name)
    assert run.status == 0, run.output
    return run


def test_only_what_is_new_is_carried(added: Added, bastion: Host) -> None:
    place = added.carry("small", added.content)
    # All but the two weights is smaller than the manifest of a real site.
    carried = sum(path.stat().st_size for path in (added.drive / "small").rglob("*") if path.is_file())
    whole = sum(file["size"] for file in added.base["files"])
    assert carried < 25 * MEGABYTE < whole / 10
    imported(place, "--check")
    assert not bastion.file(f"/srv/airgap/{MODEL}").exists
    imported(place)
    served(bastion, added)
    assert "changed=0" in imported(place).output


def test_a_base_that_is_not_there_is_named(added: Added, bastion: Host) -> None:
    absent = hashlib.sha256(b"a file that no bundle brought").hexdigest()
    added.manifest["files"].append(
        {"path": f"{MODEL}/elsewhere.safetensors", "size": 29, "sha256": absent, "base": True}
    )
    run = run_playbook("import", airgap_bundle=added.carry("small", added.content))
    assert run.status != 0, run.output
    for word in (f"{MODEL}/elsewhere.safetensors", added.base["created"], added.manifest["base"]["manifest"]):
        assert word in run.output, run.output
    assert "Traceback" not in run.output
    assert not bastion.file(f"/srv/airgap/{MODEL}").exists


def test_volumes_come_one_at_a_time_and_in_any_order(added: Added, bastion: Host) -> None:
    contents = added.volumes()
    before = bastion.file("/srv/airgap/manifest.json").content_string
    places = [added.carry(f"small-{number}", content) for number, content in enumerate(contents, start=1)]
    run = imported(places[2])
    assert "volume-1" in run.output and "volume-2" in run.output and "Mount the next drive" in run.output
    assert "volume-2" in imported(places[0]).output
    # The same one again does no harm, and nothing was published yet.
    assert "volume-2" in imported(places[0]).output
    assert bastion.file("/srv/airgap/manifest.json").content_string == before
    assert not bastion.file(f"/srv/airgap/{MODEL}").exists
    imported(places[1])
    served(bastion, added)


def test_a_damaged_part_is_named(added: Added, bastion: Host) -> None:
    contents = added.volumes()
    part = next(path for path in contents[0] if ".part-" in path)
    damaged = {**contents[0], part: bytes(len(contents[0][part]))}
    run = run_playbook("import", airgap_bundle=added.carry("small-1", damaged))
    assert run.status != 0 and part in run.output, run.output
    assert not bastion.file(f"/srv/airgap/{MODEL}").exists
