# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GPU hosts with other hardware, faults and drivers: brought to the stated state, or refused by name before anything changes."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import site_under_test
from site_under_test import PlaybookRun, run_playbook
from test_host import wait_for_answer
from testinfra.host import Host

HARDWARE = "/etc/airgap-lab/gpus.json"
DRIVER = ("nvidia-kernel-open-dkms", "nvidia-driver-cuda")


def describe(gpu_host: Host, text: str) -> None:
    """Another description of the machine takes effect, as if cards were changed."""
    gpu_host.check_output(f"printf '%%s' %s > {HARDWARE} && airgap-lab-hardware", text)


@contextlib.contextmanager
def hardware(gpu_host: Host, change: Callable[[dict[str, Any]], Any]) -> Iterator[None]:
    """The machine with other hardware for a while."""
    before = gpu_host.file(HARDWARE).content_string
    described = json.loads(before)
    change(described)
    describe(gpu_host, json.dumps(described))
    try:
        yield
    finally:
        describe(gpu_host, before)


def versions(gpu_host: Host) -> dict[str, str]:
    """The driver's packages on the host."""
    return {package: gpu_host.package(package).version for package in DRIVER}


def said(run: PlaybookRun) -> str:
    """What was printed, with the line breaks of messages taken out."""
    return " ".join(run.output.replace("\\n", " ").split())


def refused(gpu_host: Host, *words: str, **variables: Any) -> None:
    """The deploy says every one of ``words``, and the driver is what it was."""
    before = versions(gpu_host)
    run = run_playbook("deploy", **variables)
    assert run.status != 0, run.output
    for word in words:
        assert word in said(run), run.output
    assert "Traceback" not in run.output
    assert versions(gpu_host) == before


def deployed(**variables: Any) -> PlaybookRun:
    """A deploy that goes well."""
    run = run_playbook("deploy", **variables)
    assert run.status == 0, run.output
    return run


def gpu(described: dict[str, Any], index: int) -> dict[str, Any]:
    """A GPU of the description, with a place for its faults."""
    described["gpus"][index].setdefault("faults", {})
    return described["gpus"][index]


def first_uuid(gpu_host: Host, index: int) -> str:
    """The identity of a GPU."""
    return json.loads(gpu_host.file(HARDWARE).content_string)["gpus"][index]["uuid"]


def test_a_gpu_that_is_missing(gpu_host: Host) -> None:
    with hardware(gpu_host, lambda machine: gpu(machine, 1)["faults"].update(missing=True)):
        refused(gpu_host, "expected.count is 2", "shows 1", "gpu_host_expected")


def test_no_gpu_at_all(gpu_host: Host) -> None:
    with hardware(gpu_host, lambda machine: machine["gpus"].clear()):
        refused(gpu_host, "no NVIDIA GPU")


def test_a_gpu_that_was_lost(gpu_host: Host) -> None:
    with hardware(gpu_host, lambda machine: gpu(machine, 1)["faults"].update(lost=True)):
        refused(gpu_host, "GPU 1", "lost")


def test_a_sick_gpu_is_named_by_index_uuid_and_slot(gpu_host: Host) -> None:
    with hardware(gpu_host, lambda machine: gpu(machine, 1)["faults"].update(ecc_uncorrectable=3)):
        refused(gpu_host, "GPU 1", first_uuid(gpu_host, 1), "slot 2", "uncorrect")


def test_versions_that_differ(gpu_host: Host) -> None:
    with hardware(gpu_host, lambda machine: machine["faults"].update(version_mismatch=True)):
        refused(gpu_host, "Driver/library version mismatch", "Reboot the host")


def test_secure_boot_and_a_module_that_nobody_signed(gpu_host: Host) -> None:
    # A kernel that has the module loaded takes it.
    gpu_host.check_output("systemctl stop nvidia-persistenced && modprobe -r nvidia_uvm nvidia")
    with hardware(gpu_host, lambda machine: machine.update(secure_boot=True)):
        refused(gpu_host, "Secure Boot", "mokutil")


def test_a_kernel_without_headers(gpu_host: Host) -> None:
    with hardware(gpu_host, lambda machine: machine["faults"].update(headers_missing=True)):
        refused(gpu_host, "headers", gpu_host.check_output("uname -r"), "airgap_targets", gpu_host_version="580.95.05")


def test_a_module_that_does_not_build(gpu_host: Host) -> None:
    with hardware(gpu_host, lambda machine: machine["faults"].update(module_does_not_build=True)):
        refused(gpu_host, "error:", "580.95.05", gpu_host_version="580.95.05")
    assert wait_for_answer(gpu_host, 5), "the instance was disturbed"


def test_modules_that_the_gpus_cannot_run(gpu_host: Host) -> None:
    def volta(machine: dict[str, Any]) -> None:
        for card in machine["gpus"]:
            card.update(name="Tesla V100-SXM2-32GB", architecture="Volta", device_id="1DB510DE")

    with hardware(gpu_host, volta):
        refused(gpu_host, "open", "volta", gpu_host_kernel_modules="open", gpu_host_expected={})


@pytest.fixture
def other_driver() -> Iterator[str]:
    """An older driver; whatever becomes of it, the bundle's newest returns."""
    yield "580.95.05"
    deployed(gpu_host_packages_state="latest")


