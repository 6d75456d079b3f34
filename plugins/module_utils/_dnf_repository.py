# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small signed dnf repository that holds packages and all they depend on.

dnf itself resolves them in a private root in which nothing is installed, with the sources of the target and none of
the staging machine's. createrepo_c writes the metadata, gpg signs it; the streams of modules keep theirs.
"""

from __future__ import annotations

import ast
import glob
import gzip
import hashlib
import os
import re
import shutil
import tempfile
from typing import Any, Mapping, NamedTuple, Sequence
from xml.etree import ElementTree

from ansible_collections.airgap.inference.plugins.module_utils import _modulemd, _repository
from ansible_collections.airgap.inference.plugins.module_utils._command import Result, last_words, require, run
from ansible_collections.airgap.inference.plugins.module_utils._digest import Record, write_if_changed
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._openpgp import SigningKey
from ansible_collections.airgap.inference.plugins.module_utils._repository import KEY, Package, Target

PROGRAMS = ("dnf", "createrepo_c", "modifyrepo_c", "rpmkeys", "gpg")
ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}

_ROW = re.compile(r"^ (\S+)\s+(noarch|x86_64|aarch64|i[3-6]86)\s+(\S+)\s+(source-\w+)\s+[0-9.]+ ?[kMGT]?\s*$", re.M)
_COUNT = re.compile(r"^Install +(\d+) Packages?", re.M)
_UNMATCHED = re.compile(r"^No match for argument: (\S+)", re.M)
_UNSIGNED_INDEX = re.compile(
    r"Failed to download metadata for repo '(source-\w+)': GPG verification is enabled, but GPG signature is not available"
)
_NAMESPACES = {
    "common": "http://linux.duke.edu/metadata/common",
    "repo": "http://linux.duke.edu/metadata/repo",
    "rpm": "http://linux.duke.edu/metadata/rpm",
}
_FIELDS = ("name", "epoch", "version", "release", "arch", "repoid", "downloadsize", "relativepath", "license", "chksum")
# The last two may have the separator in them.
_DESCRIBED = re.compile(r"([^|]*)\|" * 8 + r"(.*)\|(\(\d+, b.*\))\Z")


class Source(NamedTuple):
    """A repository that the target names, under a name that changes with its address and its key."""

    name: str
    uris: str
    key: str


class Root:
    """A private root for dnf: nothing is installed in it, and its sources are those of the target."""

    def __init__(self, path: str, target: Target) -> None:
        self.path = path
        self.target = target
        self.archives = os.path.join(path, "packages")
        self.installed = os.path.join(path, "root")
        self.architecture = ARCHITECTURES.get(target.architecture, target.architecture)
        self._sources: list[Source] = []
        self._origins: dict[str, str] = {}

    def prepare(self) -> None:
        """Write the root's configuration. Proxies are taken from the environment, by dnf itself."""
        for directory in ("root", "packages", "repositories", "variables", "keys"):
            os.makedirs(os.path.join(self.path, directory), exist_ok=True)
        self._sources = [self._source(source) for source in self.target.sources]
        self._write_sources(unsigned=set())
        self._write_configuration("dnf.conf")
        # A source that has another address or key now is another source; what was kept of the old one goes.
        cache = os.path.join(self.installed, "cache")
        names = [source.name for source in self._sources]
        for entry in os.scandir(cache) if os.path.isdir(cache) else ():
            if entry.is_dir(follow_symlinks=False) and entry.name.split("-", 2)[:2] not in [
                name.split("-") for name in names
            ]:
                shutil.rmtree(entry.path)

    def pin(self, _pins: Sequence[Mapping[str, Any]]) -> None:
        """Streams keep packages together, and NVIDIA's packages for dnf depend on exactly their version."""

    def update(self) -> None:
        """Fetch the sources' metadata, and enable the target's streams.

        Metadata that a source signs must carry the signature of its key; a source that signs none is told by its packages' alone.
        """
        unsigned: set[str] = set()
        while True:
            result = self._dnf("makecache", "--refresh")
            if result.rc == 0:
                break
            refused = {name for name in _UNSIGNED_INDEX.findall(result.stderr) if name not in unsigned}
            if not refused:
                raise AirgapError(f"The sources of {self.target.label} cannot be used: {self._words(result)}")
            unsigned |= refused
            self._write_sources(unsigned)
        shutil.rmtree(os.path.join(self.installed, "etc/dnf/modules.d"), ignore_errors=True)
        if self.target.modules:
            result = self._dnf("module", "enable", "-y", *self.target.modules)
            if result.rc != 0:
                raise AirgapError(self._no_stream(result))

    def requests(self) -> dict[str, list[str]]:
        """The packages that the target itself asks for, by who asks: the headers of its kernels, if there are any."""
        if not self.target.kernels:
            return {}
        result = self._dnf("repoquery", "--quiet", "--queryformat", "%{version}-%{release}.%{arch}", "kernel-devel")
        reason = _repository.without_headers(self.target, result.stdout.decode("utf-8", "replace").split())
        if reason:
            raise AirgapError(reason)
        return {_repository.KERNELS: [f"kernel-devel-{kernel}" for kernel in self.target.kernels]}

    def resolve(self, requests: dict[str, list[str]]) -> list[Package]:
        """All packages that installing these from nothing needs. An error says who asked for what cannot be had."""
        names = sorted({name for wanted in requests.values() for name in wanted})
        if not names:
            return []
        # "dnf download" resolves each package by itself; only an installation shows that all fit beside each other.
        result = self._dnf("install", "--assumeno", *names)
        if "Operation aborted" not in result.stderr:
            raise AirgapError(self._explain(requests, result))
        said = result.stdout.decode("utf-8", "replace")
        chosen = {match[:3]: match[3] for match in _ROW.findall(said)}
        count = _COUNT.search(said)
        packages = self._describe(chosen)
        if count is None or not int(count.group(1)) == len(chosen) == len(packages):
            raise AirgapError(
                f"dnf's solution for {self.target.label} could not be read ({count.group(1) if count else 'no'} packages announced, "
                f"{len(chosen)} listed, {len(packages)} described). This collection knows dnf 4; which one is it (dnf --version)?"
            )
        return packages

    def download(self, _requests: dict[str, list[str]], packages: Sequence[Package]) -> None:
        """Fetch what the cache lacks: dnf checks it against the metadata, then rpm against the key of its source."""
        # Seeing the solution only, dnf finds it again, or says what is not closed about it.
        identities = [_nevra(package) for package in packages]
        self._write_configuration("solution.conf", [f"includepkgs={' '.join(identities)}"])
        result = self._dnf(
            *("download", "--resolve", "--alldeps", "--destdir", self.archives, *identities),
            configuration="solution.conf",
        )
        if result.rc != 0:
            raise AirgapError(f"Downloading the packages of {self.target.label}: {self._words(result)}")
        self._check_signatures(packages)

    def modules(self, packages: Sequence[Package]) -> str:
        """The modular metadata that travels with these packages."""
        identities = {_nevra(package, epoch=True) for package in packages}
        return _modulemd.carried(self._documents(), identities, self.target.modules)

    def _describe(self, chosen: dict[tuple[str, str, str], str]) -> list[Package]:
        wanted = [f"{name}-{version}.{architecture}" for name, architecture, version in chosen]
        packages = []
        for start in range(0, len(wanted), 500):
            form = "|".join(f"%{{{field}}}" for field in _FIELDS)
            result = self._dnf("repoquery", "--quiet", "--queryformat", form, *wanted[start : start + 500])
            for line in result.stdout.decode("utf-8", "replace").splitlines():
                match = _DESCRIBED.match(line)
                if match:
                    values = dict(zip(_FIELDS, match.groups()))
                    package = _package(values)
                    key = (package.name, package.architecture, package.version)
                    if chosen.get(key) == values["repoid"]:
                        self._origins[package.cached] = values["repoid"]
                        packages.append(package)
        return sorted(set(packages))

    def _check_signatures(self, packages: Sequence[Package]) -> None:
        for source in self._sources:
            files = [package.cached for package in packages if self._origins.get(package.cached) == source.name]
            if not files:
                continue
            with tempfile.TemporaryDirectory(prefix="keys-", dir=self.path) as database:
                rpmkeys = ["rpmkeys", "--dbpath", database]
                require([*rpmkeys, "--import", source.key], f"Reading the key of {source.uris}")
                # Without this level rpm is content with a package that nobody has signed.
                result = run([*rpmkeys, "--define", "_pkgverify_level all", "--checksig", *files], cwd=self.archives)
            if result.rc == 0:
                continue
            said = result.stdout.decode("utf-8", "replace").splitlines()
            bad = [line for line in said if not line.endswith("digests signatures OK")] or [last_words(result)]
            raise AirgapError(
                f"Packages from {source.uris} ({self.target.label}) are not signed by the key that signed_by gives for it; nothing of them "
                f"was taken. rpm's words: {'; '.join(bad[:8])}. Give the key that signs this source, or find out who changed the packages."
            )

    def _documents(self) -> list[_modulemd.Document]:
        documents = []
        cache = os.path.join(self.installed, "cache")
        for source in self._sources:
            for entry in sorted(os.listdir(cache)):
                directory = os.path.join(cache, entry, "repodata")
                if entry.startswith(f"{source.name}-") and os.path.isdir(directory):
                    for name in sorted(os.listdir(directory)):
                        if re.search(r"modules\.yaml(\.\w+)?$", name):
                            with open(os.path.join(directory, name), "rb") as handle:
                                documents += _modulemd.parse(_modulemd.read(handle.read(), name))
        return documents

    def _source(self, source: dict[str, Any]) -> Source:
        uris = " ".join(source["uris"].split())
        signed_by = source["signed_by"]
        if not signed_by.lstrip().startswith("-----BEGIN PGP"):
            try:
                with open(signed_by, encoding="ascii", errors="replace") as handle:
                    signed_by = handle.read()
            except OSError as error:
                raise AirgapError(
                    f"The key {signed_by} of the source {uris} ({self.target.label}) cannot be read on this machine "
                    f"({error.strerror}); put it there, or write the armoured key itself into signed_by."
                ) from error
        if "-----BEGIN PGP PUBLIC KEY BLOCK-----" not in signed_by:
            raise AirgapError(
                f"signed_by of the source {uris} ({self.target.label}) is not an armoured OpenPGP public key, which rpm wants; "
                "`gpg --enarmor`, or `gpg --armor --export` of the key, makes one."
            )
        name = f"source-{hashlib.sha256(f'{uris} {signed_by}'.encode()).hexdigest()[:12]}"
        path = os.path.abspath(os.path.join(self.path, "keys", f"{name}.asc"))
        write_if_changed(path, signed_by.lstrip().encode())
        return Source(name, uris, path)

    def _write_sources(self, unsigned: set[str]) -> None:
        write_if_changed(
            os.path.join(self.path, "repositories/target.repo"), render_sources(self._sources, unsigned).encode()
        )

    def _write_configuration(self, name: str, more: Sequence[str] = ()) -> None:
        text = render_configuration(self.path, self.target.release, [*_environment_settings(), *more])
        write_if_changed(os.path.join(self.path, name), text.encode())

    def _dnf(self, *arguments: str, configuration: str = "dnf.conf") -> Result:
        # dnf asks for root even where its root is a private one; a user becomes it in a namespace of his own.
        become = [] if os.geteuid() == 0 else ["unshare", "--map-root-user"]
        result = run(
            [
                *(*become, "dnf", "--config", os.path.join(self.path, configuration), "--installroot", self.installed),
                *("--releasever", self.target.release, "--forcearch", self.architecture),
                # Of the machine's plugins only the one that downloads takes part.
                *("--disableplugin=*", "--enableplugin=download", "-y", *arguments),
            ]
        )
        # Checking the signature of metadata starts an agent for each source, and dnf leaves it running.
        for keyring in glob.glob(os.path.join(glob.escape(self.installed), "cache/*/pubring")):
            run(["gpgconf", "--homedir", keyring, "--kill", "gpg-agent"])
        return result

    def _explain(self, requests: dict[str, list[str]], result: Result) -> str:
        said = result.stdout.decode("utf-8", "replace") + result.stderr
        unknown = list(dict.fromkeys(_UNMATCHED.findall(said)))
        if unknown:
            return (
                f"{self.target.label} has no such package in its sources: {_repository.who_asks(requests, unknown)}. "
                "Correct the name, add the source that has it to airgap_targets, or the module stream that does (modules)."
            )
        return (
            f"The packages for {self.target.label} cannot be installed together; dnf's reason:\n{self._words(result)}"
        )

    def _no_stream(self, result: Result) -> str:
        there = _modulemd.streams(self._documents())
        names = [module.split(":")[0] for module in self.target.modules]
        known = [f"{name} has {', '.join(there[name])}" if name in there else f"{name} is no module" for name in names]
        return (
            f"The module streams of {self.target.label} (asked for by {_repository.MODULES}) cannot be enabled: {self._words(result)}\n"
            f"In its sources, {'; '.join(known)}."
        )

    def _words(self, result: Result) -> str:
        """dnf's own words, with the addresses of sources in place of their names here."""
        words = last_words(result)
        for source in self._sources:
            words = words.replace(source.name, source.uris)
        return words


