# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""NVIDIA NIM's connected phase: the image itself fetches a profile of its model, and leaves a directory.

A NIM image is closed. What is used of it is what its documentation promises: list-model-profiles, download-to-cache and
create-model-store, the cache at /opt/nim/.cache, and the key, proxies and CA in the environment. Docker is given the
names of these variables, so that no value stands in a process list.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from typing import NamedTuple

from ansible_collections.airgap.inference.plugins.module_utils import _command
from ansible_collections.airgap.inference.plugins.module_utils._digest import sha256_bytes, write_if_changed
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._manifest import printable
from ansible_collections.airgap.inference.plugins.module_utils._model_lock import Lock, alone
from ansible_collections.airgap.inference.plugins.module_utils._progress import Progress, directory_size

SCHEME = "nim://"
COMMANDS = ("create-model-store", "download-to-cache")

_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*\Z")
_PROFILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+-]*\Z")
_SECRETS = ("NGC_API_KEY", "HF_TOKEN")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "NIM_REPOSITORY_OVERRIDE")
_CACHE = "/opt/nim/.cache"
_STORE = "/model-store"
_CA = "/run/airgap-ca.pem"


class Nim(NamedTuple):
    """One profile of a NIM image, and how it is brought."""

    name: str
    source: str
    profile: str
    command: str
    # Where its directories are, on this machine.
    work: str

    @property
    def directory(self) -> str:
        """What the model is made of."""
        return self.cache if self.command == "download-to-cache" else self.store

    @property
    def cache(self) -> str:
        return os.path.join(self.work, "cache")

    @property
    def store(self) -> str:
        return os.path.join(self.work, "store")

    @property
    def complete(self) -> bool:
        return os.path.exists(os.path.join(self.work, "complete.json"))


def parse(name: str, source: str, profile: str, command: str, cache: str) -> Nim:
    """What the inventory says, checked."""
    image = source[len(SCHEME) :]
    if not _IMAGE.match(image):
        raise AirgapError(
            f"The source {printable(source)} of the model {name} is not of the form nim://registry/repository:tag."
        )
    if profile and not _PROFILE.match(profile):
        raise AirgapError(
            f"The model {name} has the NIM profile '{printable(profile)}'; give the identifier of a profile."
        )
    if command not in COMMANDS:
        raise AirgapError(
            f"The model {name} has the NIM command '{printable(command)}'; there are {' and '.join(COMMANDS)}."
        )
    key = sha256_bytes("\n".join((source, profile, command)).encode())[:16]
    return Nim(name, source, profile, command, os.path.join(cache, "nim", key))


def bring(nim: Nim, lock: Lock, *, update: bool) -> None:
    """Let the image fetch its model, unless it has. An interrupted fetch goes on in the same directory."""
    named = nim.source[len(SCHEME) :]
    if nim.complete and not update:
        return
    with alone(nim.work, f"fetches {nim.source}"):
        if update:
            lock.drop(nim.source)
            _renew(named)
            # What says that it is complete goes first: an interruption must not leave half of it for whole.
            for name in ("complete.json", "cache", "store"):
                _remove(os.path.join(nim.work, name))
        image = lock.get(nim.source) or named
        if not nim.profile:
            listed = _run(nim, image, [], ["list-model-profiles"])
            raise AirgapError(f"The model {nim.name} needs nim: {{profile: <identifier>}}. {image} lists:\n{listed}")
        with Progress(f"{nim.name} by {nim.command}", measure=lambda: directory_size(nim.work)):
            _fetch(nim, image)
        if not _settle(nim):
            raise AirgapError(f"{image} {nim.command} ended well, and left nothing of {nim.profile} for {nim.name}.")
        digests = _digests(image)
        lock.set(nim.source, digests[0] if digests else image)
        write_if_changed(os.path.join(nim.work, "complete.json"), json.dumps({"image": image}).encode())


def _fetch(nim: Nim, image: str) -> None:
    os.makedirs(nim.cache, exist_ok=True)
    volumes = ["--volume", f"{nim.cache}:{_CACHE}"]
    command = [nim.command, "--profile", nim.profile]
    if nim.directory == nim.store:
        os.makedirs(nim.store, exist_ok=True)
        volumes += ["--volume", f"{nim.store}:{_STORE}"]
        command += ["--model-store", _STORE]
    _run(nim, image, volumes, command)


def _remove(path: str) -> None:
    if os.path.isdir(path):
        shutil.rmtree(path)
    elif os.path.exists(path):
        os.unlink(path)


def _renew(image: str) -> None:
    """What the tag means now. An image that was loaded from a file came from no registry, and is what it is."""
    if _digests(image) != []:
        _command.require(["docker", "pull", "--quiet", image], f"{image} could not be pulled anew")


def _run(nim: Nim, image: str, volumes: list[str], command: list[str]) -> str:
    container = f"airgap-nim-{sha256_bytes(nim.work.encode())[:16]}"
    # One of an interrupted run may still be at work.
    _command.run(["docker", "rm", "--force", container])
    argv = ["docker", "run", "--rm", "--name", container, "--user", f"{os.getuid()}:{os.getgid()}", *volumes]
    for name in (*_SECRETS, *_PROXIES):
        if os.environ.get(name):
            argv += ["--env", name]
    authority = os.environ.get("SSL_CERT_FILE")
    if authority:
        argv += ["--volume", f"{os.path.abspath(authority)}:{_CA}:ro", "--env", f"SSL_CERT_FILE={_CA}"]
    try:
        result = _command.run([*argv, image, *command])
    except BaseException:
        _command.run(["docker", "rm", "--force", container])
        raise
    if result.rc == 0:
        return result.stdout.decode("utf-8", "replace").strip()
    said = _command.last_words(result)
    for name in _SECRETS:
        if os.environ.get(name):
            said = said.replace(os.environ[name], f"<{name}>")
    hint = (
        ""
        if os.environ.get("NGC_API_KEY")
        else " NGC_API_KEY is not set where the playbook runs; set it if the image asks."
    )
    raise AirgapError(
        f"{image} {command[0]} failed ({result.rc}) for the model {nim.name}.{hint} What has arrived is kept. It said:\n{said}"
    )


def _settle(nim: Nim) -> bool:
    """Make links of the container's own paths lead where these are here; drop the cache that no store needs any more."""
    mounts = {_CACHE: nim.cache, _STORE: nim.store}
    found = needed = False
    for directory, _directories, names in os.walk(nim.directory):
        for name in names:
            found = True
            path = os.path.join(directory, name)
            if not os.path.islink(path):
                continue
            target = os.readlink(path)
            for inside, outside in mounts.items():
                if target.startswith(f"{inside}/"):
                    os.unlink(path)
                    os.symlink(os.path.relpath(outside + target[len(inside) :], directory), path)
            needed = needed or os.path.realpath(path).startswith(os.path.realpath(nim.cache) + "/")
    if found and not needed and nim.directory != nim.cache:
        shutil.rmtree(nim.cache)
    return found


def _digests(image: str) -> list[str] | None:
    """The image by its digest in each registry that it came from; None when it is not here."""
    inspected = _command.run(["docker", "image", "inspect", "--format", "{{json .RepoDigests}}", image])
    return list(json.loads(inspected.stdout) or []) if inspected.rc == 0 else None
