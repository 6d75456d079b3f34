# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a GPU is divided into MIG instances, and what nvidia-smi makes of a wanted division.

Tables and messages are those that nvidia-smi of the branches 535 to 580 prints; the rules are those of NVIDIA's MIG User
Guide ("Getting Started with MIG"): instances do not outlive a restart, MIG mode only on Ampere; the 3g profile is placed first.
"""

from __future__ import annotations

import contextlib
import re
from typing import Any, Iterable, NamedTuple, Sequence

from ansible_collections.airgap.inference.plugins.module_utils._driver_services import Said, short
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._gpu_change import Smi, in_use, label, select

# |   0  MIG 1g.10gb+me      20     1/1        9.75       No     16     1     0   |
_PROFILE = re.compile(r"^\|\s+\d+\s+MIG (\S+)\s+(\d+)\s+\d+/(\d+)\s", re.M)
# GPU  0 Profile ID 15 Placements: {0,2,4,6}:2
_PLACEMENT = re.compile(r"^GPU\s+\d+ Profile ID\s+(\d+) Placements?\s*: \{([\d,]+)\}:(\d+)", re.M)
# |   0  MIG 3g.20gb          9        2          0:4     |
_GPU_INSTANCE = re.compile(r"^\|\s+\d+\s+MIG (\S+)\s+\d+\s+(\d+)\s+\d+:\d+\s+\|", re.M)
# |   0      2       MIG 1c.3g.20gb       0         0          0:1     |, in old branches without a placement
_COMPUTE_INSTANCE = re.compile(r"^\|\s+\d+\s+(\d+)\s+MIG (\S+)\s+\d+\s+(\d+)(?:\s+\d+:\d+)?\s+\|", re.M)

_SIZE = re.compile(r"^(\d+)g\.(\d+)gb")

# nvidia-smi(1), RETURN VALUE: "A query to find an object was unsuccessful".
_NOT_FOUND = 6


class Profile(NamedTuple):
    """A size of instance that a GPU offers: at most so many of it, each at one of the starts; () where that is not told."""

    total: int
    starts: tuple[int, ...] = ()
    slices: int = 0


class Layout(NamedTuple):
    """How a GPU is divided; a GPU instance that has no compute instance of its own size is no layout that this module makes."""

    enabled: bool
    instances: tuple[str, ...] = ()
    whole: bool = True

    def described(self) -> str:
        if not self.enabled:
            return "off"
        parts = ", ".join(self.instances) or "on, without instances"
        return parts if self.whole else f"{parts} (with other compute instances)"

    def told(self) -> dict[str, Any]:
        return {"mode": "enabled" if self.enabled else "disabled", "instances": list(self.instances)}


class Change(NamedTuple):
    """A GPU that is not as it should be."""

    gpu: dict[str, Any]
    before: Layout
    wanted: Layout


def read_profiles(listed: str, placed: str) -> dict[str, Profile]:
    """The profiles of mig -lgip, with the places that mig -lgipp knows for them."""
    places = {
        match[1]: (tuple(int(start) for start in match[2].split(",")), int(match[3]))
        for match in _PLACEMENT.finditer(placed)
    }
    return {match[1]: Profile(int(match[3]), *places.get(match[2], ((), 0))) for match in _PROFILE.finditer(listed)}


def read_layout(gpu_instances: str, compute_instances: str) -> Layout:
    """The division that mig -lgi and mig -lci show for one GPU."""
    sizes = {match[2]: match[1] for match in _GPU_INSTANCE.finditer(gpu_instances)}
    inside: dict[str, list[str]] = {}
    for match in _COMPUTE_INSTANCE.finditer(compute_instances):
        inside.setdefault(match[1], []).append(match[2])
    # A compute instance of the whole size carries its GPU instance's name; with or without the media engines' suffix.
    whole = all([_bare(name) for name in inside.get(number, [])] == [_bare(size)] for number, size in sizes.items())
    return Layout(True, ordered(sizes.values()), whole)


def _bare(profile: str) -> str:
    match = _SIZE.match(profile)
    return match[0] if match else profile


def ordered(profiles: Iterable[str]) -> tuple[str, ...]:
    """The largest first: the driver places each where it finds room, and a large one finds none between small ones."""

    def size(profile: str) -> tuple[int, int, str]:
        match = _SIZE.match(profile)
        return (-int(match[1]), -int(match[2]), profile) if match else (0, 0, profile)

    return tuple(sorted((profile.replace("MIG ", "").strip() for profile in profiles), key=size))


def refusal(wanted: Sequence[str], profiles: dict[str, Profile]) -> str | None:
    """Why a GPU cannot be divided so, by what it offers; None when it can, as far as that is told."""
    offered = ", ".join(f"{name} (at most {profile.total})" for name, profile in profiles.items())
    unknown = sorted({profile for profile in wanted if profile not in profiles})
    if unknown:
        return f"it has no profile {', '.join(unknown)}; it has {offered}"
    for name in dict.fromkeys(wanted):
        if wanted.count(name) > profiles[name].total:
            return f"{wanted.count(name)} instances of {name} are too many; it has {offered}"
    if all(profiles[name].starts for name in wanted) and not _fit([profiles[name] for name in wanted], frozenset()):
        return (
            f"there is no room for {', '.join(wanted)} together; 'nvidia-smi mig -lgipp' shows where each profile may begin "
            "and how much it takes"
        )
    return None


def _fit(profiles: Sequence[Profile], taken: frozenset[int]) -> bool:
    if not profiles:
        return True
    first = profiles[0]
    for start in first.starts:
        place = frozenset(range(start, start + first.slices))
        if not place & taken and _fit(profiles[1:], taken | place):
            return True
    return False


def stated(gpus: Sequence[dict[str, Any]], layout: Sequence[dict[str, Any]]) -> list[tuple[dict[str, Any], Layout]]:
    """Each GPU that the layout names, with the division that it shall have."""
    found: dict[str, tuple[dict[str, Any], Layout]] = {}
    for at, entry in enumerate(layout):
        for gpu in select(gpus, entry["gpus"], f"layout[{at}].gpus"):
            if gpu["uuid"] in found:
                raise AirgapError(
                    f"layout[{at}].gpus names {label(gpu)}, which an entry before it names as well. State each GPU once"
                )
            found[gpu["uuid"]] = (gpu, Layout(bool(entry["instances"]), ordered(entry["instances"])))
    return sorted(found.values(), key=lambda pair: int(pair[0]["index"]))


def commands(program: str, divided: Sequence[tuple[dict[str, Any], Layout]]) -> list[list[str]]:
    """What makes the layout after a restart. Mode first: from the Hopper generation on it is lost as well."""
    made = []
    for gpu, wanted in divided:
        if wanted.enabled:
            made.append([program, "-i", gpu["uuid"], "-mig", "1"])
            made.append([program, "mig", "-i", gpu["uuid"], "-cgi", ",".join(wanted.instances), "-C"])
    return made


def present(smi: Smi, gpu: dict[str, Any]) -> Layout:
    """How a GPU is divided now."""
    if gpu["mig"]["mode"] != "enabled":
        return Layout(False)
    told = []
    for option in ("-lgi", "-lci"):
        said = smi.say("mig", "-i", gpu["uuid"], option)
        if said.rc not in (0, _NOT_FOUND):
            raise AirgapError(
                f"{label(gpu)}: its MIG instances cannot be listed: nvidia-smi mig {option} says '{short(said.text)}'"
            )
        told.append(said.text)
    return read_layout(*told)


def changes(smi: Smi, gpus: Sequence[dict[str, Any]], layout: Sequence[dict[str, Any]]) -> list[Change]:
    """What differs; all reasons why it cannot be changed are in one error, before anything is."""
    differing, refusals = [], []
    for gpu, wanted in stated(gpus, layout):
        if gpu["mig"]["mode"] is None:
            if wanted.enabled:
                refusals.append(
                    f"{label(gpu)}, {gpu['name']}, cannot be divided: nvidia-smi shows no MIG mode for it. Leave it out of the "
                    "layout (an RTX PRO card needs its firmware and its display mode set for MIG first: NVIDIA's MIG User Guide)"
                )
            continue
        before = present(smi, gpu)
        if before == wanted and gpu["mig"]["pending"] in (gpu["mig"]["mode"], None):
            continue
        busy = in_use(gpu)
        if busy:
            refusals.append(
                f"{label(gpu)} is to be divided anew ({before.described()} -> {wanted.described()}), and {busy}. "
                "Stop what uses it (drain the host) and run again"
            )
        profiles = offered(smi, gpu) if wanted.enabled else {}
        reason = refusal(wanted.instances, profiles) if profiles else None
        if reason:
            refusals.append(f"{label(gpu)} cannot be divided into {wanted.described()}: {reason}")
        differing.append(Change(gpu, before, wanted))
    if refusals:
        raise AirgapError("; ".join(refusals))
    return differing


def offered(smi: Smi, gpu: dict[str, Any]) -> dict[str, Profile]:
    """The GPU's profiles; empty where an old branch tells them only once MIG mode is on."""
    listed = smi.say("mig", "-i", gpu["uuid"], "-lgip")
    placed = smi.say("mig", "-i", gpu["uuid"], "-lgipp")
    return read_profiles(listed.text if listed.rc == 0 else "", placed.text if placed.rc == 0 else "")


