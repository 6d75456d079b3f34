# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds a driver's kernel modules aside, before the driver is installed: a host on which they do not build keeps its old driver.

A package that DKMS builds from fails in the middle of its installation, when the old driver is gone already. So its sources are
taken out of the package and built in a directory of their own. What the build needs (dkms, a compiler, the kernel's headers) is
installed for it, and purged again when it fails.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import time
from typing import Any, Iterator, NamedTuple, Sequence

from ansible_collections.airgap.inference.plugins.module_utils import _apt, _dkms, _dnf
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

LOGS = "/var/log/airgap"
# Modules are built here: a temporary file system may be small, or forbid that programs on it are run.
ROOM = "/var/lib/airgap"
SOURCES = "/usr/src"
DKMS = "/usr/sbin/dkms"

_REMEDY = (
    "Choose another flavour (gpu_host_kernel_modules), branch (gpu_host_branch) or version (gpu_host_version) of the driver, or a "
    "kernel that it supports (airgap_targets[].kernels); the playbook stage rehearses the choice on the connected side."
)
_FIELD = r"^\s*{}=[\"']?([^\"'\s$]+)[\"']?\s*$"


class Source(NamedTuple):
    """What DKMS builds one version of a module from."""

    package: str
    module: str
    version: str
    #: The directory that has <module>-<version>.
    tree: str

    def __str__(self) -> str:
        return f"{self.module} {self.version}"


class Plan(NamedTuple):
    """What an installation would change, and what has to be tried before."""

    #: Every package that the installation would bring to a version.
    changes: list[dict[str, str | None]]
    #: Incoming packages that may carry sources, and the sources that are here but not built for the kernel.
    carriers: list[_apt.Step]
    sources: list[Source]
    #: What the build needs and the host lacks, as apt-get is asked for it, and what that would change.
    ask: list[str]
    tools: list[_apt.Step]
    installed: dict[str, _apt.Installed]

    @property
    def needed(self) -> bool:
        return bool(self.carriers or self.sources)


def plan(
    run: _apt.Run,
    apt: _apt.Apt,
    repository: _apt.Repository,
    wanted: dict[str, Any],
    modules: str = "/lib/modules",
) -> Plan:
    """Ask apt what would change, and refuse what cannot be built; nothing is changed for it.

    wanted has packages, state, kernel, headers, and hold: the names that may be changed although they are held, or None.
    (With dnf, also modules: the streams that are not enabled yet.)
    """
    installed = _apt.installed_packages(run)
    ask = _apt.lacking(wanted["packages"], installed, wanted["state"])
    if ask:
        apt.update()
    steps = apt.simulate(ask) if ask else []
    reason = _apt.refusal(steps, installed, list(installed) if wanted["hold"] is None else wanted["hold"])
    if reason:
        raise AirgapError(reason)
    carriers = carrying(steps, apt.dependencies(steps))
    sources = [] if carriers else unbuilt(run, wanted["packages"], wanted["kernel"])
    changes = _apt.changes(steps, installed)
    if not (carriers or sources):
        return Plan(changes, [], [], [], [], installed)
    if not ask:
        apt.update()
    tools = [] if _works(installed, "dkms") else ["dkms"]
    if not has_headers(wanted["kernel"], modules):
        there = apt.names("^linux-headers-[0-9]")
        reason = no_headers(wanted["kernel"], wanted["headers"], there, repository.url, modules)
        if reason:
            raise AirgapError(reason)
        tools.append(wanted["headers"])
    tool_steps = apt.simulate(tools) if tools else []
    reason = _apt.refusal(tool_steps, installed, [])
    if reason:
        raise AirgapError(f"What DKMS needs ({', '.join(tools)}) cannot be installed. {reason}")
    return Plan(changes, carriers, sources, tools, tool_steps, installed)


def plan_with_dnf(
    run: _apt.Run,
    dnf: _dnf.Dnf,
    repository: _apt.Repository,
    wanted: dict[str, Any],
    modules: str = "/lib/modules",
) -> Plan:
    """What dnf would change; refused where it would bring what DKMS builds, and headers are neither here nor to be had."""
    installed = _dnf.installed_packages(run)
    ask = _dnf.lacking(wanted["packages"], installed, wanted["state"])
    steps: list[_apt.Step] = []
    if ask or wanted["modules"]:
        dnf.update()
        steps = dnf.simulate(ask)
    reason = _dnf.refusal(steps, installed, list(installed) if wanted["hold"] is None else wanted["hold"])
    # kmod-nvidia-open-dkms and kmod-nvidia-latest-dkms are NVIDIA's names.
    builds = any("dkms" in step.name for step in steps if step.verb == "Inst")
    coming = {f"{step.name}-{step.after}" for step in steps if step.verb == "Inst"}
    if not reason and builds and not has_headers(wanted["kernel"], modules):
        there = dnf.names("kernel-devel")
        if not any(wanted["headers"].startswith(name) for name in coming):
            reason = no_headers(wanted["kernel"], wanted["headers"], there, repository.url, modules)
    if reason:
        raise AirgapError(reason)
    return Plan(_dnf.changes(steps, installed), [], [], [], [], {})


def carrying(steps: Sequence[_apt.Step], dependencies: dict[str, set[str]]) -> list[_apt.Step]:
    """The incoming packages that may carry what DKMS builds: those that need dkms, and what they need directly.

    Debian's have the sources themselves; Ubuntu's nvidia-dkms-* have them in nvidia-kernel-source-*.
    """
    builders = [name for name, needs in dependencies.items() if "dkms" in needs]
    # The interpreter, the compiler and their like come along with dkms itself.
    candidates = set(builders).union(*(dependencies[name] for name in builders)) - {"dkms"}
    return [step for step in steps if step.verb == "Inst" and step.name.partition(":")[0] in candidates]


def unbuilt(run: _apt.Run, packages: Sequence[str], kernel: str) -> list[Source]:
    """The sources of these installed packages, and of NVIDIA's others, that DKMS has not built for the kernel."""
    _rc, out, _err = run(["dpkg-query", "-S", f"{SOURCES}/*/dkms.conf"], _apt.ENVIRONMENT)
    asked = {package.partition("=")[0] for package in packages}
    found = []
    for line in out.splitlines():
        owner, _colon, path = line.partition(": ")
        owner = owner.partition(":")[0]
        if (owner in asked or "nvidia" in owner) and os.path.exists(path):
            found.append(described(owner, path))
    if not found or not os.path.exists(DKMS):
        return found
    _rc, out, _err = run([DKMS, "status"], _environment())
    built = {(one.name, one.version) for one in _dkms.status(out) if one.kernel == kernel and one.state == "installed"}
    return [source for source in found if (source.module, source.version) not in built]


def described(package: str, path: str) -> Source:
    """The module whose dkms.conf this is."""
    directory = os.path.basename(os.path.dirname(path))
    with open(path, encoding="utf-8", errors="replace") as handle:
        text = handle.read()
    module, _dash, version = directory.rpartition("-")
    named = re.search(_FIELD.format("PACKAGE_NAME"), text, re.MULTILINE)
    numbered = re.search(_FIELD.format("PACKAGE_VERSION"), text, re.MULTILINE)
    # The file is a shell script: what it writes out is believed, what it computes is read off the directory.
    if named and numbered and directory == f"{named.group(1)}-{numbered.group(1)}":
        module, version = named.group(1), numbered.group(1)
    return Source(package, module, version, os.path.dirname(os.path.dirname(path)))


def has_headers(kernel: str, modules: str = "/lib/modules") -> bool:
    return os.path.exists(os.path.join(modules, kernel, "build", "Makefile"))


def no_headers(kernel: str, headers: str, there: Sequence[str], url: str, modules: str = "/lib/modules") -> str | None:
    """Why modules cannot be built for the kernel, given the header packages at the depot; or None."""
    if headers in there:
        return None
    # What several flavours share is no kernel's own.
    listed = ", ".join(name for name in there if not re.search(r"-common(-|$)", name)) or "none at all"
    return (
        f"The driver's modules are built by DKMS, and the headers of the kernel {kernel} are not on this host "
        f"({os.path.join(modules, kernel, 'build')}) and not at the depot: it has no {headers or 'package named for them'}. Of headers "
        f"it has {listed} ({url}). Nothing was changed. Add {kernel} (uname -r) to airgap_targets[].kernels on the connected "
        "side, stage and import; or boot a kernel that the bundle has headers for."
    )


@contextlib.contextmanager
def room(parent: str) -> Iterator[str]:
    """A private directory for as long as the context lasts; what killed trials left behind goes."""
    made = not os.path.isdir(parent)
    os.makedirs(parent, mode=0o755, exist_ok=True)
    for name in os.listdir(parent):
        match = re.match(r"driver-trial-(\d+)-", name)
        if match and not os.path.exists("/proc/" + match.group(1)):
            shutil.rmtree(os.path.join(parent, name), ignore_errors=True)
    private = tempfile.mkdtemp(prefix=f"driver-trial-{os.getpid()}-", dir=parent)
    try:
        yield private
    finally:
        shutil.rmtree(private)
        if made:
            # Unless somebody else keeps something there by now.
            with contextlib.suppress(OSError):
                os.rmdir(parent)


class Trial:
    """Builds what a plan found, in a private directory, and leaves the host as it was when that fails."""

    def __init__(self, run: _apt.Run, apt: _apt.Apt, directory: str, logs: str = LOGS) -> None:
        self._run = run
        self._apt = apt
        self._directory = directory
        self._logs = logs

    def perform(self, planned: Plan, kernel: str) -> list[str]:
        """The modules that were built. The tools stay: the driver's installation needs them next."""
        sources = planned.sources + self._extract(planned.carriers)
        if not sources:
            return []
        try:
            if planned.ask:
                self._apt.install(planned.ask)
            for source in sources:
                self._build(source, kernel)
        except AirgapError as error:
            raise AirgapError(f"{error} {self._clean_up(planned.tools)}") from error
        return [str(source) for source in sources]

    def _extract(self, carriers: Sequence[_apt.Step]) -> list[Source]:
        archives, tree = self._make("archives"), self._make("tree")
        found = []
        for archive in self._apt.download(carriers, archives) if carriers else ():
            name = os.path.basename(archive).partition("_")[0]
            before = set(_configurations(tree))
            rc, out, err = self._run(["dpkg-deb", "-x", archive, tree], _apt.ENVIRONMENT)
            if rc != 0:
                raise AirgapError(f"dpkg-deb could not unpack {os.path.basename(archive)}: {(err or out).strip()}")
            found += [described(name, path) for path in _configurations(tree) if path not in before]
            os.unlink(archive)
        return found

    def _build(self, source: Source, kernel: str) -> None:
        own = self._make("dkms")
        command = [DKMS, "build", "-m", source.module, "-v", source.version, "-k", kernel]
        command += ["--dkmstree", own, "--sourcetree", source.tree]
        environment = {
            **_environment(),
            "TMPDIR": self._make("tmp"),
            # A key for Secure Boot is made at the real installation, not here; dkms takes both names from the environment
            # where its framework.conf does not state them.
            "mok_signing_key": os.path.join(own, "mok.key"),
            "mok_certificate": os.path.join(own, "mok.pub"),
        }
        started = time.monotonic()
        rc, out, err = self._run(command, environment)
        built = os.path.join(own, source.module, source.version, kernel)
        if rc == 0 and any(".ko" in name for _path, _directories, names in os.walk(built) for name in names):
            return
        said = (out + "\n" + err).strip()
        log = _read_logs(os.path.join(own, source.module, source.version))
        kept = self._keep(source, kernel, log or said)
        reasons = [reason.replace(self._directory + "/", "") for reason in _dkms.reasons(log or said)]
        raise AirgapError(
            f"DKMS cannot build {source} (package {source.package}) for the kernel {kernel}, tried aside for "
            f"{time.monotonic() - started:.0f} s before anything of the driver was changed: {'; '.join(reasons)}. "
            f"The whole log is {kept} on this host. {_REMEDY}"
        )

    def _keep(self, source: Source, kernel: str, text: str) -> str:
        os.makedirs(self._logs, mode=0o755, exist_ok=True)
        path = os.path.join(self._logs, f"dkms-{source.module}-{source.version}-{kernel}.log")
        with open(path, "w", encoding="utf-8") as handle:
            handle.write(text.rstrip() + "\n")
        return path

    def _clean_up(self, tools: Sequence[_apt.Step]) -> str:
        """Take the tools away again; returns what is to be said of it."""
        present = _apt.installed_packages(self._run)
        brought = [step.name for step in tools if step.verb == "Inst" and not step.before and step.name in present]
        newer = [f"{step.name} ({step.before})" for step in tools if step.verb == "Inst" and step.before]
        left = f" These were brought to newer versions for it and stay so: {', '.join(newer)}." if newer else ""
        if not brought:
            return f"The host is as it was.{left}" if not left else left.strip()
        try:
            self._apt.purge(brought)
        except AirgapError as error:
            return f"What was installed for the trial is still there, since it could not be purged: {error}.{left}"
        return (
            f"What was installed for the trial ({len(brought)} packages, dkms or headers among them) was purged again; "
            + (f"the rest of the host is as it was.{left}" if left else "the host is as it was.")
        )

    def _make(self, name: str) -> str:
        path = os.path.join(self._directory, name)
        os.makedirs(path, exist_ok=True)
        return path


def _configurations(tree: str) -> list[str]:
    base = tree + SOURCES
    names = sorted(os.listdir(base)) if os.path.isdir(base) else []
    paths = [os.path.join(base, name, "dkms.conf") for name in names]
    return [path for path in paths if os.path.isfile(path)]


def _read_logs(directory: str) -> str:
    """DKMS keeps a failed build's make.log in its build directory, and a finished one's beside the modules."""
    texts = []
    for path, _directories, names in os.walk(directory):
        if "make.log" in names:
            with open(os.path.join(path, "make.log"), encoding="utf-8", errors="replace") as handle:
                texts.append(handle.read())
    return "\n".join(texts)


def _environment() -> dict[str, str]:
    """What dkms runs lies beside it, which is not on every connection's PATH."""
    return {**_apt.ENVIRONMENT, "PATH": os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"}


def _works(installed: dict[str, _apt.Installed], name: str) -> bool:
    return name in installed and installed[name].working
