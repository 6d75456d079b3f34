# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A manifest from a drive may hold anything; reading it ends in a sound manifest or in one clear error."""

from __future__ import annotations

import copy
import json
import os.path
from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _manifest
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.sealed import CONTENT, make_manifest
from hypothesis import given, settings
from hypothesis import strategies as st

GOOD = json.loads(_manifest.render(make_manifest(CONTENT)))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] + [place for key, inner in items for place in places(inner, (*path, key))]


def with_value(place: tuple[Any, ...], value: Any) -> Any:
    if not place:
        return value
    document = copy.deepcopy(GOOD)
    inner = document
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return document


def stays_inside(manifest: _manifest.Manifest) -> None:
    paths = [file.path for file in manifest.files]
    paths += [item["directory"] for kind in ("packages", "models") for item in manifest.artifacts[kind]]
    paths += [item["key"] for item in manifest.artifacts["packages"]]
    paths += [f"{item['name']}/{item['revision']}" for item in manifest.artifacts["models"]]
    for path in paths:
        assert os.path.normpath(os.path.join("/root", path)) == f"/root/{path}"


def test_what_is_rendered_is_read_back_and_rendered_the_same() -> None:
    manifest = make_manifest(CONTENT)
    data = _manifest.render(manifest)
    assert _manifest.parse(data) == manifest._replace(files=sorted(manifest.files))
    assert _manifest.render(_manifest.parse(data)) == data
    assert data.endswith(b"}\n")


@given(st.binary(max_size=400))
def test_any_bytes_end_in_one_error(data: bytes) -> None:
    with pytest.raises(AirgapError):
        _manifest.parse(data)


@given(JSON)
def test_any_json_ends_in_one_error(document: Any) -> None:
    with pytest.raises(AirgapError):
        _manifest.parse(json.dumps(document).encode())


@settings(max_examples=400)
@given(st.sampled_from(places(GOOD)), JSON)
def test_any_value_in_any_place_is_read_safely_or_refused(place: tuple[Any, ...], value: Any) -> None:
    try:
        manifest = _manifest.parse(json.dumps(with_value(place, value)).encode())
    except AirgapError as error:
        str(error).encode("utf-8")
    else:
        stays_inside(manifest)


@settings(max_examples=300)
@given(
    st.sampled_from(
        [place for place in places(GOOD) if place and place[-1] in ("path", "directory", "key", "name", "revision")]
    ),
    st.text(alphabet="./a\\\0\n~-", max_size=8),
)
def test_no_path_leaves_the_bundle(place: tuple[Any, ...], value: str) -> None:
    try:
        manifest = _manifest.parse(json.dumps(with_value(place, value)).encode())
    except AirgapError:
        return
    stays_inside(manifest)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "..",
        "../x",
        "a/../../x",
        "a//b",
        "a/",
        "./a",
        "a/.",
        "a\\b",
        "a\nb",
        "a\0b",
        "\ud800",
        "x" * 5000,
        3,
        None,
        ["a"],
    ],
)
def test_a_bad_path_is_refused(path: Any) -> None:
    with pytest.raises(AirgapError, match="the path"):
        _manifest.parse(json.dumps(with_value(("files", 0, "path"), path)).encode())


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("format",), 2, "format 2"),
        (("format",), True, "format True"),
        (("files", 0, "size"), -1, "size"),
        (("files", 0, "size"), True, "size"),
        (("files", 0, "size"), 1.5, "size"),
        (("files", 0, "sha256"), "A" * 64, "sha256"),
        (("files", 0, "path"), "manifest.json", "cannot vouch"),
        (("files", 0, "path"), "images/index.json", "twice"),
        (("artifacts", "models", 0, "revision"), "../..", "revision"),
        (("artifacts", "images", 0, "digest"), "sha256:0", "digest"),
        (("artifacts", "packages", 0, "packages"), [{"name": "x"}], "version"),
        (("artifacts", "controller"), None, "controller"),
    ],
)
def test_a_fault_is_named(place: tuple[Any, ...], value: Any, said: str) -> None:
    with pytest.raises(AirgapError, match=said):
        _manifest.parse(json.dumps(with_value(place, value)).encode())


def test_a_key_that_stands_twice_is_refused() -> None:
    data = _manifest.render(make_manifest(CONTENT)).replace(b'"site": "lab"', b'"site": "lab", "site": "other"')
    with pytest.raises(AirgapError, match="twice"):
        _manifest.parse(data)


@pytest.mark.parametrize("data", [b"[" * 100000, b"\xff", b"NaN", b'{"format": ' + b"9" * 5000 + b"}"])
def test_hostile_documents_end_in_one_error(data: bytes) -> None:
    with pytest.raises(AirgapError):
        _manifest.parse(data)
