# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Models of a hub, by the real client, from a server that speaks the hub's API."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_server import HubServer, Repository
from models_room import Room, command_lines, refusal

TOKEN = "hf_ThisIsASecretThatNobodyMayRead"
MEGABYTE = 1024 * 1024
FILES = {
    "config.json": b'{"model_type": "llama"}',
    "tokenizer.json": b"{}",
    "README.md": b"---\nlicense: apache-2.0\n---\n# A model\n",
    "LICENSE": b"Apache License",
    "model.safetensors": os.urandom(50_000),
    "pytorch_model.bin": os.urandom(50_000),
    "original/consolidated.00.pth": os.urandom(1000),
}
MODEL = {"name": "m", "source": "hf://org/name@main"}


@pytest.fixture(name="hub")
def fixture_hub() -> Iterator[HubServer]:
    with HubServer() as hub:
        yield hub


@pytest.fixture(name="repository")
def fixture_repository(hub: HubServer) -> Repository:
    return hub.add("org/name", FILES)


@pytest.fixture(name="room")
def fixture_room(tmp_path: Path, hub: HubServer, repository: Repository) -> Room:
    return Room(tmp_path / "room", HF_ENDPOINT=hub.endpoint)


def test_a_model_comes_under_its_commit_and_a_second_run_asks_nothing(
    hub: HubServer, repository: Repository, room: Room
) -> None:
    commit = repository.branches["main"]
    result = room.run(MODEL)
    artifact = result["artifacts"][0]
    assert (artifact["revision"], artifact["source"]) == (commit, f"hf://org/name@{commit}")
    assert artifact["licence"] == "apache-2.0"
    assert result["left_out"] == ["m/original/consolidated.00.pth", "m/pytorch_model.bin"]
    assert "m/pytorch_model.bin" in result["msg"]
    kept = {path: data for path, data in FILES.items() if f"m/{path}" not in result["left_out"]}
    directory = room.directory(result)
    assert {
        str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    } == kept
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", f"{directory}.sha256"], cwd=directory, check=True)
    listing = Path(f"{directory}.sha256").read_bytes()
    assert hashlib.sha256(listing).hexdigest() == artifact["digest"]
    assert not hub.asked("pytorch_model.bin") and not hub.asked("pytorch_model.bin", "HEAD")
    asked = len(hub.requests)
    again = room.run(MODEL)
    assert not again["changed"] and again["artifacts"] == result["artifacts"] and len(hub.requests) == asked


def test_what_was_hashed_on_its_way_need_not_be_read_again(room: Room) -> None:
    directory = room.directory(room.run(MODEL))
    known = json.loads((room.cache / "state/digests.json").read_text())
    for path in [*directory.rglob("*"), Path(f"{directory}.sha256")]:
        if path.is_file():
            assert known[str(path)][2] == hashlib.sha256(path.read_bytes()).hexdigest()
    # The cache and the bundle share the bytes where one file system holds both.
    assert (directory / "model.safetensors").stat().st_nlink == 2


def test_a_branch_stays_at_its_commit_until_it_is_updated(repository: Repository, room: Room) -> None:
    first = repository.branches["main"]
    assert room.run(MODEL)["artifacts"][0]["revision"] == first
    assert json.loads(room.lock.read_text()) == {"hf://org/name@main": first}
    second = repository.commit({**FILES, "config.json": b"{}"})
    held = room.run(MODEL)
    assert not held["changed"] and held["artifacts"][0]["revision"] == first
    (room.models / "m" / first / "config.json").unlink()
    assert room.run(MODEL)["artifacts"][0]["revision"] == first, "made again from what it is locked to"
    updated = room.run(MODEL, update=["m"])
    assert updated["changed"] and updated["artifacts"][0]["revision"] == second
    assert updated["removed"] == [f"m/{first}", f"m/{first}.sha256"]
    third = repository.commit({**FILES, "config.json": b"[]"})
    room.lock.unlink()
    assert room.run(MODEL)["artifacts"][0]["revision"] == third
    pinned = room.run({"name": "m", "source": f"hf://org/name@{first}"})
    assert pinned["artifacts"][0]["revision"] == first
    assert "not listed" in refusal(room.run(MODEL, update=["other"]))


def test_a_tag_and_a_branch_with_a_slash_are_resolved(repository: Repository, room: Room) -> None:
    commit = repository.commit({**FILES, "config.json": b"1"}, branch="refs/pr/1")
    result = room.run({"name": "m", "source": "hf://org/name@refs/pr/1"})
    assert result["artifacts"][0]["revision"] == commit


