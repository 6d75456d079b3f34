# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's GPUs are taken from whoever can tell, and what is wrong with the host is told whatever its instances are."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _preflight_host
from ansible_collections.airgap.inference.plugins.module_utils._preflight_problem import STOPS, WARNS, Problem

FACTS = {
    "ansible_distribution": "Debian",
    "ansible_distribution_version": "13.2",
    "ansible_distribution_release": "trixie",
    "ansible_os_family": "Debian",
    "ansible_architecture": "x86_64",
    "ansible_memtotal_mb": 515000,
    "ansible_mounts": [
        {"mount": "/", "size_available": 50 * 2**30},
        {"mount": "/srv", "size_available": 500 * 2**30},
        {"mount": "/srvother", "size_available": 1},
    ],
}
GPU = {
    "index": 0,
    "name": "NVIDIA H100 80GB HBM3",
    "uuid": "GPU-1",
    "pci_address": "00000000:1B:00.0",
    "memory_mib": 81559,
    "memory_used_mib": 4,
    "compute_capability": "9.0",
    "mig_mode": "disabled",
    "problems": [],
}
FOUND: dict[str, Any] = {
    "gpus": [{"pci_address": "0000:1b:00.0", "device_id": "2330", "driver": None}],
    "kernel": {"module_version": None},
    "loaded": {"nvidia": None},
}
BUNDLE = {
    "repositories": {"Debian-trixie-amd64": {}},
    "models": {"small": {"revision": "r1", "size": 100 * 2**30}, "other": {"revision": "r2", "size": 450 * 2**30}},
    "images": {"engine:1": {"digest": "sha256:aa", "size": 10 * 2**30}},
}


def seen(**changes: Any) -> dict[str, Any]:
    return {
        "facts": {"ansible_facts": FACTS},
        "found": FOUND,
        "gpus": {"gpus": [GPU], "problems": [], "driver_version": "580.95.05"},
        "held": [],
        **changes,
    }


def problems(
    expected: dict[str, Any] | None = None, bundle: dict[str, Any] | None = None, **changes: Any
) -> list[Problem]:
    what = seen(**changes)
    host = {"host": "gpu1", "seen": what, "expected": expected or {}}
    hardware = _preflight_host.hardware(what, expected or {})
    return list(_preflight_host.problems(host, BUNDLE if bundle is None else bundle, hardware))


def test_the_driver_goes_before_all() -> None:
    found = _preflight_host.hardware(seen(), {"count": 8, "memory_mib": 1})
    assert [gpu["memory_mib"] for gpu in found.gpus] == [81559]
    assert found.gpus[0]["uuid"] == "GPU-1"


def test_an_old_driver_does_not_tell_the_capability_and_the_catalogue_does() -> None:
    old = {key: value for key, value in GPU.items() if key != "compute_capability"}
    assert _preflight_host.hardware(seen(gpus={"gpus": [old]}), {}).gpus[0]["compute_capability"] == "9.0"


def test_without_a_driver_the_bus_is_read() -> None:
    found = _preflight_host.hardware(seen(gpus={"msg": "nvidia-smi is not installed"}), {})
    assert (found.gpus[0]["name"], found.gpus[0]["memory_mib"]) == ("NVIDIA H100 80GB HBM3", 81559)
    assert "PCI ids" in found.source
    assert found.notes == []


def test_a_device_that_is_not_known_takes_what_is_stated_or_says_so() -> None:
    bus = {**FOUND, "gpus": [{"pci_address": "0000:1b:00.0", "device_id": "ffff", "driver": None}]}
    found = _preflight_host.hardware(
        seen(gpus={"msg": "none"}, found=bus), {"memory_mib": 9000, "compute_capability": "11.0"}
    )
    assert (found.gpus[0]["memory_mib"], found.gpus[0]["compute_capability"], found.notes) == (9000, "11.0", [])
    found = _preflight_host.hardware(seen(gpus={"msg": "none"}, found=bus), {})
    assert "memory_mib" not in found.gpus[0]
    assert "10de:ffff" in found.notes[0]
    assert "gpu_host_expected.memory_mib" in found.notes[0]


