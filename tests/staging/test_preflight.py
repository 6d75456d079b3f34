# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook preflight, and the same question on the connected side: over hosts that are this machine with GPUs of their own."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import preflight_room
import pytest
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils import placement_models as models
from hub_server import HubServer
from preflight_room import CHAT, Room

BIG = {**CHAT, "name": "big", "model": "large", "options": {"max_model_len": 65536}}


@pytest.fixture(name="room")
def fixture_room(tmp_path: Path) -> Room:
    room = Room(tmp_path)
    room.model("small", models.LLAMA_8B)
    room.model("large", models.LLAMA_70B)
    return room


def test_a_site_that_works_ends_well_and_costs_few_tasks(room: Room) -> None:
    room.host("gpu1", gpu_host_expected={"count": 2, "name": "H100"})
    room.host("gpu2", driverless=True)
    room.host("gpu3")
    ended = room.run()
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "changed=0" in ended.stdout
    assert not re.search(r"changed=[1-9]", ended.stdout)
    document = room.document()
    assert document["can_work"]
    assert [host["host"] for host in document["hosts"]] == ["gpu1", "gpu2", "gpu3"]
    assert [host["instances"][0]["verdict"] for host in document["hosts"]] == ["fits"] * 3
    assert "PCI ids" in document["hosts"][1]["gpu_source"]
    # The same GPUs, told by the driver and by the catalogue, have the same answer.
    figures = {host["instances"][0]["kv_cache_tokens"] for host in document["hosts"]}
    assert len(figures) == 1
    assert f"{figures.pop():,}" in ended.stdout
    counts = {
        name: int(done) + int(skipped)
        for name, done, skipped in re.findall(r"^(gpu\d)\s*: ok=(\d+).*skipped=(\d+)", ended.stdout, re.MULTILINE)
    }
    assert counts["gpu2"] <= 5
    assert counts["gpu3"] <= 5
    assert (room.root / "preflight.json").stat().st_mode & 0o777 == 0o644


def test_a_site_that_cannot_work_says_all_of_it_and_ends_badly(room: Room) -> None:
    room.host("gpu1", airgap_instances=[CHAT, BIG])
    room.host("gpu2", gpus=False)
    room.host("gpu3", gpu_host_expected={"count": 8})
    room.unreachable("gpu4")
    ended = room.run()
    assert ended.returncode == 2, ended.stdout + ended.stderr
    document = room.document()
    verdicts = {
        (host["host"], row["instance"]): row["verdict"] for host in document["hosts"] for row in host["instances"]
    }
    assert verdicts == {
        ("gpu1", "chat"): "fits",
        ("gpu1", "big"): "does not fit",
        ("gpu2", "chat"): "cannot work",
        ("gpu3", "chat"): "fits",
        ("gpu4", "chat"): "not reached",
    }
    for words in (
        "gpu1: instance big: large does not fit",
        "airgap_instances[1].options.max_model_len is 65536",
        "4 such GPUs with",
        "There is no NVIDIA GPU on the PCI bus",
        "gpu_host_expected.count is 8",
        "Connection refused",
    ):
        assert words in ended.stdout
    page = [json.loads(line.strip().rstrip(",")) for line in ended.stdout.splitlines() if re.match(r' {8}".*"', line)]
    assert max(len(line) for line in page) + 12 <= 120
    assert "Traceback" not in ended.stdout + ended.stderr


def test_check_mode_is_the_same_without_the_file(room: Room) -> None:
    room.host("gpu1")
    ended = room.run("--check", "--diff")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "fits 1; nothing stops a deploy" in ended.stdout
    assert not (room.root / "preflight.json").exists()
    room.host("gpu2", airgap_instances=[BIG])
    assert room.run("--check").returncode == 2


def test_a_contradiction_is_found_before_any_host_is_contacted(room: Room) -> None:
    room.unreachable("gpu1")
    room.unreachable("gpu2")
    room.site["airgap_instances"] = [{**CHAT, "engine": "vlm"}, {**CHAT, "name": "Other"}]
    room.site["airgap_clients"] = [{"name": "a", "key_sha256": "0" * 64}]
    ended = room.run()
    assert ended.returncode == 2
    for words in ("engine is 'vlm'", "'Other'", "zeros", "airgap_clients[0]", "gpu1, gpu2"):
        assert words in ended.stdout
    assert "UNREACHABLE" not in ended.stdout
    assert "Look at the hosts" not in ended.stdout


def test_a_limit_leaves_the_other_hosts_out(room: Room) -> None:
    room.host("gpu1", airgap_instances=[BIG])
    room.host("gpu2")
    ended = room.run("--limit", "gpu2")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert [host["host"] for host in room.document()["hosts"]] == ["gpu2"]


def test_without_a_bundle_at_the_depot(room: Room) -> None:
    room.host("gpu1")
    room.write()
    room.site["base_depot_directory"] = str(room.root / "nowhere")
    room.depot_variables = {"base_depot_directory": str(room.root / "nowhere")}
    ended = room.run()
    assert ended.returncode == 2, ended.stdout
    assert "Run the playbook airgap.inference.import first" in " ".join(ended.stdout.split())


FIT = """
- hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.include_role: {name: airgap.inference.bundle, tasks_from: fit.yml}
"""


@pytest.fixture(name="hub")
def fixture_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with HubServer() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        yield hub


def test_on_the_connected_side_a_model_that_will_not_fit_is_not_fetched(room: Room, hub: HubServer) -> None:
    hub.add("org/large", {"config.json": json.dumps(models.LLAMA_70B).encode(), "model.safetensors": b"x" * 1000})
    playbook = room.root / "fit.yml"
    playbook.write_text(FIT, encoding="utf-8")
    room.site.update(
        airgap_models=[
            {"name": "large", "source": "hf://org/large@main"},
            {"name": "small", "source": str(room.depot / "models/small/r1")},
        ],
        airgap_bundle=str(room.root / "bundle"),
        bundle_cache_directory=str(room.root / "cache"),
        airgap_instances=[CHAT, BIG],
    )
    room.unreachable("gpu1")
    room.hosts["gpu1"]["gpu_host_expected"] = {"count": 2, "name": "H100"}
    ended = room.run(playbook=playbook)
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert "gpu1: instance big: large does not fit" in ended.stdout
    assert re.search(r'chat +small +0 .*fits"', ended.stdout)
    assert not [request.path for request in hub.requests if "safetensors" in request.path]
    room.hosts["gpu1"]["gpu_host_expected"] = {"count": 4, "name": "B200"}
    ended = room.run(playbook=playbook)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "~131.4" in ended.stdout


def test_the_connected_side_can_be_told_to_go_on(room: Room) -> None:
    playbook = room.root / "fit.yml"
    playbook.write_text(FIT, encoding="utf-8")
    room.site.update(
        airgap_models=[{"name": "large", "source": str(room.depot / "models/large/r1")}],
        airgap_bundle=str(room.root / "bundle"),
        bundle_cache_directory=str(room.root / "cache"),
        airgap_instances=[BIG],
    )
    room.unreachable("gpu1")
    room.hosts["gpu1"]["gpu_host_expected"] = {"count": 1, "name": "L4"}
    assert room.run(playbook=playbook).returncode == 2
    ended = room.run("-e", "bundle_refuse_unfit=false", playbook=playbook)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "does not fit" in ended.stdout


def test_the_room_is_the_collection() -> None:
    assert preflight_room.PLAYBOOK.is_file()
