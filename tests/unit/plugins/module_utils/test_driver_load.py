# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""kmod's messages are those of its binary (version 30) with strerror's words; the kernel's are those of NVIDIA's open modules."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _driver_load
from ansible_collections.airgap.inference.plugins.module_utils._driver_load import Driver
from ansible_collections.airgap.inference.plugins.module_utils._driver_services import Said
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.driver_host import (
    KERNEL,
    OPEN,
    PROPRIETARY,
    Machine,
)


@pytest.fixture
def machine(tmp_path: pathlib.Path) -> Machine:
    return Machine(tmp_path)


def converge(machine: Machine, wanted: str | None = None, unload: bool = True, check: bool = False) -> dict[str, Any]:
    return _driver_load.converge(machine.host(wanted), unload, check)


@pytest.mark.parametrize(
    ("text", "driver"),
    [
        (OPEN.format("580.105.08"), Driver("580.105.08", True)),
        (PROPRIETARY.format("535.309.01"), Driver("535.309.01", False)),
        ("", None),
    ],
    ids=["open", "proprietary", "none"],
)
def test_the_loaded_version(text: str, driver: Driver | None) -> None:
    assert _driver_load.read_version(text) == driver


def test_the_modules_of_the_kernel(machine: Machine) -> None:
    machine.module("nvidia_uvm", 4)
    machine.module("nvidia", 212, "nvidia_uvm", "nvidia_modeset")
    modules = _driver_load.read_modules(str(machine.root / "sys"))
    assert modules == {"nvidia": (212, ["nvidia_modeset", "nvidia_uvm"]), "nvidia_uvm": (4, [])}


def test_a_module_that_is_built_in_is_not_loaded(machine: Machine) -> None:
    (machine.root / "sys" / "nouveau").mkdir()
    assert _driver_load.read_modules(str(machine.root / "sys")) == {}


def test_a_fresh_driver_is_loaded(machine: Machine) -> None:
    result = converge(machine)
    assert result["changed"] is True
    assert result["loaded"] == {"before": None, "after": "580.105.08"}
    assert (result["reboot_required"], result["reasons"]) == (False, [])
    assert result["actions"] == ["loaded nvidia, nvidia_uvm"]
    assert machine.changed() == ["modprobe nvidia", "modprobe nvidia_uvm"]


def test_a_loaded_driver_stays(machine: Machine) -> None:
    machine.loaded("580.105.08")
    result = converge(machine)
    assert (result["changed"], result["actions"], machine.changed()) == (False, [], [])


def test_a_second_run_changes_nothing(machine: Machine) -> None:
    converge(machine)
    machine.calls.clear()
    assert converge(machine)["changed"] is False
    assert machine.changed() == []


@pytest.mark.parametrize("check", [False, True], ids=["run", "check"])
def test_what_check_mode_foretells_comes_true(machine: Machine, check: bool) -> None:
    machine.loaded("580.95.05")
    result = converge(machine, check=check)
    assert (result["changed"], result["loaded"]) == (True, {"before": "580.95.05", "after": "580.105.08"})
    assert bool(machine.changed()) is not check


def test_another_version_is_replaced_and_its_services_come_back(machine: Machine) -> None:
    machine.loaded("580.95.05")
    machine.active = ["nvidia-persistenced.service", "nvidia-fabricmanager.service"]
    machine.user(77, "nvidia-persiste", "nvidia-persistenced.service")
    result = converge(machine)
    assert result["reboot_required"] is False
    assert machine.changed() == [
        "systemctl stop nvidia-fabricmanager.service",
        "systemctl stop nvidia-persistenced.service",
        "modprobe -r nvidia_uvm",
        "modprobe -r nvidia",
        "modprobe nvidia",
        "modprobe nvidia_uvm",
        "systemctl start nvidia-persistenced.service",
        "systemctl start nvidia-fabricmanager.service",
    ]


def test_the_other_kind_of_modules_is_another_driver(machine: Machine) -> None:
    machine.loaded("580.105.08", PROPRIETARY)
    result = converge(machine)
    assert "unloaded the driver 580.105.08 (proprietary)" in str(result["actions"])


