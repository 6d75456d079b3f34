# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which driver the kernel runs, which one is installed, and what leads from the one to the other."""

from __future__ import annotations

import os
import re
from typing import Any, NamedTuple, Sequence

from ansible_collections.airgap.inference.plugins.module_utils import _dkms, _kernels
from ansible_collections.airgap.inference.plugins.module_utils._driver_services import (
    SERVICES,
    Run,
    Said,
    quiet,
    run,
    short,
    start,
    stop,
)
from ansible_collections.airgap.inference.plugins.module_utils._driver_users import User, named, users
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

# In the order in which they can be unloaded: each is used by none that follows it.
MODULES = ("nvidia_uvm", "nvidia_drm", "nvidia_modeset", "nvidia_peermem", "nvidia")

# "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.309.01  Tue …", and of the open modules
# "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.105.08  Release Build  (…)".
_NVRM_VERSION = re.compile(r"^NVRM version: .*?Kernel Module(?: for \S+)?\s+(\d+(?:\.\d+)+)", re.M)

# Debian's archive installs the module as nvidia-current.ko, and its modprobe.d leads the name nvidia there:
# "install modprobe -i nvidia-current $CMDLINE_OPTS" (package nvidia-alternative). modinfo does not follow such a line.
_LED_TO = re.compile(r"^install\b.*\bmodprobe -i (\S+)", re.M)


_JOURNAL = ("journalctl", "-k", "-b", "--output=short-monotonic", "--no-pager", "--quiet")
# "[    9.123456] gpu1 kernel: NVRM: …" in the journal; dmesg writes neither host nor "kernel:".
_STAMP = re.compile(r"^\[[^\]]*\]\s*(?:\S+ kernel: )?")


class Driver(NamedTuple):
    """A kernel module: its version, and whether it is of the open kind; None where that is not told."""

    version: str
    open: bool | None

    def __str__(self) -> str:
        return self.version + {True: " (open)", False: " (proprietary)", None: ""}[self.open]


class KernelModule(NamedTuple):
    """A loaded module: how often it is in use, and by which other modules."""

    references: int
    users: list[str]


class State(NamedTuple):
    """What the host shows."""

    running: str
    wanted: str
    modules: dict[str, KernelModule]
    loaded: Driver | None
    # For the wanted kernel; None where it has no such module.
    installed: Driver | None
    users: list[User]
    # Whether the wanted kernel could be started, or only modules built for it.
    image: bool = True


class Decision(NamedTuple):
    """What is to be done now: at most one of these, or nothing but a restart for the reasons, or nothing at all."""

    build: bool = False
    drop_nouveau: bool = False
    reload: bool = False
    load: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    # Who has the driver, where that is the reason.
    in_use: tuple[User, ...] = ()


def read_modules(folder: str) -> dict[str, KernelModule]:
    """Of NVIDIA's modules and nouveau, those that /sys/module shows as loaded; one that is built in has no initstate."""
    found = {}
    for name in (*MODULES, "nouveau"):
        module = os.path.join(folder, name)
        if os.path.exists(os.path.join(module, "initstate")):
            references = _text(os.path.join(module, "refcnt")).strip()
            holders = os.path.join(module, "holders")
            users = sorted(os.listdir(holders)) if os.path.isdir(holders) else []
            found[name] = KernelModule(int(references) if references.isdigit() else 0, users)
    return found


def read_version(text: str) -> Driver | None:
    """The loaded driver in the text of /proc/driver/nvidia/version."""
    match = _NVRM_VERSION.search(text)
    return Driver(match.group(1), "Open Kernel Module" in match.group(0)) if match else None


def same(loaded: Driver, installed: Driver) -> bool:
    if None in (loaded.open, installed.open):
        return loaded.version == installed.version
    return loaded == installed


def decide(state: State, allow_unload: bool) -> Decision:
    """The next thing to do."""
    if state.installed is None:
        return Decision(build=True)
    if state.wanted != state.running and not state.image:
        return Decision(reasons=(without_image(state),))
    if state.wanted != state.running:
        reason = f"the kernel {state.running} runs, and {state.wanted} is wanted (its driver is {state.installed})"
        return Decision(reasons=(reason,))
    if "nouveau" in state.modules:
        return Decision(drop_nouveau=True)
    if state.loaded is None:
        return Decision(load=("nvidia", "nvidia_uvm"))
    if same(state.loaded, state.installed):
        return Decision(load=() if "nvidia_uvm" in state.modules else ("nvidia_uvm",))
    if not allow_unload:
        return Decision(reasons=(f"{differing(state)}; it may not be unloaded here (allow_unload is false)",))
    obstacles = hindrances(state)
    if obstacles:
        reasons = tuple(f"{differing(state)}; {obstacle}" for obstacle in obstacles)
        return Decision(reasons=reasons, in_use=tuple(holding(state)))
    return Decision(reload=True)


