# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Instances are rehearsed on the staging machine: real vLLM without a network, and a stand-in for what it must never do."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from huggingface_hub import constants
from instances_room import STAND_IN, STAND_IN_ENGINE, Room, Run, described


@pytest.fixture(name="lab", scope="module")
def fixture_lab() -> dict[str, Any]:
    return described()


@pytest.fixture(name="room", scope="module")
def fixture_room(lab: dict[str, Any]) -> Iterator[Room]:
    """The stand-in's room: an image with Python, and models of two files."""
    room = Room(Path(tempfile.mkdtemp(prefix="rehearsal-")), lab)
    room.add_image(f"docker-daemon:{lab['host_image']}", STAND_IN)
    room.add_model("small", Path(lab["models"]["tiny"]), "*.safetensors")
    room.add_model("bare", Path(lab["models"]["tiny"]), "*.safetensors", "tokenizer*")
    yield room
    room.close()


@pytest.fixture(name="serving", scope="module")
def fixture_serving(lab: dict[str, Any]) -> Iterator[Room]:
    """vLLM's room: the lab's engine image and its tiny model, with and without a tokenizer."""
    room = Room(Path(tempfile.mkdtemp(prefix="rehearsal-")), lab)
    registry = lab["registry"]
    name = registry["images"]["engine"]
    room.add_image(f"docker://{name}", name, "--registries-conf", registry["registries_conf"])
    room.add_model("tiny", Path(lab["models"]["tiny"]))
    room.add_model("bare", Path(lab["models"]["tiny"]), "tokenizer*")
    yield room
    room.close()


def stand_in(name: str = "chat", trouble: str | None = None, **more: Any) -> dict[str, Any]:
    options = {"trouble": trouble} if trouble else {}
    return {"name": name, "engine": "stand-in", "image": STAND_IN, "model": "small", "options": options, **more}


def rehearse(room: Room, *instances: dict[str, Any], **more: Any) -> Run:
    before = room.tree()
    run = room.rehearse(*instances, engines=[STAND_IN_ENGINE], **more)
    # Whatever came of it: no container is left, and nothing of it is in the bundle.
    assert room.containers() == []
    assert room.tree() == before
    return run


def test_an_instance_that_generates_passes_once(room: Room) -> None:
    foreseen = rehearse(room, stand_in("once"), check=True)
    assert (foreseen.status, foreseen.result["changed"], foreseen.result["rehearsed"]) == (0, True, ["once"])
    assert room.loaded() == [] and not (room.cache / "rehearsal").exists()
    first = rehearse(room, stand_in("once"))
    assert first.status == 0, first.output
    assert first.result["changed"] and first.result["rehearsed"] == ["once"]
    (artifact,) = first.result["artifacts"]
    assert artifact == {
        "kind": "instance",
        "name": "once",
        "level": "generate",
        "engine": "stand-in",
        "image": STAND_IN,
        "model": "small",
        "reason": "",
    }
    again = rehearse(room, stand_in("once"))
    assert (again.result["changed"], again.result["rehearsed"], again.result["artifacts"]) == (False, [], [artifact])
    assert again.result["seconds"] < 1
    changed = rehearse(room, stand_in("once", options={"depth": 2}), check=True)
    assert changed.result["rehearsed"] == ["once"]


def test_of_replicas_one_is_tried(room: Room) -> None:
    run = rehearse(room, stand_in("many", replicas=3, options={"depth": 4}))
    assert run.status == 0, run.output
    assert run.result["rehearsed"] == ["many"] == [artifact["name"] for artifact in run.result["artifacts"]]


def test_one_that_reports_elsewhere_is_refused_although_it_generates(room: Room) -> None:
    run = rehearse(room, stand_in("talks", "report"))
    assert run.status != 0
    for words in (
        "The instance talks (stand-in",
        "tries to reach a network",
        "it asked for the address of telemetry.example.org",
        "1 over IPv4",
        "Nothing left this machine",
    ):
        assert words in run.output
    assert "It then failed" not in run.output


def test_one_that_fails_is_told_in_its_own_words_and_the_others_are_tried(room: Room) -> None:
    run = rehearse(room, stand_in("deaf", "tokenizer", model="bare"), stand_in("fine"), stand_in("reads", "tokenizer"))
    assert run.status != 0
    assert (
        "The instance deaf (stand-in, image docker.io/example/stand-in:v1, model bare) fails its rehearsal"
        in run.output
    )
    assert "it ended with status 1" in run.output
    assert "FileNotFoundError: [Errno 2] No such file or directory: '/model/tokenizer.json'" in run.output
    assert "The instance fine" not in run.output and "The instance reads" not in run.output
    # A failure is not remembered, a success is.
    assert rehearse(room, stand_in("fine")).result["changed"] is False
    assert "FileNotFoundError" in rehearse(room, stand_in("deaf", "tokenizer", model="bare")).output


def test_the_model_cannot_be_written(room: Room) -> None:
    run = rehearse(room, stand_in("scribe", "write"))
    assert "OSError: [Errno 30] Read-only file system: '/model/tokenizer.json'" in run.output


