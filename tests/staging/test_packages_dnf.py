# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages for systems with dnf: real RPMs, built and signed here, through the real dnf, createrepo_c and rpm."""

from __future__ import annotations

import functools
import http.server
import json
import os
import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from packages_room import TOOLS, Source, Vendor, quietly, run

pytestmark = pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason=f"one of {', '.join(TOOLS)} is not installed")

DRIVER = "nvidia-driver-cuda-of-a-name-so-long-that-dnf-breaks-its-table"

Stage = Callable[..., dict[str, Any]]


@pytest.fixture(name="vendor", scope="module")
def fixture_vendor() -> Iterator[Vendor]:
    vendor = Vendor("a vendor")
    yield vendor
    vendor.close()


@pytest.fixture(name="source", scope="module")
def fixture_source(tmp_path_factory: pytest.TempPathFactory, vendor: Vendor) -> Source:
    source = Source(tmp_path_factory.mktemp("dnf") / "source", vendor)
    source.add("app", "2.0", "Epoch: 1", "Requires: library >= 1", "Recommends: extra")
    source.add("library", "1.5", arch="x86_64")
    source.add("library", "1.5", arch="i686")
    source.add("extra", "1")
    source.add("broken", "1", "Requires: nowhere")
    source.add("rival", "1", "Conflicts: app")
    source.add("kernel-devel", "5.14.0", arch="x86_64")
    for version in ("580", "590"):
        stream = f"nvidia-driver:{version}-open"
        source.add(DRIVER, version, "Requires: driver-libraries", arch="x86_64", stream=stream)
        source.add("driver-libraries", version, arch="x86_64", stream=stream)
        names = [f"{name}-0:{version}-1.el9.x86_64" for name in (DRIVER, "driver-libraries")]
        source.stream("nvidia-driver", f"{version}-open", *names)
    source.default_stream("nvidia-driver", "590-open")
    source.stream("unneeded", "1.10")
    source.publish()
    return source


