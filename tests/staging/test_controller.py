# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller by the real pip: from the machine's own index, from a private one, and installed by the bootstrap."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.release import __version__ as ansible_version
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.test_wheels import Index

COLLECTION = Path(__file__).resolve().parents[2]
HERE = "{}.{}".format(*sys.version_info)
REQUIREMENTS = [f"ansible-core=={ansible_version}", "cryptography", "jmespath", "pip", "pyyaml", "requests"]
# Nobody listens there: a step that asks a network fails.
NO_NETWORK = {
    "PIP_CONFIG_FILE": "/dev/null",
    "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
    "PIP_RETRIES": "0",
    "PIP_FIND_LINKS": "/nonexistent",
}
_MODULE = "ansible_collections.airgap.inference.plugins.modules.bundle_controller"


def collect(root: Path, environment: dict[str, str] | None = None, **arguments: Any) -> dict[str, Any]:
    """What the module answers."""
    wanted = {
        "path": f"{root}/bundle/controller",
        "collection": str(COLLECTION),
        "python_versions": [HERE],
        "requirements": REQUIREMENTS,
        "executable": sys.executable,
        "cache": f"{root}/cache",
        "_ansible_remote_tmp": "/tmp",
        "_ansible_keep_remote_files": False,
        **arguments,
    }
    program = (
        "from ansible.module_utils import basic; basic._ANSIBLE_PROFILE = 'legacy'; import runpy, sys; "
        f"sys.path[:] = {sys.path!r}; runpy.run_module({_MODULE!r}, run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": wanted}),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **(environment or {})},
        timeout=300,
    )
    assert "Traceback" not in done.stderr, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    result["said"] = done.stdout + done.stderr
    return result


