# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What went wrong at a model hub, in words, with the remedy and never with the token."""

from __future__ import annotations

import importlib
from typing import Any

from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError


def told(client: Any, repository: str, revision: str, error: Exception, token: str | bool) -> AirgapError:
    """The error of the client as one of ours."""
    endpoint = client.constants.ENDPOINT
    text = _words(client, repository, revision, error, bool(token), endpoint)
    return AirgapError(text.replace(str(token), "<HF_TOKEN>") if token else text)


def http_of(client: Any) -> Any:
    """The HTTP library that the client stands on: httpx until its versions 1, httpx2 since."""
    modules = (kind.__module__.partition(".")[0] for kind in client.errors.HfHubHTTPError.__mro__)
    return importlib.import_module(next(name for name in modules if name.startswith("httpx")))


def _words(client: Any, repository: str, revision: str, error: Exception, token: bool, endpoint: str) -> str:
    kinds = client.errors
    page = f"{endpoint}/{repository}"
    who = "the account of HF_TOKEN" if token else "nobody (HF_TOKEN is not set where the playbook runs)"
    if isinstance(error, kinds.OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set where the playbook runs; unset it for staging."
    if isinstance(error, kinds.GatedRepoError):
        return (
            f"{repository} is gated, and the hub was asked by {who}. Accept its terms at {page}, and set HF_TOKEN to a read "
            "token of the account that accepted them."
        )
    if isinstance(error, kinds.DisabledRepoError):
        return f"{repository} was disabled by the hub: see {page}."
    if isinstance(error, kinds.RevisionNotFoundError):
        return f"{repository} has no revision {revision}. Name a branch, a tag or a whole commit of {page}."
    if isinstance(error, kinds.RepositoryNotFoundError):
        return (
            f"There is no model {repository} at {endpoint}, or it is private and the hub was asked by {who}. "
            "Check the name in source, or set HF_TOKEN to a token that may read it."
        )
    if isinstance(error, kinds.EntryNotFoundError):
        return f"{repository}@{revision} lists a file that {endpoint} does not have: {_first_line(error)}. Is it a complete mirror?"
    if isinstance(error, kinds.HfHubHTTPError):
        return _status(repository, endpoint, error, token)
    return _network(http_of(client), repository, endpoint, error)


def _status(repository: str, endpoint: str, error: Any, token: bool) -> str:
    status = error.response.status_code
    if status == 401 and token:
        return f"{endpoint} does not accept HF_TOKEN (401) for {repository}: it is wrong, expired or revoked. Make a new read token."
    if status == 401:
        return f"{endpoint} wants to know who asks for {repository} (401). Set HF_TOKEN where the playbook runs."
    if status == 403:
        return (
            f"{endpoint} forbids {repository} (403): {_first_line(error)} "
            "The account of HF_TOKEN or the token itself may not read it, or a proxy between blocks it."
        )
    if status == 404:
        return f"{endpoint} does not know {repository} (404). Check the name in source, and HF_ENDPOINT if a mirror is used."
    if status == 429:
        return f"{endpoint} gives no more for now (429): {_first_line(error)} Run this again later; HF_TOKEN raises the limit."
    return (
        f"{endpoint} answered {status} for {repository}: {_first_line(error)} Run this again; what has arrived is kept."
    )


def _network(http: Any, repository: str, endpoint: str, error: Exception) -> str:
    said = _first_line(error)
    if isinstance(error, http.ProxyError):
        return f"The proxy between here and {endpoint} refused ({said.rstrip('.')}). Check HTTPS_PROXY and HTTP_PROXY, with their user and password."
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return (
            f"The certificate of {endpoint} is not trusted ({said.rstrip('.')}). For a private CA set SSL_CERT_FILE to its PEM file, "
            "or install it on this machine."
        )
    if isinstance(error, http.TransportError):
        return (
            f"{endpoint} cannot be reached for {repository} ({said.rstrip('.')}). Check the network; behind a proxy set HTTPS_PROXY, "
            "with a mirror HF_ENDPOINT. What has arrived is kept."
        )
    if isinstance(error, (ValueError, KeyError, TypeError)):
        return f"{endpoint} does not answer as a model hub does ({said.rstrip('.')}). Check HF_ENDPOINT, and whether a proxy wants a login."
    return f"{repository} could not be fetched from {endpoint}: {said} Run this again; what has arrived is kept."


def _first_line(error: Exception) -> str:
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), "") or type(error).__name__
    return said if said.endswith(".") else f"{said}."
