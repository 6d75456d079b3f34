# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small signed apt repository that holds packages and all they depend on.

apt itself resolves them in a private root whose list of installed packages is empty: what the staging machine
has installed plays no part. apt-ftparchive writes the indexes, gpg signs them.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from typing import Any, NamedTuple

from ansible_collections.airgap.inference.plugins.module_utils._command import Result, last_words, require, run
from ansible_collections.airgap.inference.plugins.module_utils._digest import (
    copy_with_sha256,
    scan,
    write_if_changed,
)
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

SUITE = "airgap"
COMPONENT = "main"
KEY = "archive-key.asc"

_INSTALL = re.compile(r"^Inst (?P<name>[^\s:]+)(?::\S+)? \((?P<version>\S+) .*\[(?P<architecture>[a-z0-9]+)\]\)")
_UNKNOWN = (
    re.compile(r"^E: Unable to locate package (\S+)", re.M),
    re.compile(r"^E: Package '(\S+)' has no installation candidate", re.M),
    re.compile(r"^E: Version '[^']*' for '([^']+)' was not found", re.M),
)
_KEPT_SETTING = re.compile(r"^Acquire::(https?|Retries|ForceIPv[46])\b")


class Target(NamedTuple):
    """An operating system beyond the gap."""

    distribution: str
    release: str
    architecture: str
    sources: list[dict[str, Any]]

    @property
    def label(self) -> str:
        return f"{self.distribution} {self.release} {self.architecture}"

    @property
    def directory(self) -> str:
        return f"{self.distribution.lower()}-{self.release}"


class Package(NamedTuple):
    """One package of the solution, as the signed index of its source describes it."""

    name: str
    version: str
    architecture: str
    size: int
    sha256: str

    @property
    def file(self) -> str:
        return f"pool/{self.name}_{self.version.split(':', 1)[-1]}_{self.architecture}.deb"

    @property
    def cached(self) -> str:
        """The name under which apt keeps it."""
        return f"{self.name}_{self.version.replace(':', '%3a')}_{self.architecture}.deb"


