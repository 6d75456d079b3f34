# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages from the depot's dnf repository, and from nowhere else: what _apt is for the Debian family, by the same names.

Everything goes through dnf 4 itself, seeing one repository only. What it would do stands in the table that it prints before it
asks; the table is believed only when dnf's own count of it agrees. Holds are locks of dnf's plugin versionlock.
"""

from __future__ import annotations

import configparser
import fnmatch
import os
import re
import time
from typing import Any, Mapping, NamedTuple, Sequence

from ansible_collections.airgap.inference.plugins.module_utils import _apt
from ansible_collections.airgap.inference.plugins.module_utils._apt import HEADER, Repository, Run, Step
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

KEY_FILE = "/etc/pki/rpm-gpg/RPM-GPG-KEY-airgap"
REPOSITORY_FILE = "/etc/yum.repos.d/airgap.repo"
MODULES = "/etc/dnf/modules.d"
LOCK_SETTINGS = "/etc/dnf/plugins/versionlock.conf"
LOCK_PLUGIN = "python3-dnf-plugin-versionlock"

ENVIRONMENT = {"LC_ALL": "C.UTF-8"}
# What dnf exits with when another has its lock (dnf(8), section Exit codes of dnf 4: "200: There was a problem with acquiring or
# releasing of locks").
_LOCKED = 200

_SECTION = re.compile(r"^(?P<title>[A-Z][a-z/ ]+):\n(?P<rows>(?: .*\n)+)", re.MULTILINE)
# Where names are long, dnf breaks the row.
_ROW = re.compile(r"^ (\S+)\s+(noarch|x86_64|aarch64|i[3-6]86)\s+(\S+)\s+(@?\S+)\s+[0-9.]+ ?[kMGT]? *$", re.MULTILINE)
_REPLACED = re.compile(r"^ +replacing +(\S+)", re.MULTILINE)
_COUNT = re.compile(r"^(?:Install|Upgrade|Downgrade|Reinstall|Remove) +(\d+) Packages?", re.MULTILINE)
_UNMATCHED = re.compile(r"^No match for argument: (\S+)", re.MULTILINE)
_NO_STREAM = re.compile(r"^missing groups or modules: (.+)$", re.MULTILINE)
_TROUBLE = re.compile(
    r"^(?:Error: (?!Operation aborted)| Problem|No match for argument|All matches were)", re.MULTILINE
)
_HINTS = {
    "Curl error (60)": "The CA in repository.ca_path does not vouch for the certificate that answers there, "
    "or the certificate is for another name than the URL's.",
    "GPG signature": "repository.key must be the archive-key.asc of the bundle that the depot serves.",
    "by modular filtering": "Another stream of their module is enabled on this host (dnf module list --enabled); state the "
    "stream in modules.",
    "by exclude filtering": "dnf's own configuration on this host excludes them (exclude, excludepkgs in /etc/dnf/dnf.conf).",
    "lock": "Another package manager is at work on this host; wait for it, or raise lock_timeout.",
}


class Installed(NamedTuple):
    """What rpm knows of a package, and whether versionlock names it."""

    version: str
    working: bool
    held: bool
    #: Whether the lock is on the version that is installed.
    locked: bool = False


def wanted_files(repository: Repository) -> dict[str, str | None]:
    """The files that lead dnf to the depot: path and content."""
    files: dict[str, str | None] = {
        KEY_FILE: _apt.armoured(repository.key),
        REPOSITORY_FILE: _section(repository, KEY_FILE),
    }
    if repository.ca and repository.ca_path:
        files[repository.ca_path] = repository.ca
    return files


def _section(repository: Repository, key: str) -> str:
    lines = [
        "# " + HEADER,
        "[airgap]",
        "name=airgap, the depot's packages",
        "baseurl=" + repository.url,
        "enabled=1",
        # The bundle's key signs the metadata, which has the SHA-256 of every package; the packages have their vendors' signatures,
        # which were checked when they were collected.
        "repo_gpgcheck=1",
        "gpgcheck=0",
        "gpgkey=file://" + key,
        # The depot is a neighbour: a proxy that the host has for other sources does not lead to it.
        "proxy=_none_",
    ]
    if repository.tls_host and repository.ca_path:
        lines.append("sslcacert=" + repository.ca_path)
    return "\n".join([*lines, ""])


def installed_packages(run: Run) -> dict[str, Installed]:
    """All installed packages, by each of the names that a person may give them."""
    form = "%{NAME}\t%{EPOCHNUM}\t%{VERSION}\t%{RELEASE}\t%{ARCH}\n"
    rc, out, err = run(["rpm", "-qa", "--queryformat", form], ENVIRONMENT)
    if rc != 0:
        raise AirgapError("rpm cannot read the package database: " + (err.strip() or f"exit code {rc}"))
    locks = locked()
    found: dict[str, Installed] = {}
    for line in out.splitlines():
        name, epoch, version, release, architecture = line.split("\t")
        spellings = _spellings(name, epoch, version, release, architecture)
        entries = [entry for entry in locks if fnmatch.fnmatchcase(name, _locked_name(entry))]
        fits = any(fnmatch.fnmatchcase(spelling, entry) for entry in entries for spelling in spellings)
        shown = f"{version}-{release}" if epoch == "0" else f"{epoch}:{version}-{release}"
        for spelling in spellings:
            found[spelling] = Installed(shown, working=True, held=bool(entries), locked=fits)
    return found


def _spellings(name: str, epoch: str, version: str, release: str, architecture: str) -> list[str]:
    """As in dnf(8), "Specifying Packages"."""
    bare = [name, f"{name}-{version}", f"{name}-{version}-{release}"]
    bare += [f"{name}-{epoch}:{version}", f"{name}-{epoch}:{version}-{release}"]
    return bare + [f"{spelling}.{architecture}" for spelling in bare]


def locked() -> list[str]:
    """The entries of versionlock's list."""
    path = _lock_list()
    if path is None or not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as handle:
        lines = [line.strip() for line in handle]
    # What begins with ! excludes versions and locks none.
    return [line for line in lines if line and not line.startswith(("#", "!"))]