def differing(state: State) -> str:
    return f"the driver {state.loaded} is loaded, and {state.installed} is installed"


def without_image(state: State) -> str:
    return (
        f"the kernel {state.wanted} is wanted (gpu_host_kernel), and its image is not installed, so that a restart does not bring it: "
        f"install {_kernels.image_package(state.wanted)}; the kernel {state.running} runs"
    )


def holding(state: State, stopped: bool = False) -> list[User]:
    """Who has the driver open; before the services are stopped, they may."""
    return [user for user in state.users if stopped or user.unit not in SERVICES]


def hindrances(state: State, stopped: bool = False) -> list[str]:
    """What keeps the loaded driver in the kernel."""
    found = []
    holders = holding(state, stopped)
    if holders:
        found.append(f"it is in use by {named(holders)}")
    for name in MODULES:
        module = state.modules.get(name)
        strangers = [user for user in module.users if user not in MODULES] if module else []
        if strangers:
            found.append(f"the kernel module {', '.join(strangers)} uses {name}")
        # Each open device file counts as well; only those of the services are still to go.
        elif module and stopped and not holders and module.references > len(module.users):
            found.append(f"the kernel uses {name} itself, as for a console on the GPU")
    return found


def why_not_loaded(module: str, kernel: str, said: str, log: Sequence[str]) -> str:
    """The reason behind modprobe's message, and the remedy. The messages are strerror's, as kmod prints them."""
    quoted = " ".join(said.split())[:300]
    lines = "; ".join(log)
    told = f"The kernel {kernel} does not take the module {module}: modprobe says '{quoted}'"
    told += f", the kernel's log '{lines}'. " if lines else ". "
    if any(
        text in said + lines
        for text in ("Key was rejected by service", "Required key not available", "unsigned module", "Lockdown")
    ):
        return told + (
            "Secure Boot is on, and the module is signed by no key that the firmware knows. Either take modules that the "
            "distribution built and signed (gpu_host_source: distribution on Ubuntu), or enrol the key that DKMS signs with "
            "('mokutil --import /var/lib/dkms/mok.pub', on Ubuntu /var/lib/shim-signed/mok/MOK.der, confirmed at the console "
            "during the next start), or switch Secure Boot off in the firmware"
        )
    if "Operation not permitted" in said:
        return told + (
            "Either Secure Boot is on and wants a signed module ('mokutil --sb-state'), or this is a container, which may load none: "
            "then the driver is its host's business (gpu_host_load_driver: false)"
        )
    if "not found in directory" in said:
        return told + f"It was not built for this kernel: see 'dkms status', and install the headers of {kernel}"
    if any(
        text in said + lines for text in ("Exec format error", "Unknown symbol", "disagrees about version of symbol")
    ):
        return told + (
            "It was built for another kernel or of another version than the modules beside it. Build it again "
            f"('dkms status' names module and version; 'dkms build --force' and 'dkms install --force' with -k {kernel}), or "
            "start the kernel that it was built for (gpu_host_kernel)"
        )
    if "requires use of the NVIDIA open kernel modules" in lines:
        return told + "This GPU needs the open modules: set gpu_host_kernel_modules to open"
    # Printed for a GPU before Turing, and for one whose chip does not answer at all.
    if "System Processor (GSP)" in lines:
        return told + (
            "A GPU before Turing needs the proprietary modules: set gpu_host_kernel_modules to proprietary. For a newer one this means "
            "that the card does not answer: power the host off and on, and have the card and its slot checked"
        )
    if "already bound to nouveau" in lines:
        return (
            told
            + "nouveau has the GPU: unload it ('modprobe -r nouveau'), or restart the host with nouveau switched off"
        )
    if "Legacy drivers" in lines:
        return told + "This GPU is too old for the driver's branch: state an older one in gpu_host_branch"
    if "No such device" in said:
        return told + (
            "This driver finds no GPU that it can run. Compare with 'lspci -d 10de: -k': a card may be missing, bound to "
            "another driver (nouveau, vfio-pci), or of a generation that needs the other kind of modules "
            "(gpu_host_kernel_modules) or another branch (gpu_host_branch)"
        )
    return told + "Look for 'NVRM' in 'dmesg'"


