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
from typing import Any, Mapping, Sequence

from ansible_collections.airgap.inference.plugins.module_utils import _apt, _repository
from ansible_collections.airgap.inference.plugins.module_utils._command import Result, last_words, require, run
from ansible_collections.airgap.inference.plugins.module_utils._digest import Record, write_if_changed
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._openpgp import SigningKey
from ansible_collections.airgap.inference.plugins.module_utils._repository import KEY, Package, Target

SUITE = "airgap"
COMPONENT = "main"
PROGRAMS = ("apt-get", "apt-ftparchive", "gpg", "gzip")

_INSTALL = re.compile(r"^Inst (?P<name>[^\s:]+)(?::\S+)? \((?P<version>\S+) .*\[(?P<architecture>[a-z0-9]+)\]\)")
_UNKNOWN = (
    re.compile(r"^E: Unable to locate package (\S+)", re.M),
    re.compile(r"^E: Package '(\S+)' has no installation candidate", re.M),
    re.compile(r"^E: Version '[^']*' for '([^']+)' was not found", re.M),
)
_KEPT_SETTING = re.compile(r"^Acquire::(https?|Retries|ForceIPv[46])\b")


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
        authorities = os.environ.get("SSL_CERT_FILE")
        if authorities and not any(line.startswith("Acquire::https::CAInfo ") for line in kept):
            kept.append(f'Acquire::https::CAInfo "{authorities}";')
        write_if_changed(
            self._environment["APT_CONFIG"], render_configuration(self.path, self.target.architecture, kept).encode()
        )

        self.pin([])

    def pin(self, pins: Sequence[Mapping[str, Any]]) -> None:
        """Have apt take packages that belong together at their version, those too that only others depend on."""
        write_if_changed(os.path.join(self.path, "etc/preferences"), _apt.preferences(pins).encode())

    def update(self) -> None:
        """Fetch the sources' indexes; every one of them must be reachable and signed."""
        result = run(["apt-get", "update", "-q", "-o", "APT::Update::Error-Mode=any"], env=self._environment)
        if result.rc != 0:
            raise AirgapError(f"The sources of {self.target.label} cannot be used: {_complaints(result)}")

    def requests(self) -> dict[str, list[str]]:
        """The packages that the target itself asks for, by who asks: the headers of its kernels, if there are any."""
        if not self.target.kernels:
            return {}
        reason = _repository.without_headers(self.target, self.kernels())
        if reason:
            raise AirgapError(reason)
        return {_repository.KERNELS: [f"linux-headers-{kernel}" for kernel in self.target.kernels]}

    def kernels(self) -> list[str]:
        """The kernels whose headers the sources have."""
        found = require(
            ["apt-cache", "search", "--names-only", "^linux-headers-[0-9]"],
            "Looking for headers",
            env=self._environment,
        )
        names = [line.split(" ", 1)[0] for line in found.decode("utf-8", "replace").splitlines()]
        # What several flavours share is no kernel's own.
        return [name[len("linux-headers-") :] for name in names if not re.search(r"-common(-|$)", name)]

    def knows(self, name: str) -> bool:
        """Whether the sources have a package of this name."""
        return run(["apt-cache", "show", "--no-all-versions", name], env=self._environment).rc == 0

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

    def download(self, requests: dict[str, list[str]], _packages: Sequence[Package] = ()) -> None:
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
        return (
            f"{target.label} has no such package in its sources: {_repository.who_asks(requests, unknown)}. "
            "Correct the name, or add the source that has it to airgap_targets."
        )
    said = result.stdout.decode("utf-8", "replace")
    start = said.find("The following packages have unmet dependencies")
    reason = f"{said[start:].strip()}\n{result.stderr.strip()}" if start >= 0 else last_words(result)
    return f"The packages for {target.label} cannot be installed together; apt's reason:\n{reason}"


def published(repository: str, architecture: str) -> list[tuple[str, str, str]]:
    """Name, version and architecture of what the repository offers now."""
    index = _published_index(repository, architecture)
    return sorted((record["Package"], record["Version"], record["Architecture"]) for record in index)


def digests(repository: str, architecture: str) -> dict[str, str]:
    """The SHA-256 of each package by its path, as the repository's own index says."""
    return {record["Filename"]: record["SHA256"] for record in _published_index(repository, architecture)}


def index_of(repository: str, architecture: str) -> bytes | None:
    """The index that the repository offers now, or None where there is none."""
    try:
        with open(os.path.join(repository, _packages_path(architecture)), "rb") as handle:
            return handle.read()
    except FileNotFoundError:
        return None


def artifact(target: Target, packages: Sequence[Package]) -> dict[str, Any]:
    """What the manifest says about the repository."""
    return {**_repository.facts(target, packages), "suite": SUITE, "component": COMPONENT}


def publish(
    repository: str, root: Root, packages: Sequence[Package], key: SigningKey, cache: str, record: Record | None = None
) -> bool:
    """Make the repository hold exactly these packages, indexed and signed. Nothing is rewritten without need."""
    changed = _repository.bring(repository, root.archives, packages, root.target.label, record)
    # apt-ftparchive indexes whatever lies in the pool, so what no longer belongs goes first.
    changed = _repository.remove_strangers(repository, _files(packages, root.target.architecture)) or changed
    os.makedirs(os.path.join(repository, "pool"), exist_ok=True)
    return _index(repository, root.target.architecture, key, cache) or changed


def _index(repository: str, architecture: str, key: SigningKey, cache: str) -> bool:
    """Write Packages, Release, InRelease and the key; Release carries a date, so it is only renewed with its content."""
    os.makedirs(cache, exist_ok=True)
    database = os.path.join(cache, f"{os.path.basename(repository)}-{architecture}.db")
    index = require(
        # A vendor may publish other bytes under the same version; the database is only asked about unchanged files.
        [
            "apt-ftparchive",
            "-o",
            "APT::FTPArchive::AlwaysStat=true",
            "--arch",
            architecture,
            "--db",
            database,
            "packages",
            "pool",
        ],
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


def _files(packages: Sequence[Package], architecture: str) -> set[str]:
    """Every file of the repository."""
    index = _packages_path(architecture)
    described = {KEY, index, f"{index}.gz", f"dists/{SUITE}/Release", f"dists/{SUITE}/InRelease"}
    return described | {package.file for package in packages}


def _published_index(repository: str, architecture: str) -> list[dict[str, str]]:
    return parse_records((index_of(repository, architecture) or b"").decode("utf-8"))


def _packages_path(architecture: str) -> str:
    return f"dists/{SUITE}/{COMPONENT}/binary-{architecture}/Packages"


def _package(item: dict[str, str], records: dict[tuple[str, str, str], dict[str, str]]) -> Package:
    record = records.get((item["name"], item["version"], item["architecture"]))
    if record is None or "SHA256" not in record:
        raise AirgapError(
            f"The source of {item['name']} {item['version']} gives no SHA-256 for it; such a source cannot be carried."
        )
    name, version, architecture = item["name"], item["version"], item["architecture"]
    return Package(
        name,
        version,
        architecture,
        int(record["Size"]),
        record["SHA256"],
        file=f"pool/{name}_{version.split(':', 1)[-1]}_{architecture}.deb",
        cached=f"{name}_{version.replace(':', '%3a')}_{architecture}.deb",
    )


def _complaints(result: Result) -> str:
    lines = [line for line in result.stderr.splitlines() if line.startswith(("E:", "W:", "Err:"))]
    return "\n".join(dict.fromkeys(lines)) or last_words(result)