def test_a_killed_fetch_goes_on_in_the_middle_of_the_file(hub: HubServer, room: Room) -> None:
    weights = os.urandom(20 * MEGABYTE)
    hub.add("org/large", {**FILES, "model.safetensors": weights})
    model = {"name": "large", "source": "hf://org/large"}
    hub.delay = 0.1
    process = room.start(model)
    part = room.cache / f"hub/org--large/sha256-{hashlib.sha256(weights).hexdigest()}.part"
    wait(lambda: part.exists() and part.stat().st_size >= 10 * MEGABYTE)
    process.kill()
    process.communicate()
    arrived = part.stat().st_size
    assert arrived < len(weights)
    hub.delay = 0
    result = room.run(model)
    assert (room.directory(result) / "model.safetensors").read_bytes() == weights
    ranges = [request.headers.get("range") for request in hub.asked("model.safetensors") if request.store]
    assert ranges == [None, f"bytes={arrived}-"]
    assert not part.exists()


def test_a_server_that_begins_anew_spoils_nothing(hub: HubServer, room: Room) -> None:
    weights = os.urandom(8 * MEGABYTE)
    hub.add("org/large", {**FILES, "model.safetensors": weights})
    hub.ranges = False
    hub.cut_after, hub.cuts, hub.hard = 4 * MEGABYTE, 2, True
    result = room.run({"name": "large", "source": "hf://org/large"})
    assert (room.directory(result) / "model.safetensors").read_bytes() == weights


@pytest.mark.parametrize("hard", [False, True])
def test_a_connection_that_breaks_is_taken_up_again(hub: HubServer, room: Room, hard: bool) -> None:
    weights = os.urandom(24 * MEGABYTE)
    hub.add("org/large", {**FILES, "model.safetensors": weights})
    hub.cut_after, hub.cuts, hub.hard = 11 * MEGABYTE, 1, hard
    result = room.run({"name": "large", "source": "hf://org/large"})
    assert (room.directory(result) / "model.safetensors").read_bytes() == weights
    ranges = [request.headers.get("range") for request in hub.asked("model.safetensors") if request.store]
    assert ranges[0] is None and any(str(item).startswith("bytes=") for item in ranges[1:])


def test_a_hub_with_a_bad_moment_is_asked_again(hub: HubServer, room: Room) -> None:
    hub.failing = [503]
    assert room.run(MODEL)["changed"]


def test_bytes_done_of_all_are_told_while_they_arrive(hub: HubServer, room: Room, tmp_path: Path) -> None:
    weights = os.urandom(30 * MEGABYTE)
    hub.add("org/large", {"config.json": b"{}", "model.safetensors": weights})
    hub.delay = 0.1
    room.environment["AIRGAP_PROGRESS"] = str(tmp_path / "progress")
    process = room.start({"name": "large", "source": "hf://org/large"})
    seen: list[dict[str, Any]] = []
    while process.poll() is None:
        with contextlib.suppress(OSError, ValueError):
            seen.append(json.loads((tmp_path / "progress").read_text()))
        time.sleep(0.1)
    process.communicate()
    fetching = [state for state in seen if "org/large" in state["label"]]
    assert {state["total"] for state in fetching} == {len(weights) + 2}
    assert any(0 < state["done"] < state["total"] for state in fetching)


@pytest.mark.parametrize(("path", "kind"), [("model.safetensors", "SHA-256"), ("config.json", "git digest")])
def test_a_file_that_is_not_what_the_hub_says_is_refused_by_name(
    repository: Repository, room: Room, path: str, kind: str
) -> None:
    repository.lies[path] = bytes(len(FILES[path]))
    said = refusal(room.run(MODEL))
    assert path in said and kind in said and "run this again" in said
    assert not (room.models / "m" / repository.branches["main"]).exists()
    assert not [item for item in room.cache.rglob("*") if item.is_file() and item.read_bytes() == repository.lies[path]]
    repository.lies.clear()
    result = room.run(MODEL)
    assert (room.directory(result) / path).read_bytes() == FILES[path]


def test_a_file_that_rotted_in_the_cache_is_fetched_anew(hub: HubServer, repository: Repository, room: Room) -> None:
    result = room.run(MODEL)
    blob = next(room.cache.rglob("sha256-*"))
    blob.unlink()
    blob.write_bytes(bytes(len(FILES["model.safetensors"])))
    (room.directory(result) / "model.safetensors").unlink()
    again = room.run(MODEL)
    assert (room.directory(again) / "model.safetensors").read_bytes() == FILES["model.safetensors"]