def test_a_driver_in_use_asks_for_a_restart_and_nothing_is_touched(machine: Machine) -> None:
    machine.loaded("580.95.05")
    machine.active = ["nvidia-persistenced.service"]
    machine.user(77, "nvidia-persiste", "nvidia-persistenced.service")
    machine.user(4242, "vllm", "docker-0a1b.scope")
    result = converge(machine)
    assert (result["changed"], result["reboot_required"], machine.changed()) == (False, True, [])
    assert result["reasons"] == [
        "the driver 580.95.05 (open) is loaded, and 580.105.08 (open) is installed; it is in use by vllm (process 4242)"
    ]
    assert result["in_use"] == [{"pid": 4242, "name": "vllm", "unit": ""}]
    assert converge(machine, check=True)["in_use"] == result["in_use"]


def test_somebody_who_comes_while_the_services_are_stopped_is_named(machine: Machine) -> None:
    machine.loaded("580.95.05")
    machine.active = ["nvidia-persistenced.service"]
    stop = machine._systemctl

    def stopped(argv: list[str]) -> Said:
        if argv[0] == "stop":
            machine.user(4243, "python3")
        return stop(argv)

    machine._systemctl = stopped  # type: ignore[method-assign]
    assert [user["name"] for user in converge(machine)["in_use"]] == ["python3"]


def test_a_foreign_module_asks_for_a_restart(machine: Machine) -> None:
    machine.loaded("580.95.05")
    (machine.root / "sys" / "nvidia" / "holders" / "gdrdrv").symlink_to("../../gdrdrv")
    result = converge(machine)
    assert result["reboot_required"] is True
    assert "the kernel module gdrdrv uses nvidia" in str(result["reasons"])
    assert result["in_use"] == []


def test_a_console_on_the_gpu_gives_the_services_back(machine: Machine) -> None:
    machine.loaded("580.95.05")
    machine.active = ["nvidia-persistenced.service"]
    (machine.root / "sys" / "nvidia" / "refcnt").write_text("3\n", encoding="utf-8")
    result = converge(machine)
    assert (result["changed"], result["reboot_required"]) == (False, True)
    assert machine.changed()[-1] == "systemctl start nvidia-persistenced.service"


def test_a_module_that_does_not_go(machine: Machine) -> None:
    machine.loaded("580.95.05")
    machine.answers["modprobe -r nvidia"] = Said(1, "modprobe: FATAL: Module nvidia is in use.")
    result = converge(machine)
    assert result["reboot_required"] is True
    assert "nvidia cannot be unloaded (modprobe: FATAL: Module nvidia is in use.)" in str(result["reasons"])


def test_unloading_may_be_forbidden(machine: Machine) -> None:
    machine.loaded("580.95.05")
    result = converge(machine, unload=False)
    assert (result["changed"], result["reboot_required"], machine.changed()) == (False, True, [])


def test_nouveau_goes_first(machine: Machine) -> None:
    machine.module("nouveau")
    assert converge(machine)["actions"] == ["unloaded nouveau", "loaded nvidia, nvidia_uvm"]


def test_a_nouveau_that_stays_asks_for_a_restart(machine: Machine) -> None:
    machine.module("nouveau", 4)
    machine.answers["modprobe -r nouveau"] = Said(1, "modprobe: FATAL: Module nouveau is in use.")
    result = converge(machine)
    assert (result["changed"], result["reboot_required"]) == (False, True)
    assert "Module nouveau is in use" in str(result["reasons"])


def test_the_name_that_debian_gives_the_module(tmp_path: pathlib.Path) -> None:
    assert Machine(tmp_path, name="nvidia-current").host().installed() == Driver("580.105.08", True)


def test_another_kernel_is_a_restart_away(machine: Machine) -> None:
    machine.kernel("6.12.99", module=True)
    result = converge(machine, "6.12.99")
    assert (result["changed"], result["reboot_required"]) == (False, True)
    assert f"the kernel {KERNEL} runs, and 6.12.99 is wanted" in str(result["reasons"])
    assert (result["next_kernel"], result["reasons_against"]) == ({"version": "6.12.99", "has_module": True}, [])


