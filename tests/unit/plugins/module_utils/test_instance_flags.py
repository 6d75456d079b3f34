# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An option that the engine's own parser does not know is refused, where its flags are known for this version."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _instance_flags
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.instances import CHAT, ENGINE

FLAGS = {
    "version": "0.32.0",
    "names": [
        *(
            "--max-model-len",
            "--enable-prefix-caching",
            "--no-enable-prefix-caching",
            "speculative_config",
            "--headless",
        )
    ],
}


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("docker.io/vllm/vllm-openai:v0.32.0", "0.32.0"),
        ("docker.io/vllm/vllm-openai:v0.32.0-cu129", "0.32.0"),
        ("docker.io/vllm/vllm-openai:v0.32.0@sha256:ab", "0.32.0"),
        ("docker.io/lmsysorg/sglang:v0.5.6.post2-cu126", "0.5.6.post2"),
        ("nvcr.io/nvidia/tritonserver:25.10-trtllm-python-py3", "25.10"),
        ("nvcr.io/nvidia/tensorrt-llm/release:1.2.0rc1", "1.2.0rc1"),
        ("ghcr.io/ggml-org/llama.cpp:server-cuda-b6000", "6000"),
        ("depot:5000/vllm", ""),
        ("depot:5000/vllm@sha256:ab", ""),
        ("docker.io/localai/localai:latest-aio-cpu", ""),
        ("lab/engine:1", ""),
    ],
)
def test_the_version_that_a_tag_states(image: str, version: str) -> None:
    assert _instance_flags.stated_version(image) == version


@pytest.mark.parametrize(
    ("image", "old"), [("x:v0.31.9", True), ("x:v0.31.0-cu129", True), ("x:v0.32.0", False), ("x:nightly", False)]
)
def test_an_image_below_the_minimum(image: str, old: bool) -> None:
    assert bool(_instance_flags.too_old(image, ENGINE)) is old


def test_an_old_image_is_told_with_the_remedy() -> None:
    assert "image is x:v0.31.9; below 0.32.0 vllm" in str(_instance_flags.too_old("x:v0.31.9", ENGINE))


def test_builds_by_number_are_compared_too() -> None:
    assert _instance_flags.too_old("x:server-b5999", {"name": "llama-cpp", "minimum_version": "b6000"})
    assert not _instance_flags.too_old("x:server-b10000", {"name": "llama-cpp", "minimum_version": "b6000"})


def unknown(options: dict[str, Any], image: str = "x:v0.32.0", **changes: Any) -> list[str]:
    return list(
        _instance_flags.unknown_options(
            {**CHAT, "image": image, "options": options}, {**ENGINE, "flags": FLAGS, **changes}
        )
    )


def test_an_unknown_option_is_told_with_what_may_be_meant() -> None:
    assert unknown({"max_modellen": 1}) == [
        "options.max_modellen is no option of vllm 0.32.0. Did you mean max_model_len? The names are the engine's own flags."
    ]
    assert "Did you mean" not in unknown({"xyz": 1})[0]


@pytest.mark.parametrize(
    "option",
    ["max_model_len", "max-model-len", "no_enable_prefix_caching", "speculative_config.num_speculative_tokens"],
)
def test_options_as_the_engine_takes_them(option: str) -> None:
    assert unknown({option: 1}) == []


def test_an_option_that_is_taken_back_is_not_told_to_the_engine() -> None:
    assert unknown({"xyz": None}) == []


def test_a_switch_without_a_negated_form_cannot_be_false() -> None:
    assert unknown({"headless": False}) == [
        "options.headless is false, and vllm 0.32.0 has no --no-headless to say so. "
        "Leave the option out, or write null to take back what the engine's data state."
    ]
    assert unknown({"no_headless": True})
    assert unknown({"enable-prefix-caching": False, "headless": True}) == []
    # Then false says nothing at all.
    assert unknown({"headless": False}, negated_options=False) == []


def test_an_engine_without_any_option_has_none_in_any_version() -> None:
    for image in ("x:0.33.0", "x:latest"):
        (reason,) = unknown({"num_parallel": 4}, image, name="ollama", flags={"version": "", "names": []})
        assert reason == (
            "options.num_parallel is stated, and ollama has no options. Remove it; what can be set is in environment."
        )


