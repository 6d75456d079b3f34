# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model revision on a host: what is wrong with it, and how the depot makes it right.

A revision is good when its list of digests has the digest that the manifest states, and every file is as listed.
Hashing is skipped for files that look as they did when they were last hashed. What is lacking is fetched into a
directory beside the revision, hashed there, and only then moved into place.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import shutil
from typing import NamedTuple, Sequence

from ansible_collections.airgap.inference.plugins.module_utils import _command, _digest
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._progress import Progress, directory_size

_LINE = re.compile(r"([0-9a-f]{64})  (.+)")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PLAIN = re.compile(r"[A-Za-z0-9@%+=:,./_-]+")
_HINTS = {
    "hostname mismatch": "The depot's certificate is for another name; airgap_depot_address must be one of its names.",
    "IP address mismatch": "The depot's certificate is for another address; airgap_depot_address must be in it.",
    "certificate verify failed": "The CA given does not vouch for the depot's certificate.",
    "certificate required": "The depot asks for this host's certificate, and got none.",
    "Connection refused": "Nothing listens there: look at nginx on the depot.",
    "unknown ca": "The depot does not accept this host's certificate: it is not of the site's CA.",
    "No such file or directory": "The depot does not hold this revision: import the bundle that carries it.",
    "max connections": "The depot serves as many hosts as it may; run again, or raise depot_rsync_connections.",
    "timeout in data": "The depot stopped sending; run again, and it goes on where it stopped.",
}


class Depot(NamedTuple):
    """Where models come from, and how each side knows the other."""

    host: str
    port: int
    ca_path: str
    certificate_path: str
    key_path: str
    timeout: int = 600
    bandwidth: int = 0


class Model(NamedTuple):
    """One revision, and where it belongs on this host."""

    directory: str
    name: str
    revision: str
    digest: str

    @property
    def path(self) -> str:
        return os.path.join(self.directory, self.name, self.revision)

    @property
    def partial(self) -> str:
        return os.path.join(self.directory, self.name, f".{self.revision}.partial")

    @property
    def list_path(self) -> str:
        return self.path + ".sha256"

    @property
    def state_path(self) -> str:
        return self.path + ".verified"


class Condition(NamedTuple):
    """What is on the host: expected digests (None where the list is not there), and each deviation by file."""

    expected: dict[str, str] | None
    missing: list[str]
    wrong: dict[str, str]
    extra: list[str]
    hashed: int

    @property
    def whole(self) -> bool:
        return self.expected is not None and not (self.missing or self.wrong or self.extra)

    @property
    def reasons(self) -> list[str]:
        if self.expected is None:
            return ["the revision with this digest is not on this host"]
        return (
            [f"{path}: missing" for path in self.missing]
            + [f"{path}: expected {self.expected[path]}, seen {self.wrong[path]}" for path in sorted(self.wrong)]
            + [f"{path}: not part of the model" for path in self.extra]
        )