@pytest.mark.parametrize(
    ("kernel", "package"),
    [("6.12.99", "linux-image-6.12.99"), ("5.14.0-9.el9.x86_64", "kernel-core-5.14.0-9.el9.x86_64")],
    ids=["debian", "rhel"],
)
def test_headers_of_a_kernel_that_is_not_there_make_no_restart_sensible(
    machine: Machine, kernel: str, package: str
) -> None:
    machine.kernel(kernel, image=False)
    machine.registered = "nvidia/580.105.08: added\n"
    result = converge(machine, kernel)
    # The driver is there when the kernel comes; but a restart does not bring it.
    assert machine.changed() == [f"dkms autoinstall -k {kernel}"]
    assert result["reboot_required"] is True
    assert f"{kernel} is wanted (gpu_host_kernel), and its image is not installed" in result["reasons"][0]
    for told in (result["reasons"], result["reasons_against"]):
        assert [package in reason for reason in told] == [True]


def in_use(machine: Machine) -> Machine:
    machine.loaded("580.95.05")
    machine.user(4242, "vllm", "docker.service")
    return machine


def test_a_restart_does_not_land_in_a_kernel_without_the_driver(machine: Machine) -> None:
    in_use(machine).kernel("6.12.99", headers=False)
    machine.registered = "nvidia/580.105.08: added\n"
    result = converge(machine)
    assert result["next_kernel"] == {"version": "6.12.99", "has_module": False}
    assert result["reasons_against"] == [
        "the next boot is 6.12.99, for which no nvidia module is installed: install its headers (airgap_targets[].kernels) or "
        "remove that kernel"
    ]
    assert machine.changed() == []


def test_the_next_kernel_gets_its_module_where_it_has_headers(machine: Machine) -> None:
    in_use(machine).kernel("6.12.99")
    machine.registered = "nvidia/580.105.08: added\n"
    foretold = converge(machine, check=True)
    assert (foretold["changed"], foretold["reasons_against"], machine.changed()) == (True, [], [])
    assert foretold["actions"] == ["build nvidia 580.105.08 for the kernel 6.12.99"]
    result = converge(machine)
    assert machine.changed() == ["dkms autoinstall -k 6.12.99"]
    assert (result["changed"], result["reasons_against"]) == (True, [])
    assert result["next_kernel"] == {"version": "6.12.99", "has_module": True}
    assert converge(machine)["changed"] is False


def test_a_next_kernel_for_which_the_driver_does_not_build(machine: Machine) -> None:
    in_use(machine).kernel("6.12.99")
    machine.registered = "nvidia/580.105.08: added\n"
    machine.answers["dkms autoinstall -k 6.12.99"] = Said(11, "Error! nv.c:1:1: error: no")
    result = converge(machine)
    assert (result["changed"], result["next_kernel"]["has_module"]) == (False, False)
    assert "6.12.99, for which no nvidia module is installed: DKMS cannot build nvidia" in result["reasons_against"][0]


def test_prebuilt_modules_are_not_built(machine: Machine) -> None:
    in_use(machine).kernel("6.12.99")
    assert "install the prebuilt modules for it" in converge(machine)["reasons_against"][0]
    assert machine.changed() == []


def test_a_wanted_kernel_that_grub_does_not_start(machine: Machine) -> None:
    in_use(machine).kernel("6.12.99")
    machine.registered = "nvidia/580.105.08: added\n"
    result = converge(machine, KERNEL)
    assert f"the next boot is 6.12.99, and {KERNEL} is wanted (gpu_host_kernel)" in result["reasons_against"][0]
    assert machine.changed() == []


def test_without_a_restart_nothing_is_built_for_the_next_kernel(machine: Machine) -> None:
    machine.loaded("580.105.08")
    machine.kernel("6.12.99")
    machine.registered = "nvidia/580.105.08: added\n"
    result = converge(machine)
    assert (result["changed"], result["reasons_against"]) == (False, [])
    assert result["next_kernel"] == {"version": "6.12.99", "has_module": False}
    result = _driver_load.converge(machine.host(), True, False, restart=True)
    assert (result["changed"], result["reboot_required"]) == (True, False)
    assert result["next_kernel"] == {"version": "6.12.99", "has_module": True}