class Next(NamedTuple):
    """The kernel of the next start, None where that cannot be told; whether it has the driver, and why it should not come."""

    version: str | None
    has_module: bool | None
    against: str = ""
    planned: str = ""


class Host:
    """The host whose driver is led to the installed one; `done` says what was changed, in words."""

    def __init__(
        self,
        wanted: str | None,
        *,
        run: Run = run,
        running: str | None = None,
        proc: str = "/proc",
        modules: str = "/sys/module",
        libraries: str = "/lib/modules",
        boot: str = "/boot",
        settings: str = "/etc/default",
    ) -> None:
        self.run = run
        self.running = running or os.uname().release
        self.stated = bool(wanted)
        self.wanted = wanted or self.running
        self.proc = proc
        self.version = os.path.join(proc, "driver/nvidia/version")
        self.modules = modules
        self.libraries = libraries
        self.boot = boot
        self.settings = settings
        self.done: list[str] = []
        self.warnings: list[str] = []
        self.in_use: list[User] = []

    def state(self) -> State:
        return State(
            self.running,
            self.wanted,
            read_modules(self.modules),
            read_version(_text(self.version)),
            self.installed(),
            users(self.proc),
            self.has_image(),
        )

    def has_image(self) -> bool:
        return _kernels.has_image(self.wanted, self.running, self.boot, self.libraries)

    def installed(self, kernel: str | None = None) -> Driver | None:
        """The driver's module for a kernel, by default the wanted one."""
        kernel = kernel or self.wanted
        for name in ("nvidia", self._led_to(kernel)):
            fields = (
                [self.run(["modinfo", "-k", kernel, "-F", field, name]) for field in ("version", "license")]
                if name
                else []
            )
            if fields and fields[0].rc == 0 and fields[0].text:
                # NVIDIA's open modules are "Dual MIT/GPL", the proprietary ones "NVIDIA".
                licence = fields[1].text if fields[1].rc == 0 else ""
                return Driver(fields[0].text.split()[0], "GPL" in licence if licence else None)
        return None

    def buildable(self) -> str:
        """What DKMS could build for the wanted kernel; an error where that cannot bring the driver."""
        if not os.path.isdir(os.path.join(self.libraries, self.wanted)):
            present = sorted(os.listdir(self.libraries)) if os.path.isdir(self.libraries) else []
            raise AirgapError(
                f"The kernel {self.wanted} (gpu_host_kernel) is not installed: there is no {self.libraries}/{self.wanted}. "
                f"Installed: {', '.join(present) or 'none'}; the kernel {self.running} runs"
            )
        registered = self.registered()
        if not registered:
            raise AirgapError(
                f"There is no module nvidia for the kernel {self.wanted} in {self.libraries}/{self.wanted}, and DKMS has none "
                "to build. Install the driver (gpu_host does), or, where its modules come prebuilt, those for this kernel"
            )
        return registered

    def registered(self) -> str:
        """What DKMS builds of the driver; empty where its modules come prebuilt."""
        modules = _dkms.status(quiet(self.run, ["dkms", "status"]).text)
        return ", ".join(sorted({str(module) for module in modules if "nvidia" in module.name}))

    def build(self) -> None:
        """Let DKMS build what is registered for the wanted kernel."""
        self._build(self.buildable(), self.wanted)

    def _build(self, names: str, kernel: str) -> None:
        said = self.run(["dkms", "autoinstall", "-k", kernel])
        # It fails when any module does, and may have built this one (dkms, do_autoinstall: "One or more modules failed to install").
        if self.installed(kernel) is None:
            raise AirgapError(self._not_built(names, kernel, said))
        if said.rc != 0:
            self.warnings.append(
                f"DKMS built {names} for the kernel {kernel}, and another module of this host not: 'dkms autoinstall -k {kernel}' "
                f"ended with exit status {said.rc}: {short(said.text)}"
            )
        self.done.append(f"built {names} for the kernel {kernel}")

    def next_start(self, due: bool, check: bool) -> Next:
        """The kernel that the next start brings; where one is due, the driver is built for it, or what speaks against it is told."""
        kernel = _kernels.starts_next(self.boot, self.settings)
        if kernel is None:
            return Next(None, None)
        has_module = self.installed(kernel) is not None
        # A stated kernel that GRUB would not start is told by against_restart, and nothing is built for the other.
        if not due or has_module or (self.stated and kernel != self.wanted):
            return Next(kernel, has_module)
        names = self.registered() if _kernels.has_headers(kernel, self.libraries) else ""
        if names and check:
            return Next(kernel, False, planned=f"build {names} for the kernel {kernel}")
        reason = f"the next boot is {kernel}, for which no nvidia module is installed: "
        if names:
            try:
                self._build(names, kernel)
            except AirgapError as error:
                return Next(kernel, False, f"{reason}{error}. Or remove that kernel")
            return Next(kernel, True)
        if self.registered():
            remedy = "install its headers (airgap_targets[].kernels)"
        else:
            remedy = "install the prebuilt modules for it"
        return Next(kernel, False, f"{reason}{remedy} or remove that kernel")

    def drop_nouveau(self) -> str | None:
        """Unload nouveau, or say why only a restart does."""
        said = self.run(["modprobe", "-r", "nouveau"])
        if said.rc != 0:
            return f"nouveau drives a GPU and cannot be unloaded ({short(said.text)})"
        self.done.append("unloaded nouveau")
        return None

    def load(self, names: Sequence[str]) -> None:
        before = self._log()
        for name in names:
            said = self.run(["modprobe", name])
            if said.rc != 0:
                raise AirgapError(why_not_loaded(name, self.running, said.text, new_lines(before, self._log())))
        self.done.append(f"loaded {', '.join(names)}")
        state = self.state()
        missing = [name for name in names if name not in state.modules]
        if missing or state.loaded is None or (state.installed and not same(state.loaded, state.installed)):
            raise AirgapError(
                f"modprobe took {', '.join(names)}, and yet {self.modules} lacks {', '.join(missing) or 'none of them'} and "
                f"{self.version} shows {state.loaded or 'no driver'}, where {state.installed} is installed. "
                "Look for 'NVRM' in 'dmesg'"
            )

    def reload(self) -> list[str]:
        """Put the installed driver in the place of the loaded one, or return why only a restart does."""
        before, done = self.state(), list(self.done)
        stopped = stop(self.run)
        if stopped:
            self.done.append(f"stopped {', '.join(stopped)}")
        without = self.state()
        self.in_use = holding(without, stopped=True)
        reasons = [f"{differing(before)}; {reason}" for reason in hindrances(without, stopped=True)]
        for name in MODULES:
            # Where the distribution's modprobe.d unloads several together, this one may be gone already.
            if reasons or name not in read_modules(self.modules):
                continue
            said = self.run(["modprobe", "-r", name])
            if said.rc != 0:
                reasons.append(f"{differing(before)}; {name} cannot be unloaded ({short(said.text)})")
        if not reasons:
            self.done.append(f"unloaded the driver {before.loaded}")
            try:
                self.load(["nvidia", "nvidia_uvm"])
            except AirgapError as error:
                waiting = f". These services were stopped for it and wait: {', '.join(stopped)}" if stopped else ""
                raise AirgapError(f"{error}{waiting}") from error
        if stopped:
            start(self.run, stopped)
            self.done.append(f"started {', '.join(reversed(stopped))}")
        if reasons:
            # All is as it was: what was stopped runs again.
            self.done = done
        return reasons

    def _not_built(self, names: str, kernel: str, said: Said) -> str:
        failure = _dkms.failure(said.text)
        reasons = [line.strip() for line in said.text.splitlines() if line.strip()][-3:]
        if failure and os.path.exists(failure.log):
            with open(failure.log, encoding="utf-8", errors="replace") as log:
                reasons = _dkms.reasons(log.read())
        where = f" (log: {failure.log})" if failure else ""
        return (
            f"DKMS cannot build {names} for the kernel {kernel}{where}: {' | '.join(reasons)[:900]}. Its headers must be "
            f"installed ({self.libraries}/{kernel}/build), and this driver must know this kernel: try another kernel "
            "(gpu_host_kernel), branch (gpu_host_branch) or kind of modules (gpu_host_kernel_modules); the playbook stage rehearses it"
        )

    def _led_to(self, kernel: str) -> str:
        match = _LED_TO.search(self.run(["modprobe", "-S", kernel, "-n", "-v", "nvidia"]).text)
        return match.group(1) if match else ""

    def _log(self) -> list[str]:
        # In a container dmesg would tell of the machine, if of anything; the journal is the host's own.
        said = quiet(self.run, _JOURNAL)
        if said.rc != 0 or not said.text:
            said = quiet(self.run, ["dmesg"])
        return [line for line in said.text.splitlines() if re.search(r"NVRM|nvidia|Lockdown|unsigned module", line)]


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def new_lines(before: Sequence[str], after: Sequence[str], limit: int = 6) -> list[str]:
    """What the kernel's log gained; its ring may have dropped older lines meanwhile."""
    known = set(before)
    gained = [_STAMP.sub("", line).strip() for line in after if line not in known]
    return gained[-limit:]