class Root:
    """A private root for apt: nothing is installed in it, and its sources are those of the target."""

    def __init__(self, path: str, target: Target) -> None:
        self.path = path
        self.target = target
        self.archives = os.path.join(path, "cache/archives")
        self._environment = {"APT_CONFIG": os.path.join(path, "apt.conf"), "DEBIAN_FRONTEND": "noninteractive"}

    def prepare(self) -> None:
        """Write the root's configuration. The staging machine's proxy and certificate settings are kept."""
        for directory in (
            "etc/keys",
            "etc/apt.conf.d",
            "etc/preferences.d",
            "etc/sources.list.d",
            "state/lists/partial",
            "cache/archives/partial",
        ):
            os.makedirs(os.path.join(self.path, directory), exist_ok=True)
        write_if_changed(os.path.join(self.path, "status"), b"")
        keys = [self._key(number, source) for number, source in enumerate(self.target.sources)]
        write_if_changed(
            os.path.join(self.path, "etc/sources.list.d/target.sources"), render_sources(self.target, keys).encode()
        )
        configured = run(
            ["apt-config", "dump", "--no-empty", "--format", '%F "%v";%n'], env={"APT_CONFIG": "/dev/null"}
        )
        kept = [line for line in configured.stdout.decode("utf-8", "replace").splitlines() if _KEPT_SETTING.match(line)]
        write_if_changed(
            self._environment["APT_CONFIG"], render_configuration(self.path, self.target.architecture, kept).encode()
        )

    def update(self) -> None:
        """Fetch the sources' indexes; every one of them must be reachable and signed."""
        result = run(["apt-get", "update", "-q", "-o", "APT::Update::Error-Mode=any"], env=self._environment)
        if result.rc != 0:
            raise AirgapError(f"The sources of {self.target.label} cannot be used: {_complaints(result)}")

    def resolve(self, requests: dict[str, list[str]]) -> list[Package]:
        """All packages that installing these from nothing needs. An error says who asked for what cannot be had."""
        names = sorted({name for wanted in requests.values() for name in wanted})
        if not names:
            return []
        result = run(["apt-get", "install", "--simulate", "-q", *names], env=self._environment)
        if result.rc != 0:
            raise AirgapError(explain(self.target, requests, result))
        chosen = [
            match.groupdict()
            for match in map(_INSTALL.match, result.stdout.decode("utf-8", "replace").splitlines())
            if match
        ]
        records = self._records([f"{item['name']}:{item['architecture']}={item['version']}" for item in chosen])
        return sorted(_package(item, records) for item in chosen)

    def download(self, requests: dict[str, list[str]]) -> None:
        """Fetch what the cache lacks; apt verifies each file against the signed index."""
        names = sorted({name for wanted in requests.values() for name in wanted})
        require(
            ["apt-get", "install", "--download-only", "-q", "-y", *names],
            f"Downloading the packages of {self.target.label}",
            env=self._environment,
        )

    def _records(self, versions: list[str]) -> dict[tuple[str, str, str], dict[str, str]]:
        records: dict[tuple[str, str, str], dict[str, str]] = {}
        # Names with their architecture: an "all" package is asked for under the root's own one.
        asked = [version.replace(":all=", "=") for version in versions]
        for start in range(0, len(asked), 500):
            output = require(
                ["apt-cache", "show", *asked[start : start + 500]], "Reading package records", env=self._environment
            )
            for record in parse_records(output.decode("utf-8", "replace")):
                records[(record["Package"], record["Version"], record["Architecture"])] = record
        return records

    def _key(self, number: int, source: dict[str, Any]) -> str:
        signed_by = source["signed_by"]
        if signed_by.lstrip().startswith("-----BEGIN PGP"):
            path = os.path.join(self.path, f"etc/keys/{number}.asc")
            write_if_changed(path, signed_by.lstrip().encode())
            return path
        if not os.path.isfile(signed_by):
            raise AirgapError(
                f"The keyring {signed_by} of the source {source['uris']} ({self.target.label}) is not on this machine; "
                "install the package that brings it, or write the key itself into signed_by."
            )
        return str(os.path.abspath(signed_by))


def render_sources(target: Target, keys: list[str]) -> str:
    """The target's sources in deb822 form."""
    stanzas = []
    for source, key in zip(target.sources, keys):
        # From a "file:" source apt takes packages in place; "copy:" brings them into its cache, as from any other.
        uris = re.sub(r"(^|\s)file:", r"\1copy:", source["uris"])
        lines = ["Types: deb", f"URIs: {uris}", f"Suites: {source['suites']}"]
        if source.get("components"):
            lines.append(f"Components: {source['components']}")
        stanzas.append("\n".join([*lines, f"Architectures: {target.architecture}", f"Signed-By: {key}"]))
    return "\n\n".join(stanzas) + "\n"


def render_configuration(root: str, architecture: str, kept: list[str]) -> str:
    """apt's settings for the private root."""
    return "\n".join(
        [
            f'Dir "{root}";',
            'Dir::Etc "etc";',
            'Dir::State "state";',
            f'Dir::State::status "{root}/status";',
            'Dir::Cache "cache";',
            f'APT::Architecture "{architecture}";',
            f'APT::Architectures {{ "{architecture}"; }};',
            'APT::Install-Recommends "false";',
            'APT::Install-Suggests "false";',
            'APT::Sandbox::User "root";',
            'Acquire::Languages "none";',
            *kept,
            "",
        ]
    )


def parse_records(text: str) -> list[dict[str, str]]:
    """The one-line fields of deb822 records."""
    records = []
    for stanza in re.split(r"\n\s*\n", text):
        fields = dict(line.split(":", 1) for line in stanza.splitlines() if line[:1].strip() and ":" in line)
        if "Package" in fields:
            records.append({key: value.strip() for key, value in fields.items()})
    return records