def test_tokens_come_from_the_environment_and_go_nowhere_else(
    hub: HubServer, repository: Repository, room: Room
) -> None:
    repository.private = True
    hub.tokens[TOKEN] = True
    said = refusal(room.run(MODEL))
    assert "HF_TOKEN is not set" in said and "org/name" in said
    room.environment["HF_TOKEN"] = "hf_wrong_and_secret"
    wrong = room.run(MODEL)
    assert "does not accept HF_TOKEN" in refusal(wrong) and "hf_wrong_and_secret" not in wrong["said"]
    room.environment["HF_TOKEN"] = TOKEN
    hub.delay = 0.5
    process = room.start(MODEL)
    lines = []
    while process.poll() is None:
        lines += command_lines()
        time.sleep(0.1)
    out, err = process.communicate()
    assert json.loads(out)["changed"]
    assert lines and not [line for line in lines if TOKEN in line]
    assert TOKEN not in out + err and room.holds(TOKEN) == []
    # The store of large files has another origin; it refuses whoever brings a token.
    assert [request for request in hub.requests if request.store]
    assert all("authorization" not in request.headers for request in hub.requests if request.store)
    assert hub.requests[-1].headers.get("authorization") or hub.requests[-1].store


def test_a_token_that_was_left_in_a_file_is_not_used(hub: HubServer, repository: Repository, room: Room) -> None:
    repository.private = True
    hub.tokens[TOKEN] = True
    home = room.root / "hf"
    home.mkdir(parents=True)
    (home / "token").write_text(TOKEN)
    room.environment["HF_HOME"] = str(home)
    assert "HF_TOKEN is not set" in refusal(room.run(MODEL))


def test_a_gated_model_says_where_its_terms_are(hub: HubServer, repository: Repository, room: Room) -> None:
    repository.gated = True
    said = refusal(room.run(MODEL))
    assert "gated" in said and f"{hub.endpoint}/org/name" in said and "HF_TOKEN is not set" in said
    hub.tokens[TOKEN] = False
    room.environment["HF_TOKEN"] = TOKEN
    said = refusal(room.run(MODEL))
    assert "gated" in said and "Accept its terms" in said and TOKEN not in said
    hub.tokens[TOKEN] = True
    assert room.run(MODEL)["changed"]


def test_what_is_not_there_is_told_apart(hub: HubServer, room: Room) -> None:
    assert "has no revision v9" in refusal(room.run({"name": "m", "source": "hf://org/name@v9"}))
    assert "There is no model org/nothing" in refusal(room.run({"name": "m", "source": "hf://org/nothing"}))
    assert "not of the form" in refusal(room.run({"name": "m", "source": "hf://org/name/more@main"}))
    assert "not of the form" in refusal(room.run({"name": "m", "source": "hf://org/name@../../etc"}))
    hub.failing = [503] * 3
    assert "answered 503" in refusal(room.run(MODEL))
    hub.failing = [429]
    assert "429" in refusal(room.run(MODEL))
    hub.failing = [403]
    assert "forbids org/name (403)" in refusal(room.run(MODEL))
    with socket.socket() as closed:
        closed.bind(("localhost", 0))
        room.environment["HF_ENDPOINT"] = f"http://localhost:{closed.getsockname()[1]}"
        said = refusal(room.run(MODEL))
    assert "cannot be reached" in said and "HTTPS_PROXY" in said
    room.environment["HF_ENDPOINT"] = f"{hub.endpoint}/elsewhere"
    assert "org/name" in refusal(room.run(MODEL))
    room.environment = {"HF_ENDPOINT": hub.endpoint, "HF_HUB_OFFLINE": "1"}
    assert "HF_HUB_OFFLINE" in refusal(room.run(MODEL))


def test_a_renamed_model_is_found(hub: HubServer, repository: Repository, room: Room) -> None:
    hub.renamed["old/name"] = "org/name"
    result = room.run({"name": "m", "source": "hf://old/name@main"})
    assert result["artifacts"][0]["revision"] == repository.branches["main"]


def test_xet_is_offered_and_not_taken(hub: HubServer, room: Room) -> None:
    room.run(MODEL)
    assert not [request for request in hub.requests if "xet" in request.path]
    assert [request for request in hub.asked("model.safetensors") if request.store]