@pytest.fixture(scope="module", name="staged")
def fixture_staged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A controller for this Python and for a later one."""
    root = tmp_path_factory.mktemp("controller")
    other = "3.13" if HERE != "3.13" else "3.12"
    result = collect(root, python_versions=[HERE, other])
    assert not result.get("failed"), result["msg"]
    return root, result


def test_pip_itself_finds_the_wheels_complete(staged: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    root, result = staged
    controller = root / "bundle/controller"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--find-links", f"{controller}/wheels"]
    command += ["--dry-run", "--ignore-installed", "--report", f"{tmp_path}/report.json"]
    done = subprocess.run(
        [*command, "--requirement", f"{controller}/requirements.txt"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    installed = {
        f"{re.sub(r'[-_.]+', '-', item['metadata']['name']).lower()}=={item['metadata']['version']}"
        for item in report["install"]
    }
    pins = [line.split(" ;") for line in result["artifact"]["requirements"]]
    assert installed == {pin[0] for pin in pins if len(pin) == 1 or HERE in pin[1]}


def test_every_wheel_says_its_licence(staged: tuple[Path, dict[str, Any]]) -> None:
    wheels = {item["name"]: item for item in staged[1]["artifact"]["wheels"]}
    assert {"ansible-core", "cryptography", "jinja2", "markupsafe", "pip", "pyyaml", "resolvelib"} <= wheels.keys()
    assert not [item for item in wheels.values() if not item["licence"]]


def test_a_second_run_needs_no_network(staged: tuple[Path, dict[str, Any]]) -> None:
    root, first = staged
    arguments = {"python_versions": first["artifact"]["python"]}
    again = collect(root, NO_NETWORK, **arguments)
    assert not again.get("failed"), again["msg"]
    assert (again["changed"], again["artifact"]) == (False, first["artifact"])
    # Asked for newer versions it must say that nobody answered, although all is there.
    asked = collect(root, NO_NETWORK, **arguments, update=True)
    assert asked.get("failed") and "may be old" in asked["msg"], asked
    assert "Could not fetch URL http://127.0.0.1:9/simple" in asked["msg"]


def test_the_bootstrap_installs_it_without_a_network(staged: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """For the Python that runs: no other one is at hand."""
    found = subprocess.check_output(["python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], text=True)
    if found.strip() != HERE:
        pytest.skip(f"python3 is {found.strip()}, and this is {HERE}")
    root, result = staged
    bundle = root / "bundle"
    shutil.copy(COLLECTION / "roles/bundle/files/bootstrap", bundle)
    files = [
        {
            "path": str(path.relative_to(bundle)),
            "size": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in sorted(bundle.rglob("*"))
        if path.is_file() and not path.name.startswith("manifest")
    ]
    manifest = {"format": 1, "files": files, "artifacts": {"controller": result["artifact"]}}
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{tmp_path}/key"], check=True)
    (tmp_path / "signers").write_text("t@example.org " + (tmp_path / "key.pub").read_text())
    sign = ["ssh-keygen", "-q", "-Y", "sign", "-n", "airgap-bundle", "-f", f"{tmp_path}/key"]
    subprocess.run([*sign, str(bundle / "manifest.json")], check=True)
    command = [
        "sh",
        f"{bundle}/bootstrap",
        "--directory",
        f"{tmp_path}/opt",
        "--allowed-signers",
        f"{tmp_path}/signers",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **NO_NETWORK})
    assert done.returncode == 0, done.stderr
    assert f"[core {ansible_version}] is ready" in done.stdout
    # The caller's own path of collections would come before the controller's.
    environment = {name: value for name, value in os.environ.items() if name != "ANSIBLE_COLLECTIONS_PATH"}
    command = [f"{tmp_path}/opt/bin/ansible-galaxy", "collection", "list"]
    listed = subprocess.check_output(command, text=True, env=environment)
    assert "airgap.inference" in listed and "community.docker" in listed


class PrivateIndex(http.server.BaseHTTPRequestHandler):
    """A package index; the same as a proxy, for a name that is nowhere else."""

    folder: Path
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        path = re.sub(r"\Ahttps?://[^/]+", "", self.path)
        wheels = sorted(path.name for path in self.folder.iterdir())
        if path.startswith("/simple/"):
            name = path.strip("/").split("/")[-1]
            mine = [wheel for wheel in wheels if wheel.split("-")[0].replace("_", "-") == name]
            body = "".join(f'<a href="/files/{wheel}">{wheel}</a>' for wheel in mine).encode()
            kind = "text/html"
        else:
            body = (self.folder / path.rsplit("/", 1)[-1]).read_bytes()
            kind = "application/octet-stream"
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""


@contextlib.contextmanager
def serve(folder: Path, certificate: Path | None = None) -> Iterator[tuple[int, list[str]]]:
    asked: list[str] = []
    handler = type("Handler", (PrivateIndex,), {"folder": folder, "asked": asked})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port, asked
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(name="wheels")
def fixture_wheels(tmp_path: Path) -> Path:
    index = Index(tmp_path)
    index.add("ansible_core", "9", 'extra_lib ; python_version >= "3"')
    index.add("extra_lib", "1")
    index.add("pip", "1")
    return index.root


PRIVATE: dict[str, Any] = {"requirements": ["ansible-core", "pip"], "python_versions": ["3.99"]}
# Nothing of the machine's own settings.
CLEAN = {"PIP_CONFIG_FILE": "/dev/null", "PIP_FIND_LINKS": "", "PIP_EXTRA_INDEX_URL": "", "PIP_RETRIES": "0"}
# The first two would win over PIP_CERT.
CLEAN |= {"REQUESTS_CA_BUNDLE": "", "CURL_CA_BUNDLE": "", "SSL_CERT_FILE": ""}
CLEAN |= {"PIP_CERT": "", "PIP_PROXY": "", "no_proxy": "", "NO_PROXY": "", "http_proxy": "", "https_proxy": ""}


def test_a_private_index_with_a_private_ca_and_a_password(wheels: Path, tmp_path: Path) -> None:
    certificate = tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(certificate), "-out", f"{tmp_path}/ca.pem"]
    subprocess.run(command, check=True, capture_output=True)
    with certificate.open("ab") as whole:
        whole.write((tmp_path / "ca.pem").read_bytes())
    with serve(wheels, certificate) as (port, asked):
        environment = {**CLEAN, "PIP_INDEX_URL": f"https://reader:s3cret@localhost:{port}/simple/"}
        refused = collect(tmp_path, environment, **PRIVATE)
        assert refused.get("failed") and "confirming the ssl certificate" in refused["msg"], refused
        assert "PIP_CERT" in refused["msg"]
        assert not asked
        taken = collect(tmp_path, {**environment, "PIP_CERT": f"{tmp_path}/ca.pem"}, **PRIVATE)
        assert not taken.get("failed"), taken["msg"]
        assert taken["artifact"]["requirements"] == ["ansible-core==9", "extra-lib==1", "pip==1"]
    assert "s3cret" not in refused["said"] + taken["said"]
    files = [path for folder in ("bundle", "cache") for path in (tmp_path / folder).rglob("*") if path.is_file()]
    assert files and not [path for path in files if b"s3cret" in path.read_bytes()]


def test_a_proxy_is_used(wheels: Path, tmp_path: Path) -> None:
    with serve(wheels) as (port, asked):
        environment = {
            **CLEAN,
            "PIP_INDEX_URL": "http://index.example.org/simple/",
            "PIP_TRUSTED_HOST": "index.example.org",
        }
        result = collect(tmp_path, {**environment, "http_proxy": f"http://127.0.0.1:{port}"}, **PRIVATE)
        assert not result.get("failed"), result["msg"]
    assert asked and all(path.startswith("http://index.example.org/") for path in asked)
