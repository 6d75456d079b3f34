# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans of drivers, with the data that the role gpu_host has for each system."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.airgap.inference.plugins.module_utils import _driver_plan, _gpu_generation

VARIABLES = Path(_driver_plan.__file__).parents[2] / "roles/gpu_host/vars"
DRIVERS: dict[str, dict[str, Any]] = {
    path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))["__gpu_host_drivers"]
    for path in sorted(VARIABLES.glob("*.yml"))
    if path.stem != "main"
}
OTHERS = ["!libnvidia-container*", "!nvidia-container-*"]
LOCK = "python3-dnf-plugin-versionlock"
SOURCES = [(system, source) for system in DRIVERS for source in DRIVERS[system]]
KERNEL = "6.8.0-60-generic"
PASCAL, VOLTA, TURING, AMPERE, HOPPER = "1b38", "1db4", "1eb8", "20b2", "2330"
GRACE, BLACKWELL, KEPLER, UNKNOWN = "2342", "2901", "102d", "4f00"


DKMS_FILE = f"/lib/modules/{KERNEL}/updates/dkms/nvidia.ko.zst"
SIGNED_FILE = f"/lib/modules/{KERNEL}/kernel/nvidia-580srv-open/nvidia.ko"
INSTALLED = {"running": KERNEL, "wanted": KERNEL, "headers": True, "module_version": "580.95.05", "module_open": True}
LOADED = {"nvidia": "580.95.05", "open": True, "nouveau": False}


def found(*device_ids: str, nvswitches: int = 0, nvlink5: bool = False, **different: Any) -> dict[str, Any]:
    """What gpu_host_info returns of a host with these GPUs."""
    gpus = []
    for number, device_id in enumerate(device_ids):
        generation = _gpu_generation.of(device_id)
        gpus.append(
            {
                "pci_address": f"0000:{number + 16:02x}:00.0",
                "device_id": device_id,
                "generation": generation.name,
                "open_modules": generation.open_modules,
                "proprietary_modules": generation.proprietary_modules,
                "slot": None,
            }
        )
    return {
        "gpus": gpus,
        "nvswitches": nvswitches,
        "nvlink5": nvlink5,
        "kernel": {"running": KERNEL, "wanted": KERNEL, "headers": True, "module_version": None},
        "loaded": {"nvidia": None, "open": None, "nouveau": False},
        "secure_boot": False,
        "dkms_key": {"certificate": None, "enrolled": False},
        "users": [],
        **different,
    }


def plan(host: dict[str, Any], system: str = "Debian", source: str = "nvidia", **stated: Any) -> dict[str, Any]:
    return _driver_plan.plan(host, DRIVERS[system], source, **stated)


def named(hold: list[str]) -> list[str]:
    """What a plan holds by name; the patterns come after it."""
    return list(itertools.takewhile(lambda name: name != "*nvidia*", hold))


def refused(host: dict[str, Any], system: str = "Debian", source: str = "nvidia", **stated: Any) -> str:
    refusals = plan(host, system, source, **stated)["refusals"]
    assert len(refusals) == 1, refusals
    return str(refusals[0])


def test_a_text_in_place_of_a_list_is_refused() -> None:
    (group,) = _driver_plan.groups([{"host": "gpu1", "packages": "nvidia-smi"}], DRIVERS["Debian"], "distribution")
    assert "the text 'nvidia-smi'" in group["refusals"][0] and "JSON" in group["refusals"][0]