def render_sources(sources: Sequence[Source], unsigned: set[str]) -> str:
    """The target's sources as dnf reads them."""
    return "\n".join(
        "\n".join(
            [
                f"[{source.name}]",
                f"name={source.name}",
                f"baseurl={source.uris}",
                "gpgcheck=1",
                f"repo_gpgcheck={0 if source.name in unsigned else 1}",
                f"gpgkey=file://{source.key}",
                "",
            ]
        )
        for source in sources
    )


def render_configuration(root: str, release: str, more: Sequence[str]) -> str:
    """dnf's settings for the private root. What is kept lies below its installroot: dnf puts that in front."""
    return "\n".join(
        [
            "[main]",
            "cachedir=/cache",
            "persistdir=/state",
            "logdir=/log",
            f"reposdir={root}/repositories",
            f"varsdir={root}/variables",
            f"pluginconfpath={root}/variables",
            f"module_platform_id=platform:el{release.split('.')[0]}",
            "best=1",
            "gpgcheck=1",
            "install_weak_deps=0",
            "skip_if_unavailable=0",
            *more,
            "",
        ]
    )


def published(repository: str, _architecture: str = "") -> list[tuple[str, str, str]]:
    """Name, version and architecture of what the repository offers now."""
    return sorted((item[0], item[1], item[2]) for item in _listed(repository))


