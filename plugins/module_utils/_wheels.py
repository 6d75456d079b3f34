# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wheels for another Python than the one that runs, closed under what they depend on.

pip resolves and fetches. It reads the conditions of dependencies ("only before Python 3.12") with the eyes of the
Python that runs it, so what it brings is then held against every wheel's own words, for the Python that will run it.
"""

from __future__ import annotations

import email.message
import email.parser
import json
import os
import re
import zipfile
from typing import TYPE_CHECKING, Any, Iterable, NamedTuple

from ansible_collections.airgap.inference.plugins.module_utils._command import last_words, run
from ansible_collections.airgap.inference.plugins.module_utils._digest import (
    copy_with_sha256,
    sha256_file,
    write_if_changed,
)
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

if TYPE_CHECKING:
    from packaging.markers import Marker
    from packaging.requirements import Requirement

MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
# Newest first: pip takes the first that a project offers. All of them run on glibc 2.28 and newer.
_PLATFORMS = (
    "manylinux_2_28",
    "manylinux_2_27",
    "manylinux_2_24",
    "manylinux_2_17",
    "manylinux2014",
    "manylinux_2_12",
    "manylinux2010",
    "manylinux_2_5",
    "manylinux1",
)
# Each round asks for what the wheels of the round before need; a chain of such conditions is short.
_ROUNDS = 10
_METADATA_LIMIT = 8 * 1024 * 1024
# pip as it is, but with the target's answers when a condition is read. Should a pip keep its conditions elsewhere,
# it falls back to its own answers, and the rounds ask for the difference.
_PIP = """
import json, runpy, sys
target = json.loads(sys.argv.pop(1))
try:
    from pip._vendor.packaging import markers
    own = markers.default_environment
    markers.default_environment = lambda: {**own(), **target}
except (ImportError, AttributeError):
    pass
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""


class Target(NamedTuple):
    """The Python of a bastion, such as 3.13, and the architecture that it runs on, as Debian names it."""

    python: str
    architecture: str

    @property
    def label(self) -> str:
        return f"Python {self.python} on {self.architecture}"

    def environments(self) -> list[dict[str, str]]:
        """What a condition is read against. The last number of the version is not known: the first and a late one."""
        return [self._environment(f"{self.python}.{micro}") for micro in (0, 999)]

    def _environment(self, version: str) -> dict[str, str]:
        return {
            "implementation_name": "cpython",
            "implementation_version": version,
            "os_name": "posix",
            "platform_machine": MACHINES[self.architecture],
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": version,
            "python_version": self.python,
            "sys_platform": "linux",
        }


class Wheel(NamedTuple):
    """A wheel, as its file name describes it."""

    file: str
    project: str
    version: str


class Fetched(NamedTuple):
    """A wheel at hand: where it lies, and what it is."""

    wheel: Wheel
    path: str
    sha256: str
    licence: str


class Closure(NamedTuple):
    """What requirements reach among some wheels, and what they ask for that is not there: each with who asks."""

    needed: set[str]
    missing: dict[str, list[str]]


class _Asked(NamedTuple):
    """A requirement: as pip takes it, as it is understood, and who asks for it."""

    text: str
    requirement: Requirement
    by: str


class _Content(NamedTuple):
    """What a wheel says about itself."""

    wheel: Wheel
    requires: list[Requirement]
    licence: str


def check_target(target: Target) -> None:
    """Refuse a Python or an architecture for which there can be no wheels."""
    if target.architecture not in MACHINES:
        raise AirgapError(
            f"There are no wheels for the architecture {target.architecture}; known are {', '.join(MACHINES)}."
        )
    if not re.match(r"3\.[0-9]{1,3}\Z", target.python):
        raise AirgapError(
            f"bundle_controller_python has {target.python!r}; give the first two numbers of the bastion's Python as a text, for example '3.13'."
        )


