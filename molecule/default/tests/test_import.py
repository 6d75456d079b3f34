# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``import`` and ``bootstrap`` refuse a bundle that is not what was sealed, and go on after a kill."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, Iterator

import pytest
import site_under_test
from site_under_test import REPOSITORY, run_playbook
from testinfra.host import Host

ON_THE_DRIVE = "/media/airgap/damaged"


@pytest.fixture
def damaged() -> Iterator[Path]:
    """A copy of the bundle on the drive (hard links: replace a file, never write into it)."""
    drive = site_under_test.lab().drive
    copy = drive / "damaged"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(drive / "bundle", copy, copy_function=os.link)
    yield copy
    shutil.rmtree(copy)


# What the depot has already is not read from a drive again, so damage is shown to a depot that has nothing.
EMPTY_DEPOT = "/srv/empty"


def flip_a_byte(path: Path) -> None:
    """Replace ``path`` by a copy in which one byte of the middle differs."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x01
    path.unlink()
    path.write_bytes(content)


def published(bastion: Host) -> str:
    """A listing of all that the depot serves, with sizes and times; what drives brought is not served."""
    return bastion.check_output(
        "find /srv/airgap /etc/airgap /etc/nginx -name incoming -prune -o -printf %s", "%p %s %T@ %i\\n"
    )


def flipped_model(bundle: Path) -> str:
    weights = next(bundle.glob("models/tiny/*/*.safetensors"))
    flip_a_byte(weights)
    return str(weights.relative_to(bundle))


def flipped_package(bundle: Path) -> str:
    package = next(bundle.glob("packages/*/pool/**/docker.io_*.deb"))
    flip_a_byte(package)
    return str(package.relative_to(bundle))


def missing_signature(bundle: Path) -> str:
    (bundle / "manifest.json.sig").unlink()
    return "manifest.json.sig"


def foreign_signature(bundle: Path) -> str:
    (bundle / "manifest.json.sig").unlink()
    key = bundle.parent / "foreign"
    for stale in (key, key.with_suffix(".pub")):
        stale.unlink(missing_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    subprocess.run(
        ["ssh-keygen", "-q", "-Y", "sign", "-n", "airgap-bundle", "-f", str(key), str(bundle / "manifest.json")],
        check=True,
    )
    fingerprint = subprocess.run(["ssh-keygen", "-lf", str(key)], check=True, stdout=subprocess.PIPE, text=True)
    return fingerprint.stdout.split()[1]


def changed_manifest(bundle: Path) -> str:
    manifest = bundle / "manifest.json"
    content = manifest.read_text().replace('"site": "lab"', '"site": "other"')
    manifest.unlink()
    manifest.write_text(content)
    return "manifest.json"


def file_too_many(bundle: Path) -> str:
    (bundle / "images" / "blobs" / "stowaway").write_text("not in the manifest")
    return "images/blobs/stowaway"


def missing_file(bundle: Path) -> str:
    wheel = next(bundle.glob("controller/wheels/ansible_core-*.whl"))
    wheel.unlink()
    return str(wheel.relative_to(bundle))


@pytest.mark.parametrize(
    "damage",
    [
        flipped_model,
        flipped_package,
        missing_signature,
        foreign_signature,
        changed_manifest,
        file_too_many,
        missing_file,
    ],
)
def test_import_refuses(damage: Callable[[Path], str], damaged: Path, bastion: Host) -> None:
    """The file or key is named, nothing is published, the exit status is not zero."""
    named = damage(damaged)
    before = published(bastion)
    try:
        run = run_playbook("import", airgap_bundle=ON_THE_DRIVE, depot_directory=EMPTY_DEPOT)
        assert run.status != 0, run.output
        assert named in run.output, run.output
        assert "Traceback" not in run.output
        assert published(bastion) == before
        assert bastion.run(f"ls {EMPTY_DEPOT}").stdout.split() in ([], ["incoming"])
    finally:
        bastion.check_output(f"rm -rf {EMPTY_DEPOT}")


def test_all_damaged_files_are_named_at_once(damaged: Path, bastion: Host) -> None:
    """And what is right is kept for the next try."""
    named = [flipped_model(damaged), flipped_package(damaged)]
    try:
        run = run_playbook("import", airgap_bundle=ON_THE_DRIVE, depot_directory=EMPTY_DEPOT)
        assert run.status != 0, run.output
        assert all(name in run.output for name in named), run.output
        taken = bastion.check_output(f"find {EMPTY_DEPOT}/incoming -type f -name '*.deb' | wc -l")
        assert int(taken) > 10
    finally:
        bastion.check_output(f"rm -rf {EMPTY_DEPOT}")


def test_what_the_depot_has_is_not_read_again(damaged: Path, bastion: Host) -> None:
    """A second import of a bundle is for nothing, whatever its drive is like by now."""
    flipped_model(damaged)
    before = published(bastion)
    run = run_playbook("import", airgap_bundle=ON_THE_DRIVE)
    assert run.status == 0 and "changed=0" in run.output, run.output
    assert published(bastion) == before


@pytest.mark.parametrize("damage", [missing_signature, foreign_signature, missing_file])
def test_bootstrap_refuses(damage: Callable[[Path], str], damaged: Path, bastion: Host) -> None:
    named = damage(damaged)
    run = bastion.run(f"sh {ON_THE_DRIVE}/bootstrap --directory /opt/refused")
    assert run.rc != 0
    assert named in run.stdout + run.stderr, run.stdout + run.stderr
    assert not bastion.file("/opt/refused").exists


@pytest.mark.parametrize("taken", ["incoming", "registry"])
def test_a_killed_import_goes_on(taken: str, bastion: Host) -> None:
    """The depot is emptied, an import is killed, while it takes the bundle or later; the next one ends as if nothing had been."""
    content = (
        "find /srv/airgap -type f -not -path '*/registry/*' -not -path '*/incoming/*' -exec sha256sum {} + | sort -k 2"
    )
    before = bastion.check_output(content)
    # The registry remembers which layers it has, so it is not running while they go.
    bastion.check_output("systemctl stop docker-registry")
    bastion.check_output("rm -rf /srv/airgap/models /srv/airgap/manifest.json /srv/airgap/registry")
    command = [
        str(Path(sys.executable).with_name("ansible-playbook")),
        *("-i", str(REPOSITORY / ".cache/molecule/site"), "-i", str(REPOSITORY / "molecule/shared/inventory")),
        "airgap.inference.import",
    ]
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(REPOSITORY / ".cache/collections")}
    interrupted = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    # Half-way: some of the image's bytes have come.
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and interrupted.poll() is None:
        if int(bastion.run(f"du -sm /srv/airgap/{taken}").stdout.split("\t")[0] or 0) > 100:
            break
        time.sleep(0.2)
    assert interrupted.poll() is None, "the import ended before it could be killed"
    os.killpg(interrupted.pid, signal.SIGKILL)
    interrupted.wait()
    # What it runs on the bastion would end by itself in a minute; a power cut does not wait.
    bastion.run("pkill -9 -f [d]epot_receive")
    bastion.run("pkill -9 skopeo")
    assert not bastion.file("/srv/airgap/manifest.json").exists, "an import that was not finished was published"

    again = run_playbook("import")
    assert again.status == 0, again.output
    assert bastion.check_output(content) == before
    recap = run_playbook("import")
    assert "changed=0" in recap.output, recap.output


def test_the_manifest_lists_what_the_depot_serves(bastion: Host) -> None:
    manifest = json.loads(bastion.file("/srv/airgap/manifest.json").content_string)
    tags = bastion.check_output("python3 -c %s", CATALOGUE)
    for image in manifest["artifacts"]["images"]:
        assert image["repository"] in tags


CATALOGUE = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:5001/v2/_catalog').read().decode())"