def apply(smi: Smi, change: Change) -> str | None:
    """Divide one GPU, or return why that waits for a restart; after a failure the GPU is divided as before."""
    gpu, wanted = change.gpu, change.wanted
    if wanted.enabled:
        waiting = set_mode(smi, gpu, True)
        if waiting:
            return waiting
    try:
        destroy(smi, gpu, change.before)
        if not wanted.enabled:
            return set_mode(smi, gpu, False)
        reason = refusal(wanted.instances, offered(smi, gpu))
        if reason:
            raise AirgapError(f"{label(gpu)} cannot be divided into {wanted.described()}: {reason}")
        create(smi, gpu, wanted)
    except AirgapError as error:
        raise AirgapError(f"{error}. {restore(smi, change)}") from error
    return None


def set_mode(smi: Smi, gpu: dict[str, Any], on: bool) -> str | None:
    """Switch MIG mode, with a reset where the GPU needs one; the reason when it takes a restart."""
    wanted = "enabled" if on else "disabled"
    if gpu["mig"]["mode"] == gpu["mig"]["pending"] == wanted:
        return None
    said, now = _switch(smi, gpu, on)
    if now["mig"]["mode"] == wanted:
        return None
    if now["mig"]["pending"] != wanted:
        raise AirgapError(
            f"{label(gpu)}: MIG mode cannot be {wanted}: nvidia-smi says '{short(said.text)}'{smi.holders()}"
        )
    # Ampere resets the GPU for this, and monitors hinder that.
    with smi.services_stopped():
        said, now = _switch(smi, gpu, on)
        if now["mig"]["mode"] == wanted:
            return None
        reason = smi.reset(now)
    if reason is None and smi.gpu(gpu["uuid"])["mig"]["mode"] == wanted:
        return None
    return f"{label(gpu)}: MIG mode will be {wanted} after a restart; {reason or 'a reset did not bring it'}"


