# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Models are looked at before they are fetched; where that is not possible, it is said why."""

from __future__ import annotations

import pathlib
from typing import Any, ClassVar

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _hub, _model_outline

COMMIT = "a" * 40
SOURCE = "hf://example/small@main"


class Hub:
    """A hub with one model, that counts what is fetched."""

    files: ClassVar[dict[str, bytes]] = {
        "config.json": b"{}",
        "generation_config.json": b"{}",
        "model-00001-of-00002.safetensors": b"x" * 9,
        "README.md": b"#",
    }

    def __init__(self, cache: str, _record: object, *, only_look: bool = False) -> None:
        self.cache, self.only_look = pathlib.Path(cache), only_look
        Hub.fetched: list[str] = []
        Hub.asked: list[str] = []

    def listing(self, repository: str, revision: str) -> _hub.Listing:
        Hub.asked.append(revision)
        return _hub.Listing(COMMIT, {path: _hub.Remote(len(data), "", "0" * 40) for path, data in self.files.items()})

    def fetch(self, repository: str, commit: str, files: dict[str, _hub.Remote]) -> dict[str, _hub.Fetched]:
        assert not self.only_look
        found = {}
        for path in files:
            Hub.fetched.append(path)
            target = self.cache / f"blob-{path}"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(self.files[path])
            found[path] = _hub.Fetched(str(target), "")
        return found


@pytest.fixture(autouse=True)
def hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_hub, "Hub", Hub)


def outlines(tmp_path: pathlib.Path, source: str, check: bool = False, **changes: Any) -> dict[str, Any]:
    wanted = {"models": [{"name": "small", "source": source}], "cache": str(tmp_path / "cache"), **changes}
    return _model_outline.outlines(wanted, check_mode=check)["small"]


def test_of_a_hub_the_configuration_alone_is_fetched_and_once(tmp_path: pathlib.Path) -> None:
    found = outlines(tmp_path, SOURCE)
    assert found["why"] is None
    assert sorted(path.name for path in pathlib.Path(found["path"]).iterdir()) == [
        "config.json",
        "generation_config.json",
    ]
    assert outlines(tmp_path, SOURCE) == found
    assert Hub.fetched == []


def test_the_lock_says_which_commit(tmp_path: pathlib.Path) -> None:
    lock = tmp_path / "lock.json"
    lock.write_text(f'{{"{SOURCE}": "{"b" * 40}"}}')
    outlines(tmp_path, SOURCE, lock=str(lock))
    assert Hub.asked == ["b" * 40]
    outlines(tmp_path, SOURCE, lock=str(lock), update=["small"])
    assert Hub.asked == ["main"]
    assert "b" * 40 in lock.read_text()


def test_check_mode_writes_nothing(tmp_path: pathlib.Path) -> None:
    assert "check mode" in outlines(tmp_path, SOURCE, check=True)["why"]
    assert not (tmp_path / "cache").exists()
    there = outlines(tmp_path, SOURCE)
    assert outlines(tmp_path, SOURCE, check=True) == there


def test_a_directory_stays_where_it_is(tmp_path: pathlib.Path) -> None:
    assert outlines(tmp_path, str(tmp_path)) == {"path": str(tmp_path), "why": None}


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("/nowhere", "no directory"),
        ("relative", "no directory"),
        ("ftp://example.org/x", "no directory"),
        ("nim://example.org/x:1", "NIM"),
        ("hf://not a name", "not of the form"),
    ],
)
def test_what_cannot_be_looked_at(tmp_path: pathlib.Path, source: str, words: str) -> None:
    found = outlines(tmp_path, source)
    assert found["path"] is None
    assert words in found["why"]


def test_a_repository_without_a_configuration(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hub, "files", {"model.gguf": b"x"})
    assert "has no config.json" in outlines(tmp_path, SOURCE)["why"]
    assert "without a cache" in outlines(tmp_path, SOURCE, cache="")["why"]
