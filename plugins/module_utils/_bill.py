# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The software bill of a bundle in CycloneDX: every package, image, model, wheel and collection that crosses.

The same bundle gives the same bytes: the bill's number comes from its content, and it has no time of its own. The
manifest, which lists the bill with its digest, says when the bundle was made.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import sys
import uuid
from typing import TYPE_CHECKING, Any, Iterator
from xml.etree import ElementTree

from ansible_collections.airgap.inference.plugins.module_utils import _oci
from ansible_collections.airgap.inference.plugins.module_utils._apt_repository import parse_records
from ansible_collections.airgap.inference.plugins.module_utils._digest import Record, sha256_bytes, sha256_file
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._wheels import parse_wheel

if TYPE_CHECKING:
    from cyclonedx.model.component import Component

FILE = "sbom.cdx.json"
_OURS = "airgap.inference"
_RPM = "{http://linux.duke.edu/metadata/common}"
_REPOSITORY = "{http://linux.duke.edu/metadata/repo}"
_HUB = re.compile(r"hf://(?:([^/@]+)/)?([^/@]+)(?:@|\Z)")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def require_library() -> None:
    """Say what to install where the library that writes the bill is missing."""
    try:
        import cyclonedx.contrib.license.factories  # noqa: F401 - asked for, not used here
    except ImportError as error:
        raise AirgapError(
            f"The software bill needs cyclonedx-python-lib 11.12 or newer for {sys.executable}, and it is not there ({error}). "
            f"Install it: {sys.executable} -m pip install 'cyclonedx-python-lib>=11.12,<12' (or all of requirements/staging.txt)."
        ) from error


def render(root: str, site: str, artifacts: dict[str, Any], record: Record, *, complete: bool) -> bytes:
    """The bill as it stands in the bundle. What is not complete (yet) lacks digests; else a missing file is an error."""
    require_library()
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot6

    listed = [
        *_packages(root, artifacts["packages"], complete),
        *_images(artifacts["images"]),
        *_models(artifacts["models"]),
        *_wheels(root, artifacts["controller"], record, complete),
        *_collections(root, artifacts["controller"], record, complete),
    ]
    bundle = Component(
        name=site,
        type=ComponentType.APPLICATION,
        bom_ref="bundle",
        description="What crosses the air gap to this site.",
    )
    made_by = [item for item in artifacts["controller"].get("collections") or [] if item["name"] == _OURS]
    tools = [
        Component(name=_OURS, version=item["version"], type=ComponentType.APPLICATION, bom_ref=f"tool:{_OURS}")
        for item in made_by
    ]
    metadata = BomMetaData(component=bundle)
    metadata.tools.components.update(tools)
    bom = Bom(components=listed, metadata=metadata)
    bom.register_dependency(bundle, listed)
    document = json.loads(JsonV1Dot6(bom).output_as_string())
    # The library would have every component depend on nothing. What depends on what is not known here, so it is not said.
    del document["metadata"]["timestamp"], document["serialNumber"], document["dependencies"]
    number = uuid.uuid5(uuid.NAMESPACE_OID, sha256_bytes(_json(document)))
    return _json({**document, "serialNumber": f"urn:uuid:{number}"})


def _packages(root: str, repositories: list[dict[str, Any]], complete: bool) -> Iterator[Component]:
    for repository in repositories:
        dnf = repository.get("format") == "dnf"
        vendor, release = repository["distribution"].lower(), repository["release"]
        kind, distro = ("rpm", f"{vendor}-{release}") if dnf else ("deb", release)
        files = (_rpm_files if dnf else _deb_files)(os.path.join(root, repository["directory"]), repository)
        for package in repository["packages"]:
            identity = (package["name"], package["version"], package["architecture"])
            qualifiers = {"arch": package["architecture"], "distro": distro}
            version = package["version"]
            if dnf and ":" in version:
                qualifiers["epoch"], version = version.split(":", 1)
            path, digest = files.get(identity, ("", ""))
            if complete and not digest:
                raise AirgapError(
                    f"The index of {root}/{repository['directory']} has no {' '.join(identity)}. Stage the packages again."
                )
            yield _component(
                "library",
                package["name"],
                package["version"],
                ref=f"{repository['directory']}/{path}" if path else "",
                purl=(kind, vendor, package["name"], version, qualifiers),
                sha256=digest,
                licence=package.get("licence", ""),
            )


def _images(images: list[dict[str, Any]]) -> Iterator[Component]:
    for image in images:
        name = _oci.parse_name(image["name"])
        tag = name.version[1:] if name.version.startswith(":") else ""
        qualifiers = {"repository_url": name.source, **({"tag": tag} if tag else {})}
        yield _component(
            "container",
            image["repository"],
            tag or image["digest"],
            ref=f"image:{image['name']}",
            purl=("oci", "", image["repository"].rsplit("/", 1)[-1], image["digest"], qualifiers),
            sha256=image["digest"].split(":", 1)[-1],
        )


def _models(models: list[dict[str, Any]]) -> Iterator[Component]:
    for model in models:
        hub, commit = _HUB.match(model["source"]), _COMMIT.match(model["revision"])
        yield _component(
            "machine-learning-model",
            model["name"],
            model["revision"],
            ref=model["directory"],
            purl=("huggingface", hub[1] or "", hub[2], commit[0], {}) if hub and commit else None,
            sha256=model["digest"],
            licence=model.get("licence", ""),
            description=f"{model['files']} files, {model['size']} bytes. Its SHA-256 is that of {model['directory']}.sha256, the list of these files.",
            source=model["source"],
        )