def collect(
    executable: str, target: Target, requirements: list[str], scratch: str, cache: str, *, update: bool, keep: bool
) -> list[Fetched]:
    """The wheels for one Python. What was found before is not asked for again, unless it shall be brought up to date.

    The cache is only written to when it may keep something.
    """
    check_target(target)
    try:
        import packaging  # noqa: F401 - asked for, not used here
    except ImportError as error:
        raise AirgapError(
            "packaging is missing in the Python that runs the modules of the staging host; ansible-core brings it. "
            "Set ansible_python_interpreter of the staging host to {{ ansible_playbook_python }}."
        ) from error
    memory = os.path.join(cache, "state", f"wheels-{target.python}-{target.architecture}.json")
    folder = os.path.join(cache, "wheels")
    question = {"format": 1, "requirements": requirements, "platforms": list(_PLATFORMS)}
    found = None if update else _recall(memory, question, folder)
    if found is None:
        found = _resolve(executable, target, requirements, scratch, [_unharmed(folder, scratch)])
        if keep:
            found = [_keep(item, folder) for item in found]
            _remember(memory, question, found)
    # The proof, also for what was remembered.
    contents = _read_all(item.path for item in found)
    missing = close(_roots(requirements), contents, target).missing
    if missing:
        raise AirgapError(f"The wheels for {target.label} are not complete: {_wanted(missing)}. Stage again.")
    return found


def close(roots: list[_Asked], contents: dict[str, _Content], target: Target) -> Closure:
    """Follow the requirements through the wheels' own metadata, as the target's installer will."""
    environments = target.environments()
    needed: set[str] = set()
    missing: dict[str, list[str]] = {}
    seen: set[tuple[str, str]] = set()
    pending = [root for root in roots if _applies(root.requirement.marker, environments, "")]
    while pending:
        asked = pending.pop()
        project = _normal(asked.requirement.name)
        content = contents.get(project)
        if content is None or not asked.requirement.specifier.contains(content.wheel.version, prereleases=True):
            missing.setdefault(asked.text, []).append(asked.by)
            continue
        needed.add(project)
        for extra in sorted({"", *asked.requirement.extras}):
            if (project, extra) in seen:
                continue
            seen.add((project, extra))
            by = f"{project} {content.wheel.version}"
            pending += [
                _Asked(_plain(requirement), requirement, by)
                for requirement in content.requires
                if _applies(requirement.marker, environments, extra)
            ]
    return Closure(needed, {text: sorted(set(by)) for text, by in sorted(missing.items())})


def parse_wheel(file: str) -> Wheel:
    """Read a wheel's file name."""
    parts = file[: -len(".whl")].split("-")
    if not file.endswith(".whl") or len(parts) not in (5, 6):
        raise AirgapError(f"{file} is not the name of a wheel.")
    return Wheel(file, _normal(parts[0]), parts[1])


def pins(wheels: dict[str, list[Wheel]]) -> list[str]:
    """One requirement for each project and version; a marker where Pythons differ."""
    chosen: dict[tuple[str, str], list[str]] = {}
    for python, items in wheels.items():
        for wheel in items:
            chosen.setdefault((wheel.project, wheel.version), []).append(python)
    lines = []
    for (project, version), pythons in sorted(chosen.items()):
        markers = " or ".join(f'python_version == "{python}"' for python in pythons)
        lines.append(f"{project}=={version}" + ("" if len(pythons) == len(wheels) else f" ; {markers}"))
    return lines


def licences(fetched: Iterable[Fetched]) -> list[dict[str, str]]:
    """Each project and version once, with what it says about its licence."""
    lines = {(item.wheel.project, item.wheel.version, item.licence) for item in fetched}
    return [{"name": name, "version": version, "licence": licence} for name, version, licence in sorted(lines)]


def licence_of(metadata: email.message.Message) -> str:
    """What a wheel says about its licence, in one line; empty when it says nothing that fits into one."""
    said = [str(line).strip() for key in ("License-Expression", "License") for line in metadata.get_all(key, [])]
    for line in said:
        # Some put the whole text of the licence there.
        if line and line.isprintable() and len(line) <= 100 and line.upper() != "UNKNOWN":
            return line
    classifiers = [str(line) for line in metadata.get_all("Classifier", [])]
    return ", ".join(line.split(" :: ")[-1].strip() for line in classifiers if line.startswith("License :: "))


