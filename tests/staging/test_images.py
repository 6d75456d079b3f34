# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images from real registries and real archives, by the real skopeo: kept, refused, interrupted and gone on with."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.images import Layout, pack, tar
from images_room import PASSWORD, USER, Front, Proxy, Registry, Room

ENGINE = "docker.io/vendor/engine:1.0"
OLD = {
    "distribution": "Debian",
    "release": "bookworm",
    "architecture": "amd64",
    "packages": [{"name": "docker.io", "version": "20.10.24+dfsg1-1+deb12u1"}],
}
NEW = {**OLD, "release": "trixie", "packages": [{"name": "docker.io", "version": "26.1.5+dfsg1-9"}]}
NONE = {**OLD, "release": "noble", "packages": []}


@pytest.fixture(name="registry", scope="module")
def fixture_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    registry = Registry(tmp_path_factory.mktemp("registry"))
    yield registry
    registry.stop()


@pytest.fixture(name="source")
def fixture_source(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "source")


@pytest.fixture(name="room")
def fixture_room(tmp_path: Path, registry: Registry) -> Room:
    return Room(tmp_path, registry.address)


def push(registry: Registry, source: Layout, image: dict[str, Any], repository: str) -> str:
    """Put an image into the registry; return its full name for bundle_images."""
    source.name(image, repository)
    registry.push(source.path, repository, repository)
    return f"docker.io/{repository}"


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def test_one_architecture_of_a_list_comes_with_its_digest_and_once(
    registry: Registry, source: Layout, tmp_path: Path
) -> None:
    images = [
        {**source.image(f"list-{name}", architecture=name), "platform": {"os": "linux", "architecture": name}}
        for name in ("arm64", "amd64")
    ]
    name = push(registry, source, source.listing(images), "x/list:1")
    front = Front(registry)
    room = Room(tmp_path, front.address)
    checked = room.run(name, _ansible_check_mode=True)
    assert checked.get("changed"), checked["said"]
    assert checked["fetched"] == [name] and not room.layout.exists() and not room.cache.exists()
    first = room.run(name)
    assert [artifact["digest"] for artifact in first["artifacts"]] == [images[1]["digest"]]
    asked = len(front.blobs())
    second = room.run(name)
    assert (first["changed"], second["changed"]) == (True, False) and first["artifacts"] == second["artifacts"]
    # Two layers, and the configuration that was asked before, too.
    assert len(set(front.blobs())) == 3 and len(front.blobs()) == asked
    front.shutdown()


def test_another_architecture_is_refused_before_it_is_fetched(
    registry: Registry, source: Layout, tmp_path: Path
) -> None:
    """An image that is not of a list says only in its configuration what it was made for."""
    name = push(registry, source, source.image("arm", architecture="arm64"), "x/arm:1")
    front = Front(registry)
    room = Room(tmp_path, front.address)
    refused = room.run(name)
    assert refused["failed"] and "x/arm:1 is made for 'arm64'; the site needs amd64." in refused["msg"]
    assert len(front.blobs()) == 1 and not room.blobs()
    assert room.run(name, architecture="arm64")["fetched"] == [name]
    front.shutdown()


def test_a_digest_asks_the_registry_only_for_another_architecture(
    registry: Registry, source: Layout, tmp_path: Path
) -> None:
    images = [
        {**source.image(f"digest-{name}", architecture=name), "platform": {"os": "linux", "architecture": name}}
        for name in ("arm64", "amd64")
    ]
    listing = source.listing(images)
    push(registry, source, listing, "x/digest:1")
    name = f"docker.io/x/digest@{listing['digest']}"
    front = Front(registry)
    room = Room(tmp_path, front.address)
    for image in images:
        taken = room.run(name, architecture=image["platform"]["architecture"])
        assert taken["artifacts"][0]["digest"] == image["digest"]
    front.asked.clear()
    assert not room.run(name)["changed"] and front.asked == []
    front.shutdown()