def test_patterns_choose_and_make_a_revision_of_their_own(repository: Repository, room: Room) -> None:
    commit = repository.branches["main"]
    whole = room.run(MODEL)["artifacts"][0]
    part = room.run({**MODEL, "include": ["*.json"], "exclude": ["LICENSE"]})["artifacts"][0]
    assert part["revision"] == f"{commit}-{part['digest'][:8]}" != whole["revision"]
    directory = room.models.parent / part["directory"]
    assert sorted(os.listdir(directory)) == ["LICENSE", "README.md", "config.json", "tokenizer.json"]
    assert not room.run({**MODEL, "include": ["*.json"], "exclude": ["LICENSE"]})["changed"]
    said = refusal(room.run({**MODEL, "include": ["*.gguf"]}))
    assert "*.gguf" in said and "config.json" in said


def test_pickled_weights_need_a_name_in_the_inventory(hub: HubServer, room: Room) -> None:
    hub.add("org/pickled", {"config.json": b"{}", "pytorch_model.bin": b"PK"})
    model = {"name": "p", "source": "hf://org/pickled"}
    said = refusal(room.run(model))
    assert "pytorch_model.bin" in said and "allow_pickle" in said
    assert not hub.asked("pytorch_model.bin")
    result = room.run({**model, "allow_pickle": ["pytorch_model.bin"]})
    assert (room.directory(result) / "pytorch_model.bin").read_bytes() == b"PK"


def test_an_index_that_names_a_missing_shard_is_refused_before_the_weights_are_fetched(
    hub: HubServer, room: Room
) -> None:
    index = json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}).encode()
    hub.add("org/half", {"model.safetensors.index.json": index, "model-1.safetensors": b"1", "config.json": b"{}"})
    said = refusal(room.run({"name": "h", "source": "hf://org/half"}))
    assert "model-2.safetensors" in said and "model.safetensors.index.json" in said
    assert not hub.asked("model-1.safetensors")


def test_a_second_model_that_is_wrong_stops_before_the_first_is_fetched(hub: HubServer, room: Room) -> None:
    assert "org/nothing" in refusal(room.run(MODEL, {"name": "n", "source": "hf://org/nothing"}))
    assert not hub.asked("model.safetensors")


def test_what_is_in_the_cache_needs_no_hub(hub: HubServer, repository: Repository, room: Room) -> None:
    commit = room.run(MODEL)["artifacts"][0]["revision"]
    shutil.rmtree(room.models)
    asked = len(hub.requests)
    room.environment["HF_ENDPOINT"] = "http://localhost:9"
    assert room.run(MODEL)["artifacts"][0]["revision"] == commit and len(hub.requests) == asked


def test_a_second_model_that_is_gated_stops_before_the_first_is_fetched(hub: HubServer, room: Room) -> None:
    hub.add("org/gated", FILES).gated = True
    models = (MODEL, {"name": "g", "source": "hf://org/gated"})
    assert "org/gated is gated" in refusal(room.run(*models, _ansible_check_mode=True))
    assert "org/gated is gated" in refusal(room.run(*models))
    assert not hub.asked("model.safetensors")


def test_check_mode_says_what_would_come_and_leaves_no_trace(room: Room) -> None:
    result = room.run(MODEL, _ansible_check_mode=True)
    assert result["changed"] and result["fetched"] == ["m"] and result["fetched_bytes"] > 50_000
    assert not room.root.exists()


def test_several_files_come_at_a_time(hub: HubServer, room: Room) -> None:
    shards = {f"model-{number}.safetensors": os.urandom(1000) for number in range(6)}
    hub.add("org/shards", {"config.json": b"{}", **shards})
    hub.delay = 1.0
    started = time.monotonic()
    room.run({"name": "s", "source": "hf://org/shards"})
    assert time.monotonic() - started < 6


def test_two_runs_do_not_write_into_one_file(hub: HubServer, room: Room) -> None:
    hub.delay = 1.5
    process = room.start(MODEL)
    wait(lambda: bool(list(room.cache.rglob("*.part"))))
    assert "Another run fetches org/name" in refusal(room.run(MODEL))
    assert json.loads(process.communicate()[0])["changed"]


def test_without_the_client_the_python_and_the_command_are_named(room: Room) -> None:
    room.without = ("huggingface_hub",)
    said = refusal(room.run(MODEL))
    assert f"{sys.executable} -m pip install 'huggingface_hub>=1,<3'" in said
    # A directory needs no client.
    (room.root / "source").mkdir(parents=True)
    (room.root / "source/config.json").write_text("{}")
    assert room.run({"name": "d", "source": str(room.root / "source")})["changed"]