def explain(target: Target, requests: dict[str, list[str]], result: Result) -> str:
    """Why apt found no solution, and who asked."""
    unknown = list(dict.fromkeys(name for pattern in _UNKNOWN for name in pattern.findall(result.stderr)))
    if unknown:
        asked = [
            f"{name} (asked for by {', '.join(who_asks(requests, name)) or 'nobody by this name'})" for name in unknown
        ]
        return f"{target.label} has no such package in its sources: {'; '.join(asked)}. Correct the name, or add the source that has it to airgap_targets."
    said = result.stdout.decode("utf-8", "replace")
    start = said.find("The following packages have unmet dependencies")
    reason = f"{said[start:].strip()}\n{result.stderr.strip()}" if start >= 0 else last_words(result)
    return f"The packages for {target.label} cannot be installed together; apt's reason:\n{reason}"


def who_asks(requests: dict[str, list[str]], name: str) -> list[str]:
    """The variables that list a package."""
    return sorted(
        asker for asker, names in requests.items() if any(re.split(r"[=:/]", wanted)[0] == name for wanted in names)
    )


def published(repository: str, architecture: str) -> list[tuple[str, str, str]]:
    """Name, version and architecture of what the repository offers now."""
    try:
        with open(os.path.join(repository, _packages_path(architecture)), encoding="utf-8") as handle:
            records = parse_records(handle.read())
    except FileNotFoundError:
        return []
    return sorted((record["Package"], record["Version"], record["Architecture"]) for record in records)


def missing(repository: str, packages: list[Package]) -> list[Package]:
    """The packages whose files the repository does not hold yet."""
    return [package for package in packages if not _has(os.path.join(repository, package.file), package.size)]


def artifact(target: Target, packages: list[Package]) -> dict[str, Any]:
    """What the manifest says about the repository."""
    directory = f"packages/{target.directory}"
    return {
        "distribution": target.distribution,
        "release": target.release,
        "architecture": target.architecture,
        "directory": directory,
        "suite": SUITE,
        "component": COMPONENT,
        "key": f"{directory}/{KEY}",
        "packages": [
            {"name": item.name, "version": item.version, "architecture": item.architecture} for item in packages
        ],
    }


def publish(repository: str, root: Root, packages: list[Package], key: SigningKey, cache: str) -> bool:
    """Make the repository hold exactly these packages, indexed and signed. Nothing is rewritten without need."""
    changed = False
    for package in missing(repository, packages):
        digest, _size = copy_with_sha256(
            os.path.join(root.archives, package.cached), os.path.join(repository, package.file)
        )
        if digest != package.sha256:
            os.unlink(os.path.join(repository, package.file))
            raise AirgapError(
                f"{package.cached} was damaged on the way into the bundle (SHA-256 {digest}, its source says {package.sha256})."
            )
        changed = True
    # apt-ftparchive indexes whatever lies in the pool, so what no longer belongs goes first.
    changed = _remove_strangers(repository, packages, root.target.architecture) or changed
    os.makedirs(os.path.join(repository, "pool"), exist_ok=True)
    return _index(repository, root.target.architecture, key, cache) or changed


class SigningKey:
    """The OpenPGP key of the bundle's repository: made once, kept on the staging machine."""

    def __init__(self, path: str, owner: str) -> None:
        self.path = path
        self.owner = owner

    def public(self) -> bytes:
        """The armoured public key; the pair is made at the first call."""
        with _GnuPG() as gpg:
            if not os.path.exists(self.path):
                gpg.run("--quick-generate-key", self.owner, "rsa4096", "sign", "never")
                write_if_changed(self.path, gpg.run("--armor", "--export-secret-keys"), mode=0o600)
            else:
                gpg.run("--import", self.path)
            return gpg.run("--armor", "--export", "--export-options", "export-minimal")

    def clearsign(self, path: str) -> bytes:
        """The inline-signed form of a file."""
        with _GnuPG() as gpg:
            gpg.run("--import", self.path)
            return gpg.run("--digest-algo", "SHA512", "--clearsign", "--output", "-", path)