def _lock_list() -> str | None:
    """Where versionlock keeps its list; None where the plugin is not there."""
    settings = configparser.ConfigParser(interpolation=None)
    if not settings.read(LOCK_SETTINGS) or not settings.getboolean("main", "enabled", fallback=True):
        return None
    return settings.get("main", "locklist", fallback=None)


def _locked_name(entry: str) -> str:
    match = re.match(r"(.+)-(?:\d+:)?[0-9*][^-]*-[^-]+\Z", entry)
    return match.group(1) if match else entry


def spec(package: str) -> str:
    """As dnf is asked for it: name=version is the spelling of apt, and this module's for both."""
    name, equals, version = package.partition("=")
    return f"{name}-{version}" if equals else name


def lacking(packages: Sequence[str], installed: dict[str, Installed], state: str) -> list[str]:
    """What dnf must be asked for so that every wanted package is there."""
    wanted = [spec(package) for package in packages]
    if state == "latest":
        return wanted
    return [one for one in wanted if one not in installed and not (_is_pattern(one) and fnmatch.filter(installed, one))]


def _is_pattern(text: str) -> bool:
    return any(character in text for character in "*?[")


def parse_table(output: str, installed: dict[str, Installed]) -> list[Step]:
    """The steps in the table that dnf shows before it does anything."""
    steps = []
    for section in _SECTION.finditer(output):
        title, rows = section.group("title"), section.group("rows") + "\n"
        for name, _architecture, version, _origin in _ROW.findall(rows):
            present = installed[name].version if name in installed else None
            if title.startswith("Removing"):
                steps.append(Step("Remv", name, version, None))
            elif title.startswith("Installing"):
                # What may be there several times, kernels above all, comes beside what is there.
                steps.append(Step("Inst", name, None, version))
            elif title in ("Upgrading", "Downgrading", "Reinstalling"):
                steps.append(Step("Inst", name, present, version))
        steps += [Step("Replaced", name, None, None) for name in _REPLACED.findall(rows)]
    announced = sum(int(number) for number in _COUNT.findall(output))
    listed = len([step for step in steps if step.verb != "Replaced"])
    if announced != listed:
        raise AirgapError(
            f"What dnf would do could not be read: it announces {announced} packages and lists {listed}. This module knows dnf 4; "
            f"which one is it (dnf --version)? Its words: {output.strip()[-600:]}"
        )
    return steps


def refusal(steps: Sequence[Step], installed: dict[str, Installed], may_change: Sequence[str]) -> str | None:
    """Why these steps must not be taken, or None."""
    removed = [f"{step.name} {step.before or ''}".strip() for step in steps if step.verb in ("Remv", "Replaced")]
    if removed:
        return (
            "Installing would remove {} from this host, and nothing is removed silently. "
            "Remove what conflicts yourself (dnf remove), or leave the package out of the list."
        ).format(", ".join(removed))
    held = [
        step.name
        for step in steps
        if step.verb == "Inst"
        and step.name in installed
        and installed[step.name].held
        and not _apt.chosen([step.name], may_change)
    ]
    if held:
        return (
            "Installing would change {}, held on this host by somebody else (dnf versionlock list). "
            "Release it with dnf versionlock delete, or name it in `hold` to take it over."
        ).format(", ".join(held))
    return None