def test_a_hopper_host_on_debian() -> None:
    assert plan(found(HOPPER, HOPPER)) == {
        "source": "nvidia",
        "branch": "580",
        "modules": "open",
        "build": "dkms",
        "packages": ["nvidia-kernel-open-dkms=580.*", "nvidia-driver-cuda=580.*", "nvidia-persistenced"],
        "hold": [
            "nvidia-kernel-open-dkms",
            "nvidia-driver-cuda",
            # As patterns, all of them: a name would have to be there.
            *(
                "*nvidia*",
                "cuda-drivers*",
                "libcuda1*",
                "libcudadebugger1*",
                "libnvcuvid1*",
                "libnvoptix1*",
                "libnvsdm*",
            ),
            *OTHERS,
        ],
        "services": ["nvidia-persistenced"],
        "fabric": False,
        "headers": f"linux-headers-{KERNEL}",
        "streams": [],
        "pins": [{"packages": DRIVERS["Debian"]["nvidia"]["together"], "version": "580.*"}],
        "refusals": [],
    }


@pytest.mark.parametrize(
    ("system", "source", "packages", "build", "headers"),
    [
        (
            "Debian",
            "distribution",
            ["nvidia-kernel-dkms", "libcuda1", "nvidia-smi", "nvidia-persistenced"],
            "dkms",
            f"linux-headers-{KERNEL}",
        ),
        (
            "Debian-bookworm",
            "distribution",
            ["nvidia-kernel-dkms", "libcuda1", "nvidia-smi", "nvidia-persistenced"],
            "dkms",
            f"linux-headers-{KERNEL}",
        ),
        (
            "Ubuntu",
            "distribution",
            [
                f"linux-modules-nvidia-580-server-open-{KERNEL}",
                "nvidia-headless-no-dkms-580-server-open",
                "nvidia-compute-utils-580-server",
                "nvidia-utils-580-server",
            ],
            "prebuilt",
            "",
        ),
        (
            "Ubuntu",
            "nvidia",
            ["nvidia-dkms-580-open", "libnvidia-compute-580", "nvidia-compute-utils-580", "nvidia-utils-580"],
            "dkms",
            f"linux-headers-{KERNEL}",
        ),
        (
            "RedHat",
            "nvidia",
            ["kmod-nvidia-open-dkms", "nvidia-driver-cuda", "nvidia-persistenced", LOCK],
            "dkms",
            f"kernel-devel-{KERNEL}",
        ),
    ],
)
def test_every_system_has_its_packages(system: str, source: str, packages: list[str], build: str, headers: str) -> None:
    made = plan(found(AMPERE), system, source)
    assert (made["packages"], made["build"], made["headers"]) == (packages, build, headers)
    assert made["refusals"] == []


@pytest.mark.parametrize(
    ("gpus", "modules"),
    [
        ([PASCAL], "proprietary"),
        ([VOLTA, VOLTA], "proprietary"),
        ([TURING], "open"),
        ([GRACE], "open"),
        ([BLACKWELL], "open"),
        # What both flavours drive follows the one that has no choice.
        ([VOLTA, HOPPER], "proprietary"),
        ([BLACKWELL, HOPPER], "open"),
    ],
)
def test_the_gpus_choose_the_modules(gpus: list[str], modules: str) -> None:
    made = plan(found(*gpus))
    assert (made["modules"], made["refusals"]) == (modules, [])
    assert ("nvidia-kernel-open-dkms=580.*" in made["packages"]) == (modules == "open")


def test_where_both_can_be_had_the_system_chooses() -> None:
    assert plan(found(HOPPER), "Debian-bookworm", "distribution")["modules"] == "proprietary"
    assert plan(found(HOPPER), "Debian-bookworm", "nvidia")["modules"] == "open"


def test_without_a_gpu_there_is_nothing_to_drive() -> None:
    assert "no NVIDIA GPU on the PCI bus" in refused(found())


def test_one_flavour_for_gpus_that_exclude_each_other() -> None:
    message = refused(found(PASCAL, BLACKWELL))
    assert "0000:11:00.0 (blackwell, device 2901)" in message and "0000:10:00.0 (pascal, device 1b38)" in message


def test_gpus_that_no_branch_knows() -> None:
    assert "102d" in refused(found(HOPPER, KEPLER)) and "470" in refused(found(KEPLER))