def test_a_driver_that_changes_is_drained_loaded_and_held(gpu_host: Host, other_driver: str) -> None:
    started = gpu_host.check_output("docker inspect --format '{{.State.StartedAt}}' airgap-chat")
    # The engine computes on the CPU: what stands for it holds the GPU as long as the engine's container lives.
    gpu_host.check_output("docker exec --detach airgap-chat sh -c 'exec sleep 3600 < /dev/nvidia0'")
    run = deployed(gpu_host_version=other_driver)
    assert "The instances finish and stop" in run.output
    assert all(version.startswith(other_driver) for version in versions(gpu_host).values())
    assert other_driver in gpu_host.file("/proc/driver/nvidia/version").content_string
    assert set(DRIVER) <= set(gpu_host.check_output("apt-mark showhold").split())
    assert wait_for_answer(gpu_host)
    assert gpu_host.check_output("docker inspect --format '{{.State.StartedAt}}' airgap-chat") != started


def test_fabric_manager_runs_where_there_is_an_nvswitch_and_only_there(gpu_host: Host) -> None:
    assert not gpu_host.package("nvidia-fabricmanager").is_installed
    try:
        with hardware(gpu_host, lambda machine: machine.update(nvswitches=4)):
            deployed()
            manager, driver = gpu_host.package("nvidia-fabricmanager"), gpu_host.package("nvidia-driver-cuda")
            assert manager.version == driver.version
            assert gpu_host.service("nvidia-fabricmanager").is_running
            assert gpu_host.service("nvidia-fabricmanager").is_enabled
            assert "nvidia-fabricmanager" in gpu_host.check_output("apt-mark showhold").split()
            assert "changed=0" in deployed().output
    finally:
        gpu_host.run("apt-mark unhold nvidia-fabricmanager; dpkg --purge nvidia-fabricmanager")


def test_gpus_are_divided_and_put_together_again(gpu_host: Host) -> None:
    layout = [{"gpus": [1], "instances": ["3g.40gb", "3g.40gb"]}]
    predicted = run_playbook("deploy", "--check", "--diff", gpu_host_mig=layout)
    assert predicted.status == 0 and "3g.40gb" in predicted.output, predicted.output
    deployed(gpu_host_mig=layout)
    assert gpu_host.check_output("nvidia-smi -L").count("MIG 3g.40gb") == 2
    named = gpu_host.check_output("nvidia-ctk cdi list")
    assert "nvidia.com/gpu=1:0" in named and "nvidia.com/gpu=1:1" in named
    assert gpu_host.service("airgap-gpu").is_enabled
    again = deployed(gpu_host_mig=layout)
    assert "gpu1" in again.output and "changed=0" in again.output.split("gpu1")[-1], again.output

    refused(gpu_host, "9g.80gb", gpu_host_mig=[{"gpus": [1], "instances": ["9g.80gb"]}])
    used = {"pid": 4711, "name": "python3", "memory_mib": 100}
    with hardware(gpu_host, lambda machine: gpu(machine, 1).update(processes=[used])):
        refused(gpu_host, "GPU 1", "4711", gpu_host_mig=[{"gpus": [1], "instances": ["1g.10gb"]}])

    deployed(gpu_host_mig=[{"gpus": [1], "instances": []}])
    assert "MIG" not in gpu_host.check_output("nvidia-smi -L")
    assert "nvidia.com/gpu=1:0" not in gpu_host.check_output("nvidia-ctk cdi list")


def test_the_power_limit_is_set_and_stays_within_what_the_gpu_knows(gpu_host: Host) -> None:
    refused(gpu_host, "power_limit_watts is 5000", "700 W", gpu_host_settings={"power_limit_watts": 5000})
    asked = "nvidia-smi --query-gpu=power.limit --format=csv,noheader,nounits"
    deployed(gpu_host_settings={"power_limit_watts": 500})
    assert gpu_host.check_output(asked).split() == ["500.00", "500.00"]
    deployed(gpu_host_settings={"power_limit_watts": 700})
    assert gpu_host.check_output(asked).split() == ["700.00", "700.00"]


def test_a_restart_that_is_needed_is_asked_for_and_then_done(gpu_host: Host) -> None:
    """nouveau has the console, so it cannot be unloaded while the host runs."""

    def held(machine: dict[str, Any]) -> None:
        machine.update(nouveau=True)
        machine["faults"].update(nouveau_busy=True)

    boot = gpu_host.check_output("cat /proc/sys/kernel/random/boot_id")
    before = gpu_host.file(HARDWARE).content_string
    described = json.loads(before)
    held(described)
    # It boots with nouveau: the file that keeps it away is not there, as on a host that was never deployed.
    gpu_host.check_output("rm /etc/modprobe.d/airgap-gpu.conf")
    describe(gpu_host, json.dumps(described))
    restart()
    try:
        refused(gpu_host, "nouveau", "gpu_host_reboot")
        deployed(gpu_host_reboot=True)
        assert gpu_host.check_output("cat /proc/sys/kernel/random/boot_id") != boot
        assert not gpu_host.file("/sys/module/nouveau").exists
        assert gpu_host.file("/sys/module/nvidia").exists
    finally:
        describe(gpu_host, before)
    assert wait_for_answer(gpu_host)


def test_a_fatal_xid_in_the_kernel_log(gpu_host: Host) -> None:
    error = {"xid": 79, "text": "pid='<unknown>', name=<unknown>, GPU has fallen off the bus."}
    with hardware(gpu_host, lambda machine: gpu(machine, 1)["faults"].update(xids=[error])):
        refused(gpu_host, "GPU 1", first_uuid(gpu_host, 1), "Xid 79")
    # The log is of this boot: only a restart ends it.
    restart()
    assert wait_for_answer(gpu_host)


def restart() -> None:
    """As after a power cycle."""
    subprocess.run(["docker", "restart", "-t", "60", f"airgap-{site_under_test.SCENARIO_NAME}-gpu1"], check=True)