def test_one_that_never_gets_ready_ends_with_the_time_it_has(room: Room) -> None:
    run = rehearse(room, stand_in("slow", "silence"), bundle_rehearsal_timeout=3)
    assert "it was not ready after 3 seconds (bundle_rehearsal_timeout)" in run.output


def test_what_an_interrupted_run_left_is_removed_and_nothing_of_others(room: Room, lab: dict[str, Any]) -> None:
    first = rehearse(room, stand_in("left"))
    assert first.status == 0, first.output
    mark = room.loaded()[0].partition("/")[2].partition(":")[0]
    mine, other = f"airgap-rehearsal_left_{mark}", "airgap-rehearsal_left_00000000"
    for name in (mine, other):
        subprocess.run(["docker", "create", "--name", name, lab["host_image"]], check=True, stdout=subprocess.DEVNULL)
    try:
        run = room.rehearse(stand_in("left", options={"depth": 3}), engines=[STAND_IN_ENGINE])
        assert run.status == 0, run.output
        assert room.containers() == [other]
    finally:
        subprocess.run(["docker", "rm", other], check=True, stdout=subprocess.DEVNULL)


def test_images_go_when_all_have_passed(room: Room) -> None:
    # This machine's Docker kept the stand-in so far, as the room wished.
    assert rehearse(room, stand_in("last", "report"), bundle_rehearsal_keep_images=False).status != 0
    assert len(room.loaded()) == 1
    assert rehearse(room, stand_in("last"), bundle_rehearsal_keep_images=False).status == 0
    assert room.loaded() == []


def test_what_the_isolated_side_would_refuse_is_refused_first(room: Room) -> None:
    run = rehearse(room, stand_in("chat", gpus=-1), stand_in("chat", model="huge"))
    assert "instance chat: gpus is -1; it is a number of GPUs" in run.output
    assert "instance chat: the name chat stands twice" in run.output
    assert "model 'huge' is not in the bundle, which has bare, small" in run.output


def test_a_machine_without_compose_says_what_to_install(room: Room) -> None:
    run = rehearse(room, stand_in(), bundle_compose_command=["/nonexistent/docker-compose"])
    assert "needs Docker and Compose 2.24.4 or newer" in run.output and "/nonexistent/docker-compose" in run.output
    assert (
        rehearse(room, stand_in(), bundle_compose_command=["/nonexistent/x"], bundle_rehearsal_level="none").status == 0
    )


def test_a_site_without_instances_needs_none_of_it(room: Room) -> None:
    run = rehearse(room, bundle_compose_command=["/nonexistent/x"])
    assert run.status == 0, run.output
    assert (run.result["artifacts"], run.result["changed"]) == ([], False)


def vllm(lab: dict[str, Any], **more: Any) -> dict[str, Any]:
    environment = {"VLLM_CPU_KVCACHE_SPACE": "1", **more.pop("environment", {})}
    options = {"max_model_len": 512, "enforce_eager": True, **more.pop("options", {})}
    image = lab["registry"]["images"]["engine"]
    base = {"name": "chat", "engine": "vllm", "image": image, "model": "tiny", "gpus": 1}
    return {**base, "environment": environment, "options": options, **more}


def test_vllm_generates_from_the_bundle_alone(serving: Room, lab: dict[str, Any]) -> None:
    before = serving.tree()
    run = serving.rehearse(vllm(lab))
    assert run.status == 0, run.output
    assert run.result["artifacts"][0]["level"] == "generate"
    assert serving.containers() == [] and serving.tree() == before


def test_vllm_loads_by_its_own_code_where_it_cannot_generate(serving: Room, lab: dict[str, Any]) -> None:
    # Two GPUs' worth of parallelism, and a name with a dollar: the same command line is parsed.
    run = serving.rehearse(vllm(lab, gpus=2, rehearsal="load", environment={"AWKWARD": "$HOME"}))
    assert run.status == 0, run.output
    assert run.result["artifacts"][0]["level"] == "load"


def test_vllm_without_its_tokenizer_is_refused_in_its_own_words(serving: Room, lab: dict[str, Any]) -> None:
    run = serving.rehearse(vllm(lab, model="bare", rehearsal="load"))
    assert run.status != 0
    assert "fails its rehearsal at level load: it ended with status 1" in run.output
    assert "Couldn't instantiate the backend tokenizer" in run.output
    assert 'File "/' not in run.output.partition("last words:")[2].partition("Its whole log")[0]


def test_vllm_that_wants_the_hub_is_refused_and_the_hub_is_named(serving: Room, lab: dict[str, Any]) -> None:
    online = {"HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "0"}
    run = serving.rehearse(vllm(lab, rehearsal="load", options={"tokenizer": "example/tokenizer"}, environment=online))
    assert run.status != 0
    hub = urlsplit(constants.ENDPOINT).hostname
    assert f"tries to reach a network, which it will not have: it asked for the address of {hub}" in run.output