@pytest.fixture(name="signing_key", scope="module")
def fixture_signing_key(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Made by the first test that stages; a key of this size takes a second or two."""
    return str(tmp_path_factory.mktemp("state") / "packages.asc")


@pytest.fixture(name="stage")
def fixture_stage(tmp_path: Path, signing_key: str) -> Stage:
    """The module, with all its files below the test's own directory."""

    def stage(target: dict[str, Any], *names: str, **more: Any) -> dict[str, Any]:
        arguments = {
            "path": str(tmp_path / "bundle/packages/rocky-9"),
            "target": target,
            "packages": {"__x_packages": list(names)},
            "cache": str(tmp_path / "cache"),
            "signing_key": signing_key,
            "digests": str(tmp_path / "cache/digests.json"),
        }
        return run(**{**arguments, **more})

    return stage


def contents(root: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(root)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in root.rglob("*")
        if path.is_file()
    }


def carried(result: dict[str, Any]) -> list[str]:
    assert not result.get("failed"), result["msg"]
    return [f"{item['name']} {item['version']} {item['architecture']}" for item in result["artifact"]["packages"]]


def install(repository: Path, root: Path, *names: str) -> str:
    """What a host does: install from the published repository alone, trusting its key alone."""
    (root / "repos").mkdir(parents=True)
    (root / "repos/airgap.repo").write_text(
        f"[airgap]\nname=airgap\nbaseurl=file://{repository}\ngpgkey=file://{repository}/archive-key.asc\n"
        "repo_gpgcheck=1\ngpgcheck=0\n"
    )
    (root / "dnf.conf").write_text(f"[main]\nreposdir={root}/repos\nmodule_platform_id=platform:el9\ncachedir=/cache\n")
    options = ["--config", str(root / "dnf.conf"), "--installroot", str(root / "system"), "--releasever", "9"]
    quietly(["dnf", "-y", *options, "--forcearch", "x86_64", "--disableplugin=*", "install", *names])
    database = f"{root}/system{os.environ['HOME']}/.rpmdb"
    if not Path(database).is_dir():
        (found,) = (root / "system").rglob("rpmdb.sqlite")
        database = str(found.parent)
    query = ["rpm", "--dbpath", database, "-qa", "--queryformat", "%{NAME} %{VERSION}\n"]
    return subprocess.run(query, check=True, capture_output=True, text=True).stdout


def test_dependencies_come_along_and_a_host_installs_from_it_alone(
    tmp_path: Path, source: Source, stage: Stage
) -> None:
    result = stage(source.target(), "app")
    assert carried(result) == ["app 1:2.0-1.el9 noarch", "library 1.5-1.el9 x86_64"]
    artifact = result["artifact"]
    assert (artifact["format"], artifact["directory"]) == ("dnf", "packages/rocky-9")
    assert artifact["packages"][0]["licence"] == "MIT OR Apache-2.0"
    repository = tmp_path / "bundle/packages/rocky-9"
    assert sorted(path.name for path in (repository / "Packages").iterdir()) == [
        "app-2.0-1.el9.noarch.rpm",
        "library-1.5-1.el9.x86_64.rpm",
    ]
    assert "PRIVATE" not in (repository / "archive-key.asc").read_text()
    assert sorted(install(repository, tmp_path / "host", "app").split("\n")) == ["", "app 2.0", "library 1.5"]


def test_the_second_time_nothing_is_written(tmp_path: Path, source: Source, stage: Stage) -> None:
    target = source.target(modules=["nvidia-driver:580-open"])
    assert stage(target, "app", DRIVER, _ansible_check_mode=True)["changed"]
    assert not (tmp_path / "bundle").exists() and not (tmp_path / "cache").exists()
    assert stage(target, "app", DRIVER)["changed"]
    before = contents(tmp_path / "bundle")
    again = stage(target, "app", DRIVER)
    assert (again["changed"], again["fetched"]) == (False, 0)
    assert contents(tmp_path / "bundle") == before
    assert not stage(target, "app", DRIVER, _ansible_check_mode=True)["changed"]


def test_a_module_stream_is_followed_and_its_metadata_travels(tmp_path: Path, source: Source, stage: Stage) -> None:
    result = stage(source.target(modules=["nvidia-driver:580-open"]), DRIVER)
    assert carried(result) == ["driver-libraries 580-1.el9 x86_64", f"{DRIVER} 580-1.el9 x86_64"]
    repository = tmp_path / "bundle/packages/rocky-9"
    (path,) = (repository / "repodata").glob("*modules.yaml.gz")
    text = subprocess.run(["gzip", "-dc", str(path)], check=True, capture_output=True, text=True).stdout
    assert 'stream: "580-open"' in text and "590-open" not in text and "unneeded" not in text
    # The host enables nothing: the stream is the default of what was carried.
    assert f"{DRIVER} 580" in install(repository, tmp_path / "host", DRIVER)
    assert carried(stage(source.target(), DRIVER))[1] == f"{DRIVER} 590-1.el9 x86_64"
    assert not list(repository.rglob("*580*"))


def test_a_stream_that_is_not_there_is_told_with_those_that_are(source: Source, stage: Stage) -> None:
    result = stage(source.target(modules=["nvidia-driver:570-open"]), DRIVER)
    assert result["failed"] and "nvidia-driver has 580-open, 590-open" in result["msg"]


def test_what_is_no_longer_asked_for_goes_from_the_bundle_and_the_cache(
    tmp_path: Path, source: Source, stage: Stage
) -> None:
    stage(source.target(), "app", "extra")
    (tmp_path / "bundle/packages/rocky-9/Packages/.app.rpm.part").write_text("left by a killed copy")
    assert stage(source.target(), "library")["changed"]
    for directory in ("bundle/packages/rocky-9/Packages", "cache/dnf/rocky-9-amd64/packages"):
        assert [path.name for path in (tmp_path / directory).iterdir()] == ["library-1.5-1.el9.x86_64.rpm"]


def test_a_package_that_was_damaged_in_the_bundle_is_brought_again(
    tmp_path: Path, source: Source, stage: Stage
) -> None:
    stage(source.target(), "library")
    path = tmp_path / "bundle/packages/rocky-9/Packages/library-1.5-1.el9.x86_64.rpm"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert stage(source.target(), "library")["fetched"] == 1
    assert path.read_bytes() == whole


def test_a_package_of_another_width_comes_only_when_it_is_asked_for(source: Source, stage: Stage) -> None:
    assert carried(stage(source.target(), "library")) == ["library 1.5-1.el9 x86_64"]
    assert carried(stage(source.target(), "library.i686")) == ["library 1.5-1.el9 i686"]


def test_a_name_that_no_source_has_is_told_with_who_asks(source: Source, stage: Stage) -> None:
    asked = {"__depot_packages": ["app", "nosuch"], "bundle_extra_packages": ["nosuch"]}
    result = stage(source.target(), packages=asked)
    assert "nosuch (asked for by __depot_packages, bundle_extra_packages)" in result["msg"]


@pytest.mark.parametrize(
    ("names", "reason"),
    [(["broken"], "nothing provides nowhere"), (["app", "rival"], "rival-1-1.el9.noarch conflicts")],
)
def test_a_conflict_is_told_in_the_words_of_dnf(source: Source, stage: Stage, names: list[str], reason: str) -> None:
    result = stage(source.target(), *names)
    assert "cannot be installed together" in result["msg"] and reason in result["msg"]


def test_headers_of_a_kernel_travel_or_the_nearest_are_named(source: Source, stage: Stage) -> None:
    assert carried(stage(source.target(kernels=["5.14.0-1.el9.x86_64"]))) == ["kernel-devel 5.14.0-1.el9 x86_64"]
    result = stage(source.target(kernels=["5.14.0-9.el9.x86_64"]))
    assert "5.14.0-9.el9.x86_64 (asked for by airgap_targets[].kernels)" in result["msg"]
    assert "Headers are there for 5.14.0-1.el9.x86_64." in result["msg"]


@pytest.fixture(name="small")
def fixture_small(tmp_path: Path, vendor: Vendor) -> Source:
    """A source that a test may spoil."""
    small = Source(tmp_path / "small", vendor)
    small.add("app", "1", "Requires: library")
    small.add("library", "1")
    return small


def test_a_package_signed_by_somebody_else_is_refused(tmp_path: Path, small: Source, stage: Stage) -> None:
    other = Vendor("somebody else")
    other.sign(small.root / "Packages/library-1-1.el9.noarch.rpm")
    other.close()
    small.publish()
    result = stage(small.target(), "app")
    assert "are not signed by the key" in result["msg"] and "library-1-1.el9.noarch.rpm" in result["msg"]
    assert "app-1-1.el9.noarch.rpm" not in result["msg"] and str(small.root) in result["msg"]
    assert not (tmp_path / "bundle").exists()
    # What the vendor then signs is taken.
    small.vendor.sign(small.root / "Packages/library-1-1.el9.noarch.rpm")
    small.publish()
    assert len(carried(stage(small.target(), "app"))) == 2


def test_a_package_that_nobody_signed_is_refused(small: Source, stage: Stage) -> None:
    quietly(["rpmsign", "--delsign", str(small.root / "Packages/library-1-1.el9.noarch.rpm")])
    small.publish()
    assert "library-1-1.el9.noarch.rpm: digests SIGNATURES NOT OK" in stage(small.target(), "app")["msg"]


def test_metadata_signed_by_somebody_else_is_refused(small: Source, stage: Stage) -> None:
    other = Vendor("somebody else")
    small.publish(signer=other)
    other.close()
    assert "cannot be used" in stage(small.target(), "app")["msg"]


def test_where_metadata_is_not_signed_the_packages_are_enough(small: Source, stage: Stage) -> None:
    small.publish(signed=False)
    assert len(carried(stage(small.target(), "app"))) == 2


def test_a_source_that_is_not_there_is_told_by_its_address(tmp_path: Path, small: Source, stage: Stage) -> None:
    source = {"uris": f"file://{tmp_path}/none", "signed_by": small.vendor.key}
    assert f"{tmp_path}/none" in stage(small.target(sources=[source]), "app")["msg"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sources": [{"uris": "http://mirror.example.org", "suites": "x", "signed_by": "/k"}]}, "has suites (x)"),
        ({"sources": [{"uris": "http://mirror.example.org", "signed_by": "/none.asc"}]}, "/none.asc"),
        ({"sources": [{"uris": "http://mirror.example.org", "signed_by": "/bin/true"}]}, "gpg --armor --export"),
        ({"release": "Blue Onyx"}, "for example 9"),
        ({"modules": ["nvidia-driver"]}, "name:stream"),
        ({"distribution": "Debian", "release": "trixie"}, "has no suites"),
        ({"distribution": "Fedora"}, "AlmaLinux, Debian, RedHat, Rocky, Ubuntu"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(
    source: Source, stage: Stage, change: dict[str, Any], said: str
) -> None:
    result = stage(source.target(**change), "app")
    assert result["failed"] and said in result["msg"]


def test_what_the_roles_install_on_a_rocky_host_is_in_its_bundle(tmp_path: Path, vendor: Vendor) -> None:
    roles = Path(__file__).resolve().parents[2] / "roles"
    lists = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in roles.glob("*/vars/RedHat.yml")]
    of_roles = [name for data in lists for key, names in data.items() if key.endswith("_packages") for name in names]
    (drivers,) = [data["__gpu_host_drivers"]["nvidia"] for data in lists if "__gpu_host_drivers" in data]
    kinds = ("libraries", "services", "fabric", "nvlink5", "nvlink5_services", "tools")
    of_drivers = [*drivers["modules"]["open"], *(name for kind in kinds for name in drivers[kind])]
    names = sorted({*of_roles, *of_drivers})
    assert {"docker-ce", "nvidia-driver-cuda", "rsync"} <= set(names)
    source = Source(tmp_path / "rocky", vendor)
    for name in [*names, "tcpdump"]:
        source.add(name, "1", arch="x86_64")
    source.publish()
    play = {
        "hosts": "all",
        "gather_facts": False,
        "vars": {
            "airgap_bundle": str(tmp_path / "bundle"),
            "airgap_targets": [source.target()],
            "bundle_cache_directory": str(tmp_path / "cache"),
            "bundle_extra_packages": ["tcpdump"],
        },
        "tasks": [
            {"ansible.builtin.include_role": {"name": "airgap.inference.bundle", "tasks_from": "packages.yml"}},
            {
                "ansible.builtin.copy": {
                    "content": "{{ __bundle_collected_packages }}",
                    "dest": str(tmp_path / "result"),
                }
            },
        ],
    }
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    quietly(
        [
            *(str(Path(sys.executable).parent / "ansible-playbook"), "-i", "localhost,", "-c", "local"),
            *("-e", f"ansible_python_interpreter={sys.executable}", str(tmp_path / "play.yml")),
        ]
    )
    (result,) = json.loads((tmp_path / "result").read_text())["results"]
    assert [item["name"] for item in result["artifact"]["packages"]] == sorted([*names, "tcpdump"])
    assert (tmp_path / "bundle/packages/rocky-9/repodata/repomd.xml.asc").is_file()


class Server(http.server.ThreadingHTTPServer):
    """A web server of the source; asked by absolute addresses, it is its own proxy."""

    def __init__(self, root: Path) -> None:
        self.asked: list[str] = []
        server = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append(self.path)
                self.path = "/" + self.path.split("://", 1)[-1].partition("/")[2] if "://" in self.path else self.path
                super().do_GET()

            def log_message(self, *_arguments: Any) -> None:
                pass

        super().__init__(("127.0.0.1", 0), functools.partial(Handler, directory=str(root)))
        threading.Thread(target=self.serve_forever, daemon=True).start()


def test_a_proxy_of_the_environment_is_used(source: Source, stage: Stage) -> None:
    server = Server(source.root)
    proxy = {"http_proxy": f"http://127.0.0.1:{server.server_port}"}
    entry = {"uris": "http://mirror.example.org/", "signed_by": source.vendor.key}
    assert len(carried(stage(source.target(sources=[entry]), "app", environment=proxy))) == 2
    server.shutdown()
    assert "http://mirror.example.org/repodata/repomd.xml" in server.asked


def test_a_private_ca_of_the_environment_is_trusted(tmp_path: Path, source: Source, stage: Stage) -> None:
    certificate = ["-keyout", str(tmp_path / "tls.key"), "-out", str(tmp_path / "ca.pem"), "-subj", "/CN=localhost"]
    quietly(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *certificate),
            *("-addext", "subjectAltName=DNS:localhost"),
        ]
    )
    server = Server(source.root)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "ca.pem", tmp_path / "tls.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    entry = {"uris": f"https://localhost:{server.server_port}/", "signed_by": source.vendor.key}
    assert "certificate" in stage(source.target(sources=[entry]), "app")["msg"]
    authority = {"SSL_CERT_FILE": str(tmp_path / "ca.pem")}
    assert len(carried(stage(source.target(sources=[entry]), "app", environment=authority))) == 2
    server.shutdown()