def test_an_unknown_gpu_is_not_guessed_at() -> None:
    message = refused(found(HOPPER, UNKNOWN))
    assert "4f00" in message and "gpu_host_kernel_modules: open" in message and "2330" not in message
    assert plan(found(UNKNOWN), modules="open")["refusals"] == []


@pytest.mark.parametrize(
    ("gpu", "modules"),
    [
        (PASCAL, "open"),
        (VOLTA, "open"),
        (BLACKWELL, "proprietary"),
        (GRACE, "proprietary"),
    ],
)
def test_a_stated_flavour_that_cannot_drive_the_gpu(gpu: str, modules: str) -> None:
    message = refused(found(HOPPER, gpu), modules=modules)
    other = "proprietary" if modules == "open" else "open"
    assert gpu in message and f"gpu_host_kernel_modules is {modules}" in message and f"to {other}" in message
    assert "2330" not in message


def test_a_slot_is_named() -> None:
    host = found(PASCAL)
    host["gpus"][0]["slot"] = "7"
    assert "(pascal, device 1b38, slot 7)" in refused(host, modules="open")


def test_a_flavour_that_the_source_does_not_have() -> None:
    message = refused(found(BLACKWELL), "Debian-bookworm", "distribution")
    assert "needs open kernel modules" in message and "Set gpu_host_source to nvidia" in message
    message = refused(found(HOPPER), "Debian-bookworm", "distribution", modules="open")
    assert "gpu_host_kernel_modules is open" in message and "Set gpu_host_source to nvidia" in message


@pytest.mark.parametrize("stated", [{"branch": "590"}, {"version": "595.71.05"}])
def test_new_branches_have_no_proprietary_modules(stated: dict[str, str]) -> None:
    message = refused(found(VOLTA), **stated)
    assert "needs proprietary" in message and "gpu_host_branch to 580" in message
    assert "there are open modules alone" in refused(found(HOPPER), modules="proprietary", **stated)
    assert plan(found(HOPPER), **stated)["refusals"] == []


def test_a_version_is_asked_for_by_each_package_that_has_it() -> None:
    made = plan(found(HOPPER, nvswitches=4), version="580.95.05")
    exact = ["nvidia-kernel-open-dkms", "nvidia-driver-cuda"]
    assert made["packages"] == [
        *(f"{name}=580.95.05-*" for name in exact),
        "nvidia-persistenced",
        "nvidia-fabricmanager=580.95.05-*",
    ]
    assert named(made["hold"]) == [*exact, "nvidia-fabricmanager"]
    assert made["pins"][0]["version"] == "580.95.05-*"


def test_modules_of_one_kernel_have_its_version_and_not_the_drivers() -> None:
    packages = plan(found(HOPPER), "Ubuntu", "distribution", version="580.95.05")["packages"]
    assert packages[:2] == [
        f"linux-modules-nvidia-580-server-open-{KERNEL}",
        "nvidia-headless-no-dkms-580-server-open=580.95.05-*",
    ]


def test_dnf_has_its_own_way_to_ask_for_a_version_and_streams_for_branches() -> None:
    made = plan(found(BLACKWELL, nvlink5=True), "RedHat", version="580.95.05")
    assert made["packages"] == [
        "kmod-nvidia-open-dkms-580.95.05",
        "nvidia-driver-cuda-580.95.05",
        "nvidia-persistenced",
        LOCK,
        "nvidia-fabricmanager-580.95.05",
        "libnvsdm-580.95.05",
        "nvlsm",
    ]
    assert made["hold"] == [
        *["kmod-nvidia-open-dkms", "nvidia-driver-cuda", "nvidia-fabricmanager", "libnvsdm", "nvlsm"],
        *["*nvidia*", "libnvsdm*", *OTHERS],
    ]
    assert made["streams"] == ["nvidia-driver:580-open"]
    assert plan(found(VOLTA), "RedHat", branch="580")["streams"] == ["nvidia-driver:580-dkms"]


