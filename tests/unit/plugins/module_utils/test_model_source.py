# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model is named by its content, copied once, and carried as files whatever links its source has."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _model_source
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError


@pytest.fixture(name="source")
def fixture_source(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    (source / "tokenizer").mkdir(parents=True)
    (source / "config.json").write_text("{}")
    (source / "tokenizer/Ünicode name.json").write_text("[]")
    return source


def take(tmp_path: Path, source: Path) -> _model_source.Model:
    return _model_source.take(str(tmp_path / "models"), "m", str(source), _model_source.read_source("m", str(source)))


def held(tmp_path: Path, source: Path) -> _model_source.Model | None:
    return _model_source.held(str(tmp_path / "models"), "m", str(source), _model_source.read_source("m", str(source)))


def test_what_was_taken_is_held_until_the_source_changes(tmp_path: Path, source: Path) -> None:
    assert held(tmp_path, source) is None
    model = take(tmp_path, source)
    assert held(tmp_path, source) == model
    assert model.revision == model.digest[:16] and (model.size, model.files) == (4, 2)
    (source / "config.json").write_text("{ }")
    assert held(tmp_path, source) is None
    assert take(tmp_path, source).revision != model.revision


def test_the_list_is_what_sha256sum_reads(tmp_path: Path, source: Path) -> None:
    model = take(tmp_path, source)
    listing = tmp_path / f"models/m/{model.revision}.sha256"
    subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", str(listing)],
        cwd=tmp_path / f"models/m/{model.revision}",
        check=True,
    )
    assert (
        subprocess.run(["sha256sum", str(listing)], capture_output=True, check=True).stdout.decode()[:64]
        == model.digest
    )


def test_the_same_content_elsewhere_is_the_same_revision(tmp_path: Path, source: Path) -> None:
    model = take(tmp_path, source)
    os.utime(source / "config.json", (1, 1))
    again = take(tmp_path, source)
    assert again == model and held(tmp_path, source) == model


def test_an_interrupted_copy_goes_on(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied = []
    real = _model_source.copy_with_sha256

    def once(origin: str, target: str) -> tuple[str, int]:
        if copied:
            raise OSError(5, "Input/output error")
        copied.append(origin)
        return real(origin, target)

    monkeypatch.setattr(_model_source, "default_workers", lambda: 1)
    monkeypatch.setattr(_model_source, "copy_with_sha256", once)
    with pytest.raises(OSError):
        take(tmp_path, source)
    assert held(tmp_path, source) is None
    first = list(copied)
    monkeypatch.setattr(
        _model_source, "copy_with_sha256", lambda origin, target: (copied.append(origin), real(origin, target))[1]
    )
    take(tmp_path, source)
    assert sorted(copied) == sorted({*copied}) and set(first) < set(copied)


def test_a_hub_cache_is_carried_as_files(tmp_path: Path) -> None:
    hub = tmp_path / "models--org--name"
    snapshot = hub / "snapshots/abc"
    (hub / "blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    (hub / "blobs/123").write_text("{}")
    (snapshot / "config.json").symlink_to("../../blobs/123")
    model = take(tmp_path, snapshot)
    copied = tmp_path / f"models/m/{model.revision}/config.json"
    assert not copied.is_symlink() and copied.read_text() == "{}"
    assert held(tmp_path, snapshot) == model


def test_what_tools_leave_beside_a_model_is_left_out(tmp_path: Path, source: Path) -> None:
    (source / ".git").mkdir()
    (source / ".git/objects").write_text("large")
    assert set(_model_source.read_source("m", str(source))) == {"config.json", "tokenizer/Ünicode name.json"}


def refused(source: Path | str, name: str = "m") -> str:
    with pytest.raises(AirgapError) as caught:
        _model_source.read_source(name, str(source))
    return str(caught.value)


def test_refusals_name_the_file_and_the_remedy(tmp_path: Path, source: Path) -> None:
    assert "not a directory" in refused("hf://org/name@main")
    assert "not there" in refused(tmp_path / "none")
    assert "absolute" in refused("relative")
    assert "../up" in refused(source, name="../up")
    (tmp_path / "empty").mkdir()
    assert "no files" in refused(tmp_path / "empty")
    (source / "out").symlink_to("/etc/hostname")
    assert "out -> /etc/hostname" in refused(source)
    (source / "out").unlink()
    (source / "linked").symlink_to("tokenizer")
    assert "linked" in refused(source)
    (source / "linked").unlink()
    (source / "broken").symlink_to("nothing")
    assert "broken" in refused(source)
    (source / "broken").unlink()
    os.mkfifo(source / "pipe")
    assert "pipe" in refused(source)


def test_models_and_revisions_that_are_no_longer_listed_go(tmp_path: Path, source: Path) -> None:
    old = take(tmp_path, source)
    (source / "config.json").write_text("[1]")
    new = take(tmp_path, source)
    (tmp_path / "models/other/abc").mkdir(parents=True)
    gone = _model_source.prune(str(tmp_path / "models"), [new])
    assert gone == sorted([f"m/{old.revision}", f"m/{old.revision}.sha256", "other"])
    assert held(tmp_path, source) == new


def test_a_full_disk_is_told_before_the_first_byte(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_model_source.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 3})())
    with pytest.raises(AirgapError, match="needs 4 bytes more"):
        take(tmp_path, source)