def planned(decision: Decision, state: State) -> list[str]:
    """The first step, in words; what follows a build is not known before it."""
    if decision.build:
        return [f"build the module nvidia for the kernel {state.wanted}"]
    if decision.drop_nouveau:
        return ["unload nouveau", "load nvidia, nvidia_uvm"]
    if decision.reload:
        return [f"unload the driver {state.loaded}", f"load the driver {state.installed}"]
    return [f"load {', '.join(decision.load)}"] if decision.load else []


def converge(host: Host, allow_unload: bool, check: bool, restart: bool = False) -> dict[str, Any]:
    """Lead the kernel to the installed driver; what was loaded before and after, and why the host has to restart."""
    first = state = host.state()
    decision = decide(state, allow_unload)
    if check:
        if decision.build:
            # What could not be built is refused here as well.
            host.buildable()
        actions = planned(decision, state)
        loads = actions and state.running == state.wanted and state.installed
        outcome = Outcome(first.loaded, state.installed if loads else state.loaded, decision.reasons, decision.in_use)
        upcoming = host.next_start(restart or bool(decision.reasons), check)
        actions += [upcoming.planned] if upcoming.planned else []
        return _result(host, outcome, upcoming, actions, restart)
    reasons: list[str] = []
    in_use: list[User] = []
    # Build, nouveau, driver, memory module: what needs more rounds than these goes in circles.
    for _round in range(6):
        decision = decide(state, allow_unload)
        if reasons:
            break
        if decision.build:
            host.build()
        elif decision.drop_nouveau:
            reason = host.drop_nouveau()
            reasons += [reason] if reason else []
        elif decision.reload:
            reasons += host.reload()
            in_use = host.in_use if reasons else []
        elif decision.load:
            host.load(decision.load)
        else:
            reasons += decision.reasons
            in_use = list(decision.in_use)
            break
        state = host.state()
    upcoming = host.next_start(restart or bool(reasons), check)
    return _result(host, Outcome(first.loaded, state.loaded, reasons, in_use), upcoming, host.done, restart)