def test_gpus_for_virtual_machines_are_not_the_engines() -> None:
    bus = {**FOUND, "gpus": [{"pci_address": "0000:1b:00.0", "device_id": "2330", "driver": "vfio-pci"}]}
    assert _preflight_host.hardware(seen(gpus={"msg": "none"}, found=bus), {}).gpus == []


def test_without_a_look_the_inventory_is_read() -> None:
    found = _preflight_host.hardware({}, {"count": 2, "name": "L40S"})
    assert [(gpu["index"], gpu["memory_mib"]) for gpu in found.gpus] == [(0, 46068), (1, 46068)]
    assert _preflight_host.hardware({}, {"name": "L40S"}).source == "not known"
    assert "memory_mib" in _preflight_host.hardware({}, {"count": 2, "name": "X9000"}).notes[0]


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"ansible_facts": FACTS}, None),
        ({"unreachable": True, "msg": "Connection refused\nmore"}, "Connection refused"),
        ({"msg": "Missing sudo password"}, "Missing sudo password"),
        ({}, "it gave no answer"),
    ],
)
def test_whether_it_was_reached(facts: dict[str, Any], why: str | None) -> None:
    assert _preflight_host.reached({"facts": facts}) == why


def test_a_good_host_has_no_problem() -> None:
    assert problems({"count": 1, "name": "h100", "memory_mib": 81920, "compute_capability": 9.0}) == []


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        (
            {"count": 2},
            "the host has 1 GPUs (as the driver shows them), and 2 are expected: GPU 0 (NVIDIA H100 80GB HBM3, GPU-1",
        ),
        ({"name": "H200"}, "another GPU than H200"),
        ({"memory_mib": 143771}, "less memory than 143771 MiB"),
        ({"compute_capability": "10.0"}, "another compute capability than 10.0"),
    ],
    ids=["count", "name", "memory", "capability"],
)
def test_other_hardware_than_was_paid_for(expected: dict[str, Any], words: str) -> None:
    found = problems(expected)
    assert len(found) == 1
    assert found[0].level == STOPS
    assert words in found[0].what[0]
    assert found[0].where[0].startswith(f"gpu_host_expected.{next(iter(expected))} is ")


def test_a_system_without_packages() -> None:
    found = problems(bundle={"repositories": {"Debian-bookworm-amd64": {}}})
    assert "the host is Debian-trixie-amd64, and the bundle has packages for Debian-bookworm-amd64" in found[0].what[0]


def test_a_gateway_without_its_image() -> None:
    host = {"host": "gpu1", "seen": seen(), "gateway_image": "nginx:2"}
    hardware = _preflight_host.hardware(seen(), {})
    found = list(_preflight_host.problems(host, BUNDLE, hardware))
    assert "nginx:2 is not in the bundle, which has engine:1" in found[0].what[0]
    assert list(_preflight_host.problems({**host, "gateway_image": "engine:1"}, BUNDLE, hardware)) == []
    assert list(_preflight_host.problems({**host, "gateway_image": "x@sha256:aa"}, BUNDLE, hardware)) == []


def test_a_sick_gpu() -> None:
    sick = {
        "gpus": [{**GPU, "problems": ["a faulty memory row"]}],
        "problems": ["The GPU at 0000:43:00.0 is not shown"],
    }
    found = problems(gpus=sick)
    assert found[0].level == STOPS
    assert len(found[0].what) == 2
    assert "GPU-1) at 00000000:1B:00.0: a faulty memory row" in found[0].what[0]
    host = {"host": "gpu1", "seen": seen(gpus=sick), "refuse_sick": False}
    assert [problem.level for problem in _preflight_host.problems(host, {}, _preflight_host.hardware(seen(), {}))] == [
        WARNS
    ]


def test_a_driver_that_does_not_answer_is_told_and_a_missing_one_is_normal() -> None:
    broken = {"kernel": {"module_version": "580.95.05"}, "loaded": {"nvidia": None}, "gpus": FOUND["gpus"]}
    found = problems(gpus={"msg": "versions differ"}, found=broken)
    assert [problem.level for problem in found] == [WARNS]
    assert "versions differ" in found[0].what[0]
    assert problems(gpus={"msg": "nvidia-smi is not installed"}) == []


