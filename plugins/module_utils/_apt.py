# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages from the depot's apt repository, and from nowhere else.

Everything goes through apt-get itself, seeing one source only: what the host's other sources would offer
cannot be fetched beyond the gap, so it must not take part in the resolution either.
"""

from __future__ import annotations

import fnmatch
import os
import re
import time
from typing import Any, Callable, Dict, Iterable, Mapping, NamedTuple, Sequence, Tuple
from urllib.parse import urlsplit

from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

Run = Callable[[Sequence[str], Dict[str, str]], Tuple[int, str, str]]
There = Callable[[str], Sequence[str]]

HEADER = "Written by airgap.inference.packages; changes made here are lost."
KEY_FILE = "/etc/apt/keyrings/airgap.asc"
SOURCE_FILE = "/etc/apt/sources.list.d/airgap.sources"
CONFIG_FILE = "/etc/apt/apt.conf.d/60airgap"
PIN_FILE = "/etc/apt/preferences.d/airgap.pref"

ENVIRONMENT = {
    "LC_ALL": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
    # Ubuntu's needrestart would restart services, Docker among them, behind the play's back.
    "NEEDRESTART_MODE": "l",
}
INSTALL_OPTIONS = (
    "-o", "Dpkg::Options::=--force-confdef",
    "-o", "Dpkg::Options::=--force-confold",
    "-o", "APT::Get::AutomaticRemove=false",
)  # fmt: skip

_SIMULATED = re.compile(r"^(Inst|Remv|Purg|Conf) (\S+)(?: \[([^\]]+)\])?(?: \((\S+)[^)]*\))?")
_NOT_FOUND = re.compile(
    r"^E: (?:Unable to locate package (?P<name>\S+)"
    r"|Package '(?P<bare>[^']+)' has no installation candidate"
    r"|Version '(?P<version>[^']+)' for '(?P<versioned>[^']+)' was not found)",
    re.MULTILINE,
)
# dpkg names the package and says why in the line below; DKMS says "Error!" before that.
_REASON = re.compile(r"^(?:E: |W: |Err:|dpkg: error processing |Error! ).*(?:\n {1,2}\S.*)*", re.MULTILINE)
# Said after every failure of dpkg's, which has said more before.
_DPKG_FAILED = "E: Sub-process /usr/bin/dpkg returned an error code (1)"
_HINTS = {
    "certificate verify failed": "The CA in repository.ca_path does not vouch for the certificate that answers there, "
    "or the certificate is for another name than the URL's.",
    "is not signed": "repository.key must be the archive-key.asc of the bundle that the depot serves.",
    "Could not get lock": "Another package manager is at work on this host; wait for it, or raise lock_timeout.",
    "Unable to acquire the dpkg frontend lock": "Another package manager is at work on this host; "
    "wait for it, or raise lock_timeout.",
}
# What of a driver belongs to a kernel, and what to a flavour.
_REMEDIES = (
    (
        re.compile(r"^(linux-(headers|modules|objects|signatures|image)-|kernel-devel)"),
        "It is made for one kernel: add that kernel (uname -r) to airgap_targets[].kernels",
    ),
    (
        re.compile(r"nvidia.*dkms|nvidia.*kernel|nvidia-(headless|driver|open)|^linux-modules-nvidia-|kmod-nvidia"),
        "It belongs to one flavour of the driver: state what the hosts state (gpu_host_kernel_modules, gpu_host_source, gpu_host_branch) there too",
    ),
)


class Repository(NamedTuple):
    """One suite of an apt repository, and what its signature and its TLS are checked with."""

    url: str
    suite: str
    component: str
    key: str
    ca_path: str | None = None
    ca: str | None = None

    @property
    def tls_host(self) -> str | None:
        parts = urlsplit(self.url)
        return parts.hostname if parts.scheme == "https" else None


class Installed(NamedTuple):
    """What dpkg knows of a package."""

    version: str
    working: bool
    held: bool


class Step(NamedTuple):
    """One thing apt-get says that it would do."""

    verb: str
    name: str
    before: str | None
    after: str | None


def armoured(key: str) -> str:
    """The key as the package manager reads it from a file."""
    key = key.strip() + "\n"
    if "BEGIN PGP PUBLIC KEY BLOCK" not in key:
        raise AirgapError(
            "repository.key is not an ASCII-armoured OpenPGP public key (no 'BEGIN PGP PUBLIC KEY BLOCK' in it). "
            "Give the text of the bundle's archive-key.asc."
        )
    return key


def wanted_files(repository: Repository) -> dict[str, str | None]:
    """The files that lead apt to the depot: path and content, or None where a file must not be."""
    key = armoured(repository.key)
    source = "\n".join(
        (
            "# " + HEADER,
            "Types: deb",
            "URIs: " + repository.url,
            "Suites: " + repository.suite,
            "Components: " + repository.component,
            "Signed-By: " + KEY_FILE,
            "",
        )
    )
    pin = f"Explanation: {HEADER}\nPackage: *\nPin: release o=airgap\nPin-Priority: 990\n"
    files: dict[str, str | None] = {KEY_FILE: key, PIN_FILE: pin, SOURCE_FILE: source, CONFIG_FILE: None}
    host = repository.tls_host
    if host:
        # The depot is a neighbour: a proxy that the host has for other sources does not lead to it.
        lines = ["// " + HEADER, f'Acquire::https::{host}::Proxy "DIRECT";']
        if repository.ca_path:
            lines.append(f'Acquire::https::{host}::CAInfo "{repository.ca_path}";')
        files[CONFIG_FILE] = "\n".join(lines) + "\n"
    if repository.ca and repository.ca_path:
        files[repository.ca_path] = repository.ca
    return files


def installed_packages(run: Run) -> dict[str, Installed]:
    """All packages that dpkg has a version of, by name and by name:architecture."""
    fields = "${Package}\t${Architecture}\t${Version}\t${db:Status-Abbrev}\n"
    rc, out, err = run(["dpkg-query", "-W", "-f", fields], ENVIRONMENT)
    if rc != 0:
        raise AirgapError("dpkg-query cannot read the package database: " + (err.strip() or f"exit code {rc}"))
    found: dict[str, Installed] = {}
    for line in out.splitlines():
        name, architecture, version, status = line.split("\t")
        package = Installed(version, status[1:3] == "i ", status[:1] == "h")
        if version:
            found[name + ":" + architecture] = package
            if name not in found or package.working:
                found[name] = package
    return found


def lacking(packages: Sequence[str], installed: dict[str, Installed], state: str) -> list[str]:
    """What apt-get must be asked for so that every wanted package is there."""
    if state == "latest":
        return list(packages)
    wanted = []
    for package in packages:
        name, _equals, version = package.partition("=")
        present = installed.get(name)
        if present is None or not present.working or (version and not is_version(present.version, version)):
            wanted.append(package)
    return wanted


def is_version(version: str, pattern: str) -> bool:
    """Whether a version is one that apt-get would take for name=pattern.

    As apt 2.6 does it (apt-pkg/versionmatch.cc): what ends in * stands for a beginning, in which nothing else is special;
    anything else is a shell pattern.
    """
    if pattern.endswith("*"):
        return version.startswith(pattern[:-1])
    return fnmatch.fnmatchcase(version, pattern)


def parse_simulation(output: str) -> list[Step]:
    """The steps in the output of apt-get -s."""
    steps = []
    for line in output.splitlines():
        match = _SIMULATED.match(line)
        if match:
            steps.append(Step(match.group(1), match.group(2), match.group(3), match.group(4)))
    return steps


def refusal(steps: Sequence[Step], installed: dict[str, Installed], may_change: Sequence[str]) -> str | None:
    """Why these steps must not be taken, or None."""
    removed = ["{} {}".format(step.name, step.before or "") for step in steps if step.verb == "Remv"]
    if removed:
        return (
            "Installing would remove {} from this host, and nothing is removed silently. "
            "Remove what conflicts yourself (apt-get remove), or leave the package out of the list."
        ).format(", ".join(name.strip() for name in removed))
    held = [
        step.name
        for step in steps
        if step.verb == "Inst"
        and step.name in installed
        and installed[step.name].held
        and not chosen([step.name.partition(":")[0]], may_change)
        and step.name not in may_change
    ]
    if held:
        return (
            "Installing would change {}, held on this host by somebody else (apt-mark showhold). "
            "Release it with apt-mark unhold, or name it in `hold` to take it over."
        ).format(", ".join(held))
    return None


def is_pattern(text: str) -> bool:
    """Whether it may choose several names, or takes some out."""
    return text.startswith("!") or any(character in text for character in "*?[")


def chosen(names: Iterable[str], wanted: Sequence[str]) -> list[str]:
    """Those of the names that are wanted, by name or by pattern, and that no pattern after ! takes out; a plain name stays."""
    patterns = [one for one in wanted if not one.startswith("!")]
    without = [one[1:] for one in wanted if one.startswith("!")]
    return [
        name
        for name in names
        if name in patterns
        or (
            any(fnmatch.fnmatchcase(name, one) for one in patterns)
            and not any(fnmatch.fnmatchcase(name, one) for one in without)
        )
    ]


def expanded(wanted: Sequence[str], names: Iterable[str]) -> list[str]:
    """The plain names as they are, and then what patterns choose besides; a pattern that chooses nothing is none the worse."""
    plain = [one for one in wanted if not is_pattern(one)]
    return list(dict.fromkeys(plain + chosen(sorted(names), wanted)))


def hold(run: Run, names: Sequence[str]) -> None:
    if not names:
        return
    rc, out, err = run(["apt-mark", "hold", *names], ENVIRONMENT)
    if rc != 0:
        raise AirgapError(f"apt-mark could not hold {', '.join(names)}: {(err or out).strip()}")


def changes(steps: Sequence[Step], installed: dict[str, Installed]) -> list[dict[str, str | None]]:
    """Every package that the steps bring to a version, with the version it has now."""
    after = {step.name: step.after for step in steps if step.after}
    return [
        {"name": name, "before": installed[name].version if name in installed else None, "after": after[name]}
        for name in sorted(after)
    ]


def to_hold(names: Sequence[str], installed: dict[str, Installed], steps: Sequence[Step]) -> list[str]:
    """Which of these names, and of those that the patterns among them choose, are not held yet."""
    coming = {step.name for step in steps if step.verb == "Inst"}
    # Names with an architecture are the same packages again.
    present = {name for name in installed if ":" not in name and installed[name].working}
    names = expanded(names, present | {name for name in coming if ":" not in name})
    absent = [name for name in names if name not in installed and name not in coming]
    if absent:
        raise AirgapError(
            f"hold names {', '.join(absent)}, which is not installed. Add it to packages, or leave it out of hold."
        )
    return [name for name in names if name not in installed or not installed[name].held]


def package_diff(
    changed: Sequence[dict[str, str | None]], held: Sequence[str], streams: Sequence[str] = ()
) -> dict[str, str]:
    """Packages in the form that Ansible shows as a difference."""
    before = [f"{change['name']} {change['before']}\n" for change in changed if change["before"]]
    after = [f"{change['name']} {change['after']}\n" for change in changed] + [f"{name} held\n" for name in held]
    after += [f"{stream} enabled\n" for stream in streams]
    return {
        "before_header": "packages",
        "after_header": "packages",
        "before": "".join(before),
        "after": "".join(after),
    }


def explain(doing: str, repository: Repository, output: str, there: There = lambda _name: []) -> str:
    """A failed apt-get in words that say what to do."""
    where = f"{repository.url} (suite {repository.suite})"
    missing = []
    for match in _NOT_FOUND.finditer(output):
        versioned = "{}={}".format(match.group("versioned"), match.group("version"))
        missing.append(match.group("name") or match.group("bare") or versioned)
    if missing:
        return not_carried(missing, where, there)
    # apt says why a download failed in an indented line below the "Err:" line that names it, and then says less again.
    lines = [" ".join(found.split()) for found in _REASON.findall(output)]
    if any(line.startswith("Err:") for line in lines):
        lines = [line for line in lines if not line.startswith(("E: Failed to fetch", "E: Some index files"))]
    if len(lines) > 1:
        lines = [line for line in lines if line != _DPKG_FAILED]
    unmet = output.partition("The following packages have unmet dependencies:")[2].partition("\nE: ")[0]
    reason = " ".join(lines) or output.strip()[-600:]
    if unmet:
        reason = "unmet dependencies: {}. {}".format(" ".join(unmet.split()), reason)
    hints = [hint for symptom, hint in _HINTS.items() if symptom in output]
    return " ".join([f"apt-get could not {doing} from {where}: {reason}", *hints])


def not_carried(names: Sequence[str], where: str, there: There = lambda _name: []) -> str:
    """What to do about packages that the depot lacks; there says what else it has of one."""
    had = ", ".join(dict.fromkeys(version for name in names for version in there(name)))
    said = (
        f"{', '.join(names)}: not in the bundle's packages at {where}{'; the depot has only ' + had if had else ''}. "
    )
    again = " on the connected side, stage, and import the new bundle."
    if had:
        if all("nvidia" in name or "nvsdm" in name for name in names):
            return (
                f"{said}gpu_host_packages_state: latest brings driver and fabric manager together to what the depot has; or state the version "
                f"(gpu_host_version){again}"
            )
        return (
            f"{said}Ask for a version that is there, or carry the other one: state it in bundle_extra_packages{again}"
        )
    remedies = [
        remedy for pattern, remedy in _REMEDIES if any(pattern.search(name.partition("=")[0]) for name in names)
    ] or ["Check the spelling; to carry it, add it to bundle_extra_packages"]
    return f"{said}{'; '.join(remedies)}{again}"


def to_enable(modules: Sequence[str]) -> list[str]:
    """Module streams are a thing of dnf."""
    if modules:
        raise AirgapError(f"modules is {', '.join(modules)}, but this host has apt, which knows no module streams.")
    return []


def manager(
    run: Run, repository: Repository, lock_timeout: int, private: str | None, _modules: Sequence[str], _scratch: str
) -> Apt:
    """By the same arguments as that of dnf."""
    return Apt(run, repository, lock_timeout, private)


def preferences(pins: Sequence[Mapping[str, Any]]) -> str:
    """apt's preferences for packages that belong together: above the newest version, so that it does not matter what else there is."""
    stanzas = [
        f"Package: {' '.join(pin['packages'])}\nPin: version {pin['version']}\nPin-Priority: 1001\n" for pin in pins
    ]
    return "\n".join(stanzas)


