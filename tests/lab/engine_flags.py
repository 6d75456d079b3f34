# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write roles/inference/vars/flags/<engine>.yml from the engines' own parsers; --check says whether they are still so.

    python3 tests/lab/engine_flags.py [--check] [vllm] [sglang] [llama-cpp]

After an engine's new version: state it in the lab and in vars/engines, run this, and read the difference.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from airgap_lab import cache, engine_parsers, machine, steps
from airgap_lab.console import LabError

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "roles/inference/vars/flags"
ENGINES = ("vllm", "sglang", "llama-cpp")


def written(version: str, source: str, flags: Sequence[str]) -> str:
    """A file of flags."""
    lines = [
        "---",
        "# Made by tests/lab/engine_flags.py.",
        f'version: "{version}"',
        f"source: {source}",
        "flags:",
        *(f"  - {flag}" for flag in flags),
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="engine_flags.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; end with 1 where a file would change")
    parser.add_argument("engines", nargs="*", metavar="engine", choices=[*ENGINES, []], help=", ".join(ENGINES))
    arguments = parser.parse_args()
    stale = []
    try:
        with cache.locked("machine"):
            machine.prepare()
        steps.build(["engine", "llama"])
        for engine in arguments.engines or ENGINES:
            answer = engine_parsers.ask(engine)
            path, text = FOLDER / f"{engine}.yml", written(answer.version, answer.source, answer.flags)
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                stale.append(str(path.relative_to(REPOSITORY)))
            if not arguments.check:
                cache.write(path, text)
    except LabError as problem:
        print(f"engine_flags: {problem}", file=sys.stderr)
        return 1
    if stale:
        print(f"{'not up to date' if arguments.check else 'written'}: {', '.join(stale)}")
    return 1 if stale and arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