def test_the_seal_finds_every_blob_in_the_record(registry: Registry, source: Layout, room: Room) -> None:
    name = push(registry, source, source.image("record"), "x/record:1")
    room.run(name)
    record = json.loads((room.cache / "state/digests.json").read_text())
    for blob in (room.layout / "blobs/sha256").iterdir():
        assert record[str(blob)][2] == hashlib.sha256(blob.read_bytes()).hexdigest()
    # A layer that rotted is fetched again, although its name and its size are right.
    layer = max((room.layout / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    layer.write_bytes(bytes(layer.stat().st_size))
    assert room.run(name)["fetched"] == [name]
    assert hashlib.sha256(layer.read_bytes()).hexdigest() == layer.name


def test_zstd_is_refused_for_an_old_engine_and_the_remedy_works(
    registry: Registry, source: Layout, room: Room, tmp_path: Path
) -> None:
    name = push(registry, source, source.image("zstd", packed="zstd"), "x/zstd:1")
    refused = room.run(name, targets=[NEW, OLD])
    assert refused["failed"] and "Docker 20.10.24+dfsg1-1+deb12u1 to Debian bookworm amd64" in refused["msg"]
    assert not room.blobs(), "nothing is fetched that will be refused"
    taken = room.run(name, targets=[NEW])
    assert taken["fetched"] == [name] and "warnings" not in taken
    assert "the hosts with Debian noble amd64 have is not known" in str(room.run(name, targets=[NEW, NONE])["warnings"])
    # What is in the bundle already is refused as well when the targets become others.
    assert room.run(name, targets=[OLD])["failed"]
    # The command, word for word, but for where the file goes and where the lab's registry is.
    remedy = re.search(r"(skopeo copy .*?) and name (\S+) with that file", refused["msg"])
    assert remedy and remedy[2] == name
    command = remedy[1].replace("/srv/image.tar", f"{tmp_path}/image.tar").split()
    command.insert(1, f"--registries-conf={room.arguments['registries_conf']}")
    made = subprocess.run(command, check=False, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    archives = [{"name": name, "path": f"{tmp_path}/image.tar"}]
    assert room.run(name, targets=[OLD, NEW], archives=archives)["fetched"] == [name]


@pytest.mark.skipif(
    not shutil.which("docker") or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode != 0,
    reason="no Docker daemon answers",
)
class TestDocker:
    """With the Docker of this machine, whatever its version is."""

    def test_docker_pulls_zstd_when_we_say_so(self, registry: Registry, source: Layout) -> None:
        push(registry, source, source.image("pull", packed="zstd"), "x/pull:1")
        # Docker takes registries on the loopback without TLS.
        name = f"{registry.address}/x/pull:1"
        asked = ["docker", "version", "--format", "{{.Server.Version}}"]
        version = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
        pulled = subprocess.run(["docker", "pull", name], capture_output=True, text=True, check=False)
        subprocess.run(["docker", "rmi", name], capture_output=True, check=False)
        assert (pulled.returncode == 0) == (int(version.split(".")[0]) >= 23), version + pulled.stderr

    def test_what_docker_saved_is_taken_once(self, room: Room, tmp_path: Path) -> None:
        names = ["airgap-test/engine:1", "airgap-test/other:1"]
        for name in names:
            content = tar({name.replace("/", "-"): name.encode() * 5000})
            subprocess.run(["docker", "import", "-", name], input=content, capture_output=True, check=True)
        try:
            path = tmp_path / "saved.tar"
            subprocess.run(["docker", "save", "--output", str(path), *names], check=True)
        finally:
            subprocess.run(["docker", "rmi", *names], capture_output=True, check=False)
        asked = room.run(ENGINE, archives=[{"name": ENGINE, "path": str(path)}])
        assert asked["failed"] and "has 2 images" in asked["msg"] and all(name in asked["msg"] for name in names)
        archives = [{"name": ENGINE, "path": str(path), "archive_reference": names[0]}]
        first = room.run(ENGINE, archives=archives, targets=[OLD])
        assert first["fetched"] == [ENGINE]
        # Nothing of it is read again: there is nothing to read.
        stamp = path.stat()
        path.write_bytes(bytes(stamp.st_size))
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        second = room.run(ENGINE, archives=archives)
        assert not second["changed"] and second["artifacts"] == first["artifacts"]


@pytest.mark.parametrize("kind", ["oci-archive", "docker-archive"])
def test_an_archive_that_skopeo_wrote_is_taken_once(source: Layout, room: Room, tmp_path: Path, kind: str) -> None:
    image = source.image("archive")
    source.name(image, "x")
    path = tmp_path / "engine.tar"
    name = {"oci-archive": "1.0", "docker-archive": "vendor/engine:1.0"}[kind]
    subprocess.run(["skopeo", "copy", "-q", f"oci:{source.path}:x", f"{kind}:{path}:{name}"], check=True)
    subprocess.run(["gzip", str(path)], check=True)
    archives = [{"name": ENGINE, "path": f"{path}.gz"}]
    checked = room.run(ENGINE, archives=archives, _ansible_check_mode=True)
    assert checked["fetched"] == [ENGINE] and not room.layout.exists() and not room.cache.exists()
    first = room.run(ENGINE, archives=archives)
    if kind == "oci-archive":
        assert first["artifacts"][0]["digest"] == image["digest"]
    (room.layout / "oci-put-blob1").write_text("from a killed skopeo")
    # Another date, the same bytes: the digest stays, and nothing is converted.
    os.utime(f"{path}.gz", (1, 1))
    second = room.run(ENGINE, archives=archives)
    assert not second["changed"] and second["artifacts"] == first["artifacts"]
    assert sorted(os.listdir(room.layout)) == ["blobs", "index.json", "oci-layout"]
    assert sorted(os.listdir(room.cache)) == ["state"]
    if kind == "oci-archive":
        # The cache was lost: the list of the archive is read once more, and then its date is enough again.
        (room.cache / "state/archives.json").unlink()
        assert not room.run(ENGINE, archives=archives)["changed"]
        stamp = Path(f"{path}.gz").stat()
        Path(f"{path}.gz").write_bytes(bytes(stamp.st_size))
        os.utime(f"{path}.gz", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        assert not room.run(ENGINE, archives=archives)["changed"]
    # It leaves the layout as it came, also by its name.
    subprocess.run(
        ["skopeo", "copy", "-q", "--preserve-digests", f"oci:{room.layout}:{ENGINE}", f"dir:{tmp_path}/out"], check=True
    )
    manifest = (tmp_path / "out/manifest.json").read_bytes()
    assert f"sha256:{hashlib.sha256(manifest).hexdigest()}" == first["artifacts"][0]["digest"]


def test_an_archive_that_nothing_runs_or_that_is_not_there_is_told(source: Layout, room: Room, tmp_path: Path) -> None:
    lost = room.run(ENGINE, archives=[{"name": ENGINE, "path": f"{tmp_path}/none.tar"}])
    assert lost["failed"] and f"{tmp_path}/none.tar cannot be read: No such file" in lost["msg"]
    idle = room.run(archives=[{"name": ENGINE, "path": f"{tmp_path}/none.tar"}])
    assert idle["failed"] and f"The archives list {ENGINE}" in idle["msg"]
    by_digest = f"docker.io/vendor/engine@sha256:{'a' * 64}"
    source.name(source.image("other"), "x")
    other = room.run(by_digest, archives=[{"name": by_digest, "path": str(source.archive(tmp_path / "a.tar"))}])
    assert other["failed"] and "asks for another. Name the image by a tag" in other["msg"]


def test_credentials_stay_in_their_file(tmp_path: Path, source: Layout) -> None:
    registry = Registry(tmp_path / "private", login=True)
    try:
        source.name(source.image("private"), "x/private:1")
        login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        authfile = tmp_path / "auth.json"
        authfile.write_text(json.dumps({"auths": {registry.address: {"auth": login}}}))
        registry.push(source.path, "x/private:1", "x/private:1", "--dest-authfile", str(authfile))
        front = registry.address
        room = Room(tmp_path, front)
        name = f"{front}/x/private:1"
        with open(room.arguments["registries_conf"], "a") as conf:
            conf.write(f'[[registry]]\nlocation = "{front}"\ninsecure = true\n')
        refused = room.run(name, authfile=str(tmp_path / "none.json"))
        assert refused["failed"] and f"skopeo login --authfile FILE {front}" in refused["msg"]
        process = room.start(name, authfile=str(authfile))
        seen: set[str] = set()
        while process.poll() is None:
            seen.update(command_lines())
        taken = room.answer(process)
        assert taken["fetched"] == [name] and any("skopeo" in line for line in seen)
        files = [
            path for path in tmp_path.rglob("*") if path.is_file() and path != authfile and "private" not in path.parts
        ]
        texts = [taken["said"], refused["said"], *seen, *(path.read_bytes().decode("latin-1") for path in files)]
        assert not [text for text in texts if PASSWORD in text or login in text]
    finally:
        registry.stop()


def command_lines() -> Iterator[str]:
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                yield (process / "cmdline").read_bytes().decode("latin-1")
            except OSError:
                continue


def test_a_private_ca_and_a_proxy_lead_to_a_registry(tmp_path: Path, source: Layout) -> None:
    # A name that answers nowhere: only the proxy leads to it.
    host = "registry.airgap.invalid"
    certificate, key = tmp_path / "server.crt", tmp_path / "server.key"
    command = f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={host}"
    subprocess.run(
        [*command.split(), "-addext", f"subjectAltName=DNS:{host}", "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )
    registry = Registry(tmp_path / "tls", tls=(certificate, key))
    proxy = Proxy(registry.port)
    try:
        source.name(source.image("tls"), "x/tls:1")
        registry.push(source.path, "x/tls:1", "x/tls:1")
        name = f"{host}/x/tls:1"
        (tmp_path / "certificates").mkdir()
        room = Room(tmp_path, HTTPS_PROXY=proxy.url)
        empty = room.run(name, certificates=str(tmp_path / "certificates"))
        assert empty["failed"] and "name that one ca.crt" in empty["msg"]
        shutil.copy(certificate, tmp_path / "certificates/ca.crt")
        unknown = room.run(name)
        assert unknown["failed"] and "bundle_registry_certificates" in unknown["msg"]
        taken = room.run(name, certificates=str(tmp_path / "certificates"))
        assert taken["fetched"] == [name] and set(proxy.asked) == {f"CONNECT {host}:443"}
        alone = Room(tmp_path / "alone").run(name, certificates=str(tmp_path / "certificates"))
        assert alone["failed"] and "HTTPS_PROXY" in alone["msg"]
    finally:
        proxy.shutdown()
        registry.stop()


def test_a_killed_copy_is_gone_on_with(registry: Registry, source: Layout, tmp_path: Path) -> None:
    image = source.image("killed", layers=3, size=300_000)
    name = push(registry, source, image, "x/killed:1")
    manifest = json.loads((source.path / "blobs/sha256" / image["digest"][7:]).read_bytes())
    layers = [layer["digest"] for layer in manifest["layers"]]
    total = manifest["config"]["size"] + sum(layer["size"] for layer in manifest["layers"])
    front = Front(registry)
    front.stall = layers[2]
    progress = tmp_path / "progress"
    room = Room(tmp_path, front.address, AIRGAP_PROGRESS=str(progress))
    process = room.start(name)
    until(lambda: {digest[7:] for digest in layers[:2]} <= room.blobs())

    def said() -> dict[str, Any]:
        try:
            state: dict[str, Any] = json.loads(progress.read_text())
        except FileNotFoundError:
            return {}
        return state

    # Two layers and what has come of the third one, of all.
    until(lambda: total * 2 // 3 < said().get("done", 0) < total)
    assert (said()["total"], said()["at"]) == (total, name)
    room.kill(process)
    assert [path for path in os.listdir(room.layout) if path.startswith("oci-put-blob")]
    front.stall = None
    front.asked.clear()
    done = room.run(name)
    assert done["fetched"] == [name] and done["artifacts"][0]["digest"] == image["digest"]
    assert layers[2] in front.blobs() and not {layers[0], layers[1]} & set(front.blobs())
    assert sorted(os.listdir(room.layout)) == ["blobs", "index.json", "oci-layout"]
    front.shutdown()


def test_an_index_that_was_cut_off_costs_no_layer(registry: Registry, source: Layout, room: Room) -> None:
    name = push(registry, source, source.image("cut"), "x/cut:1")
    room.run(name)
    blobs = {
        path: path.stat().st_ino for path in (room.layout / "blobs/sha256").iterdir() if path.stat().st_size > 1000
    }
    (room.layout / "index.json").write_text('{"schemaVersion":2,"manif')
    assert room.run(name)["fetched"] == [name]
    assert blobs and {path: path.stat().st_ino for path in blobs} == blobs


def test_what_is_no_longer_listed_goes(registry: Registry, source: Layout, room: Room) -> None:
    names = [push(registry, source, source.image(f"gone-{number}"), f"x/gone{number}:1") for number in range(2)]
    room.run(*names)
    result = room.run(names[0])
    assert result["changed"] and len(result["removed"]) == 4
    assert not room.run(names[0])["changed"]


def test_the_role_passes_on_what_the_site_describes(registry: Registry, source: Layout, tmp_path: Path) -> None:
    """images.yml by itself, with what the tasks before it would have registered."""
    gateway = push(registry, source, source.image("gateway"), "x/gateway:1")
    extra = push(registry, source, source.image("extra"), "x/extra:1")
    of_host = push(registry, source, source.image("of-host"), "x/of-host:1")
    vendor = Layout(tmp_path / "vendor")
    vendor.name(vendor.image("vendor", packed="zstd"), "latest")
    conf = Room(tmp_path, registry.address).arguments["registries_conf"]
    description = {
        "airgap_bundle": f"{tmp_path}/bundle",
        "airgap_targets": [],
        "airgap_models": [],
        "airgap_instances": [{"name": "chat", "image": ENGINE, "model": "m"}],
        "airgap_image_archives": [{"name": ENGINE, "path": str(vendor.archive(tmp_path / "vendor.tar"))}],
        "gateway_image": gateway,
        "bundle_extra_images": [extra],
        "bundle_registries_conf": conf,
        "bundle_cache_directory": f"{tmp_path}/cache",
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
    }
    hosts = {
        "airgap_staging": {"hosts": {"staging": {}}},
        "airgap_hosts": {"hosts": {"gpu1": {"gateway_image": of_host}}},
    }
    (tmp_path / "hosts.json").write_text(json.dumps({"all": {"vars": description, "children": hosts}}))

    def stage(
        *targets: dict[str, Any], tasks: str = "images.yml", **variables: Any
    ) -> subprocess.CompletedProcess[str]:
        role = {"name": "airgap.inference.bundle", "tasks_from": tasks}
        play = {"hosts": "airgap_staging", "gather_facts": False, "tasks": [{"ansible.builtin.include_role": role}]}
        (tmp_path / "play.json").write_text(json.dumps([play]))
        packages = {"__bundle_collected_packages": {"results": [{"artifact": target} for target in targets]}}
        command = [
            shutil.which("ansible-playbook", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
            or "ansible-playbook"
        ]
        command += [
            "-i",
            f"{tmp_path}/hosts.json",
            f"{tmp_path}/play.json",
            "-e",
            json.dumps({**packages, **variables}),
        ]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    # What the description alone shows to be wrong is told before anything is fetched.
    wrong = [
        {"name": "docker.io/vendor/nobody:1", "path": f"{tmp_path}/vendor.tar"},
        {"name": ENGINE, "path": f"{tmp_path}/none.tar"},
    ]
    faults = stage(tasks="preflight.yml", airgap_image_archives=wrong)
    assert "airgap_image_archives names docker.io/vendor/nobody:1, but no instance" in faults.stdout, faults.stdout
    assert f"files of airgap_image_archives are not there: {tmp_path}/none.tar." in faults.stdout
    refused = stage(OLD)
    assert refused.returncode != 0 and "compressed with zstd" in refused.stdout, refused.stdout + refused.stderr
    taken = stage(NEW)
    assert taken.returncode == 0 and "changed=1" in taken.stdout, taken.stdout + taken.stderr
    index = json.loads((tmp_path / "bundle/images/index.json").read_text())
    names = {entry["annotations"]["org.opencontainers.image.ref.name"] for entry in index["manifests"]}
    assert names == {ENGINE, gateway, extra, of_host}
    assert "changed=0" in stage(NEW).stdout


def test_a_layer_has_the_compression_that_its_name_says() -> None:
    """The tests above rest on it."""
    assert pack(b"x" * 100, "zstd").startswith(b"\x28\xb5\x2f\xfd") and pack(b"x", "gzip").startswith(b"\x1f\x8b")