@pytest.mark.parametrize(
    ("image", "known"),
    [
        ("x:v0.32.0", True),
        ("x:v0.32.0@sha256:ab", True),
        ("x:v0.33.0", False),
        ("x:latest", False),
        ("x@sha256:ab", False),
    ],
)
def test_flags_of_another_version_or_of_none_are_not_known(image: str, known: bool) -> None:
    assert bool(unknown({"xyz": 1}, image)) is known


def with_images(options: dict[str, Any], image: str, images: dict[str, Any]) -> list[str]:
    instance = {**CHAT, "image": image, "options": options}
    return list(_instance_flags.unknown_options(instance, {**ENGINE, "flags": FLAGS}, images))


DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize("image", ["x:v0.33.0", "x:nightly", f"x@{DIGEST}", f"elsewhere/x:v9@{DIGEST}"])
def test_what_the_image_itself_told_goes_first(image: str) -> None:
    told = {"vllm": ["--max-model-len", "--new-flag"], "other": ["--xyz"]}
    images = {"y:v2": {"digest": "sha256:" + "cd" * 32}, image: {"digest": DIGEST, "flags": told}}
    assert with_images({"new_flag": 1}, image, images) == []
    (reason,) = with_images({"xyz": 1}, image, images)
    assert reason.startswith(f"options.xyz is no option of vllm in {image}.")
    if "@" in image:
        # The bundle may have it by another name.
        assert with_images({"new_flag": 1}, image, {"x:nightly": images[image]}) == []
        assert with_images({"xyz": 1}, image, {"x:nightly": images[image]})


def test_what_a_help_keeps_silent_about_may_stand_in_the_list_of_its_version() -> None:
    images = {"x:v0.32.0": {"flags": {"vllm": ["--new-flag"]}}}
    assert with_images({"new_flag": 1, "headless": True}, "x:v0.32.0", images) == []
    assert with_images({"xyz": 1}, "x:v0.32.0", images)


def test_a_digest_has_the_version_of_the_tag_that_the_bundle_has_it_by() -> None:
    images = {"x:v0.31.0": {"digest": DIGEST}, "y:v0.32.0": {"digest": "sha256:" + "cd" * 32}}
    assert _instance_flags.version_of(f"x@{DIGEST}", images) == "0.31.0"
    assert _instance_flags.version_of("x@sha256:00", images) == ""
    assert "below 0.32.0" in str(_instance_flags.too_old(f"x@{DIGEST}", ENGINE, images))
    # Its own tag goes first.
    assert _instance_flags.too_old(f"x:v0.32.1@{DIGEST}", ENGINE, images) is None


@pytest.mark.parametrize(
    ("image", "told"),
    [
        ("x:v0.32.0", ""),
        ("x:v0.33.0", "flags not checked (no list of its image's is known)"),
        (
            "x@sha256:ab",
            "flags not checked (no list of its image's is known), version not checked (its image's tag states none)",
        ),
    ],
)
def test_what_is_not_checked_is_told(image: str, told: str) -> None:
    assert _instance_flags.unchecked({**CHAT, "image": image}, {**ENGINE, "flags": FLAGS}, {}) == told


@pytest.mark.parametrize("flags", [None, {}, {"version": "0.32.0", "names": "flags/vllm.yml"}])
def test_without_flags_nothing_is_refused(flags: Any) -> None:
    assert unknown({"xyz": 1}, flags=flags) == []


def of_preset(preset: str, generation: str = "", **options: Any) -> list[str]:
    instance = {**CHAT, "image": "x:v0.32.0", "preset": preset, "options": options}
    flags = {**FLAGS, "names": [*FLAGS["names"], "--performance-mode"]}
    return list(_instance_flags.unknown_of_preset(instance, {**ENGINE, "flags": flags}, {}, generation))


def test_a_preset_of_an_image_that_lacks_its_option() -> None:
    assert of_preset("throughput") == [
        "preset throughput sets max_num_seqs, which is no option of vllm 0.32.0. Write options.max_num_seqs as null to do without "
        "it, or leave the preset out."
    ]
    assert of_preset("throughput", max_num_seqs=None) == []
    assert of_preset("latency", "blackwell") == []
