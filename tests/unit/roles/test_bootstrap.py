# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bootstrap of a bundle: real seals and a stand-in for pip, which writes two commands instead of installing Ansible."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "roles/bundle/files/bootstrap"
PYTHON = subprocess.run(
    ["python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], check=True, capture_output=True, text=True
).stdout.strip()
PIP = """
import os, sys
for name in ("ansible", "ansible-galaxy"):
    path = os.path.join(sys.prefix, "bin", name)
    with open(path, "w") as file:
        file.write('#!/bin/sh\\necho "ansible [core 9.9]"\\n')
    os.chmod(path, 0o755)
"""


class Site(NamedTuple):
    """A bundle, who may seal it, and where its controller goes."""

    bundle: Path
    key: Path
    signers: Path
    directory: Path

    def seal(self, key: Path | None = None, **changes: Any) -> None:
        """Write the manifest of what is there, and sign it."""
        files = [
            {"path": str(path.relative_to(self.bundle)), "size": path.stat().st_size, "sha256": sha256(path)}
            for path in sorted(self.bundle.rglob("*"))
            if path.is_file() and not path.name.startswith("manifest.json")
        ]
        manifest = {"format": 1, "files": files, "artifacts": {"controller": {"python": [PYTHON]}}, **changes}
        (self.bundle / "manifest.json").write_text(json.dumps(manifest))
        (self.bundle / "manifest.json.sig").unlink(missing_ok=True)
        command = ["ssh-keygen", "-q", "-Y", "sign", "-n", "airgap-bundle", "-f", str(key or self.key)]
        subprocess.run([*command, str(self.bundle / "manifest.json")], check=True)

    def run(self, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the script as its user does."""
        command = ["/bin/sh", str(self.bundle / "bootstrap"), "--directory", str(self.directory)]
        command += ["--allowed-signers", str(self.signers)]
        return subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, **environment}, timeout=120
        )

    def refused(self, **environment: str) -> str:
        """Run it, require a refusal that installs nothing, and return what it said."""
        done = self.run(**environment)
        assert done.returncode == 1, done.stdout + done.stderr
        assert "REFUSED" in done.stderr
        assert "Traceback" not in done.stderr
        assert not (self.directory / "current").exists()
        return done.stderr


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def new_key(path: Path) -> str:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path)], check=True)
    return path.with_name(path.name + ".pub").read_text().strip()


@pytest.fixture(name="site")
def fixture_site(tmp_path: Path) -> Site:
    site = Site(tmp_path / "bundle", tmp_path / "key", tmp_path / "signers", tmp_path / "opt")
    (site.bundle / "controller/wheels").mkdir(parents=True)
    (site.bundle / "controller/collections").mkdir()
    (site.bundle / "models").mkdir()
    (site.bundle / "models/not-ours").write_bytes(b"not read by the bootstrap")
    shutil.copy(SCRIPT, site.bundle / "bootstrap")
    with zipfile.ZipFile(site.bundle / "controller/wheels/pip-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("pip/__main__.py", PIP)
    (site.bundle / "controller/collections/airgap-inference-0.1.0.tar.gz").write_bytes(b"a collection")
    (site.bundle / "controller/requirements.txt").write_text("ansible-core\n")
    site.signers.write_text(f"release@example.org {new_key(site.key)}\n")
    site.seal()
    return site


def test_it_installs_once_and_says_what_to_type_next(site: Site) -> None:
    done = site.run()
    assert done.returncode == 0, done.stderr
    assert "signed by release@example.org (SHA256:" in done.stdout
    assert f". {site.directory}/activate" in done.stdout
    assert f"airgap_bundle={site.bundle}" in done.stdout
    assert subprocess.check_output([site.directory / "bin/ansible-galaxy"], text=True) == "ansible [core 9.9]\n"
    again = site.run()
    assert again.returncode == 0
    assert "nothing to do" in again.stdout
    assert not list(site.directory.glob(".work.*"))


def test_a_new_bundle_replaces_the_controller(site: Site) -> None:
    assert site.run().returncode == 0
    before = os.readlink(site.directory / "current")
    (site.bundle / "controller/requirements.txt").write_text("ansible-core\ndocker\n")
    site.seal()
    assert site.run().returncode == 0
    after = os.readlink(site.directory / "current")
    assert before != after
    assert os.listdir(site.directory / "releases") == [os.path.basename(after)]


def test_what_a_killed_run_left_is_no_controller(site: Site) -> None:
    assert site.run().returncode == 0
    (site.directory / "current").unlink()
    (site.directory / ".work.killed").mkdir()
    done = site.run()
    assert done.returncode == 0
    assert "installing" in done.stdout
    assert not (site.directory / ".work.killed").exists()


def test_a_flipped_byte_is_named(site: Site) -> None:
    path = site.bundle / "controller/requirements.txt"
    path.write_text("ansible-cord\n")
    assert "controller/requirements.txt: its SHA-256 differs" in site.refused()


def test_a_changed_bootstrap_is_named(site: Site) -> None:
    with (site.bundle / "bootstrap").open("a") as script:
        script.write("# x\n")
    assert "bootstrap: has" in site.refused()


def test_a_file_too_many_is_named(site: Site) -> None:
    (site.bundle / "controller/wheels/evil.whl").write_bytes(b"x")
    assert "controller/wheels/evil.whl: is not in the manifest" in site.refused()


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_a_link_is_refused(site: Site, kind: str, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.mkdir() if kind == "directory" else target.write_bytes(b"x")
    (site.bundle / "controller/wheels/link").symlink_to(target)
    assert "controller/wheels/link: is not in the manifest" in site.refused()


def test_a_missing_file_is_named(site: Site) -> None:
    (site.bundle / "controller/requirements.txt").unlink()
    assert "controller/requirements.txt: is missing" in site.refused()


def test_a_path_that_leaves_the_bundle_is_refused(site: Site) -> None:
    site.seal(files=[{"path": "controller/../../key", "size": 1, "sha256": "0"}])
    assert "controller/../../key: is missing, or not a plain file" in site.refused()


def test_a_foreign_key_is_shown(site: Site, tmp_path: Path) -> None:
    new_key(tmp_path / "foreign")
    site.seal(tmp_path / "foreign")
    fingerprint = subprocess.check_output(["ssh-keygen", "-lf", tmp_path / "foreign.pub"], text=True).split()[1]
    assert fingerprint in site.refused()


def test_a_manifest_that_was_changed_is_refused(site: Site) -> None:
    with (site.bundle / "manifest.json").open("a") as manifest:
        manifest.write("\n")
    assert "is not a signature of manifest.json" in site.refused()


def test_no_signature_is_said(site: Site) -> None:
    (site.bundle / "manifest.json.sig").unlink()
    assert "has no manifest.json.sig" in site.refused()


def test_no_allowed_signers_tells_how_to_make_them(site: Site) -> None:
    site.signers.unlink()
    assert "ssh-ed25519 AAAA" in site.refused()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ('valid-before="20200101"', "line 1: key has expired"),
        ('valid-after="20990101"', "line 1: key is not yet valid"),
        ('namespaces="file"', "line 1: key is not permitted"),
    ],
)
def test_a_key_that_is_not_valid_now_is_told_with_the_reason(site: Site, options: str, said: str) -> None:
    name, key = site.signers.read_text().split(" ", 1)
    site.signers.write_text(f"{name} {options} {key}")
    text = site.refused()
    assert said in text
    assert "clock says 20" in text
    if "namespaces" in options:
        # ssh-keygen names the first line with the key only, unless its time is over.
        return
    # The same key is accepted by another line that is still valid.
    with site.signers.open("a") as signers:
        signers.write(f"second@example.org {key}")
    done = site.run()
    assert done.returncode == 0, done.stderr
    assert "signed by second@example.org (SHA256:" in done.stdout


def test_another_key_that_has_expired_is_no_reason(site: Site, tmp_path: Path) -> None:
    site.signers.write_text(f'old@example.org valid-before="20200101" {new_key(tmp_path / "old")}\n')
    text = site.refused()
    assert "does not allow" in text
    assert "expired" not in text


def test_a_line_may_name_several(site: Site) -> None:
    name, key = site.signers.read_text().split(" ", 1)
    site.signers.write_text(f"{name},second@example.org {key}")
    assert f"signed by {name} (SHA256:" in site.run().stdout


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("chgrp 1 signers; chmod 666 signers", "signers can be written by group and others: chmod go-w "),
        ("chgrp 1 signers; chmod 664 signers", "signers can be written by group: chmod go-w "),
        ("chown 12345 signers", "signers belongs to the user 12345: chown root "),
        ("chmod 777 folder", "folder can be written by others: chmod go-w "),
        ("chmod 777 .", "can be written by others: chmod go-w "),
        ("chmod 666 signers; mv signers real; ln -s ../real folder/signers", "real can be written by others"),
    ],
)
def test_signers_that_others_can_change_are_refused(site: Site, tmp_path: Path, change: str, said: str) -> None:
    if "ch" in change and os.geteuid() != 0:
        pytest.skip("only root can give files away")
    (tmp_path / "folder").mkdir()
    subprocess.run(["sh", "-ec", change], cwd=tmp_path, check=True)
    within = tmp_path / "folder/signers"
    if "folder" in change and not within.is_symlink():
        site.signers.rename(within)
    changed = site._replace(signers=within if "folder" in change else site.signers)
    text = changed.refused()
    assert "others than root or you" in text
    assert said in text


def test_a_sticky_directory_and_the_group_of_root_are_no_danger(site: Site, tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    if os.geteuid() == 0:
        site.signers.chmod(0o664)
    done = site.run()
    assert done.returncode == 0, done.stderr


def as_base(site: Site, **changes: Any) -> None:
    """The manifest of a difference: the controller came with the base."""
    files = json.loads((site.bundle / "manifest.json").read_text())["files"]
    for entry in files:
        if entry["path"].startswith(("bootstrap", "controller/")):
            entry["base"] = True
    base = {"manifest": "0" * 64, "created": "2026-01-02T03:04:05Z"}
    site.seal(**{"files": files, "base": base, **changes})


def test_a_bundle_without_a_new_controller_says_which_one_stays(site: Site) -> None:
    as_base(site)
    shutil.rmtree(site.bundle / "controller")
    text = site.refused()
    assert "brings no new controller; the one of the base stays" in text
    assert "Run the bootstrap of the base bundle (sealed 2026-01-02T03:04:05Z) first" in text


def test_the_controller_of_the_base_is_recognised(site: Site) -> None:
    assert site.run().returncode == 0
    before = os.readlink(site.directory / "current")
    as_base(site)
    shutil.rmtree(site.bundle / "controller")
    done = site.run()
    assert done.returncode == 0, done.stderr
    assert "has the right one already" in done.stdout
    assert f"airgap_bundle={site.bundle}" in done.stdout
    assert os.readlink(site.directory / "current") == before


def test_another_controller_than_the_bases_is_kept_and_told(site: Site) -> None:
    assert site.run().returncode == 0
    before = os.readlink(site.directory / "current")
    (site.bundle / "controller/requirements.txt").write_text("another\n")
    site.seal()
    as_base(site)
    done = site.run()
    assert done.returncode == 1
    assert "has another controller than that base (sealed 2026-01-02T03:04:05Z)" in done.stderr
    assert os.readlink(site.directory / "current") == before


def test_half_a_controller_is_refused(site: Site) -> None:
    files = json.loads((site.bundle / "manifest.json").read_text())["files"]
    next(entry for entry in files if entry["path"].startswith("controller/"))["base"] = True
    site.seal(files=files)
    assert "some files of the controller came with the base, and some did not" in site.refused()


def test_what_lies_on_other_drives_is_none_of_its_business(site: Site) -> None:
    files = json.loads((site.bundle / "manifest.json").read_text())["files"]
    files.append({"path": "models/elsewhere", "size": 1, "sha256": "0" * 64})
    shutil.rmtree(site.bundle / "models")
    volumes = [{"name": "volume-1", "files": ["bootstrap"], "parts": []}]
    (site.bundle / "models").mkdir()
    (site.bundle / "models/x.part-0001").write_bytes(b"half a file")
    site.seal(files=files, volumes=volumes)
    done = site.run()
    assert done.returncode == 0, done.stderr


def test_another_drive_than_the_first_says_where_the_controller_is(site: Site) -> None:
    shutil.rmtree(site.bundle / "controller")
    assert "Of a bundle on several drives it is on the first one" in site.refused()


@pytest.mark.parametrize(("python", "said"), [("3.99", "too old"), ("3.1", "not among them")])
def test_another_python_is_said_with_those_of_the_bundle(site: Site, python: str, said: str) -> None:
    site.seal(artifacts={"controller": {"python": [python]}})
    text = site.refused()
    assert f"python3 is {PYTHON}, {said}: the bundle carries wheels for Python {python}." in text


@pytest.mark.parametrize("missing", ["python3", "ssh-keygen"])
def test_a_missing_program_is_named(site: Site, tmp_path: Path, missing: str) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "dirname", "cat", "python3", "ssh-keygen"):
        found = shutil.which(name)
        assert found
        if name != missing:
            (programs / name).symlink_to(found)
    assert f"there is no {missing} on this machine" in site.refused(PATH=str(programs))


@pytest.mark.parametrize("directory", ["relative", "/with space"])
def test_a_directory_that_scripts_cannot_carry_is_refused(site: Site, directory: str) -> None:
    done = site._replace(directory=Path(directory)).run()
    assert done.returncode == 1
    assert f"--directory is '{directory}'" in done.stderr