def changes(steps: Sequence[Step], _installed: dict[str, Installed]) -> list[dict[str, str | None]]:
    """Every package that the steps bring to a version, with the version it has now."""
    found = sorted((step.name, step.before, step.after) for step in steps if step.verb == "Inst")
    return [{"name": name, "before": before, "after": after} for name, before, after in found]


def to_hold(names: Sequence[str], installed: dict[str, Installed], steps: Sequence[Step]) -> list[str]:
    """Which of these names, and of those that the patterns among them choose, are not held yet at the version that is installed."""
    coming = {step.name for step in steps if step.verb == "Inst"}
    # versionlock itself takes a pattern that one locked package fits for done (dnf-plugins-core, versionlock.py), so it is given names.
    names = _apt.expanded(names, coming | set(_bare(installed)))
    absent = [name for name in names if name not in installed and name not in coming]
    if absent:
        raise AirgapError(
            f"hold names {', '.join(absent)}, which is not installed. Add it to packages, or leave it out of hold."
        )
    if names and _lock_list() is None and LOCK_PLUGIN not in coming:
        raise AirgapError(
            f"hold is not empty, and dnf on this host has no plugin versionlock that is enabled ({LOCK_SETTINGS}), so nothing can be "
            f"held. Add {LOCK_PLUGIN} to packages (and to bundle_extra_packages, if the bundle lacks it), or leave hold empty."
        )
    return [name for name in names if name not in installed or not installed[name].locked]


def _bare(installed: dict[str, Installed]) -> list[str]:
    """The names alone, of all the spellings."""
    found = []
    for name, package in installed.items():
        epoch, colon, _rest = package.version.partition(":")
        full = package.version if colon and epoch.isdigit() else "0:" + package.version
        if f"{name}-{full}" in installed or f"{name}-{package.version}" in installed:
            found.append(name)
    return found


def hold(run: Run, names: Sequence[str]) -> None:
    """Lock these at the versions that are installed."""
    if not names:
        return
    lock = ["dnf", "-q", "-y", "--disableplugin=*", "--enableplugin=versionlock", "--disablerepo=*", "versionlock"]
    # A lock on the version before would count as one.
    for command in ([*lock, "delete", *names], [*lock, "add", *names]):
        rc, out, err = run(command, ENVIRONMENT)
        if rc != 0:
            raise AirgapError(f"dnf versionlock could not hold {', '.join(names)}: {(err or out).strip()}")


def to_enable(modules: Sequence[str], directory: str = MODULES) -> list[str]:
    """Which of these streams (name:stream) are not enabled yet."""
    lacking_streams = []
    for module in modules:
        name, colon, stream = module.partition(":")
        if not (name and colon and stream) or "/" in module:
            raise AirgapError(f"modules: {module} is not of the form name:stream, such as nvidia-driver:580-open.")
        # As libdnf writes it; dnf itself takes much longer to say the same.
        state = configparser.ConfigParser(interpolation=None)
        state.read(os.path.join(directory, name + ".module"))
        known = dict(state[name]) if state.has_section(name) else {}
        if known.get("state") != "enabled" or known.get("stream") != stream:
            lacking_streams.append(module)
    return lacking_streams


def explain(doing: str, repository: Repository, output: str, there: _apt.There = lambda _name: []) -> str:
    """A failed dnf in words that say what to do."""
    streams = [name for found in _NO_STREAM.findall(output) for name in found.split(", ")]
    if streams:
        return (
            f"{', '.join(streams)}: no such module stream in the bundle's packages at {repository.url}. Check the spelling; to carry "
            "it, add it to airgap_targets[].modules on the connected side, stage, and import the new bundle."
        )
    missing = list(dict.fromkeys(_UNMATCHED.findall(output)))
    if missing:
        return _apt.not_carried(missing, repository.url, there)
    kept = [
        line.strip()
        for line in output.splitlines()
        if line.strip() and not line.startswith(("Last metadata", "Dependencies resolved", "(try to add", "Package "))
    ]
    hints = [hint for symptom, hint in _HINTS.items() if symptom in output]
    return " ".join([f"dnf could not {doing} from {repository.url}: {'; '.join(kept)[-900:]}.", *hints])


