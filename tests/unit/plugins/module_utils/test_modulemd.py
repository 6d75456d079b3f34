# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modular metadata: chosen by document, kept word for word."""

from __future__ import annotations

import bz2
import gzip
import lzma
from typing import Callable

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _modulemd
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError


def stream(name: str, of: str, *packages: str, version: int = 1, requires: str = "platform: [el9]") -> str:
    listed = "".join(f"\n    - {package}" for package in packages) or " []"
    return (
        f"---\ndocument: modulemd\nversion: 2\ndata:\n  name: {name}\n  stream: {of}\n  version: {version}\n"
        f"  context: ab12\n  dependencies:\n  - requires: {{{requires}}}\n  artifacts:\n    rpms:{listed}\n...\n"
    )


def default(name: str, of: str) -> str:
    return f"---\ndocument: modulemd-defaults\nversion: 1\ndata:\n  module: {name}\n  stream: {of}\n...\n"


SOURCE = (
    stream("php", "1.10", "php-0:1.10-1.x86_64", requires="platform: [el9], httpd: [2.4]")
    + stream("php", "1.1", "php-0:1.1-1.x86_64")
    + stream("httpd", "2.4", version=1)
    + stream("httpd", "2.4", version=2)
    + stream("httpd", "2.6")
    + default("php", "1.1")
    + default("httpd", "2.4")
    + "---\ndocument: modulemd-translations\nversion: 1\ndata: {module: php, stream: '1.1'}\n...\n"
)


def kept(packages: set[str], *enabled: str) -> list[str]:
    documents = _modulemd.parse(_modulemd.carried(_modulemd.parse(SOURCE), packages, enabled))
    return sorted(f"{item.kind} {item.module}:{item.stream}" for item in documents)


def test_streams_are_text_and_never_numbers() -> None:
    assert _modulemd.streams(_modulemd.parse(SOURCE)) == {"httpd": ["2.4", "2.6"], "php": ["1.1", "1.10"]}


def test_a_stream_travels_with_its_packages_and_the_default_that_is_there() -> None:
    assert kept({"php-0:1.1-1.x86_64"}) == ["modulemd php:1.1", "modulemd-defaults php:1.1"]


def test_what_a_stream_requires_travels_in_its_newest_version() -> None:
    text = _modulemd.carried(_modulemd.parse(SOURCE), {"php-0:1.10-1.x86_64"}, [])
    assert kept({"php-0:1.10-1.x86_64"}) == [
        "modulemd httpd:2.4",
        "modulemd php:1.10",
        "modulemd-defaults httpd:2.4",
    ]
    assert (
        "version: 2\n  context" in text
        and "version: 1\n  context: ab12\n  dependencies:\n  - requires: {platform: [el9]}" not in text
    )


def test_an_enabled_stream_becomes_the_default() -> None:
    assert "modulemd-defaults php:1.10" in kept({"php-0:1.10-1.x86_64"}, "php:1.10")


def test_without_modular_packages_there_is_nothing() -> None:
    assert _modulemd.carried(_modulemd.parse(SOURCE), {"bash-0:5-1.x86_64"}, []) == ""


def test_the_same_gives_the_same_text() -> None:
    documents = _modulemd.parse(SOURCE)
    one = _modulemd.carried(documents, {"php-0:1.10-1.x86_64"}, ["php:1.10"])
    assert one == _modulemd.carried(documents[::-1], {"php-0:1.10-1.x86_64"}, ["php:1.10"])


@pytest.mark.parametrize(
    ("stream_", "wanted", "fits"),
    [("1", (), True), ("1", ("1",), True), ("1", ("2",), False), ("1", ("-1",), False), ("1", ("-2",), True)],
)
def test_required_streams(stream_: str, wanted: tuple[str, ...], fits: bool) -> None:
    assert _modulemd._fits(stream_, wanted) is fits


@pytest.mark.parametrize(
    ("ending", "pack"), [("", bytes), (".gz", gzip.compress), (".xz", lzma.compress), (".bz2", bz2.compress)]
)
def test_metadata_is_read_however_it_is_packed(ending: str, pack: Callable[[bytes], bytes]) -> None:
    assert _modulemd.read(pack(SOURCE.encode()), f"modules.yaml{ending}") == SOURCE
    with pytest.raises(AirgapError, match="cannot be read"):
        _modulemd.read(b"\xff\x00", f"modules.yaml{ending}")


@pytest.mark.parametrize("text", ["---\na: [\n", "---\ndocument: modulemd\ndata:\n\t- x\n"])
def test_what_is_no_yaml_is_told(text: str) -> None:
    with pytest.raises(AirgapError, match="cannot be read"):
        _modulemd.parse(text)


@pytest.mark.parametrize("text", ["", "---\n[]\n", "---\ndocument: modulemd\ndata: {artifacts: x, dependencies: 1}\n"])
def test_what_is_odd_is_passed_over(text: str) -> None:
    assert _modulemd.carried(_modulemd.parse(text), {"x"}, []) == ""