def digests(repository: str, _architecture: str = "") -> dict[str, str]:
    """The SHA-256 of each package by its path, as the repository's own metadata says."""
    root = ElementTree.fromstring(_part(repository, "primary") or "<nothing/>")
    found = {}
    for element in root.findall("common:package", _NAMESPACES):
        location, checksum = element.find("common:location", _NAMESPACES), element.find("common:checksum", _NAMESPACES)
        if location is not None and checksum is not None and checksum.get("type") == "sha256":
            found[location.get("href", "")] = checksum.text or ""
    return found


def artifact(target: Target, packages: Sequence[Package]) -> dict[str, Any]:
    """What the manifest says about the repository."""
    return {**_repository.facts(target, packages), "modules": list(target.modules)}


def publish(
    repository: str, root: Root, packages: Sequence[Package], key: SigningKey, cache: str, record: Record | None = None
) -> bool:
    """Make the repository hold exactly these packages, described and signed. Nothing is rewritten without need."""
    changed = _repository.bring(repository, root.archives, packages, root.target.label, record)
    modules = root.modules(packages)
    public = key.public()
    metadata = _metadata(repository)
    known = {package.file for package in packages} | {KEY} | set(metadata)
    changed = _repository.remove_strangers(repository, known) or changed
    wanted = sorted((*package.identity, package.file) for package in packages)
    current = (
        not changed
        and os.path.exists(os.path.join(repository, "repodata/repomd.xml.asc"))
        and all(os.path.exists(os.path.join(repository, path)) for path in metadata)
        and sorted(item[:4] for item in _listed(repository)) == wanted
        and _published_modules(repository) == modules
    )
    changed = write_if_changed(os.path.join(repository, KEY), public) or changed
    if current and not changed:
        return False
    _index(repository, modules, key, cache)
    return True