def test_a_version_names_its_branch() -> None:
    made = plan(found(HOPPER), "Ubuntu", version="595.71.05")
    assert made["branch"] == "595"
    assert made["packages"] == [
        "nvidia-dkms-open=595.71.05-*",
        "libnvidia-compute=595.71.05-*",
        "nvidia-persistenced",
    ]


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ({"source": "somewhere"}, ["gpu_host_source is somewhere", "distribution or nvidia"]),
        ({"modules": "closed"}, ["gpu_host_kernel_modules is closed"]),
        ({"branch": "r580"}, ["gpu_host_branch is r580"]),
        ({"version": "580.95.05-1"}, ["gpu_host_version is 580.95.05-1", "580.95.05."]),
        ({"version": "580.95.05", "branch": "570"}, ["contradict"]),
        ({"branch": "550"}, ["gpu_host_branch is 550", "580 or newer", "gpu_host_packages"]),
        ({"version": "550.163.01"}, ["gpu_host_version is 550.163.01"]),
    ],
)
def test_settings_that_cannot_be_had(stated: dict[str, str], words: list[str]) -> None:
    settings = {"source": "nvidia", **stated}
    (message,) = _driver_plan.settings_refusals(DRIVERS["Debian"], **settings)
    assert all(word in message for word in words), message
    assert _driver_plan.plan(found(HOPPER), DRIVERS["Debian"], **settings)["refusals"] == [message]
    assert _driver_plan.packages_for(DRIVERS["Debian"], **settings) == []


def test_a_branch_may_be_a_number() -> None:
    assert plan(found(HOPPER), branch=590)["packages"][0] == "nvidia-kernel-open-dkms=590.*"


def test_secure_boot_refuses_what_dkms_builds_and_names_two_ways_out() -> None:
    message = refused(found(HOPPER, secure_boot=True))
    assert "Secure Boot is on" in message and "switch Secure Boot off" in message and "mokutil --import" in message
    message = refused(found(HOPPER, secure_boot=True), "Ubuntu")
    assert "gpu_host_source: distribution" in message and "mokutil --import /var/lib/dkms/mok.pub" in message
    key = {"certificate": "/var/lib/shim-signed/mok/MOK.der", "enrolled": False}
    assert "MOK.der" in refused(found(HOPPER, secure_boot=True, dkms_key=key), "Ubuntu")


@pytest.mark.parametrize(
    "different",
    [
        {"secure_boot": None},
        {"secure_boot": True, "dkms_key": {"certificate": "/var/lib/dkms/mok.pub", "enrolled": True}},
        {"secure_boot": True, "loaded": LOADED, "kernel": {**INSTALLED, "module_file": DKMS_FILE}},
    ],
    ids=["not known", "key enrolled", "built here and loaded"],
)
def test_secure_boot_that_stands_in_nobodys_way(different: dict[str, Any]) -> None:
    assert plan(found(HOPPER, **different))["refusals"] == []


@pytest.mark.parametrize(
    "kernel",
    [
        {**INSTALLED, "module_file": SIGNED_FILE},
        {**INSTALLED, "module_version": "580.105.08", "module_file": DKMS_FILE},
    ],
    ids=["the distribution's", "another one than what is built"],
)
def test_a_loaded_driver_says_nothing_of_what_dkms_will_build(kernel: dict[str, Any]) -> None:
    assert "Secure Boot is on" in refused(found(HOPPER, secure_boot=True, loaded=LOADED, kernel=kernel), "Ubuntu")


def test_secure_boot_takes_signed_modules() -> None:
    assert plan(found(HOPPER, secure_boot=True), "Ubuntu", "distribution")["refusals"] == []