def _resolve(executable: str, target: Target, requirements: list[str], scratch: str, known: list[str]) -> list[Fetched]:
    """Let pip resolve and fetch until the wheels need nothing that is not among them; what nobody needs is left."""
    roots = _roots(requirements)
    environments = target.environments()
    asked = {root.text: ["the requirements"] for root in roots if _applies(root.requirement.marker, environments, "")}
    for number in range(_ROUNDS):
        folder = os.path.join(scratch, f"{target.python}-{number}")
        os.makedirs(folder)
        _download(executable, target, asked, folder, known)
        contents = _read_all(os.path.join(folder, name) for name in os.listdir(folder))
        closure = close(roots, contents, target)
        if not closure.missing:
            chosen = [contents[project] for project in sorted(closure.needed)]
            return [_fetched(content, os.path.join(folder, content.wheel.file)) for content in chosen]
        if closure.missing.keys() <= asked.keys():
            break
        asked.update(closure.missing)
        known = [*known, folder]
    raise AirgapError(
        f"pip brings no complete set of wheels for {target.label}; still asked for: {_wanted(closure.missing)}. "
        "Change bundle_controller_requirements, or set PIP_INDEX_URL to an index that has them."
    )


def _download(executable: str, target: Target, asked: dict[str, list[str]], folder: str, known: list[str]) -> None:
    options = ["--quiet", "--disable-pip-version-check", "--no-input", "--only-binary=:all:"]
    options += ["--implementation", "cp", "--python-version", target.python, "--dest", folder, "--log", f"{folder}.log"]
    options += [part for name in _PLATFORMS for part in ("--platform", f"{name}_{MACHINES[target.architecture]}")]
    options += [part for name in known for part in ("--find-links", name)]
    environment = json.dumps(target.environments()[0])
    result = run(
        [executable, "-c", _PIP, environment, "download", *options, "--", *asked],
        cwd=folder,
        # What pip writes before it is done is seen, and goes with the rest.
        env={"TMPDIR": os.path.dirname(folder)},
    )
    # Where an index does not answer, pip goes on with what else it finds, and says so in its log only.
    silent = _unreachable(f"{folder}.log")
    settings = (
        "Index, proxy and certificates are pip's own settings on this machine (pip config, or PIP_INDEX_URL, HTTPS_PROXY "
        "and PIP_CERT in the environment; REQUESTS_CA_BUNDLE wins over PIP_CERT)."
    )
    if result.rc != 0:
        by_wheels = {text: by for text, by in asked.items() if by != ["the requirements"]}
        also = f"\nAmong what it was asked for: {_wanted(by_wheels)}." if by_wheels else ""
        said = "\n".join([last_words(result), *silent])
        raise AirgapError(
            f"pip found no set of wheels for {target.label}: {said}{also}\n"
            f"Change bundle_controller_requirements or bundle_controller_python. {settings}"
        )
    if silent:
        found = "\n".join(silent)
        raise AirgapError(
            f"pip could not ask every index for the wheels for {target.label}, so what it chose may be old:\n{found}\n{settings}"
        )


def _unreachable(log: str) -> list[str]:
    """The first addresses that pip could not fetch, with the reason; one that an index merely does not have is no fault."""
    try:
        with open(log, encoding="utf-8", errors="replace") as handle:
            lines = re.findall(r"Could not fetch URL .* - skipping", handle.read())
    except OSError:
        return []
    return [line[:500] for line in dict.fromkeys(lines) if not re.search(r"\b40[34] Client Error\b", line)][:3]


def _roots(requirements: list[str]) -> list[_Asked]:
    return [_root(text.strip()) for text in requirements]


