# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of a model hub, fetched by huggingface_hub and checked against the hub's own digests while they arrive.

The client resumes within a process only: it gives up what it has when the process ends. So the file, its hashing and
its resumption are ours, and asking, redirects, tokens, retries and ranges are the client's. Nothing here needs Xet.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import re
import shutil
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Iterator, NamedTuple

from ansible_collections.airgap.inference.plugins.module_utils._digest import CHUNK, Record, write_if_changed
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._hub_errors import http_of, told
from ansible_collections.airgap.inference.plugins.module_utils._manifest import path_fault, printable
from ansible_collections.airgap.inference.plugins.module_utils._model_lock import alone
from ansible_collections.airgap.inference.plugins.module_utils._progress import Progress

SCHEME = "hf://"
REQUIREMENT = "huggingface_hub>=1,<3"
COMMIT = re.compile(r"[0-9a-f]{40}\Z")

_SOURCE = re.compile(r"hf://([A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?)(?:@([\w./-]+))?\Z", re.ASCII)
_WORKERS = 8
_PATIENCE = 3
_SECONDS = 30.0
# What the client itself refuses to fetch without Xet.
_LARGEST = 50 * 1000**3


class Remote(NamedTuple):
    """A file as the hub lists it: its SHA-256 when it is stored by LFS, else the SHA-1 that git gives it."""

    size: int
    sha256: str
    git_sha1: str

    @property
    def blob(self) -> str:
        return f"sha256-{self.sha256}" if self.sha256 else f"git-{self.git_sha1}"


class Listing(NamedTuple):
    """What a repository holds at one commit."""

    commit: str
    files: dict[str, Remote]


class Fetched(NamedTuple):
    """A file on this machine, found good."""

    path: str
    sha256: str


def parse(source: str) -> tuple[str, str]:
    """The repository and the revision of hf://org/name@revision."""
    found = _SOURCE.match(source)
    if not found or ".." in source:
        raise AirgapError(f"The source {printable(source)} is not of the form hf://organisation/name@revision.")
    return found[1], found[2] or "main"


