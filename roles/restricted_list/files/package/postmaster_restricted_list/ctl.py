# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``restricted-list``: the service, and what a person does with it."""

from __future__ import annotations

import argparse
import logging
import secrets
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from . import service
from .config import DEFAULT, Config, ConfigError, load
from .groups import GroupError
from .issue import Wish, WrongError, issue
from .message import address
from .secret import digest, token_file
from .store import BusyError, Outcome, Store, Token

SHOWN = 8  # characters of a token's number, which notices show, too


def _clock(when: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(when))


def _store(config: Config) -> Store:
    store = Store(config.database.get_secret_value())
    store.prepare()
    return store


def serve(config: Config, args: argparse.Namespace) -> None:
    """Run the service."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    for noisy in ("httpx", "mail.log"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    if args.certificate is not None and config.smtp is not None:
        smtp = config.smtp.model_copy(update={"certificate": args.certificate, "key": args.key})
        config = config.model_copy(update={"smtp": smtp})
    service.run(config)


def check(config: Config, args: argparse.Namespace) -> None:
    """Read all that the configuration names; nothing is made, and nobody is asked."""
    config.secret()
    service.tls_of(config)


def token(config: Config, args: argparse.Namespace) -> None:
    """Print the file of a new token."""
    wish = Wish(args.sender, tuple(args.group), tuple(args.address), args.days, args.shown)
    known, made, found = issue(
        config,
        config.secret(),
        _store(config),
        wish,
        creator="restricted-list",
        notify=address(args.notify) if args.notify else None,
    )
    for one, why in found.faults:
        sys.stderr.write(f"{one}: {why}\n")
    about = f"one mail of {known.sender} to {len(found.addresses)} recipients, until {_clock(known.expires)}"
    sys.stderr.write(f"{known.number[:SHOWN]}: {about}\n")
    sys.stdout.write(token_file(made))


def credential(config: Config | None, args: argparse.Namespace) -> None:
    """Print a new credential, and what the configuration holds of it."""
    made = secrets.token_urlsafe(32)
    sys.stdout.write(f"bearer: {made}\nsha256: {digest(made)}\n")


def status(config: Config, args: argparse.Namespace) -> None:
    """Print the latest mails, and whom they did not reach."""
    for row in _store(config).outcomes():
        sys.stdout.write(_shown(*row))


def _shown(number: int, accepted: float, ended: float | None, token: Token, outcome: Outcome) -> str:
    state = "done" if ended else f"{outcome.waiting} waiting"
    line = f"{number} {_clock(accepted)} {token.sender}: {outcome.sent} sent, {len(outcome.failed)} failed, {state}\n"
    return line + "".join(f"  {recipient}: {why}\n" for recipient, why in outcome.failed)


def tokens(config: Config, args: argparse.Namespace) -> None:
    """Print the tokens, the one that expires last first."""
    now = time.time()
    for one in _store(config).tokens():
        what = ", ".join([*one.groups, *([f"{len(one.addresses)} addresses"] if one.addresses else [])])
        state = one.state(now)
        when = "" if state == "revoked" else f" {_clock(one.expires if one.used is None else one.used)}"
        sys.stdout.write(f"{one.number[:SHOWN]} {state}{when} {one.sender} to {what}, made by {one.creator}\n")


def revoke(config: Config, args: argparse.Namespace) -> None:
    """Take back a token that has not been used."""
    taken = _store(config).revoke(args.number)
    sys.stderr.write(f"the token {taken.number[:SHOWN]} of {taken.sender} is good for nothing any more\n")


def purge(config: Config, args: argparse.Namespace) -> None:
    """Forget what is over: mails that went out, tokens that were used, expired or revoked."""
    if args.days <= 0:
        raise ValueError("--days must be more than 0")
    gone, mails = _store(config).purge(time.time() - args.days * 86_400)
    sys.stderr.write(f"forgotten: {gone} tokens, {mails} mails\n")


def opt_out(config: Config, args: argparse.Namespace) -> None:
    """Send an address nothing any more."""
    _store(config).opt_out(address(args.address))


def opt_in(config: Config, args: argparse.Namespace) -> None:
    """Send to an address again."""
    if not _store(config).opt_in(address(args.address)):
        raise ValueError(f"{args.address} has not opted out")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="restricted-list", description=__doc__)
    parser.add_argument("--config", type=Path, default=DEFAULT)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, action: Callable[..., None]) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=action.__doc__)
        command.set_defaults(action=action)
        return command

    run = add("serve", serve)
    run.add_argument(
        "--certificate", type=Path, help="a copy of SMTP's certificate, in the place of the one that is configured"
    )
    run.add_argument("--key", type=Path, help="a copy of its key")
    add("check-config", check)
    new = add("token", token)
    new.add_argument("--sender", required=True, help="the address that the mail will come from")
    new.add_argument("--group", action="append", default=[], help="a group that gets it; may be given several times")
    new.add_argument("--address", action="append", default=[], help="a single address that gets it; likewise")
    new.add_argument("--days", type=float, help="how long the token is good for")
    new.add_argument("--shown", choices=["reply-to", "footer", "hidden"], help="where recipients see who wrote it")
    new.add_argument("--notify", help="an address that is told what becomes of the token")
    add("credential", credential)
    add("status", status)
    add("tokens", tokens)
    add("revoke", revoke).add_argument("number", help="of the token, or its first characters")
    add("purge", purge).add_argument("--days", type=float, required=True, help="how long ago it must have been over")
    for name, action in (("opt-out", opt_out), ("opt-in", opt_in)):
        add(name, action).add_argument("address")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the words say; the exit code."""
    args = _parser().parse_args(argv)
    try:
        args.action(None if args.action is credential else load(args.config), args)
    except (ConfigError, WrongError, GroupError, BusyError, ValueError, OSError) as err:
        sys.stderr.write(f"{err}\n")
        return 1
    except SQLAlchemyError as err:
        sys.stderr.write(f"the database: {str(err).splitlines()[0]}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