class Outcome(NamedTuple):
    """What became of the driver."""

    before: Driver | None
    after: Driver | None
    reasons: Sequence[str]
    in_use: Sequence[User]


def against_restart(host: Host, upcoming: Next) -> list[str]:
    """Why a restart would not help, or would take the GPUs away."""
    if not host.has_image():
        return [
            f"the kernel {host.wanted} (gpu_host_kernel) is not what a restart brings, since its image is not installed: "
            f"install {_kernels.image_package(host.wanted)}"
        ]
    if host.stated and upcoming.version not in (None, host.wanted):
        return [
            f"the next boot is {upcoming.version}, and {host.wanted} is wanted (gpu_host_kernel): make that one GRUB's default "
            f"('grub-set-default', on RHEL 'grubby --set-default'), or remove {upcoming.version}"
        ]
    return [upcoming.against] if upcoming.against else []


def _result(host: Host, outcome: Outcome, upcoming: Next, actions: list[str], restart: bool) -> dict[str, Any]:
    before, after = outcome.before, outcome.after
    due = restart or bool(outcome.reasons)
    return {
        "changed": bool(actions),
        "loaded": {"before": before.version if before else None, "after": after.version if after else None},
        "reboot_required": bool(outcome.reasons),
        "reasons": list(outcome.reasons),
        "in_use": [user._asdict() for user in outcome.in_use],
        "next_kernel": {"version": upcoming.version, "has_module": upcoming.has_module},
        "reasons_against": against_restart(host, upcoming) if due else [],
        "actions": actions,
        "diff": {
            "before": f"loaded driver: {before or 'none'}\n",
            "after": f"loaded driver: {after or 'none'}\n",
        },
    }