class Dnf:
    """dnf with the depot as its only repository; with a private folder it leaves the host as it is."""

    def __init__(
        self,
        run: Run,
        repository: Repository,
        lock_timeout: int = 60,
        private: str | None = None,
        modules: Sequence[str] = (),
        scratch: str = "",
    ) -> None:
        self._run = run
        self._modules = list(modules)
        self._scratch = scratch
        self._expected: list[Step] = []
        self._repository = repository
        self._lock_timeout = lock_timeout
        self._command = [
            # Without plugins: holds are judged here, by name, and subscriptions lead to other repositories.
            "dnf", "-y", "--noplugins", "--repo=airgap",
            "--setopt=install_weak_deps=0", "--setopt=best=1", "--setopt=skip_if_unavailable=0",
            # Nothing is removed, not even the oldest of several kernels.
            "--setopt=installonly_limit=0", "--setopt=module_stream_switch=1", "--setopt=exit_on_lock=1",
        ]  # fmt: skip
        if private:
            self._command += self._write_private(private)

    def _write_private(self, private: str) -> list[str]:
        """The repository as it would be on the host, but in the private folder; returns the options that lead there."""
        ca_path = self._repository.ca_path
        if self._repository.ca:
            ca_path = os.path.join(private, "ca.pem")
            _write(ca_path, self._repository.ca)
        elif ca_path and not os.path.exists(ca_path):
            raise AirgapError(
                f"{ca_path} is not on this host yet, so the depot cannot be asked in check mode. "
                "Give the CA's text as repository.ca as well."
            )
        key = os.path.join(private, "airgap.asc")
        _write(key, _apt.armoured(self._repository.key))
        folders = {name: os.path.join(private, name) for name in ("reposdir", "cachedir", "logdir", "persistdir")}
        for folder in folders.values():
            os.makedirs(folder)
        path = os.path.join(folders["reposdir"], "airgap.repo")
        _write(path, _section(self._repository._replace(ca_path=ca_path), key))
        return [f"--setopt={name}={folder}" for name, folder in folders.items()]

    def prefer(self, pins: Sequence[Mapping[str, Any]], _folder: str) -> None:
        """As with apt; dnf has no such thing, and the names that are asked for carry their versions."""
        names = ", ".join(name for pin in pins for name in pin["packages"])
        raise AirgapError(
            f"pins are for hosts with apt, and this one has dnf; state versions in packages instead of {names}."
        )

    def update(self) -> None:
        """Read the depot's metadata anew."""
        rc, out, err = self._dnf("makecache", "--refresh")
        if rc != 0:
            raise AirgapError(explain("read the metadata", self._repository, out + err))

    def simulate(self, packages: Sequence[str]) -> list[Step]:
        rc, out, err = self._dnf("--assumeno", *self._transaction(packages))
        if _TROUBLE.search(out + "\n" + err) or (rc != 0 and "Operation aborted" not in err):
            raise AirgapError(
                explain(self._doing("resolve", packages), self._repository, out + "\n" + err, self.versions)
            )
        self._expected = parse_table(out, installed_packages(self._run))
        return self._expected

    def install(self, packages: Sequence[str]) -> None:
        rc, out, err = self._dnf(*self._transaction(packages))
        # dnf's shell does not say by its exit status that something failed.
        trouble = rc != 0 or (self._modules and _TROUBLE.search(out + "\n" + err))
        present = installed_packages(self._run)
        coming = [f"{step.name}-{step.after}" for step in self._expected if step.verb == "Inst"]
        absent = [package for package in coming if package not in present]
        if trouble or absent:
            said = explain(self._doing("install", packages), self._repository, out + "\n" + err)
            raise AirgapError(f"{said} Not there: {', '.join(absent)}." if absent else said)

    def names(self, name: str) -> list[str]:
        """What the depot has of a package, as name-version-release.architecture."""
        form = "%{name}-%{version}-%{release}.%{arch}\n"
        rc, out, err = self._dnf("repoquery", "--quiet", "--queryformat", form, name)
        if rc != 0:
            raise AirgapError(explain("read the metadata", self._repository, out + err))
        return sorted({line.strip() for line in out.splitlines() if line.startswith(name)})

    def versions(self, package: str) -> list[str]:
        """What the depot has of a package in other versions than the one that was asked for."""
        asked = re.match(r"(.+?)-(?:\d+:)?\d+\.", package)
        found = self.names(asked.group(1)) if asked else []
        return [one for one in found if asked and re.match(r"-\d", one[len(asked.group(1)) :])]

    def _doing(self, verb: str, packages: Sequence[str]) -> str:
        return f"{verb} {', '.join([*self._modules, *packages])}"

    def _transaction(self, packages: Sequence[str]) -> list[str]:
        if not self._modules:
            return ["install", "--", *packages]
        # Only its shell takes streams and packages in one transaction, and can show what comes of it before a stream is enabled.
        lines = [f"module enable {' '.join(self._modules)}", "run", ""]
        if packages:
            lines[1:1] = [f"install {' '.join(packages)}"]
        path = os.path.join(self._scratch, "transaction")
        _write(path, "\n".join(lines))
        return ["shell", path]

    def _dnf(self, *arguments: str) -> tuple[int, str, str]:
        deadline = time.monotonic() + self._lock_timeout
        while True:
            done = self._run([*self._command, *arguments], ENVIRONMENT)
            if done[0] != _LOCKED or time.monotonic() > deadline:
                return done
            time.sleep(1)


manager = Dnf


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