class _GnuPG:
    """gpg in a throw-away home: its agent's socket needs a short path, and nothing is left behind."""

    def __enter__(self) -> _GnuPG:
        self._home = tempfile.mkdtemp(prefix="gpg-", dir="/tmp")
        return self

    def __exit__(self, *_error: object) -> None:
        run(["gpgconf", "--homedir", self._home, "--kill", "all"])
        shutil.rmtree(self._home, ignore_errors=True)

    def run(self, *arguments: str) -> bytes:
        options = [
            "--homedir",
            self._home,
            "--batch",
            "--quiet",
            "--no-tty",
            "--pinentry-mode",
            "loopback",
            "--passphrase",
            "",
        ]
        return require(["gpg", *options, *arguments], "Signing the bundle's package repository")


def _index(repository: str, architecture: str, key: SigningKey, cache: str) -> bool:
    """Write Packages, Release, InRelease and the key; Release carries a date, so it is only renewed with its content."""
    os.makedirs(cache, exist_ok=True)
    database = os.path.join(cache, f"{os.path.basename(repository)}-{architecture}.db")
    index = require(
        ["apt-ftparchive", "--arch", architecture, "--db", database, "packages", "pool"],
        "Indexing the packages",
        cwd=repository,
    )
    public = key.public()
    path = os.path.join(repository, _packages_path(architecture))
    changed = write_if_changed(path, index)
    changed = write_if_changed(os.path.join(repository, KEY), public) or changed
    signed = os.path.join(repository, "dists", SUITE, "InRelease")
    if not changed and os.path.exists(signed):
        return False
    facts = {
        "Origin": "airgap",
        "Label": "airgap",
        "Suite": SUITE,
        "Codename": SUITE,
        "Architectures": architecture,
        "Components": COMPONENT,
    }
    options = [part for name, value in facts.items() for part in ("-o", f"APT::FTPArchive::Release::{name}={value}")]
    options += ["-o", "APT::FTPArchive::MD5=false", "-o", "APT::FTPArchive::SHA1=false"]
    write_if_changed(f"{path}.gz", require(["gzip", "-9nc", path], "Compressing the index"))
    for name in ("Release", "InRelease"):
        if os.path.exists(os.path.join(os.path.dirname(signed), name)):
            os.unlink(os.path.join(os.path.dirname(signed), name))
    release = require(
        ["apt-ftparchive", *options, "release", f"dists/{SUITE}"], "Describing the repository", cwd=repository
    )
    write_if_changed(os.path.join(os.path.dirname(signed), "Release"), release)
    write_if_changed(signed, key.clearsign(os.path.join(os.path.dirname(signed), "Release")))
    return True


def _remove_strangers(repository: str, packages: list[Package], architecture: str) -> bool:
    """Remove what neither the pool nor the index needs."""
    index = _packages_path(architecture)
    known = {package.file for package in packages} | {
        KEY,
        index,
        f"{index}.gz",
        f"dists/{SUITE}/Release",
        f"dists/{SUITE}/InRelease",
    }
    if not os.path.isdir(repository):
        return False
    tree = scan(repository)
    strangers = [path for path in [*tree.files, *tree.strange] if path not in known]
    for path in strangers:
        os.unlink(os.path.join(repository, path))
    return bool(strangers)


def _packages_path(architecture: str) -> str:
    return f"dists/{SUITE}/{COMPONENT}/binary-{architecture}/Packages"


def _package(item: dict[str, str], records: dict[tuple[str, str, str], dict[str, str]]) -> Package:
    record = records.get((item["name"], item["version"], item["architecture"]))
    if record is None or "SHA256" not in record:
        raise AirgapError(
            f"The source of {item['name']} {item['version']} gives no SHA-256 for it; such a source cannot be carried."
        )
    return Package(item["name"], item["version"], item["architecture"], int(record["Size"]), record["SHA256"])


def _has(path: str, size: int) -> bool:
    try:
        return os.lstat(path).st_size == size
    except FileNotFoundError:
        return False


def _complaints(result: Result) -> str:
    lines = [line for line in result.stderr.splitlines() if line.startswith(("E:", "W:", "Err:"))]
    return "\n".join(dict.fromkeys(lines)) or last_words(result)