def test_where_the_next_kernel_is_not_known_nothing_speaks_against_it(machine: Machine) -> None:
    result = converge(in_use(machine))
    assert (result["next_kernel"], result["reasons_against"]) == ({"version": None, "has_module": None}, [])


def test_another_kernel_gets_its_module_before_the_restart(machine: Machine) -> None:
    (machine.root / "lib" / "6.12.99").mkdir()
    machine.registered = "nvidia/580.105.08, 6.12.48-amd64, x86_64: installed\n"
    result = converge(machine, "6.12.99")
    assert (result["changed"], result["reboot_required"]) == (True, True)
    assert machine.changed() == ["dkms autoinstall -k 6.12.99"]


@pytest.mark.parametrize("check", [False, True], ids=["run", "check"])
def test_a_kernel_that_is_not_there(machine: Machine, check: bool) -> None:
    with pytest.raises(
        AirgapError, match=rf"kernel 6\.12\.99 \(gpu_host_kernel\) is not installed.*Installed: {KERNEL}"
    ):
        converge(machine, "6.12.99", check=check)


@pytest.mark.parametrize("check", [False, True], ids=["run", "check"])
def test_no_module_and_nothing_to_build(tmp_path: pathlib.Path, check: bool) -> None:
    with pytest.raises(AirgapError, match=r"no module nvidia for the kernel .* DKMS has none to build"):
        converge(Machine(tmp_path, installed=None), check=check)


def test_a_module_that_is_only_registered_is_built_and_loaded(tmp_path: pathlib.Path) -> None:
    machine = Machine(tmp_path, installed=None)
    machine.registered = "nvidia/580.105.08: added\n"
    assert converge(machine, check=True)["actions"] == [f"build the module nvidia for the kernel {KERNEL}"]
    assert converge(machine)["actions"] == [
        f"built nvidia 580.105.08 for the kernel {KERNEL}",
        "loaded nvidia, nvidia_uvm",
    ]


def test_the_compilers_reason_is_told(tmp_path: pathlib.Path) -> None:
    machine = Machine(tmp_path, installed=None)
    machine.registered = "nvidia/580.105.08: added\n"
    machine.answers[f"dkms autoinstall -k {KERNEL}"] = Said(
        11,
        "Error! Your kernel headers for kernel 6.12.48-amd64 cannot be found at /lib/modules/6.12.48-amd64/build or "
        "/lib/modules/6.12.48-amd64/source.",
    )
    with pytest.raises(
        AirgapError, match=r"DKMS cannot build nvidia 580\.105\.08 .*kernel headers for kernel .* cannot be found"
    ):
        converge(machine)


def test_another_module_that_does_not_build_is_a_warning(tmp_path: pathlib.Path) -> None:
    machine = Machine(tmp_path, installed=None)
    machine.registered = "zfs/2.1.11: added\nnvidia/580.105.08: added\n"
    built = machine._dkms

    def partly(argv: list[str]) -> Said:
        said = built(argv)
        return said if argv[0] == "status" else Said(11, "Autoinstall failed for module(s) zfs(10).")

    machine._dkms = partly  # type: ignore[method-assign]
    host = machine.host()
    result = _driver_load.converge(host, True, False)
    assert result["loaded"]["after"] == "580.105.08"
    assert "zfs(10)" in host.warnings[0] and "another module of this host not" in host.warnings[0]