class Hub:
    """The hub that the environment names (HF_ENDPOINT, HF_TOKEN, HTTPS_PROXY, SSL_CERT_FILE), and what was fetched from it."""

    def __init__(self, cache: str, record: Record, *, only_look: bool = False) -> None:
        self._cache = os.path.join(cache, "hub")
        self._record = record
        self._only_look = only_look
        self._module: Any = None
        self._stop = threading.Event()

    def listing(self, repository: str, revision: str) -> Listing:
        """What the revision holds. A commit never changes, so it is asked for once."""
        kept = os.path.join(self._directory(repository), f"{revision}.json")
        if COMMIT.match(revision):
            unreadable = contextlib.suppress(OSError, ValueError, TypeError, AttributeError)
            with unreadable, open(kept, encoding="utf-8") as handle:
                return Listing(revision, {path: Remote(*item) for path, item in json.load(handle).items()})
        with self._telling(repository, revision):
            info = self._ask(repository, revision)
        files = {}
        for item in info.siblings or []:
            fault = path_fault(item.rfilename)
            if fault or item.size is None or not item.blob_id:
                raise AirgapError(
                    f"The hub lists a file of {repository} that cannot be carried: {printable(str(item.rfilename))} "
                    f"{fault or 'has no size or digest'}. Is {self._client().constants.ENDPOINT} a complete mirror?"
                )
            files[item.rfilename] = Remote(item.size, item.lfs.sha256 if item.lfs else "", item.blob_id)
        if not COMMIT.match(info.sha or "") or not files:
            raise AirgapError(
                f"The hub gives no commit or no files for {repository}@{revision}. Name another revision."
            )
        if not self._only_look:
            kept = os.path.join(self._directory(repository), f"{info.sha}.json")
            write_if_changed(kept, json.dumps(files, sort_keys=True).encode())
        return Listing(info.sha, files)

    def reach(self, repository: str, commit: str, files: dict[str, Remote]) -> None:
        """Ask for a file without fetching it: a gated model is listed for everybody, and its files are not."""
        path = min(files, key=lambda path: files[path].size)
        if not os.path.exists(os.path.join(self._directory(repository), files[path].blob)):
            with self._telling(repository, commit):
                client = self._client()
                url = client.hf_hub_url(repository, path, revision=commit)
                client.get_hf_file_metadata(url, token=_token(), timeout=_SECONDS)

    def fetch(self, repository: str, commit: str, files: dict[str, Remote]) -> dict[str, Fetched]:
        """Bring files into the cache, several at a time. What is there and good is not fetched again."""
        unique = {remote.blob: path for path, remote in files.items()}
        with alone(self._directory(repository), f"fetches {repository}"):
            good = {blob: found for blob in unique if (found := self._good(repository, blob, files[unique[blob]]))}
            missing = [path for blob, path in unique.items() if blob not in good]
            if missing:
                self._room(repository, [files[path] for path in missing])
                with Progress(f"{repository} from the hub", sum(files[path].size for path in missing)) as progress:

                    def one(path: str) -> tuple[str, Fetched]:
                        progress.at(path)
                        with self._telling(repository, commit):
                            return files[path].blob, self._bring(repository, commit, path, files[path], progress)

                    with ThreadPoolExecutor(max_workers=_WORKERS) as pool:
                        try:
                            good.update(pool.map(one, sorted(missing, key=lambda path: files[path].size, reverse=True)))
                        except BaseException:
                            # The others end at their next block: hours may lie between the first fault and the last file.
                            self._stop.set()
                            raise
        return {path: good[remote.blob] for path, remote in files.items()}

    def _bring(self, repository: str, commit: str, path: str, remote: Remote, progress: Progress) -> Fetched:
        if remote.size > _LARGEST:
            raise AirgapError(
                f"{path} of {repository} is larger than 50 GB, which the hub gives by its Xet protocol only. "
                f"Run `hf download {repository} --revision {commit} --local-dir <directory>` and name the directory as source."
            )
        final = os.path.join(self._directory(repository), remote.blob)
        with _Arriving(f"{final}.part", remote, progress, self._stop) as arriving:
            fruitless = 0
            while True:
                before = arriving.size
                try:
                    self._get(repository, commit, path, remote, arriving)
                    break
                except Exception as error:
                    # An address that was signed for some hours may end in the middle: a new one is asked for.
                    grown = before < arriving.size <= remote.size
                    fruitless = 0 if grown else fruitless + 1
                    if fruitless >= _PATIENCE or not (self._passes(error) or grown or arriving.begin_anew()):
                        raise
                    time.sleep(2**fruitless)
            sha256, seen = arriving.digests()
        expected = remote.sha256 or remote.git_sha1
        if seen != expected:
            os.unlink(f"{final}.part")
            kind = "SHA-256" if remote.sha256 else "git digest"
            raise AirgapError(
                f"{path} of {repository} did not arrive as the hub has it: its {kind} is {seen}, the hub says {expected}. "
                "It was removed; run this again. If it stays so, ask whoever runs the proxy or mirror between."
            )
        os.chmod(f"{final}.part", 0o644)
        os.replace(f"{final}.part", final)
        self._record.note(final, sha256)
        return Fetched(final, sha256)

    def _get(self, repository: str, commit: str, path: str, remote: Remote, arriving: _Arriving) -> None:
        client = self._client()
        url = client.hf_hub_url(repository, path, revision=commit)
        found = client.get_hf_file_metadata(url, token=_token(), timeout=_SECONDS)
        # Compressed on the way, a file could not be taken up in the middle.
        headers = {"Accept-Encoding": "identity"}
        if _origin(found.location) in (_origin(url), _origin(client.constants.ENDPOINT)):
            # A store of large files has addresses that are signed; the token is not its business.
            headers = client.utils.build_hf_headers(token=_token(), headers=headers)
        client.file_download.http_get(
            found.location,
            arriving,
            resume_size=arriving.size,
            headers=headers,
            expected_size=remote.size,
            displayed_filename=path,
        )

    def _good(self, repository: str, blob: str, remote: Remote) -> Fetched | None:
        """The file in the cache. It was checked when it came; what changed since then is read again."""
        path = os.path.join(self._directory(repository), blob)
        known = self._record.known(path)
        if known:
            return Fetched(path, known)
        if not os.path.isfile(path):
            return None
        with _Arriving(path, remote) as present:
            sha256, seen = present.digests()
        if seen != (remote.sha256 or remote.git_sha1):
            os.unlink(path)
            return None
        self._record.note(path, sha256)
        return Fetched(path, sha256)

    def _ask(self, repository: str, revision: str) -> Any:
        api = self._client().HfApi(token=_token())
        for attempt in range(_PATIENCE):
            try:
                return api.model_info(repository, revision=revision, files_metadata=True, timeout=_SECONDS)
            except Exception as error:
                if attempt == _PATIENCE - 1 or not self._passes(error):
                    raise
                time.sleep(2**attempt)
        raise AssertionError("unreachable")

    def _passes(self, error: Exception) -> bool:
        """Whether a second try may not meet it."""
        http = http_of(self._client())
        if isinstance(error, self._client().errors.HfHubHTTPError):
            return error.response.status_code in (408, 500, 502, 503, 504)
        network = (http.TimeoutException, http.NetworkError, http.RemoteProtocolError)
        return isinstance(error, network) and "CERTIFICATE_VERIFY_FAILED" not in str(error)

    def _room(self, repository: str, files: list[Remote]) -> None:
        directory = self._directory(repository)
        needed = sum(item.size for item in files)
        for item in files:
            with contextlib.suppress(FileNotFoundError):
                needed -= os.stat(os.path.join(directory, f"{item.blob}.part")).st_size
        free = shutil.disk_usage(directory).free
        if needed > free:
            raise AirgapError(f"{repository} needs {needed} bytes more at {directory}; {free} are free.")

    def _directory(self, repository: str) -> str:
        return os.path.join(self._cache, repository.replace("/", "--"))

    @contextlib.contextmanager
    def _telling(self, repository: str, revision: str) -> Iterator[None]:
        try:
            yield
        except AirgapError:
            raise
        except Exception as error:
            raise told(self._client(), repository, revision, error, _token()) from error

    def _client(self) -> Any:
        if self._module is None:
            _prepare_environment()
            try:
                self._module = importlib.import_module("huggingface_hub")
                importlib.import_module("huggingface_hub.file_download")
            except ImportError as error:
                raise AirgapError(
                    f"A source hf://… needs huggingface_hub for {sys.executable}, and it is not there ({error}). "
                    f"Install it with: {sys.executable} -m pip install '{REQUIREMENT}'"
                ) from error
            # The client holds back what it reads until it has so much. A line that breaks before would never get on.
            self._module.constants.DOWNLOAD_CHUNK_SIZE = CHUNK
        return self._module