def test_switches_bring_the_fabric_manager_at_the_drivers_version() -> None:
    made = plan(found(*[HOPPER] * 8, nvswitches=4))
    assert made["fabric"] and made["services"] == ["nvidia-persistenced", "nvidia-fabricmanager"]
    assert made["packages"][-1] == "nvidia-fabricmanager=580.*" and "nvidia-fabricmanager" in made["hold"]
    archive = plan(found(HOPPER, nvswitches=4), "Ubuntu", "distribution")
    assert archive["packages"][-1] == "nvidia-fabricmanager-580" and archive["refusals"] == []


def test_nvlink_5_brings_its_subnet_manager_too() -> None:
    made = plan(found(*[BLACKWELL] * 8, nvlink5=True))
    assert made["packages"][-3:] == ["nvidia-fabricmanager=580.*", "libnvsdm=580.*", "nvlsm"]
    assert named(made["hold"])[-3:] == ["nvidia-fabricmanager", "libnvsdm", "nvlsm"]
    assert made["services"][-1] == "nvidia-fabricmanager"


def test_a_source_without_what_connects_the_gpus() -> None:
    message = refused(found(HOPPER, nvswitches=4), "Debian", "distribution")
    assert "4 NVSwitches" in message and "802" in message and "Set gpu_host_source to nvidia" in message
    message = refused(found(BLACKWELL, nvlink5=True), "Ubuntu", "distribution")
    assert "NVLink 5" in message and "subnet manager" in message and "Set gpu_host_source to nvidia" in message


def test_stated_packages_replace_the_drivers_and_the_rest_stays() -> None:
    names = ["nvidia-tesla-535-kernel-dkms", "nvidia-smi=535.1"]
    made = plan(found(HOPPER, nvswitches=4), packages=names)
    assert made["packages"] == [*names, "nvidia-fabricmanager"]
    with_branch = plan(found(HOPPER, nvswitches=4), packages=names, branch="580")
    assert with_branch["packages"] == [*names, "nvidia-fabricmanager=580.*"]
    assert named(made["hold"]) == ["nvidia-tesla-535-kernel-dkms", "nvidia-smi", "nvidia-fabricmanager"]
    assert made["headers"] == f"linux-headers-{KERNEL}" and made["build"] == "dkms" and made["pins"] == []
    assert "Secure Boot is on" in refused(found(HOPPER, secure_boot=True), packages=names)


def test_stated_packages_that_come_built() -> None:
    made = plan(found(HOPPER, secure_boot=True), "Ubuntu", packages=["linux-modules-nvidia-570-generic"])
    assert (made["build"], made["headers"], made["refusals"]) == ("prebuilt", "", [])


def test_headers_are_left_out_where_nobody_wants_them() -> None:
    assert plan(found(HOPPER), kernel_headers=False)["headers"] == ""


@pytest.mark.parametrize(("system", "source"), SOURCES)
@pytest.mark.parametrize("modules", ["auto", "open", "proprietary"])
def test_a_bundle_holds_whatever_a_host_may_install(system: str, source: str, modules: str) -> None:
    """The plan of every host is within what the same settings make a bundle carry."""
    hardware = itertools.product([[HOPPER], [VOLTA], [BLACKWELL], [GRACE, HOPPER]], [0, 4], [False, True])
    stated: list[dict[str, Any]] = [{}, {"version": "580.95.05"}, {"version": "595.71.05"}, {"packages": ["x", "y=1"]}]
    planned = 0
    for (gpus, nvswitches, nvlink5), wish in itertools.product(hardware, stated):
        made = plan(found(*gpus, nvswitches=nvswitches, nvlink5=nvlink5), system, source, modules=modules, **wish)
        carried = _driver_plan.packages_for(DRIVERS[system], source, modules, kernels=[KERNEL, "6.8.0-1"], **wish)
        # A host that needs the other flavour states it, and is told so by the README; NVLink 5 has Blackwell behind it.
        default = DRIVERS[system][source]["default_modules"]
        if (
            made["refusals"]
            or (modules == "auto" and made["modules"] != default)
            or (nvlink5 and made["modules"] != "open")
        ):
            continue
        planned += 1
        assert set(made["packages"]) <= set(carried)
        carried_names = {re.split("=|-580.95.05$|-595.71.05$", name)[0] for name in carried}
        assert set(named(made["hold"])) <= carried_names
    assert planned or modules == "open"