def _root(text: str) -> _Asked:
    from packaging.requirements import InvalidRequirement, Requirement

    if text.startswith("-"):
        raise AirgapError(
            f"bundle_controller_requirements has {text!r}, which is an option; give it to pip itself (pip config on the staging machine)."
        )
    if text.endswith(".whl") and "@" not in text:
        wheel = parse_wheel(os.path.basename(text))
        return _Asked(text, Requirement(f"{wheel.project}=={wheel.version}"), "the requirements")
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        raise AirgapError(
            f"bundle_controller_requirements has {text!r}, which is no requirement: {str(error).splitlines()[0]}."
        ) from error
    return _Asked(_plain(requirement), requirement, "the requirements")


def _plain(requirement: Requirement) -> str:
    """The requirement without its condition, which was found to hold."""
    from packaging.requirements import Requirement

    plain = Requirement(str(requirement))
    plain.marker = None
    return str(plain)


def _applies(marker: Marker | None, environments: list[dict[str, str]], extra: str) -> bool:
    return marker is None or any(marker.evaluate({**environment, "extra": extra}) for environment in environments)


def _read_all(paths: Iterable[str]) -> dict[str, _Content]:
    contents = [_read(path) for path in sorted(paths)]
    return {content.wheel.project: content for content in contents}


def _read(path: str) -> _Content:
    from packaging.requirements import InvalidRequirement, Requirement

    wheel = parse_wheel(os.path.basename(path))
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if re.match(r"[^/]+\.dist-info/METADATA\Z", name)]
            with archive.open(names[0]) as handle:
                text = handle.read(_METADATA_LIMIT).decode("utf-8", "replace")
        metadata = email.parser.Parser().parsestr(text, headersonly=True)
        requires = [Requirement(str(line)) for line in metadata.get_all("Requires-Dist", [])]
    except (zipfile.BadZipFile, IndexError, InvalidRequirement, NotImplementedError, RuntimeError) as error:
        raise AirgapError(f"The wheel {path} cannot be read ({error}). Remove it and stage again.") from error
    return _Content(wheel, requires, licence_of(metadata))


def _fetched(content: _Content, path: str) -> Fetched:
    return Fetched(content.wheel, path, sha256_file(path), content.licence)


def _keep(item: Fetched, folder: str) -> Fetched:
    path = os.path.join(folder, item.wheel.file)
    if not os.path.isfile(path) or sha256_file(path) != item.sha256:
        copy_with_sha256(item.path, path)
    return item._replace(path=path)


def _remember(memory: str, question: dict[str, Any], found: list[Fetched]) -> None:
    document = {**question, "wheels": {item.wheel.file: item.sha256 for item in found}}
    write_if_changed(memory, json.dumps(document, indent=1, sort_keys=True).encode())


def _recall(memory: str, question: dict[str, Any], folder: str) -> list[Fetched] | None:
    """What was found for the same question before, as long as all of it is still there and unharmed."""
    try:
        with open(memory, encoding="utf-8") as handle:
            document = dict(json.load(handle))
        digests = dict(document.pop("wheels"))
        if document != question:
            return None
        paths = [os.path.join(folder, file) for file in sorted(digests)]
        if any(sha256_file(path) != digests[os.path.basename(path)] for path in paths):
            return None
        return [_fetched(_read(path), path) for path in paths]
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _unharmed(folder: str, scratch: str) -> str:
    """A folder with the wheels of the cache that pip may take: it would choose one that is damaged as well."""
    links = os.path.join(scratch, "known")
    os.makedirs(links, exist_ok=True)
    for name in os.listdir(folder) if os.path.isdir(folder) else []:
        try:
            with zipfile.ZipFile(os.path.join(folder, name)) as archive:
                sound = archive.testzip() is None
        except (OSError, zipfile.BadZipFile):
            continue
        if sound and not os.path.lexists(os.path.join(links, name)):
            os.symlink(os.path.join(os.path.abspath(folder), name), os.path.join(links, name))
    return links


def _wanted(missing: dict[str, list[str]]) -> str:
    return "; ".join(f"{text} (asked for by {', '.join(by)})" for text, by in missing.items())


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