class _Arriving:
    """A file that is written from its end on, and its digests so far. The client takes it for an open file."""

    def __init__(
        self, path: str, remote: Remote, progress: Progress | None = None, stop: threading.Event | None = None
    ) -> None:
        self._path, self._remote, self._progress, self._stop = path, remote, progress, stop
        self._start()

    def __enter__(self) -> _Arriving:
        # Without a Progress it is a file at rest, which is only read.
        self._file = open(self._path, "a+b" if self._progress else "rb", buffering=0)
        self._file.seek(0)
        while block := self._file.read(CHUNK):
            self._count(block)
        self.begin_anew()
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.close()

    def write(self, data: bytes) -> int:
        if self._stop and self._stop.is_set():
            raise AirgapError(f"{self._path} was left where it was, because another file failed.")
        view = memoryview(data)
        while view:
            written = self._file.write(view) or 0
            self._count(view[:written])
            view = view[written:]
        return len(data)

    def tell(self) -> int:
        return self.size

    def seek(self, position: int, _whence: int = 0) -> int:
        """The client goes back to the beginning when a server would not go on in the middle, and then truncates."""
        self._position = position
        return position

    def truncate(self, size: int | None = None) -> int:
        if (self._position if size is None else size) != 0:
            raise OSError(f"{self._path} can be begun anew only")
        self._file.truncate(0)
        if self._progress:
            self._progress.add(-self.size)
        self._start()
        return 0

    def begin_anew(self) -> bool:
        """A file that is longer than it should be has no good beginning."""
        longer = self.size > self._remote.size
        if longer:
            self.truncate(0)
        return longer

    def digests(self) -> tuple[str, str]:
        """The SHA-256, and the digest that the hub knows."""
        sha256 = self._sha256.hexdigest()
        return sha256, sha256 if self._remote.sha256 else self._git.hexdigest()

    def _start(self) -> None:
        self.size = self._position = 0
        self._sha256 = hashlib.sha256()
        self._git = hashlib.sha1(b"blob %d\0" % self._remote.size, usedforsecurity=False)

    def _count(self, block: bytes | memoryview) -> None:
        self.size += len(block)
        self._sha256.update(block)
        if not self._remote.sha256:
            self._git.update(block)
        if self._progress:
            self._progress.add(len(block))


def _prepare_environment() -> None:
    """The client reads these when it is imported."""
    os.environ.update(HF_HUB_DISABLE_TELEMETRY="1", HF_HUB_DISABLE_PROGRESS_BARS="1", HF_HUB_VERBOSITY="error")
    # The client's HTTP library knows the first name only; a machine that has a private CA may state it by the others.
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        path = os.environ.get(name)
        if path:
            if not os.path.isfile(path):
                raise AirgapError(f"{name} is {path}, which is not a file; name the PEM file of the CA, or unset it.")
            os.environ.setdefault("SSL_CERT_FILE", path)


def _token() -> str | bool:
    """The token of the environment and no other; False keeps the client from looking for one."""
    return os.environ.get("HF_TOKEN", "").strip() or False


def _origin(url: str) -> str:
    return "/".join(url.split("/")[:3]).lower()
