# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The package repository, with the real apt: a small signed source is made, resolved from nothing, and published."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _apt_repository as apt
from ansible_collections.airgap.inference.plugins.module_utils import _package_formats as formats
from ansible_collections.airgap.inference.plugins.module_utils import _repository as repository
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._openpgp import SigningKey
from ansible_collections.airgap.inference.plugins.module_utils._repository import KEY, Target

TOOLS = ("apt-get", "apt-ftparchive", "dpkg-deb", "gpg")
pytestmark = pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason=f"one of {', '.join(TOOLS)} is not installed")

PACKAGES = {
    "app": "Version: 1:2.0+x~1\nDepends: library (>= 1)\nRecommends: extra",
    "library": "Version: 1.5",
    "extra": "Version: 1",
    "broken": "Version: 1\nDepends: nowhere",
    "rival": "Version: 1\nConflicts: app",
    "linux-headers-6.1.0-2-amd64": "Version: 1\nDepends: linux-headers-6.1.0-2-common",
    "linux-headers-6.1.0-2-common": "Version: 1",
    "linux-headers-amd64": "Version: 1",
}


class Source:
    """A signed flat repository of tiny packages."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.key = SigningKey(str(root.parent / "source.key"), "the source")
        for name, fields in PACKAGES.items():
            control = root / "build/DEBIAN/control"
            control.parent.mkdir(parents=True, exist_ok=True)
            control.write_text(
                f"Package: {name}\n{fields}\nArchitecture: all\nMaintainer: x <x@example.org>\nDescription: x\n"
            )
            subprocess.run(
                ["dpkg-deb", "--root-owner-group", "-b", "build", f"{name}.deb"],
                cwd=root,
                check=True,
                stdout=subprocess.DEVNULL,
            )
        shutil.rmtree(root / "build")
        self.public = self.key.public().decode()
        self.sign()

    def sign(self) -> None:
        (self.root / "InRelease").unlink(missing_ok=True)
        for name, command in (("Packages", ["packages", "."]), ("Release", ["release", "."])):
            (self.root / name).write_bytes(
                subprocess.run(["apt-ftparchive", *command], cwd=self.root, check=True, capture_output=True).stdout
            )
        (self.root / "InRelease").write_bytes(self.key.clearsign(str(self.root / "Release")))

    def target(self, **fields: str) -> Target:
        source = {"uris": f"file:{self.root}", "suites": "./", "components": None, "signed_by": self.public, **fields}
        return Target("Debian", "trixie", "amd64", [source])


@pytest.fixture(name="source", scope="module")
def fixture_source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    root = tmp_path_factory.mktemp("apt") / "source"
    root.mkdir()
    return Source(root)


def prepared(tmp_path: Path, target: Target) -> apt.Root:
    root = apt.Root(str(tmp_path / "root"), target)
    root.prepare()
    root.update()
    return root


def publish(tmp_path: Path, root: apt.Root, key: SigningKey, requests: dict[str, list[str]]) -> bool:
    packages = root.resolve(requests)
    root.download(requests)
    return apt.publish(str(tmp_path / "repository"), root, packages, key, str(tmp_path / "cache"))


def test_dependencies_come_along_and_recommendations_do_not(tmp_path: Path, source: Source) -> None:
    packages = prepared(tmp_path, source.target()).resolve({"__x_packages": ["app"]})
    assert [(package.name, package.version, package.file) for package in packages] == [
        ("app", "1:2.0+x~1", "pool/app_2.0+x~1_all.deb"),
        ("library", "1.5", "pool/library_1.5_all.deb"),
    ]


def test_what_is_published_is_a_source_for_apt(tmp_path: Path, source: Source) -> None:
    root = prepared(tmp_path, source.target())
    assert publish(tmp_path, root, source.key, {"x": ["app"]})
    repository = tmp_path / "repository"
    key = (repository / KEY).read_text()
    assert "BEGIN PGP PUBLIC KEY" in key and "PRIVATE" not in key
    assert os.stat(source.key.path).st_mode & 0o777 == 0o600
    (tmp_path / "second").mkdir()
    again = prepared(
        tmp_path / "second",
        Target(
            "Debian",
            "trixie",
            "amd64",
            [{"uris": f"file:{repository}", "suites": apt.SUITE, "components": apt.COMPONENT, "signed_by": key}],
        ),
    )
    assert [package.name for package in again.resolve({"x": ["app"]})] == ["app", "library"]


def test_publishing_the_same_again_changes_nothing(tmp_path: Path, source: Source) -> None:
    root = prepared(tmp_path, source.target())
    publish(tmp_path, root, source.key, {"x": ["app"]})
    signed = (tmp_path / "repository/dists/airgap/InRelease").read_bytes()
    assert not publish(tmp_path, root, source.key, {"x": ["app"]})
    assert (tmp_path / "repository/dists/airgap/InRelease").read_bytes() == signed


def test_what_is_no_longer_asked_for_goes(tmp_path: Path, source: Source) -> None:
    root = prepared(tmp_path, source.target())
    publish(tmp_path, root, source.key, {"x": ["app", "extra"]})
    (tmp_path / "repository/pool/.app.deb.part").write_text("left by a killed copy")
    assert publish(tmp_path, root, source.key, {"x": ["library"]})
    assert apt.published(str(tmp_path / "repository"), "amd64") == [("library", "1.5", "all")]
    assert [path.name for path in (tmp_path / "repository/pool").iterdir()] == ["library_1.5_all.deb"]


def test_an_unknown_name_is_told_with_who_asked(tmp_path: Path, source: Source) -> None:
    root = prepared(tmp_path, source.target())
    with pytest.raises(AirgapError, match=r"nosuch \(asked for by __depot_packages, bundle_extra_packages\)"):
        root.resolve({"__depot_packages": ["app", "nosuch"], "bundle_extra_packages": ["nosuch"]})
    with pytest.raises(AirgapError, match=r"app \(asked for by x\)"):
        root.resolve({"x": ["app=9"]})


@pytest.mark.parametrize(("names", "reason"), [(["broken"], "Depends: nowhere"), (["app", "rival"], "Conflicts: app")])
def test_a_conflict_is_told_in_the_words_of_apt(tmp_path: Path, source: Source, names: list[str], reason: str) -> None:
    with pytest.raises(AirgapError, match="cannot be installed together") as caught:
        prepared(tmp_path, source.target()).resolve({"x": names})
    assert reason in str(caught.value)


def test_a_source_signed_by_another_key_is_refused(tmp_path: Path, source: Source) -> None:
    other = SigningKey(str(tmp_path / "other"), "other").public().decode()
    with pytest.raises(AirgapError, match="is not signed"):
        prepared(tmp_path, source.target(signed_by=other))


def test_a_source_that_is_not_there_is_told(tmp_path: Path, source: Source) -> None:
    with pytest.raises(AirgapError, match="/none"):
        prepared(tmp_path, source.target(uris=f"file:{tmp_path}/none"))


def test_a_keyring_that_is_not_there_is_told(tmp_path: Path, source: Source) -> None:
    with pytest.raises(AirgapError, match=r"The keyring /none\.gpg"):
        prepared(tmp_path, source.target(signed_by="/none.gpg"))


def test_a_package_that_differs_from_its_signed_index_is_refused(tmp_path: Path, source: Source) -> None:
    copy = Source.__new__(Source)
    copy.root, copy.key, copy.public = tmp_path / "copy", source.key, source.public
    shutil.copytree(source.root, copy.root)
    root = prepared(tmp_path, copy.target())
    package = copy.root / "library.deb"
    data = bytearray(package.read_bytes())
    data[-1] ^= 1
    package.write_bytes(bytes(data))
    with pytest.raises(AirgapError, match="Downloading"):
        root.download({"x": ["library"]})


def test_headers_of_a_kernel_travel_or_those_that_there_are_get_named(tmp_path: Path, source: Source) -> None:
    root = prepared(tmp_path, source.target()._replace(kernels=["6.1.0-2-amd64"]))
    names = [package.name for package in root.resolve(root.requests())]
    assert names == ["linux-headers-6.1.0-2-amd64", "linux-headers-6.1.0-2-common"]
    root.target = root.target._replace(kernels=["6.1.0-1-amd64"])
    with pytest.raises(AirgapError, match=r"Headers are there for 6\.1\.0-2-amd64\. Name"):
        root.requests()


def test_the_cache_keeps_what_is_needed_now(tmp_path: Path, source: Source) -> None:
    root = prepared(tmp_path, source.target())
    root.download({"x": ["app", "extra"]})
    packages = root.resolve({"x": ["library"]})
    repository.trim(root.archives, packages)
    assert [path.name for path in Path(root.archives).glob("*.deb")] == ["library_1.5_all.deb"]


def test_the_repository_states_the_digests_of_its_packages(tmp_path: Path, source: Source) -> None:
    root = prepared(tmp_path, source.target())
    publish(tmp_path, root, source.key, {"x": ["library"]})
    (package,) = root.resolve({"x": ["library"]})
    artifact = {"directory": "repository", "architecture": "amd64", "format": "apt"}
    assert formats.digests(str(tmp_path), artifact) == {"repository/pool/library_1.5_all.deb": package.sha256}


def test_a_private_ca_of_the_environment_is_trusted(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/etc/ssl/company.pem")
    root = apt.Root(str(tmp_path / "root"), source.target())
    root.prepare()
    assert 'Acquire::https::CAInfo "/etc/ssl/company.pem";' in (tmp_path / "root/apt.conf").read_text()


def test_the_staging_machine_keeps_its_proxy_settings() -> None:
    text = apt.render_configuration("/root", "arm64", ['Acquire::http::Proxy "http://proxy.example.org:3128";'])
    assert 'Acquire::http::Proxy "http://proxy.example.org:3128";' in text
    assert 'APT::Architecture "arm64";' in text


def test_nothing_asked_for_is_an_empty_repository(tmp_path: Path, source: Source) -> None:
    assert prepared(tmp_path, source.target()).resolve({"x": []}) == []