@pytest.mark.parametrize(
    ("said", "log", "remedy"),
    [
        ("modprobe: ERROR: could not insert 'nvidia': Key was rejected by service", "", "mokutil --import"),
        ("modprobe: ERROR: could not insert 'nvidia': Required key not available", "", "Secure Boot is on"),
        (
            "modprobe: ERROR: could not insert 'nvidia': Operation not permitted",
            "\n[ 9.1] Lockdown: modprobe: unsigned module loading is restricted; see man kernel_lockdown.7",
            "Secure Boot is on.*mokutil",
        ),
        ("modprobe: ERROR: could not insert 'nvidia': Exec format error", "", "built for another kernel"),
        (
            "modprobe: ERROR: could not insert 'nvidia': Invalid argument",
            "\n[ 9.1] nvidia: disagrees about version of symbol module_layout",
            "built for another kernel",
        ),
        (
            "modprobe: ERROR: could not insert 'nvidia_uvm': Unknown symbol in module, or unknown parameter (see dmesg)",
            "",
            "of another version than the modules beside it",
        ),
        (
            "modprobe: ERROR: could not insert 'nvidia': No such device",
            "\n[ 9.1] NVRM: installed in this system requires use of the NVIDIA open kernel modules.",
            "gpu_host_kernel_modules to open",
        ),
        (
            "modprobe: ERROR: could not insert 'nvidia': No such device",
            "\n[ 9.1] NVRM: No NVIDIA GPU found.",
            "lspci -d 10de:",
        ),
        (
            "modprobe: ERROR: could not insert 'nvidia': No such device",
            "\n[ 9.1] NVRM: nvidia.ko because it does not include the required GPU\n               NVRM: System Processor (GSP).",
            "gpu_host_kernel_modules to proprietary.*does not answer",
        ),
        (
            "modprobe: ERROR: could not insert 'nvidia': No such device",
            "\n[ 9.1] NVRM: GPU 0000:01:00.0 is already bound to nouveau.",
            "modprobe -r nouveau",
        ),
        ("modprobe: ERROR: could not insert 'nvidia': Operation not permitted", "", "or this is a container"),
        (
            "modprobe: FATAL: Module nvidia not found in directory /lib/modules/6.12.48-amd64",
            "",
            "was not built for this kernel",
        ),
        ("modprobe: ERROR: could not insert 'nvidia': Cannot allocate memory", "", "Look for 'NVRM'"),
    ],
    ids=[
        "rejected",
        "no-key",
        "lockdown",
        "format",
        "symbols",
        "unknown-symbol",
        "open-only",
        "no-gpu",
        "no-gsp",
        "nouveau",
        "container",
        "absent",
        "other",
    ],
)
def test_refusals_of_the_kernel_are_told_apart(machine: Machine, said: str, log: str, remedy: str) -> None:
    machine.answers["modprobe nvidia"] = Said(1, said)
    machine.log_after = log
    with pytest.raises(AirgapError, match=remedy) as raised:
        converge(machine)
    assert "an old line" not in str(raised.value)
    assert all(part.strip() in str(raised.value) for part in log.rpartition("] ")[2].splitlines())


def test_without_a_journal_the_kernel_itself_is_asked(machine: Machine) -> None:
    machine.answers["journalctl -k -b --output=short-monotonic --no-pager --quiet"] = Said(0, "")
    machine.answers["modprobe nvidia"] = Said(1, "modprobe: ERROR: could not insert 'nvidia': No such device")
    machine.log_after = "\n[    9.1] NVRM: No NVIDIA GPU found."
    with pytest.raises(AirgapError, match=r"log 'NVRM: No NVIDIA GPU found\.'"):
        converge(machine)


def test_a_driver_that_is_refused_after_the_old_one_went_names_what_waits(machine: Machine) -> None:
    machine.loaded("580.95.05")
    machine.active = ["nvidia-persistenced.service"]
    machine.answers["modprobe nvidia"] = Said(1, "modprobe: ERROR: could not insert 'nvidia': Exec format error")
    with pytest.raises(AirgapError, match=r"stopped for it and wait: nvidia-persistenced\.service"):
        converge(machine)


def test_a_module_that_modprobe_only_claims_to_load(machine: Machine) -> None:
    machine.answers["modprobe nvidia_uvm"] = Said(0, "")
    with pytest.raises(AirgapError, match="sys lacks nvidia_uvm"):
        converge(machine)


def test_a_service_that_does_not_come_back(machine: Machine) -> None:
    machine.loaded("580.95.05")
    machine.active = ["nvidia-fabricmanager.service"]
    machine.answers["systemctl start nvidia-fabricmanager.service"] = Said(
        1, "Job for nvidia-fabricmanager.service failed"
    )
    with pytest.raises(
        AirgapError, match=r"nvidia-fabricmanager\.service: Job for .* needs exactly the driver's version"
    ):
        converge(machine)
