# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which packages bring a host its NVIDIA driver: by what a role knows of the system, what a person states, and what the hardware needs.

Without hardware the same rule says what a bundle has to carry. The data are the role's (vars/<system>.yml); the filter gpu_host_plan
tells what their keys mean.

Sources of the rules:
- Blackwell and Grace need the open modules, Maxwell, Pascal and Volta the proprietary ones; all between can have both: NVIDIA's blog
  "NVIDIA Transitions Fully Towards Open-Source GPU Kernel Modules" (17 July 2024) and the Driver Installation Guide, "Kernel Modules".
- 580 is the last branch for Maxwell, Pascal and Volta, and thus with proprietary modules that something needs: NVIDIA's "UNIX graphics
  feature deprecation schedule".
- The fabric manager has exactly the driver's version, and NVLink 5 needs the subnet manager beside it: NVIDIA Fabric Manager User Guide.
"""

from __future__ import annotations

import re
from typing import Any, Mapping, NamedTuple, Sequence

from ansible_collections.airgap.inference.plugins.module_utils import _gpu_generation, _system

OPEN = "open"
PROPRIETARY = "proprietary"
FLAVOURS = (OPEN, PROPRIETARY)
# From this branch on there are open modules alone.
OPEN_ALONE = 590
# How apt and dnf are asked for one version, whatever its release.
_EXACT = "{package}={version}-*"
_OF_BRANCH = "{package}={branch}.*"
# Names that tell how a stated package brings modules.
_SIGNED = re.compile(r"linux-modules-nvidia-|kmod-nvidia-[0-9]")
_DKMS = re.compile(r"(^|-)dkms(-|$)")
# The container toolkit has versions of its own, and is the business of the role container_runtime.
_NOT_OF_DRIVER = ("!libnvidia-container*", "!nvidia-container-*")
# Where dkms puts what it builds, whatever dkms.conf says (dkms(8), DEST_MODULE_LOCATION): the family of Debian, and that of Red Hat.
_BUILT_HERE = ("/updates/", "/extra/")

Drivers = Mapping[str, Mapping[str, Any]]


class Wish(NamedTuple):
    """What a person states of a host's driver."""

    source: str
    modules: str = "auto"
    branch: str = ""
    version: str = ""
    packages: Sequence[str] = ()


class Source(NamedTuple):
    """What is known of one source of drivers, for one branch."""

    name: str
    data: Mapping[str, Any]
    branch: str

    @property
    def flavours(self) -> list[str]:
        return [flavour for flavour in FLAVOURS if self.data["modules"].get(flavour)]

    def names(self, key: str) -> list[str]:
        return [str(name) for name in self.data.get(key) or []]


def packages_for(
    drivers: Drivers,
    source: str,
    modules: str = "auto",
    branch: str = "",
    version: str = "",
    packages: Sequence[str] = (),
    kernels: Sequence[str] = (),
    fabric: bool = True,
) -> list[str]:
    """Every package that a host of these settings could need, whatever its hardware is; none where the settings are refused."""
    wish = Wish(source, modules, str(branch), str(version), packages)
    if settings_refusals(drivers, *wish):
        return []
    chosen = _source(drivers, wish)
    flavour = modules if modules in FLAVOURS else chosen.data["default_modules"]
    names = _driver(chosen, wish, flavour, list(kernels) or [str(chosen.data.get("any_kernel", ""))])
    # The GPUs that have NVLink 5 need open modules.
    of_driver, services = _beside(chosen, flavour == OPEN) if fabric else ([], [])
    return names + _versioned(chosen, wish, of_driver) + services