class Apt:
    """apt-get with the depot as its only source; with a private folder it leaves the host as it is."""

    def __init__(self, run: Run, repository: Repository, lock_timeout: int = 60, private: str | None = None):
        self._run = run
        self._repository = repository
        self._lock_timeout = lock_timeout
        self._downgrades = False
        self._environment = dict(ENVIRONMENT)
        self._changing = dict(ENVIRONMENT)
        source = SOURCE_FILE
        if private:
            source = os.path.join(private, "airgap.sources")
            self._environment["APT_CONFIG"], self._changing["APT_CONFIG"] = self._write_private(private, source)
        self._command = [
            "apt-get", "-q", "-y",
            "-o", f"DPkg::Lock::Timeout={lock_timeout}",
            "-o", "Dir::Etc::sourcelist=" + source,
            "-o", "Dir::Etc::sourceparts=/dev/null",
            # The host's own package cache describes all its sources: it is left alone.
            "-o", "Dir::Cache::pkgcache=",
            "-o", "Dir::Cache::srcpkgcache=",
        ]  # fmt: skip

    def _write_private(self, private: str, source: str) -> tuple[str, str]:
        """Files as they would be on the host, but in the private folder; returns the APT_CONFIG to ask and to change with."""
        ca_path = self._repository.ca_path
        if self._repository.ca:
            ca_path = os.path.join(private, "ca.pem")
            _write(ca_path, self._repository.ca)
        elif ca_path and not os.path.exists(ca_path):
            raise AirgapError(
                f"{ca_path} is not on this host yet, so the depot cannot be asked in check mode. "
                "Give the CA's text as repository.ca as well."
            )
        files = wanted_files(self._repository._replace(ca_path=ca_path, ca=None))
        key = os.path.join(private, "airgap.asc")
        _write(key, files[KEY_FILE] or "")
        _write(source, (files[SOURCE_FILE] or "").replace(KEY_FILE, key))
        for folder in ("lists/partial", "cache/archives/partial"):
            os.makedirs(os.path.join(private, folder))
        changing = 'APT::Sandbox::User "root";\n' + (
            f'Dir::State::lists "{private}/lists";\nDir::Cache "{private}/cache";\n' + (files[CONFIG_FILE] or "")
        )
        # Without the host's own configuration, so that none of its update hooks runs.
        asking = 'Dir::Etc::main "/dev/null";\nDir::Etc::parts "/dev/null";\n' + changing
        configurations = os.path.join(private, "apt.conf"), os.path.join(private, "changing.conf")
        for path, text in zip(configurations, (asking, changing)):
            _write(path, text)
        return configurations

    def prefer(self, pins: Sequence[Mapping[str, Any]], folder: str) -> None:
        """Takes packages of these names (apt's patterns) in these versions alone; from now on, and nowhere else."""
        path = os.path.join(folder, "preferences")
        _write(path, preferences(pins))
        self._command += ["-o", "Dir::Etc::preferences=" + path]
        self._downgrades = True

    def update(self) -> None:
        """Reads the depot's index anew; the lists of other sources stay as they are."""
        command = [*self._command, "-o", "APT::Get::List-Cleanup=0", "-o", "APT::Update::Error-Mode=any", "update"]
        deadline = time.monotonic() + self._lock_timeout
        while True:
            rc, out, err = self._run(command, self._environment)
            # apt-get waits for dpkg's lock by itself, but not for the one on the lists.
            if rc == 0 or "Could not get lock" not in err or time.monotonic() > deadline:
                break
            time.sleep(1)
        if rc != 0 or re.search("^(E: |W: Failed to fetch)", err, re.MULTILINE):
            raise AirgapError(explain("read the index", self._repository, out + err))

    def simulate(self, packages: Sequence[str]) -> list[Step]:
        rc, out, err = self._run(self._install("-s", packages), self._environment)
        if rc != 0:
            raise AirgapError(explain("resolve " + ", ".join(packages), self._repository, out + err, self.versions))
        return parse_simulation(out)

    def install(self, packages: Sequence[str]) -> None:
        rc, out, err = self._run(self._install("--no-remove", packages), self._changing)
        if rc != 0:
            raise AirgapError(explain("install " + ", ".join(packages), self._repository, out + err))

    def purge(self, packages: Sequence[str]) -> None:
        """Takes exactly these packages away, with their settings; when others would go along, nothing."""
        for mode in ("-s", "-q"):
            command = [*self._command, "-o", "APT::Get::AutomaticRemove=false", mode, "purge", "--", *packages]
            rc, out, err = self._run(command, self._changing)
            others = {step.name for step in parse_simulation(out) if step.verb in ("Remv", "Purg")} - set(packages)
            if rc != 0 or (mode == "-s" and others):
                reason = f"{', '.join(sorted(others))} would go along" if others else (err or out).strip()[-600:]
                raise AirgapError(f"apt-get could not purge {', '.join(packages)}: {reason}")

    def names(self, pattern: str) -> list[str]:
        """The packages of the depot whose names match a regular expression."""
        # What is installed would be found as well.
        out = self._cache("-o", "Dir::State::status=/dev/null", "search", "--names-only", pattern)
        return sorted({line.split(" ", 1)[0] for line in out.splitlines() if line})

    def versions(self, package: str) -> list[str]:
        """What the depot has of a package in other versions than the one that was asked for."""
        name, versioned, _version = package.partition("=")
        out = self._cache("madison", "--", name) if versioned else ""
        return [
            f"{name} {fields[1].strip()}"
            for fields in (line.split("|") for line in out.splitlines())
            if len(fields) > 2
        ]

    def dependencies(self, steps: Sequence[Step]) -> dict[str, set[str]]:
        """For each package that is coming, the names it needs; each of several alternatives."""
        coming = [f"{step.name}={step.after}" for step in steps if step.verb == "Inst"]
        found: dict[str, set[str]] = {}
        for stanza in self._cache("show", "--", *coming).split("\n\n") if coming else ():
            fields = dict(re.findall(r"^(Package|Depends|Pre-Depends): (.*)$", stanza, re.MULTILINE))
            needs = ", ".join(fields.get(field, "") for field in ("Depends", "Pre-Depends"))
            names = {re.split(r"[ (:]", part.strip(), maxsplit=1)[0] for part in re.split(r"[,|]", needs)}
            found.setdefault(fields.get("Package", ""), set()).update(names - {""})
        return found

    def download(self, steps: Sequence[Step], folder: str) -> list[str]:
        """Fetches the packages of these steps, checked as ever; returns the files."""
        coming = [f"{step.name}={step.after}" for step in steps if step.verb == "Inst"]
        # apt-get writes them where it is started.
        command = ["env", "--chdir=" + folder, *self._command, "download", "--", *coming]
        rc, out, err = self._run(command, self._environment)
        if rc != 0:
            raise AirgapError(explain("download " + ", ".join(coming), self._repository, out + err))
        return sorted(os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".deb"))

    def _cache(self, *arguments: str) -> str:
        rc, out, err = self._run(["apt-cache", *self._command[3:], *arguments], self._environment)
        if rc != 0:
            raise AirgapError(explain("read the index", self._repository, out + err))
        return out

    def _install(self, mode: str, packages: Sequence[str]) -> list[str]:
        # Held packages and downgrades are judged before, by name; apt-get knows only all or nothing.
        allowed = ["--allow-change-held-packages"]
        if self._downgrades or any("=" in package for package in packages):
            allowed.append("--allow-downgrades")
        options = list(INSTALL_OPTIONS) + allowed + ["--no-install-recommends"]
        return self._command + options + [mode, "install", "--"] + list(packages)


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