def test_what_the_role_would_refuse_of_the_driver() -> None:
    data = {
        "nvidia": {
            "modules": {"open": ["x"]},
            "default_modules": "open",
            "build": "dkms",
            "libraries": [],
            "branch": "580",
        }
    }
    found: dict[str, Any] = {
        "gpus": [],
        "nvswitches": 0,
        "nvlink5": False,
        "kernel": {"running": "k", "wanted": "k", "headers": True, "module_version": None},
        "loaded": {"nvidia": None},
        "secure_boot": False,
        "dkms_key": {"certificate": None, "enrolled": False},
    }
    what = seen(found=found, gpus={"msg": "none"})
    host = {"host": "gpu1", "seen": what, "driver": {"data": data, "default_source": "nvidia", "source": "auto"}}
    told = list(_preflight_host.problems(host, {}, _preflight_host.hardware(what, {})))
    assert [problem.level for problem in told] == [STOPS]
    assert "no NVIDIA GPU" in told[0].what[0]


def disk(held: list[str] | None = None, **changes: Any) -> list[Problem]:
    host = {
        "host": "gpu1",
        "seen": seen(held=held or []),
        "instances": [
            {"name": "chat", "model": "small", "image": "engine:1"},
            {"name": "other", "model": "other", "image": "engine:1"},
        ],
        "model_directory": "/srv/models",
        "docker_root": "/var/lib/docker",
        **changes,
    }
    return list(_preflight_host.disk_problems(host, BUNDLE))


def test_all_that_comes_to_a_disk_is_added_up() -> None:
    found = disk()
    assert [problem.level for problem in found] == [STOPS]
    assert "needs 550.00 GiB and has 500.00 GiB free" in found[0].what[0]
    assert found[0].where == ["model_store_directory is '/srv/models'"]


def test_a_draft_and_adapters_come_too() -> None:
    one = {"name": "chat", "model": "small", "image": "engine:1"}
    assert disk(instances=[one]) == []
    assert disk(instances=[{**one, "draft_model": "other"}])
    assert disk(instances=[{**one, "adapters": [{"name": "legal", "model": "other"}]}])


def test_what_is_there_already_needs_no_room() -> None:
    assert disk(["model /srv/models/other/r2/"]) == []
    # Both on one file system.
    found = disk(["model /srv/models/small/r1/"], docker_root="/srv/docker")
    assert found == []
    found = disk([], docker_root="/srv/docker")
    assert "needs 560.00 GiB" in found[0].what[0]
    assert disk(["image sha256:aa", "model /srv/models/other/r2/"], docker_root="/srv/docker") == []


def test_what_a_host_has() -> None:
    held = _preflight_host.held(
        [
            "model /srv/models/small/r1/",
            "image sha256:aa",
            "airgap-inference@chat.service loaded active running Inference chat",
            "airgap-inference@long-name.service loaded active running x",
            "",
            "something else",
        ]
    )
    assert held.models == {"/srv/models/small/r1"}
    assert held.images == {"sha256:aa"}
    assert held.running == {"chat", "long-name"}


def test_in_few_words() -> None:
    assert _preflight_host.system(FACTS) == "Debian 13.2 x86_64"
    assert _preflight_host.free_bytes(FACTS, "/srv/models") == 500 * 2**30
    assert _preflight_host.free_bytes(FACTS, "/var/lib/docker") == 50 * 2**30
    assert _preflight_host.free_bytes({}, "/srv") is None
    assert _preflight_host.memory_mib(FACTS) == 515000
    assert _preflight_host.summary([GPU, {**GPU, "index": 1}, {"name": "NVIDIA L4", "memory_mib": 23034}]) == (
        "2 x NVIDIA H100 80GB HBM3, 81559 MiB; 1 x NVIDIA L4, 23034 MiB"
    )
    assert _preflight_host.summary([]) == "no GPU"