def groups(
    wishes: Sequence[Mapping[str, Any]],
    drivers: Drivers,
    default_source: str,
    kernels: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """What hosts state of their drivers, for a bundle: hosts that state the same are one group. Without hosts, the system's own choice."""
    found: dict[Wish, list[str]] = {}
    texts: dict[Wish, str] = {}
    for stated in wishes or [{}]:
        source = str(stated.get("source") or "auto")
        packages = stated.get("packages") or ()
        wish = Wish(
            default_source if source == "auto" else source,
            str(stated.get("modules") or "auto"),
            str(stated.get("branch") or ""),
            str(stated.get("version") or ""),
            # Told below: it would be read letter by letter.
            (packages,) if isinstance(packages, str) else tuple(packages),
        )
        found.setdefault(wish, []).append(str(stated.get("host") or ""))
        if isinstance(packages, str):
            texts[wish] = (
                f"gpu_host_packages is the text {packages!r}, and a list of packages is needed. On a command line give it as JSON: "
                '-e \'{"gpu_host_packages": ["nvidia-kernel-dkms"]}\''
            )
    described = []
    for wish, hosts in found.items():
        driver = packages_for(drivers, *wish, kernels=kernels, fabric=False)
        refusals = [texts[wish]] if wish in texts else settings_refusals(drivers, *wish)
        described.append(
            {
                "name": " ".join(["hosts", ", ".join(filter(None, hosts))]).strip()
                if found.keys() - {wish}
                else "hosts",
                "packages": driver,
                "fabric": packages_for(drivers, *wish, kernels=kernels)[len(driver) :],
                "pins": [] if refusals else _pins(_source(drivers, wish), wish),
                "refusals": refusals,
            }
        )
    return described


def settings_refusals(
    drivers: Drivers,
    source: str,
    modules: str = "auto",
    branch: str = "",
    version: str = "",
    packages: Sequence[str] = (),
) -> list[str]:
    """Why no driver can be had as it is stated, on any hardware."""
    wish = Wish(source, modules, str(branch), str(version), packages)
    if source not in drivers:
        return [
            f"gpu_host_source is {source}; the driver of this system comes from {' or '.join(sorted(drivers))}. Set gpu_host_source to one of them."
        ]
    if modules not in ("auto", *FLAVOURS):
        return [f"gpu_host_kernel_modules is {modules}; it is auto, {' or '.join(FLAVOURS)}."]
    found = []
    if wish.branch and not re.match(r"[0-9]+\Z", wish.branch):
        found.append(f"gpu_host_branch is {wish.branch}; give the driver's branch as a number, for example 580.")
    if wish.version and not re.match(r"[0-9]+(\.[0-9]+){1,2}\Z", wish.version):
        found.append(
            f"gpu_host_version is {wish.version}; give the driver's version as NVIDIA writes it, without a package's release, for example 580.95.05."
        )
    if not found and wish.branch and wish.version and wish.version.split(".", maxsplit=1)[0] != wish.branch:
        found.append(
            f"gpu_host_version is {wish.version}, and gpu_host_branch is {wish.branch}; they contradict each other. Leave one of them out."
        )
    # Whoever names packages knows what they are.
    if found or wish.packages:
        return found
    chosen = _source(drivers, wish)
    oldest = str(chosen.data.get("oldest", ""))
    if oldest and chosen.branch and int(chosen.branch) < int(oldest):
        found.append(
            f"gpu_host_{'branch' if wish.branch else 'version'} is {wish.branch or wish.version}; this role knows the packages of {_where(chosen)} "
            f"from {oldest} on. Take {oldest} or newer, or name the packages in gpu_host_packages."
        )
    if modules != "auto" and modules not in chosen.flavours:
        found.append(_not_had(drivers, wish, chosen, modules, f"gpu_host_kernel_modules is {modules}"))
    elif modules == PROPRIETARY and _open_alone(chosen):
        found.append(
            f"gpu_host_kernel_modules is proprietary, and the branch is {chosen.branch}; from {OPEN_ALONE} on there are open modules alone. "
            "Set gpu_host_branch to 580, or gpu_host_kernel_modules to open where the GPUs can have them (Turing and newer)."
        )
    return found


def plan(
    found: Mapping[str, Any],
    drivers: Drivers,
    source: str,
    modules: str = "auto",
    branch: str = "",
    version: str = "",
    packages: Sequence[str] = (),
    kernel_headers: bool = True,
    state: str = "present",
    system: Mapping[str, Any] | None = None,
    systems: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """What one host installs, holds and runs, by its hardware (the result of gpu_host_info); and why it cannot."""
    wish = Wish(source, modules, str(branch), str(version), packages)
    refusals = _other_system(system, systems) or settings_refusals(drivers, *wish)
    if source not in drivers:
        return {**_NOTHING, "refusals": refusals}
    if refusals:
        # What is refused by itself is not held against the hardware as well.
        return {**_NOTHING, "source": source, "refusals": refusals}
    chosen = _source(drivers, wish)
    flavour, hardware = _flavour(found, drivers, wish, chosen)
    build = _build(wish, chosen)
    kernel = str(found["kernel"]["wanted"])
    fabric = bool(found["nvswitches"] or found["nvlink5"])
    stays = _staying(found, chosen, wish, flavour) if state == "present" else ""
    of_driver, services = _beside(chosen, bool(found["nvlink5"])) if fabric else ([], [])
    names = _driver(chosen, wish, flavour, [kernel])
    held = list(wish.packages) or _filled(chosen, chosen.data["modules"].get(flavour, []), kernel) + _filled(
        chosen, chosen.names("libraries")
    )
    # apt's names of what belongs together are patterns of this kind too.
    # A plain name would have to be there.
    patterns = [
        name if re.search(r"[*?\[]", name) else name + "*" for name in chosen.names("held") or chosen.names("together")
    ]
    headers = str(chosen.data.get("headers", "")).replace("{kernel}", kernel)
    stream = str((chosen.data.get("streams") or {}).get(flavour, "")).replace("{branch}", chosen.branch)
    refusals = hardware or _too_old(found, drivers, wish, chosen)
    refusals = refusals + _secure_boot(found, drivers, wish, build) + _no_fabric(found, drivers, wish, chosen)
    return {
        "source": source,
        "branch": chosen.branch,
        "modules": flavour,
        "build": build,
        "packages": names + _versioned(chosen, wish._replace(version=wish.version or stays), of_driver) + services,
        "hold": [re.split(r"[=:/]", name)[0] for name in [*held, *of_driver, *services]]
        + [*patterns, *(_NOT_OF_DRIVER if patterns else [])],
        "services": ["nvidia-persistenced", *(["nvidia-fabricmanager"] if fabric else [])],
        "fabric": fabric,
        "headers": headers if kernel_headers and build == "dkms" else "",
        "streams": [stream] if stream else [],
        "pins": _pins(chosen, wish),
        "refusals": refusals,
    }


_NOTHING: dict[str, Any] = {
    "source": "",
    "branch": "",
    "modules": "",
    "build": "",
    "packages": [],
    "hold": [],
    "services": [],
    "fabric": False,
    "headers": "",
    "streams": [],
    "pins": [],
}


def _source(drivers: Drivers, wish: Wish) -> Source:
    """The stated source, as it is for the stated branch."""
    data = dict(drivers[wish.source])
    branch = wish.branch or wish.version.split(".", maxsplit=1)[0] or str(data.get("branch", ""))
    for first, instead in sorted((data.get("since") or {}).items(), key=lambda item: int(item[0])):
        if branch.isdigit() and int(branch) >= int(first):
            data.update(instead)
    return Source(wish.source, data, branch)


def _driver(chosen: Source, wish: Wish, flavour: str, kernels: Sequence[str]) -> list[str]:
    """The packages of driver and services; those that a person names stand as they are."""
    tools = chosen.names("tools")
    if wish.packages:
        return [str(name) for name in wish.packages] + tools
    wanted = [name for kernel in kernels for name in _filled(chosen, chosen.data["modules"].get(flavour) or [], kernel)]
    driver = list(dict.fromkeys(wanted)) + _filled(chosen, chosen.names("libraries"))
    of_kernel = {
        name
        for kernel in kernels
        for name in _filled(
            chosen, [item for item in chosen.data["modules"].get(flavour) or [] if "{kernel}" in item], kernel
        )
    }
    return _versioned(chosen, wish, driver, of_kernel) + _filled(chosen, chosen.names("services")) + tools


def _filled(chosen: Source, names: Sequence[str], kernel: str = "") -> list[str]:
    return [name.replace("{branch}", chosen.branch).replace("{kernel}", kernel) for name in names]


def _versioned(chosen: Source, wish: Wish, names: Sequence[str], of_kernel: Sequence[str] | set[str] = ()) -> list[str]:
    """The names with what keeps them at the stated version, or at the branch where neither names nor streams do.

    Modules for one kernel have that kernel's version, so nothing can be asked of it.
    """

    def one(name: str) -> str:
        if name in of_kernel:
            return name
        if wish.version:
            form = str(chosen.data.get("exact", _EXACT))
            return form.replace("{package}", name).replace("{version}", wish.version)
        # Whoever names packages without a branch has perhaps another one.
        known = wish.branch or not wish.packages
        if known and chosen.branch and not chosen.data.get("streams") and chosen.branch not in name:
            return _OF_BRANCH.replace("{package}", name).replace("{branch}", chosen.branch)
        return name

    return [one(name) for name in names]


def _pins(chosen: Source, wish: Wish) -> list[dict[str, Any]]:
    """What keeps packages together that nobody lists: NVIDIA's depend on each other loosely, and apt would take the newest of each."""
    together = chosen.names("together")
    # Stated packages have versions of their own.
    if not together or wish.packages or not (wish.version or chosen.branch):
        return []
    return [{"packages": together, "version": f"{wish.version}-*" if wish.version else f"{chosen.branch}.*"}]


def _flavour(found: Mapping[str, Any], drivers: Drivers, wish: Wish, chosen: Source) -> tuple[str, list[str]]:
    """The flavour of the modules, and why it cannot be had or cannot drive these GPUs."""
    gpus = found["gpus"]
    default = str(chosen.data["default_modules"])
    if not gpus:
        return wish.modules if wish.modules in FLAVOURS else default, [
            "There is no NVIDIA GPU on the PCI bus (vendor 10de, class 0300 or 0302 in /sys/bus/pci/devices). Look whether the card is seated and "
            "powered and whether the firmware shows it, or whether it is handed through to this virtual machine; a host without GPUs does not "
            "belong to the GPU hosts."
        ]
    old = [gpu for gpu in gpus if gpu["open_modules"] is False and gpu["proprietary_modules"] is False]
    if old:
        return default, [
            f"No driver that this role installs knows {_gpus(old)}; branches after 470 begin with Maxwell. Remove or replace what is that old."
        ]
    if wish.modules != "auto":
        unfit = [gpu for gpu in gpus if gpu[f"{wish.modules}_modules"] is False]
        if not unfit:
            return wish.modules, []
        other = PROPRIETARY if wish.modules == OPEN else OPEN
        return wish.modules, [
            f"gpu_host_kernel_modules is {wish.modules}, and {_gpus(unfit)} cannot be driven by the {wish.modules} modules. "
            f"Set gpu_host_kernel_modules to {other}, or leave it at auto; on the connected side too, so that the bundle carries them."
        ]
    # Stated packages bring the modules that they bring.
    if wish.packages:
        return default, []
    unknown = [gpu for gpu in gpus if gpu["generation"] is None]
    if unknown:
        return default, [
            f"gpu_host_kernel_modules is auto, and the generation of {_gpus(unknown)} is not known to this version of the collection, so it cannot "
            "choose the kernel modules. Set gpu_host_kernel_modules: open for GPUs from Turing on (Blackwell and later need it), proprietary for older ones."
        ]
    for_open = [gpu for gpu in gpus if not gpu["proprietary_modules"]]
    for_proprietary = [gpu for gpu in gpus if not gpu["open_modules"]]
    if for_open and for_proprietary:
        return default, [
            f"{_gpus(for_open)} can be driven by the open modules alone, {_gpus(for_proprietary)} by the proprietary ones alone; a host has one "
            "driver. Move one kind to another host, or hide it from the driver."
        ]
    needed = OPEN if for_open else PROPRIETARY if for_proprietary else default
    if needed not in chosen.flavours:
        return needed, [
            _not_had(
                drivers, wish, chosen, needed, f"{_gpus(for_open or for_proprietary)} needs {needed} kernel modules"
            )
        ]
    if needed == PROPRIETARY and _open_alone(chosen):
        return needed, [
            f"{_gpus(for_proprietary)} needs proprietary kernel modules, and the branch is {chosen.branch}; 580 is the last one that drives it. "
            "Set gpu_host_branch to 580, on the connected side too."
        ]
    return needed, []


def _open_alone(chosen: Source) -> bool:
    return chosen.branch.isdigit() and int(chosen.branch) >= OPEN_ALONE


def _too_old(found: Mapping[str, Any], drivers: Drivers, wish: Wish, chosen: Source) -> list[str]:
    """Whether the branch is older than the GPUs."""
    branch = chosen.branch or str(chosen.data.get("newest", ""))
    if wish.packages or not branch.isdigit():
        return []
    newer = [gpu for gpu in found["gpus"] if int(branch) < _gpu_generation.first_branch(gpu["generation"])]
    if not newer:
        return []
    first = max(_gpu_generation.first_branch(gpu["generation"]) for gpu in newer)
    having = [name for name, data in sorted(drivers.items()) if int(data.get("branch") or 0) >= first]
    if wish.branch or wish.version:
        where = f"gpu_host_{'branch' if wish.branch else 'version'} is {wish.branch or wish.version}"
        remedy = f"Set gpu_host_branch to {first} or newer"
        if wish.source not in having:
            remedy += f", and gpu_host_source to {' or '.join(having)}"
    else:
        where = f"{_where(chosen)} has the branch {branch}"
        remedy = f"Set gpu_host_source to {' or '.join(having)}"
    return [
        f"{_gpus(newer)} needs a driver of branch {first} or newer, and {where}. {remedy}, on the connected side too."
    ]


def _other_system(system: Mapping[str, Any] | None, systems: Mapping[str, Sequence[str]] | None) -> list[str]:
    """Whether the data are of other systems than the host's."""
    if system is None or systems is None:
        return []
    distribution, release = str(system.get("distribution", "")), _system.release(system)
    if release in [str(known) for known in systems.get(distribution, [])]:
        return []
    known = ", ".join(f"{name} {one}" for name in sorted(systems) for one in systems[name])
    return [
        f"The host runs {distribution} {release}, and the packages of its driver are not known to this version of the collection; of this "
        f"family it knows {known}. Take the host out of the GPU hosts, or give it a system that is known."
    ]


def _build(wish: Wish, chosen: Source) -> str:
    if wish.packages:
        return "prebuilt" if any(_SIGNED.match(name) for name in wish.packages) else "dkms"
    return str(chosen.data["build"])


def _secure_boot(found: Mapping[str, Any], drivers: Drivers, wish: Wish, build: str) -> list[str]:
    """Whether this kernel would refuse the module that DKMS builds."""
    if not found["secure_boot"] or build != "dkms":
        return []
    # Of other stated packages it shows when the module is loaded.
    if wish.packages and not any(_DKMS.search(name) for name in wish.packages):
        return []
    # The kernel knows the key, or took what DKMS built here before; that it took the distribution's signed module says nothing.
    file, loaded = str(found["kernel"].get("module_file") or ""), found["loaded"]["nvidia"]
    built_here = loaded == found["kernel"]["module_version"] and any(place in file for place in _BUILT_HERE)
    if found["dkms_key"]["enrolled"] or (loaded and built_here):
        return []
    signed = [name for name, data in sorted(drivers.items()) if data.get("build") == "prebuilt" and name != wish.source]
    first = (
        f"take modules that are built and signed already (gpu_host_source: {signed[0]}, on the connected side too)"
        if signed
        else "switch Secure Boot off in the firmware (there are no signed modules for this system)"
    )
    key = found["dkms_key"]["certificate"] or "/var/lib/dkms/mok.pub"
    return [
        f"Secure Boot is on, and the kernel would refuse the modules that DKMS builds here, because their key is not enrolled. Either {first}, or enrol "
        f"the key of DKMS: install dkms, make the key where {key} is not there yet (dkms generate_mok), mokutil --import {key}, restart, "
        "confirm at the console, and run again."
    ]


def _beside(chosen: Source, nvlink5: bool) -> tuple[list[str], list[str]]:
    """What GPUs need that are connected by switches: what has the driver's version, and what has versions of its own."""
    of_driver = chosen.names("fabric") + (chosen.names("nvlink5") if nvlink5 else [])
    return _filled(chosen, of_driver), _filled(chosen, chosen.names("nvlink5_services") if nvlink5 else [])


def _staying(found: Mapping[str, Any], chosen: Source, wish: Wish, flavour: str) -> str:
    """The version of a driver that is there and remains, so that what has to have exactly its version does not come newer."""
    installed = str(found["kernel"]["module_version"] or found["loaded"]["nvidia"] or "")
    another_branch = chosen.branch and installed.split(".", maxsplit=1)[0] != chosen.branch
    another_flavour = found["kernel"].get("module_open") not in (None, flavour == OPEN)
    # Stated packages may bring another driver.
    return "" if wish.packages or another_branch or another_flavour else installed


def _no_fabric(found: Mapping[str, Any], drivers: Drivers, wish: Wish, chosen: Source) -> list[str]:
    """Whether the source lacks what connects these GPUs."""
    if found["nvlink5"]:
        what, key = "NVLink 5 (a bridge to its switches, SMDL=SW_MNG in its VPD)", "nvlink5"
    elif found["nvswitches"]:
        what, key = f"{found['nvswitches']} NVSwitches", "fabric"
    else:
        return []
    if chosen.names(key) and chosen.names("fabric"):
        return []
    having = [name for name, data in sorted(drivers.items()) if data.get(key) and data.get("fabric")]
    remedy = (
        f"Set gpu_host_source to {' or '.join(having)}, on the connected side too"
        if having
        else "There is no source for this system that has it"
    )
    return [
        f"The host has {what}, and {_where(chosen)} has no {'subnet manager' if key == 'nvlink5' and chosen.names('fabric') else 'fabric manager'}; "
        f"CUDA would fail with error 802. {remedy}."
    ]


def _not_had(drivers: Drivers, wish: Wish, chosen: Source, flavour: str, why: str) -> str:
    having = [
        name
        for name, data in sorted(drivers.items())
        if (data.get("modules") or {}).get(flavour) and name != wish.source
    ]
    remedy = (
        f"Set gpu_host_source to {' or '.join(having)}, and name that repository in airgap_targets"
        if having
        else f"Set gpu_host_kernel_modules to {' or '.join(chosen.flavours)}"
    )
    return f"{why}, and {_where(chosen)} has none for this system. {remedy}."


def _where(chosen: Source) -> str:
    return "NVIDIA's repository" if chosen.name == "nvidia" else "the distribution's archive"


def _gpus(gpus: Sequence[Mapping[str, Any]]) -> str:
    """GPUs by where they are and what they are; there is no index before there is a driver."""

    def one(gpu: Mapping[str, Any]) -> str:
        known = [gpu["generation"] or "unknown generation", f"device {gpu['device_id']}"]
        return f"{gpu['pci_address']} ({', '.join(known + (['slot ' + str(gpu['slot'])] if gpu.get('slot') else []))})"

    return f"the GPU{'s' if gpus[1:] else ''} at {', '.join(map(one, gpus))}"