def _wheels(root: str, controller: dict[str, Any], record: Record, complete: bool) -> Iterator[Component]:
    folder = "controller/wheels"
    names = sorted(os.listdir(os.path.join(root, folder))) if os.path.isdir(os.path.join(root, folder)) else []
    wheels = [parse_wheel(name) for name in names]
    for item in controller.get("wheels") or []:
        # One version may travel for several Pythons.
        files = [wheel.file for wheel in wheels if (wheel.project, wheel.version) == (item["name"], item["version"])]
        if complete and not files:
            raise AirgapError(
                f"{root}/{folder} has no wheel of {item['name']} {item['version']}. Stage the controller again."
            )
        for file in files or [""]:
            yield _component(
                "library",
                item["name"],
                item["version"],
                ref=f"{folder}/{file}" if file else "",
                purl=("pypi", "", item["name"], item["version"], {"file_name": file} if file else {}),
                sha256=_sha256(os.path.join(root, folder, file), record) if file else "",
                licence=item["licence"],
            )


def _collections(root: str, controller: dict[str, Any], record: Record, complete: bool) -> Iterator[Component]:
    for item in controller.get("collections") or []:
        namespace, name = item["name"].split(".")
        path = f"controller/collections/{namespace}-{name}-{item['version']}.tar.gz"
        there = complete or os.path.isfile(os.path.join(root, path))
        yield _component(
            "library",
            item["name"],
            item["version"],
            ref=path,
            # There is no type of its own for collections among the registered ones.
            purl=("generic", namespace, name, item["version"], {}),
            sha256=_sha256(os.path.join(root, path), record) if there else "",
            licence=item.get("licence", ""),
            description="Ansible collection",
        )


def _component(
    kind: str,
    name: str,
    version: str,
    *,
    ref: str,
    purl: tuple[str, str, str, str, dict[str, str]] | None,
    sha256: str,
    licence: str = "",
    description: str = "",
    source: str = "",
) -> Component:
    from cyclonedx.contrib.license.factories import LicenseFactory
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.license import LicenseAcknowledgement
    from packageurl import PackageURL

    located = PackageURL(purl[0], purl[1] or None, *purl[2:]) if purl else None
    licences = (
        [LicenseFactory().make_from_string(licence, license_acknowledgement=LicenseAcknowledgement.DECLARED)]
        if licence
        else []
    )
    return Component(
        type=ComponentType(kind),
        name=name,
        version=version,
        bom_ref=ref or (located.to_string() if located else name),
        purl=located,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sha256)] if sha256 else [],
        licenses=licences,
        description=description or None,
        properties=[Property(name="airgap:source", value=source)] if source else [],
    )


def _deb_files(directory: str, repository: dict[str, Any]) -> dict[tuple[str, str, str], tuple[str, str]]:
    """Path and SHA-256 of each package that an apt repository offers."""
    index = f"dists/{repository['suite']}/{repository['component']}/binary-{repository['architecture']}/Packages"
    try:
        with open(os.path.join(directory, index), encoding="utf-8") as handle:
            records = parse_records(handle.read())
    except FileNotFoundError:
        return {}
    return {
        (record["Package"], record["Version"], record["Architecture"]): (record["Filename"], record["SHA256"])
        for record in records
    }


def _rpm_files(directory: str, _repository: dict[str, Any]) -> dict[tuple[str, str, str], tuple[str, str]]:
    """Path and SHA-256 of each package that a dnf repository offers."""
    found = {}
    try:
        listed = ElementTree.parse(os.path.join(directory, "repodata/repomd.xml")).getroot()
        place = listed.find(f"{_REPOSITORY}data[@type='primary']/{_REPOSITORY}location")
        with gzip.open(os.path.join(directory, place.get("href", "") if place is not None else "")) as handle:
            primary = ElementTree.fromstring(handle.read())
    except FileNotFoundError:
        return {}
    except (OSError, EOFError, ElementTree.ParseError) as error:
        raise AirgapError(f"{directory}/repodata cannot be read: {error}. Stage the packages again.") from error
    for package in primary.findall(f"{_RPM}package"):
        version, location = package.find(f"{_RPM}version"), package.find(f"{_RPM}location")
        checksum = package.find(f"{_RPM}checksum[@type='sha256']")
        if version is None or location is None or checksum is None:
            continue
        epoch = version.get("epoch", "0")
        evr = f"{version.get('ver')}-{version.get('rel')}"
        identity = (
            package.findtext(f"{_RPM}name", ""),
            evr if epoch in ("", "0") else f"{epoch}:{evr}",
            package.findtext(f"{_RPM}arch", ""),
        )
        found[identity] = (location.get("href", ""), checksum.text or "")
    return found


def _sha256(path: str, record: Record) -> str:
    known = record.known(path)
    if known:
        return known
    try:
        return sha256_file(path)
    except OSError as error:
        raise AirgapError(f"{path} cannot be read: {error.strerror or error}. Stage the controller again.") from error


def _json(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()