def _index(repository: str, modules: str, key: SigningKey, cache: str) -> None:
    """Make the metadata aside, signed, and put it in the place of the old; repomd.xml, which leads to it, comes last."""
    os.makedirs(cache, exist_ok=True)
    os.makedirs(os.path.join(repository, "Packages"), exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="repodata-", dir=cache) as aside:
        new = os.path.join(aside, "repodata")
        require(
            [
                *("createrepo_c", "--quiet", "--no-database", "--checksum=sha256", "--general-compress-type=gz"),
                *("--outputdir", aside, repository),
            ],
            "Describing the packages",
        )
        if modules:
            text = os.path.join(aside, "modules.yaml")
            write_if_changed(text, modules.encode())
            require(
                ["modifyrepo_c", "--mdtype=modules", "--compress-type=gz", text, new],
                "Adding the modular metadata",
            )
        write_if_changed(os.path.join(new, "repomd.xml.asc"), key.detach_sign(os.path.join(new, "repomd.xml")))
        old = os.path.join(repository, "repodata")
        shutil.rmtree(old, ignore_errors=True)
        for name in sorted(os.listdir(new), key=lambda name: name == "repomd.xml"):
            with open(os.path.join(new, name), "rb") as handle:
                write_if_changed(os.path.join(old, name), handle.read())