def test_without_a_kernel_the_modules_of_the_systems_newest_travel() -> None:
    assert _driver_plan.packages_for(DRIVERS["Ubuntu"], "distribution")[0] == (
        "linux-modules-nvidia-580-server-open-generic"
    )


def test_hosts_that_state_the_same_are_one_group() -> None:
    wishes = [
        {"host": "gpu1", "source": "auto", "modules": "auto", "branch": "", "version": "", "packages": []},
        {"host": "gpu2"},
        {"host": "gpu3", "modules": "proprietary", "version": "580.95.05"},
        {"host": "gpu4", "packages": ["x"]},
    ]
    groups = _driver_plan.groups(wishes, DRIVERS["Debian"], "nvidia")
    assert [group["name"] for group in groups] == ["hosts gpu1, gpu2", "hosts gpu3", "hosts gpu4"]
    assert [group["packages"][0] for group in groups] == [
        "nvidia-kernel-open-dkms=580.*",
        "nvidia-kernel-dkms=580.95.05-*",
        "x",
    ]
    assert groups[0]["fabric"] == ["nvidia-fabricmanager=580.*", "libnvsdm=580.*", "nvlsm"]
    assert groups[1]["fabric"] == ["nvidia-fabricmanager=580.95.05-*"]
    assert [[pin["version"] for pin in group["pins"]] for group in groups] == [["580.*"], ["580.95.05-*"], []]


def test_without_hosts_the_systems_own_choice_travels() -> None:
    (group,) = _driver_plan.groups([], DRIVERS["Debian"], "distribution")
    assert (group["name"], group["refusals"], group["fabric"]) == ("hosts", [], [])
    assert group["packages"] == ["nvidia-kernel-dkms", "libcuda1", "nvidia-smi", "nvidia-persistenced"]


def test_a_group_that_cannot_be_had_says_why() -> None:
    (group,) = _driver_plan.groups([{"host": "gpu1", "modules": "open"}], DRIVERS["Debian-bookworm"], "distribution")
    assert group["packages"] == group["fabric"] == group["pins"] == []
    assert "gpu_host_kernel_modules is open" in group["refusals"][0]


@pytest.mark.parametrize(("system", "source"), SOURCES)
def test_the_data_are_whole(system: str, source: str) -> None:
    data = DRIVERS[system][source]
    assert data["default_modules"] in data["modules"] and set(data["modules"]) <= {"open", "proprietary"}
    assert data["build"] in ("dkms", "prebuilt") and "{kernel}" in data["headers"]
    assert data["libraries"] and isinstance(data["branch"], str)
    known = {"modules", "default_modules", "build", "any_kernel", "libraries", "services", "fabric", "nvlink5"}
    known |= {"nvlink5_services", "headers", "branch", "oldest", "since", "streams", "together", "exact"}
    known |= {"newest", "tools", "held"}
    assert set(data) <= known
    assert ("any_kernel" in data) == any("{kernel}" in name for names in data["modules"].values() for name in names)


