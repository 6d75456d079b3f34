# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same rules for a directory as for a hub, and nothing is begun that cannot be ended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _models
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError


def item(name: str, source: object, **more: Any) -> dict[str, Any]:
    return {"name": name, "source": str(source), "include": [], "exclude": [], "allow_pickle": [], "nim": None, **more}


def collect(tmp_path: Path, *items: dict[str, Any], check_mode: bool = False, **more: Any) -> dict[str, Any]:
    wanted = {"path": str(tmp_path / "models"), "cache": None, "lock": None, "digests": None, "update": [], **more}
    return _models.collect({**wanted, "models": list(items)}, check_mode=check_mode).result()


def refused(tmp_path: Path, *items: dict[str, Any], **more: Any) -> str:
    with pytest.raises(AirgapError) as caught:
        collect(tmp_path, *items, **more)
    return str(caught.value)


@pytest.fixture(name="source")
def fixture_source(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    (source / "original").mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "pytorch_model.bin", "original/params.json"):
        (source / name).write_text("{}")
    (source / "README.md").write_text("---\nlicense: mit\n---\n")
    return source


def test_a_directory_is_chosen_from_as_a_hub_is(tmp_path: Path, source: Path) -> None:
    result = collect(tmp_path, item("m", source))
    assert result["left_out"] == ["m/original/params.json", "m/pytorch_model.bin"]
    assert "m/pytorch_model.bin" in result["msg"]
    artifact = result["artifacts"][0]
    assert (artifact["files"], artifact["licence"], artifact["source"]) == (3, "mit", str(source))
    assert not collect(tmp_path, item("m", source))["changed"]
    narrowed = collect(tmp_path, item("m", source, exclude=["config.json"]))
    assert narrowed["changed"] and narrowed["artifacts"][0]["revision"] != artifact["revision"]


def test_pickled_files_and_half_models_of_a_directory_are_refused(tmp_path: Path, source: Path) -> None:
    (source / "model.safetensors").unlink()
    assert "pytorch_model.bin" in refused(tmp_path, item("m", source))
    assert collect(tmp_path, item("m", source, allow_pickle=["pytorch_model.bin"]))["changed"]
    (source / "model.safetensors").write_text("")
    (source / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "gone.safetensors"}}))
    assert "gone.safetensors" in refused(tmp_path, item("m", source))


def test_every_source_is_looked_at_before_the_first_is_brought(tmp_path: Path, source: Path) -> None:
    assert "/none" in refused(tmp_path, item("m", source), item("n", "/none"))
    assert not (tmp_path / "models").exists()


def test_what_makes_no_sense_is_named(tmp_path: Path, source: Path) -> None:
    assert "listed twice: m" in refused(tmp_path, item("m", source), item("m", source))
    assert "not listed: x" in refused(tmp_path, item("m", source), update=["x"])
    assert "no nim://image" in refused(tmp_path, item("m", source, nim={"profile": "p"}))
    assert "name its directory as cache" in refused(tmp_path, item("m", "hf://org/name"))
    assert "hf://organisation/name" in refused(tmp_path, item("m", "s3://bucket/m"))
    assert "cannot be part of a path" in refused(tmp_path, item("../m", source))


def test_check_mode_touches_nothing(tmp_path: Path, source: Path) -> None:
    result = collect(tmp_path, item("m", source), check_mode=True, digests=str(tmp_path / "digests"))
    assert result["fetched"] == ["m"] and result["fetched_bytes"] > 0
    assert not (tmp_path / "models").exists() and not (tmp_path / "digests").exists()