def parse_list(text: str) -> dict[str, str]:
    """The digests of a revision by path. A path that leads out of the revision is refused."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        match = _LINE.fullmatch(line)
        if not match or match.group(2).startswith("/") or ".." in match.group(2).split("/"):
            raise AirgapError(
                f"Line {number} of the list of digests is not '<sha256>  <relative path>': {line[:120]!r}."
            )
        found[match.group(2)] = match.group(1)
    return found


def inspect(model: Model, always_hash: bool = False) -> Condition:
    """Compare what is on the host with what the manifest says, reading no more than needed."""
    for value in (model.name, model.revision):
        if not _NAME.fullmatch(value):
            raise AirgapError(
                f"{value!r} cannot be a directory's name; use letters, digits and ._- as the bundle does."
            )
    expected = _read_list(model)
    if expected is None:
        return Condition(None, [], {}, [], 0)
    if not os.path.isdir(model.path):
        return Condition(expected, sorted(expected), {}, [], 0)
    tree = _digest.scan(model.path)
    known = {} if always_hash else _read_state(model)
    there = {path: size for path, size in tree.files.items() if path in expected}
    unsure = {path: size for path, size in there.items() if known.get(path) != _look(model.path, path)}
    wrong = _mismatches(model, model.path, unsure, expected)
    missing = sorted(path for path in expected if path not in there)
    extra = sorted([path for path in tree.files if path not in expected] + list(tree.strange))
    return Condition(expected, missing, wrong, extra, len(unsure))


def record(model: Model, expected: dict[str, str]) -> None:
    """Remember what the files look like now that they are known to be good."""
    state = {"digest": model.digest, "files": {path: _look(model.path, path) for path in sorted(expected)}}
    _digest.write_if_changed(model.state_path, json.dumps(state, indent=1).encode() + b"\n")


def fetch(model: Model, depot: Depot, condition: Condition) -> dict[str, int]:
    """Fetch what is lacking, check it, put it in place; returns the size of every file fetched."""
    _make_directory(model.directory)
    _make_directory(os.path.join(model.directory, model.name))
    expected = condition.expected
    if expected is None:
        _fetch_list(model, depot)
        condition = inspect(model)
        expected = condition.expected or {}
    needed = sorted([*condition.missing, *condition.wrong])
    if needed:
        _fill_partial(model, depot, needed, expected)
    if condition.extra:
        _digest.remove_files(model.path, condition.extra)
    sizes = {path: os.stat(os.path.join(model.partial, path)).st_size for path in needed}
    _put_in_place(model, needed)
    record(model, expected)
    return sizes


def rsync_shell(depot: Depot) -> str:
    """The TLS connection for rsync's --rsh.

    rsync's own helper rsync-ssl compares the certificate with host names only, so it cannot verify a depot that is
    reached by its address, as it is common where there is no DNS.
    """
    for value in (depot.host, depot.ca_path, depot.certificate_path, depot.key_path):
        if not _PLAIN.fullmatch(value):
            raise AirgapError(
                f"{value!r} holds characters that cannot be passed on to openssl; use letters, digits and ./_-."
            )
    try:
        address = ipaddress.ip_address(depot.host)
        identity = ["-noservername", "-verify_ip", depot.host]
        host = f"[{depot.host}]" if address.version == 6 else depot.host
    except ValueError:
        identity = ["-servername", depot.host, "-verify_hostname", depot.host]
        host = depot.host
    client = ["openssl", "s_client", "-quiet", "-verify_quiet", "-verify_return_error", "-verify", "4"]
    client += ["-CAfile", depot.ca_path, "-cert", depot.certificate_path, "-key", depot.key_path]
    # rsync adds its own arguments behind; sh takes them as $1 and so on, and nobody reads them.
    return "sh -c 'exec {}' rsync-tls".format(" ".join([*client, *identity, "-connect", f"{host}:{depot.port}"]))


def _fetch_list(model: Model, depot: Depot) -> None:
    part = _digest.partial_name(model.list_path)
    try:
        _rsync(model, depot, f"{model.name}/{model.revision}.sha256", part)
        seen = _digest.sha256_file(part)
        if seen != model.digest:
            raise AirgapError(
                f"{model.name}/{model.revision}.sha256 at {depot.host}: expected SHA-256 {model.digest}, seen {seen}. "
                "The depot holds something else under this revision; import the bundle again."
            )
        os.replace(part, model.list_path)
    finally:
        if os.path.lexists(part):
            os.unlink(part)


def _fill_partial(model: Model, depot: Depot, needed: Sequence[str], expected: dict[str, str]) -> None:
    """Fetch into the directory beside the revision, going on with what an earlier run left there."""
    _make_directory(model.partial)
    _digest.remove_files(model.partial, [path for path in _digest.scan(model.partial).files if path not in needed])
    total = _check_space(model, depot, needed)
    with Progress(f"model {model.name}", total, measure=lambda: directory_size(model.partial)):
        _fetch_files(model, depot, needed)
    wrong = _mismatches(model, model.partial, needed, expected)
    if wrong:
        # The beginning of a file that an earlier run left may be of another kind: once more, from nothing.
        _digest.remove_files(model.partial, wrong)
        _fetch_files(model, depot, sorted(wrong))
        wrong = _mismatches(model, model.partial, sorted(wrong), expected)
    if wrong:
        _digest.remove_files(model.partial, wrong)
        said = "; ".join(f"{path}: expected {expected[path]}, seen {wrong[path]}" for path in sorted(wrong))
        raise AirgapError(
            f"{model.name}/{model.revision} from {depot.host} is not what was sealed: {said}. "
            "Import the bundle again on the depot; it names and replaces what is damaged there."
        )


def _fetch_files(model: Model, depot: Depot, paths: Sequence[str], *options: str) -> bytes:
    # From the top, with /./ where the host's path begins: below it, rsync 3.5.0 finds no listed file without a chroot.
    listed = "".join(f"{model.name}/{model.revision}/./{path}\0" for path in paths).encode()
    return _rsync(
        model, depot, "", model.partial + "/", "--from0", "--files-from=-", "--append", *options, stdin=listed
    )


def _rsync(model: Model, depot: Depot, source: str, target: str, *options: str, stdin: bytes = b"") -> bytes:
    command = ["rsync", f"--rsh={rsync_shell(depot)}", f"--timeout={depot.timeout}", f"--bwlimit={depot.bandwidth}"]
    command += ["--times", "--omit-dir-times", "--perms", "--chmod=D0755,F0644", *options]
    host = f"[{depot.host}]" if ":" in depot.host else depot.host
    result = _command.run([*command, f"rsync://{host}/models/{source}", target], stdin=stdin)
    if result.rc == 0:
        return result.stdout
    said = " ".join(_command.last_words(result).split())
    # The first is the nearest to the cause.
    hints = [hint for symptom, hint in _HINTS.items() if symptom in said][:1]
    raise AirgapError(
        " ".join(
            [
                f"{model.name}/{model.revision} could not be fetched from {host}:{depot.port} (rsync, exit code {result.rc}): {said}",
                *hints,
            ]
        )
    )


def _check_space(model: Model, depot: Depot, needed: Sequence[str]) -> int:
    """The size of the files needed, for which there is room."""
    said = _fetch_files(model, depot, needed, "--dry-run", "--stats", "--no-human-readable").decode()
    match = re.search(r"^Total file size: (\d+)", said, re.MULTILINE)
    total = int(match.group(1)) if match else 0
    size = total - sum(_digest.scan(model.partial).files.values())
    status = os.statvfs(model.partial)
    free = status.f_bavail * status.f_frsize
    if size > free:
        raise AirgapError(
            f"{model.name}/{model.revision} needs {size / 1e9:.2f} GB more in {model.directory}, where {free / 1e9:.2f} GB are free. "
            "Make room there, or set model_store_directory to a larger file system."
        )
    return total


def _put_in_place(model: Model, paths: Sequence[str]) -> None:
    if not os.path.isdir(model.path):
        os.replace(model.partial, model.path)
        return
    for path in paths:
        target = os.path.join(model.path, path)
        # A directory where a file belongs holds nothing that is listed.
        if os.path.isdir(target) and not os.path.islink(target):
            shutil.rmtree(target)
        os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
        os.replace(os.path.join(model.partial, path), target)
    if os.path.isdir(model.partial):
        shutil.rmtree(model.partial)


def _mismatches(
    model: Model, root: str, paths: Sequence[str] | dict[str, int], expected: dict[str, str]
) -> dict[str, str]:
    """Files that are not as listed, with the digest seen or why it could not be read."""
    sizes = {path: os.lstat(os.path.join(root, path)).st_size for path in paths}
    with Progress(f"check of model {model.name}", sum(sizes.values())) as progress:
        seen = _digest.sha256_files(root, sizes, None, progress.add)
    return {path: str(digest) for path, digest in seen.items() if digest != expected[path]}


def _read_list(model: Model) -> dict[str, str] | None:
    try:
        with open(model.list_path, "rb") as handle:
            data = handle.read()
    except FileNotFoundError:
        return None
    return parse_list(data.decode("utf-8")) if _digest.sha256_bytes(data) == model.digest else None


def _read_state(model: Model) -> dict[str, list[int]]:
    try:
        with open(model.state_path, encoding="utf-8") as handle:
            state = json.load(handle)
        files: dict[str, list[int]] = state["files"] if state["digest"] == model.digest else {}
    except (OSError, ValueError, KeyError, TypeError):
        # It only saves work: without it, everything is hashed.
        return {}
    return files


def _look(root: str, path: str) -> list[int]:
    """Size, time of change and time of status change: the last one cannot be set back by a program."""
    status = os.lstat(os.path.join(root, path))
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _make_directory(path: str) -> None:
    if not os.path.isdir(path):
        os.makedirs(path)
        os.chmod(path, 0o755)