@pytest.mark.parametrize(
    ("gpu", "system", "source", "stated", "words"),
    [
        (
            BLACKWELL,
            "Debian",
            "distribution",
            {},
            ["branch 570 or newer", "archive has the branch 550", "source to nvidia"],
        ),
        (BLACKWELL, "Ubuntu", "distribution", {"branch": "535"}, ["gpu_host_branch is 535", "gpu_host_branch to 570"]),
        (HOPPER, "Ubuntu", "distribution", {"version": "470.256.02"}, ["gpu_host_version is 470.256.02", "520"]),
        (
            BLACKWELL,
            "Debian",
            "distribution",
            {"branch": "550"},
            ["gpu_host_branch is 550", "gpu_host_source to nvidia"],
        ),
    ],
)
def test_a_branch_that_is_older_than_the_gpu(
    gpu: str, system: str, source: str, stated: dict[str, str], words: list[str]
) -> None:
    message = refused(found(AMPERE, gpu), system, source, **stated)
    assert all(word in message for word in [gpu, *words]) and AMPERE not in message, message


def test_a_branch_that_knows_the_gpu() -> None:
    assert plan(found(BLACKWELL), "Ubuntu", "distribution", branch="570")["refusals"] == []
    assert plan(found(HOPPER), "Debian", "distribution")["refusals"] == []
    # Whoever names packages knows what they are.
    assert plan(found(BLACKWELL), "Debian", "distribution", packages=["x"])["refusals"] == []


@pytest.mark.parametrize("system", ["Debian", "Ubuntu"])
def test_what_has_the_drivers_version_does_not_come_newer_than_a_driver_that_stays(system: str) -> None:
    host = found(HOPPER, nvswitches=4, kernel=INSTALLED)
    assert plan(host, system)["packages"][-1] == "nvidia-fabricmanager=580.95.05-*"
    assert plan(host, system, packages=["x"])["packages"][-1] == "nvidia-fabricmanager"
    for stated in ({"state": "latest"}, {"modules": "proprietary"}):
        assert plan(host, system, **stated)["packages"][-1] == "nvidia-fabricmanager=580.*"
    assert plan(host, system, branch="595")["packages"][-1] == "nvidia-fabricmanager=595.*"
    assert plan(host, system, version="580.105.08")["packages"][-1] == "nvidia-fabricmanager=580.105.08-*"
    fabric = plan(found(HOPPER, nvswitches=4, kernel=INSTALLED), "RedHat")["packages"][-1]
    assert fabric == "nvidia-fabricmanager-580.95.05"


@pytest.mark.parametrize(
    ("file", "distribution", "facts", "known"),
    [
        ("Debian", "Debian", {"os_family": "Debian", "distribution_release": "trixie"}, True),
        ("Debian", "Debian", {"os_family": "Debian", "distribution_release": "forky"}, False),
        ("Debian-bookworm", "Debian", {"os_family": "Debian", "distribution_release": "bookworm"}, True),
        ("Debian", "Linux Mint", {"os_family": "Debian", "distribution_release": "trixie"}, False),
        ("Ubuntu", "Ubuntu", {"os_family": "Debian", "distribution_release": "noble"}, True),
        ("Ubuntu", "Ubuntu", {"os_family": "Debian", "distribution_release": "focal"}, False),
        ("RedHat", "Rocky", {"os_family": "RedHat", "distribution_major_version": "9"}, True),
        ("RedHat", "RedHat", {"os_family": "RedHat", "distribution_major_version": "10"}, False),
        ("RedHat", "Fedora", {"os_family": "RedHat", "distribution_major_version": "42"}, False),
    ],
)
def test_another_release_than_those_that_the_data_are_of(
    file: str, distribution: str, facts: dict[str, str], known: bool
) -> None:
    text = yaml.safe_load((VARIABLES / f"{file}.yml").read_text(encoding="utf-8"))
    systems, system = text["__gpu_host_systems"], {"distribution": distribution, **facts}
    made = _driver_plan.plan(found(HOPPER), DRIVERS[file], "nvidia", system=system, systems=systems)
    assert bool(made["packages"]) == (not made["refusals"]) == known
    if not known:
        assert f"runs {distribution} {list(facts.values())[-1]}" in made["refusals"][0]
        assert next(f"{name} {releases[0]}" for name, releases in systems.items()) in made["refusals"][0]
