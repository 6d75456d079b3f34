# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""NIM's connected phase as the product runs it, with an image that stands in for NVIDIA's."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nim_stand_in
import pytest
from images_room import Registry
from models_room import Room, command_lines, refusal
from nim_stand_in import IMAGE, LINKED, PROFILE, SLOW

KEY = "good-SecretOfNGC"


@pytest.fixture(name="image", scope="module", autouse=True)
def fixture_image() -> Iterator[None]:
    nim_stand_in.build()
    yield
    nim_stand_in.remove()


@pytest.fixture(name="room")
def fixture_room(tmp_path: Path) -> Room:
    return Room(tmp_path / "room", NGC_API_KEY=KEY)


def model(profile: str | None = PROFILE, **more: str) -> dict[str, Any]:
    return {"name": "n", "source": f"nim://{IMAGE}", "nim": {"profile": profile, **more}}


def test_a_model_store_becomes_a_model_and_is_made_once(room: Room) -> None:
    result = room.run(model())
    artifact = result["artifacts"][0]
    assert artifact["source"] == f"nim://{IMAGE}#{PROFILE}" and artifact["revision"] == artifact["digest"][:16]
    directory = room.directory(result)
    assert sorted(os.listdir(directory)) == ["config.json", "how.txt", "model.safetensors"]
    assert (directory / "model.safetensors").read_text() == "weights"
    assert (directory / "how.txt").read_text() == f"{os.getuid()} no proxy"
    # The store is whole by itself: what it was made of would be there twice.
    assert not list(room.cache.glob("nim/*/cache"))
    assert json.loads(room.lock.read_text()) == {f"nim://{IMAGE}": IMAGE}
    room.environment.pop("NGC_API_KEY")
    again = room.run(model())
    assert not again["changed"] and again["artifacts"] == result["artifacts"]
    assert "NGC_API_KEY is not set" in refusal(room.run(model(), update=["n"]))


def test_a_cache_is_carried_as_files(room: Room) -> None:
    directory = room.directory(room.run(model(command="download-to-cache")))
    snapshot = directory / f"ngc/hub/models--nim--meta--tiny/snapshots/{PROFILE}"
    assert (snapshot / "model.safetensors").read_text() == "weights"
    assert not (snapshot / "model.safetensors").is_symlink()


def test_a_store_of_links_into_the_cache_is_carried_as_files(room: Room) -> None:
    result = room.run(model(LINKED))
    directory = room.directory(result)
    assert (directory / "model.safetensors").read_text() == "weights"
    assert not (directory / "model.safetensors").is_symlink()
    assert not room.run(model(LINKED))["changed"]


def test_a_tag_that_moves_is_held_to_its_digest_until_it_is_updated(room: Room, tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry")
    image = f"{registry.address}/nim/tiny:1"
    wanted = {**model(), "source": f"nim://{image}"}

    def weights(**arguments: Any) -> str:
        return (room.directory(room.run(wanted, **arguments)) / "model.safetensors").read_text()

    try:
        publish(image, "first")
        assert weights() == "first"
        locked = json.loads(room.lock.read_text())[f"nim://{image}"]
        assert locked.startswith(f"{registry.address}/nim/tiny@sha256:")
        publish(image, "second")
        for directory in room.cache.glob("nim/*/store"):
            shutil.rmtree(directory.parent)
        assert weights() == "first"
        assert weights(update=["n"]) == "second"
        assert json.loads(room.lock.read_text())[f"nim://{image}"] != locked
        registry.stop()
        said = refusal(room.run(wanted, update=["n"]))
        assert "could not be pulled anew" in said
    finally:
        for listed in docker("images", "--quiet", f"{registry.address}/nim/tiny").split():
            nim_stand_in.remove(listed)
        registry.stop()


def test_without_a_profile_the_images_own_list_is_shown(room: Room) -> None:
    said = refusal(room.run(model(None)))
    assert f"{PROFILE} (vllm-bf16-tp1)" in said and "nim: {profile:" in said


def test_what_the_image_refuses_is_told_without_the_key(room: Room) -> None:
    room.environment["NGC_API_KEY"] = "expired-secret"
    result = room.run(model())
    said = refusal(result)
    assert "401 Unauthorized" in said and "<NGC_API_KEY>" in said and "expired-secret" not in result["said"]
    room.environment.pop("NGC_API_KEY")
    assert "NGC_API_KEY is not set where the playbook runs" in refusal(room.run(model()))
    assert "left nothing" in refusal(Room(room.root, NGC_API_KEY=KEY).run(model("none")))


def test_what_makes_no_sense_is_refused(room: Room) -> None:
    assert "not of the form nim://" in refusal(room.run({**model(), "source": "nim://--privileged"}))
    assert "identifier of a profile" in refusal(room.run(model("--all")))
    said = refusal(room.run({**model(), "source": "/srv/models/m"}))
    assert "is no nim://image" in said
    assert "unknown" in refusal(room.run({**model(), "source": "nim://localhost:1/unknown/nim:1"}))


def test_the_key_is_in_no_command_line_and_no_file(room: Room) -> None:
    process = room.start(model(SLOW))
    lines, arguments = [], ""
    until = time.monotonic() + 30
    while not arguments and time.monotonic() < until:
        lines += command_lines()
        names = docker("ps", "--filter", "name=airgap-nim-", "--format", "{{.Names}}").split()
        arguments = (
            docker("inspect", "--format", "{{json .Args}}{{json .Config.Cmd}}{{json .Path}}", *names) if names else ""
        )
        time.sleep(0.1)
    assert PROFILE not in arguments and SLOW in arguments and KEY not in arguments
    assert [line for line in lines if "docker run" in line and "--env NGC_API_KEY" in line]
    assert not [line for line in lines if KEY in line]
    # The container outlives a run that is killed; the next run ends it, and the image goes on where it can.
    process.send_signal(signal.SIGKILL)
    process.communicate()
    result = room.run(model(SLOW))
    assert (room.directory(result) / "model.safetensors").read_text() == "weights"
    assert docker("ps", "--all", "--filter", "name=airgap-nim-", "--format", "{{.Names}}") == ""
    assert room.holds(KEY) == [] and KEY not in result["said"]


def test_proxies_and_a_private_ca_reach_the_image(room: Room, tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_text("a certificate\n")
    room.environment.update(HTTPS_PROXY="http://proxy.example.org:3128", SSL_CERT_FILE=str(authority))
    directory = room.directory(room.run(model()))
    assert (directory / "how.txt").read_text() == f"{os.getuid()} http://proxy.example.org:3128"


def test_check_mode_runs_no_container(room: Room) -> None:
    result = room.run(model(), _ansible_check_mode=True)
    assert result["changed"] and result["fetched"] == ["n"] and not room.root.exists()
    room.run(model())
    assert not room.run(model(), _ansible_check_mode=True)["changed"]


def test_a_model_free_nim_is_served_from_a_directory(room: Room) -> None:
    (room.root / "source").mkdir(parents=True)
    (room.root / "source/config.json").write_text("{}")
    (room.root / "source/model.safetensors").write_text("weights")
    result = room.run({"name": "free", "source": str(room.root / "source")})
    assert (room.directory(result) / "model.safetensors").read_text() == "weights"


def publish(image: str, weights: str) -> None:
    """Push it, and leave no copy here."""
    nim_stand_in.build(image, weights)
    subprocess.run(["docker", "push", "--quiet", image], check=True, capture_output=True)
    nim_stand_in.remove(image)


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False).stdout.strip()