def test_a_private_ca_is_honoured(tmp_path: Path) -> None:
    certificate, key = certificate_for(tmp_path, "DNS:localhost", "IP:127.0.0.1")
    with HubServer(certificate, key) as hub:
        hub.add("org/name", FILES)
        room = Room(tmp_path / "room", HF_ENDPOINT=hub.endpoint)
        said = refusal(room.run(MODEL))
        assert "is not trusted" in said and "SSL_CERT_FILE" in said
        room.environment["SSL_CERT_FILE"] = str(tmp_path / "none.pem")
        assert "is not a file" in refusal(room.run(MODEL))
        for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
            other = Room(tmp_path / name, HF_ENDPOINT=hub.endpoint, **{name: str(certificate)})
            assert other.run(MODEL)["changed"]


def test_a_proxy_carries_everything(tmp_path: Path) -> None:
    # These names do not resolve here: what arrives has come through the proxy.
    certificate, key = certificate_for(tmp_path, "DNS:hub.example.org", "DNS:store.example.org")
    with HubServer(certificate, key, "hub.example.org", "store.example.org") as hub, Proxy() as proxy:
        hub.add("org/name", FILES)
        room = Room(tmp_path / "room", HF_ENDPOINT=hub.endpoint, SSL_CERT_FILE=str(certificate))
        assert "cannot be reached" in refusal(room.run(MODEL))
        room.environment["HTTPS_PROXY"] = proxy.address("user:wrong")
        said = refusal(room.run(MODEL))
        assert "The proxy" in said and "refused" in said and "wrong" not in said
        room.environment["HTTPS_PROXY"] = proxy.address("user:right")
        result = room.run(MODEL)
        assert (room.directory(result) / "model.safetensors").read_bytes() == FILES["model.safetensors"]
        assert {hub.address(number).replace("https://", "") for number in (0, 1)} == proxy.asked


def test_the_role_keeps_the_token_out_of_its_log(hub: HubServer, repository: Repository, room: Room) -> None:
    repository.private = True
    hub.tokens[TOKEN] = True
    room.environment["HF_TOKEN"] = TOKEN
    room.root.mkdir()
    play = [
        {
            "hosts": "localhost",
            "gather_facts": False,
            "tasks": [
                {"ansible.builtin.include_role": {"name": "airgap.inference.bundle", "tasks_from": "models.yml"}},
                {"ansible.builtin.debug": {"var": "__bundle_collected_models"}},
            ],
            "vars": {
                "bundle_directory": str(room.models.parent),
                "bundle_cache_directory": str(room.cache),
                "bundle_models": [{**MODEL, "exclude": ["tokenizer.json"]}],
            },
        }
    ]
    (room.root / "play.yml").write_text(json.dumps(play))
    ansible = [str(Path(sys.executable).parent / "ansible-playbook"), "-vvvv", "-c", "local", "-i", "localhost,"]
    done = subprocess.run(
        [*ansible, "-e", f"ansible_python_interpreter={sys.executable}", str(room.root / "play.yml")],
        env={**room.clean_environment(), "ANSIBLE_LOG_PATH": str(room.root / "ansible.log")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((room.cache / "state/models.lock.json").read_text())
    assert list(room.models.rglob("model.safetensors"))
    assert TOKEN not in done.stdout + done.stderr and room.holds(TOKEN) == []


def wait(ready: Any, seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < until
        time.sleep(0.02)


def certificate_for(directory: Path, *names: str) -> tuple[Path, Path]:
    certificate, key = directory / "hub.pem", directory / "hub.key"
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    subject = ["-subj", "/CN=hub", "-addext", f"subjectAltName={','.join(names)}"]
    subprocess.run(
        ["openssl", "req", "-x509", *kind, *subject, "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )
    return certificate, key


class Proxy:
    """A proxy that knows CONNECT and one user, and reaches every name at this machine."""

    def __init__(self) -> None:
        self.asked: set[str] = set()
        self._listener = socket.create_server(("localhost", 0))

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._listener.close()

    def address(self, user: str) -> str:
        return f"http://{user}@localhost:{self._listener.getsockname()[1]}"

    def _accept(self) -> None:
        while True:
            try:
                client, _address = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            more = client.recv(4096)
            if not more:
                return
            head += more
        target = head.split()[1].decode()
        # user:right
        if b"dXNlcjpyaWdodA==" not in head:
            client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            client.close()
            return
        self.asked.add(target)
        upstream = socket.create_connection(("localhost", int(target.rsplit(":", 1)[1])))
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        ends = {client: upstream, upstream: client}
        while True:
            for end in select.select(list(ends), [], [])[0]:
                data = end.recv(65536)
                if not data:
                    client.close()
                    upstream.close()
                    return
                ends[end].sendall(data)
