# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's command line: ``python -m lab up|down|status|enter|exec|inventory``."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from typing import Any

from . import control, state
from . import engine as engines
from .engine import LabError
from .hosts import EVERYTHING, Plan


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lab", description="A small internet in containers, to build an estate in.")
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        if name in ("up", "down"):
            engine = os.environ.get("LAB_ENGINE", "auto")
            sub.add_argument("--engine", choices=("auto", "podman", "docker"), default=engine)
        sub.add_argument("--name", default=os.environ.get("LAB_NAME", "demo"), help="the lab's name (%(default)s)")
        return sub

    up = command("up", "Start a lab; one of the same name is replaced.")
    index = os.environ.get("LAB_INDEX", "10")
    up.add_argument("--index", type=int, default=index, help="number in its networks, 198.18.INDEX.0/24 (%(default)s)")
    up.add_argument("--hosts", default="", help="hosts of the estate to start, bare, separated by commas; or 'all'")
    down = command("down", "Remove a lab.")
    down.add_argument("--missing-ok", action="store_true", help="be content if there is none")
    command("status", "Show a lab's hosts.")
    command("inventory", "Print the path of a lab's inventory.")
    command("enter", "Open a shell on a host.").add_argument("host")
    run = command("exec", "Run a command on a host: exec HOST -- command ...")
    run.add_argument("host")
    run.add_argument("argv", nargs=argparse.REMAINDER)
    return parser


def _known(name: str) -> dict[str, Any]:
    try:
        return state.load(name)
    except FileNotFoundError:
        raise LabError(
            f"there is no lab called {name}; labs known here: {', '.join(state.names()) or 'none'}"
        ) from None


def _ssh(known: dict[str, Any], host: str, argv: list[str]) -> None:
    """Become ssh."""
    if host not in known["hosts"] or not known["hosts"][host]["running"]:
        running = [name for name, entry in known["hosts"].items() if entry["running"]]
        raise LabError(f"{host} is not a running host of lab {known['name']}; these are: {', '.join(running)}")
    target = f"root@{known['hosts'][host]['control']}"
    os.execvp("ssh", ["ssh", *state.ssh_options(known["name"]), "-i", known["ssh_key"], target, *argv])


def _status(known: dict[str, Any]) -> None:
    engine = engines.find(known["engine"], state=state.CACHE)
    seen = {container["name"]: container["status"] for container in engine.containers(known["name"])}
    print(f"lab {known['name']}, index {known['index']}, {known['engine']}")
    for name, host in known["hosts"].items():
        if host["running"]:
            status = seen.get(host["container"], "missing")
            print(f"{name:16}{host['control']:16}{host['fqdn']:34}{status}")


def main(argv: list[str] | None = None) -> int:
    """Do what the command line says; what stands in the way is one sentence on standard error."""
    options = _parser().parse_args(argv)
    say = control.narrator()
    try:
        if options.command == "up":
            names = [name for name in options.hosts.split(",") if name]
            hosts = control.choose(EVERYTHING if names == ["all"] else names)
            control.up(Plan(options.name, options.index), hosts=hosts, engine_name=options.engine, say=say)
        elif options.command == "down":
            if not options.missing_ok or options.name in state.names():
                control.down(options.name, engine_name=options.engine, say=say)
        elif options.command == "status":
            _status(_known(options.name))
        elif options.command == "inventory":
            print(_known(options.name)["inventory"])
        elif options.command == "enter":
            _ssh(_known(options.name), options.host, [])
        else:
            words = options.argv[1:] if options.argv[:1] == ["--"] else options.argv
            _ssh(_known(options.name), options.host, [shlex.join(words)])
    except KeyboardInterrupt:
        print("lab: interrupted; the next start clears what is left", file=sys.stderr)
        return 130
    except (LabError, ValueError) as err:
        print(f"lab: {err}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