def _switch(smi: Smi, gpu: dict[str, Any], on: bool) -> tuple[Said, dict[str, Any]]:
    # Its exit status is 0 for what it calls a warning as well ("Unable to enable MIG Mode … Treating as warning and moving on").
    said = smi.say("-i", gpu["uuid"], "-mig", "1" if on else "0")
    return said, smi.gpu(gpu["uuid"])


def destroy(smi: Smi, gpu: dict[str, Any], before: Layout) -> None:
    """Take all instances away: the compute instances first, or the driver calls the others in use."""
    if not before.instances:
        return
    for option in ("-dci", "-dgi"):
        said = smi.say("mig", "-i", gpu["uuid"], option)
        # A GPU instance may be without compute instances.
        if said.rc not in (0, _NOT_FOUND) or "Unable to destroy" in said.text:
            raise AirgapError(
                f"{label(gpu)}: its MIG instances cannot be taken away: nvidia-smi mig {option} says '{short(said.text)}'{smi.holders()}"
            )


def create(smi: Smi, gpu: dict[str, Any], wanted: Layout) -> None:
    if not wanted.instances:
        return
    said = smi.say("mig", "-i", gpu["uuid"], "-cgi", ",".join(wanted.instances), "-C")
    made = present(smi, smi.gpu(gpu["uuid"]))
    if said.rc != 0 or made != wanted:
        busy = smi.holders() if "In use by another client" in said.text else ""
        raise AirgapError(
            f"{label(gpu)} was to be divided into {wanted.described()} and is {made.described()}: nvidia-smi says '{short(said.text)}'{busy}"
        )


def restore(smi: Smi, change: Change) -> str:
    """Put a GPU back after a failure, and say whether that worked; what was not whole before cannot be made again."""
    gpu, before = change.gpu, change.before
    try:
        now = smi.gpu(gpu["uuid"])
        left = present(smi, now)
        if left != before:
            destroy(smi, now, left)
            if before.enabled:
                create(smi, now, before._replace(whole=True))
            else:
                set_mode(smi, now, False)
    except AirgapError as error:
        return f"It could not be put back as it was ({before.described()}): {error}"
    return f"It is as it was before: {before.described()}"


def converge(smi: Smi, layout: Sequence[dict[str, Any]], check: bool, done: list[dict[str, Any]]) -> dict[str, Any]:
    """Divide the GPUs as stated; `done` gains each GPU that was changed, so that it is known after a failure too."""
    gpus = smi.gpus()
    reasons: list[str] = []
    differing = changes(smi, gpus, layout)
    with contextlib.ExitStack() as stack:
        if differing and not check:
            stack.enter_context(smi.limits_kept(gpus))
        _divide(smi, differing, check, done, reasons)
    return {
        "changed": bool(done),
        "gpus": done,
        "reboot_required": bool(reasons),
        "reasons": reasons,
        "commands": commands(smi.program, stated(gpus, layout)),
        "diff": {
            "before": "".join(f"{label(change.gpu)}: {change.before.described()}\n" for change in differing),
            "after": "".join(f"{label(change.gpu)}: {change.wanted.described()}\n" for change in differing),
        },
    }


def _divide(smi: Smi, differing: Sequence[Change], check: bool, done: list[dict[str, Any]], reasons: list[str]) -> None:
    for change in differing:
        reason = None if check else apply(smi, change)
        if reason:
            reasons.append(reason)
        after = change.wanted
        if reason:
            now = smi.gpu(change.gpu["uuid"])
            after = present(smi, now)
            # What only waits for the restart, as it did before, is no change.
            if after == change.before and now["mig"]["pending"] == change.gpu["mig"]["pending"]:
                continue
        done.append(_result(change, after))


def _result(change: Change, after: Layout) -> dict[str, Any]:
    gpu = change.gpu
    return {"index": gpu["index"], "uuid": gpu["uuid"], "before": change.before.told(), "after": after.told()}