def _metadata(repository: str) -> dict[str, str]:
    """The files that describe the repository, with what each is."""
    try:
        root = ElementTree.parse(os.path.join(repository, "repodata/repomd.xml")).getroot()
    except (OSError, ElementTree.ParseError):
        return {}
    files = {"repodata/repomd.xml": "repomd", "repodata/repomd.xml.asc": "signature"}
    for data in root.findall("repo:data", _NAMESPACES):
        location = data.find("repo:location", _NAMESPACES)
        if location is not None:
            files[f"repodata/{os.path.basename(location.get('href', ''))}"] = data.get("type", "")
    return files


def _listed(repository: str) -> list[tuple[str, str, str, str]]:
    """Name, version, architecture and file of each package that the metadata names."""
    found = []
    for element in ElementTree.fromstring(_part(repository, "primary") or "<nothing/>").findall(
        "common:package", _NAMESPACES
    ):
        version, location = element.find("common:version", _NAMESPACES), element.find("common:location", _NAMESPACES)
        if version is None or location is None:
            continue
        found.append(
            (
                element.findtext("common:name", "", _NAMESPACES),
                _evr(version.get("epoch", "0"), version.get("ver", ""), version.get("rel", "")),
                element.findtext("common:arch", "", _NAMESPACES),
                location.get("href", ""),
            )
        )
    return found


def _published_modules(repository: str) -> str:
    return _part(repository, "modules").decode("utf-8", "replace")


def _part(repository: str, kind: str) -> bytes:
    """One part of the metadata, or nothing where it cannot be read; it is then made anew."""
    for path, what in _metadata(repository).items():
        if what == kind:
            try:
                with gzip.open(os.path.join(repository, path)) as handle:
                    return handle.read()
            except (OSError, EOFError):
                return b""
    return b""


def _package(values: dict[str, str]) -> Package:
    file = os.path.basename(values["relativepath"])
    return Package(
        values["name"],
        _evr(values["epoch"], values["version"], values["release"]),
        values["arch"],
        int(values["downloadsize"]),
        _sha256(values["chksum"]),
        file=f"Packages/{file}",
        cached=file,
        licence=" ".join(values["license"].split()),
    )


def _evr(epoch: str, version: str, release: str) -> str:
    """A version as rpm compares it; the epoch 0 is not written."""
    return f"{epoch}:{version}-{release}" if epoch not in ("", "0") else f"{version}-{release}"


def _nevra(package: Package, epoch: bool = False) -> str:
    """A package as dnf names it; modular metadata always writes the epoch."""
    version = package.version if ":" in package.version or not epoch else f"0:{package.version}"
    return f"{package.name}-{version}.{package.architecture}"


def _sha256(checksum: str) -> str:
    """dnf prints a pair: the kind of digest and its bytes. Only SHA-256 has 32 of them."""
    try:
        digest = ast.literal_eval(checksum)[1]
    except (ValueError, SyntaxError, IndexError, TypeError):
        return ""
    return digest.hex() if isinstance(digest, bytes) and len(digest) == 32 else ""


def _environment_settings() -> list[str]:
    """The private CA that the machine's other programs know by this variable."""
    authorities = os.environ.get("SSL_CERT_FILE")
    return [f"sslcacert={authorities}"] if authorities else []
