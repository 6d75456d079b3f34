# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks an engine's own parser, beside its packages: inside the engine's image, or wherever they can be imported.

    python3 ask_parser.py vllm < question

The question on standard input is JSON, a list of command lines without the program. The last line of the answer is JSON too: version, flags
(every long one that the parser knows), refused (for each command line what the parser says to it, or nothing).
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.metadata
import io
import json
import sys
import types
from collections.abc import Callable
from typing import Any


def _vllm() -> tuple[str, argparse.ArgumentParser]:
    arguments = importlib.import_module("vllm.entrypoints.launchers.cli_args")
    parsers = importlib.import_module("vllm.utils.argparse_utils")
    parser = arguments.make_arg_parser(parsers.FlexibleArgumentParser(prog="vllm serve"))
    return str(importlib.import_module("vllm").__version__), parser


def _sglang() -> tuple[str, argparse.ArgumentParser]:
    # The one thing that is not SGLang's own or of the index: two names that it shows pictures in notebooks with.
    for name in ("IPython", "IPython.display"):
        stub: Any = types.ModuleType(name)
        stub.HTML = stub.display = None
        sys.modules[name] = stub
    parser = argparse.ArgumentParser(prog="sglang serve")
    importlib.import_module("sglang.srt.server_args").ServerArgs.add_cli_args(parser)
    return importlib.metadata.version("sglang"), parser


ENGINES: dict[str, Callable[[], tuple[str, argparse.ArgumentParser]]] = {"vllm": _vllm, "sglang": _sglang}


def refused(parser: argparse.ArgumentParser, command_line: list[str]) -> str:
    """What the parser says to a command line that it does not take."""
    words = io.StringIO()
    try:
        with contextlib.redirect_stderr(words):
            parser.parse_args(command_line)
    except SystemExit as end:
        return (words.getvalue().strip().splitlines() or [f"it ended with {end.code}"])[-1]
    except (TypeError, ValueError) as problem:
        return f"{type(problem).__name__}: {problem}"
    return ""


def main() -> None:
    command_lines = json.load(sys.stdin)
    # What the packages say while they are imported is not the answer.
    with contextlib.redirect_stdout(sys.stderr):
        version, parser = ENGINES[sys.argv[1]]()
        flags = {flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")}
        answers = [refused(parser, command_line) for command_line in command_lines]
    print(json.dumps({"version": version, "flags": sorted(flags - {"--help"}), "refused": answers}))


if __name__ == "__main__":
    main()
