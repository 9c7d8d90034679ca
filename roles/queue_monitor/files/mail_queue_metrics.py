# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Metrics of a mail server's queue and log, as node_exporter's textfile collector takes them.

    STATE_DIRECTORY=/var/lib/queue-monitor python3 mail_queue_metrics.py postfix|exim|opensmtpd

It reads the queue as it is now, and what the log has said since it last looked. Counters and the place in the log lie
in one file, replaced in one step, so that nothing is counted twice and no counter goes back. Labels are words of its
own: nothing of an address, a host or a message gets into a metric. It needs nothing but Python.

Sources: postqueue(1) and Postfix's logging; the Exim specification, chapters "Log files" and "The Exim command line";
smtpctl(8); the Prometheus text format.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any, cast

LINE_LIMIT = 4096  # characters of a log line that are looked at
READ_LIMIT = 1_000_000  # lines of the log in one run; the next goes on where it ended
BUCKETS = (60, 300, 900, 3600, 4 * 3600, 12 * 3600, 86400, 2 * 86400, 3 * 86400, 5 * 86400)  # seconds
METRICS, STATE = "mail_queue.prom", "state.json"

# Why a delivery was put off, by what the log or the queue says of it; the first that is found holds.
REASONS = {
    "greylisted": r"gr[ae]y-?list",
    "authentication": r"authenticat|\bsasl\b|\b5\.7\.8\b",
    "tls": r"\btls\b|\bssl\b|starttls|certificate",
    "dns": r"domain name not found|name service error|host lookup|\bmx record|\bno mx\b|lowest numbered mx|\bdns\b",
    "mailbox_full": r"quota|mailbox (?:is )?full|insufficient (?:system )?storage|\b4\.2\.2\b",
    "rate_limited": r"rate.?limit|too many|too fast|throttl|\b4\.7\.28\b",
    "connection": r"connection|timed? ?out|no route|unreachable|could not connect|network error",
    "remote": r"said:|smtp error from|error after|^4\d\d[ -]",
}
_REASONS = {name: re.compile(pattern) for name, pattern in REASONS.items()}
OTHER = "other"


def reason_of(text: str) -> str:
    """The class of a reason for delay, in the words of REASONS or OTHER."""
    text = text[:LINE_LIMIT].lower()
    return next((name for name, pattern in _REASONS.items() if pattern.search(text)), OTHER)


def deferred(text: str) -> str:
    """The counter of a delivery that was put off, for this reason."""
    return f"deferred/{reason_of(text)}"


# --- what counts; each is a counter of a family, with the value of its label after a slash ---------

SENT, REFUSED, EXPIRED = "sent", "bounced/refused", "bounced/expired"
REJECTED = {"4": "rejected/temporary", "5": "rejected/permanent"}
COUNTERS = (SENT, *(f"deferred/{reason}" for reason in (*REASONS, OTHER)), REFUSED, EXPIRED, *REJECTED.values())


class MonitorError(Exception):
    """The queue or the log cannot be read; the message is one sentence."""


# --- queues --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Queued:
    """A message that waits: in which queue; since when, None where unknown; its bytes; why, for each recipient."""

    queue: str
    arrival: float | None
    size: int = 0
    reasons: tuple[str, ...] = ()


def _object(text: str) -> dict[str, Any]:
    """The JSON object of a line, an empty one if it is none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _number(value: object) -> int | None:
    """A count that may be added up; neither truth values nor what would overflow."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else None


def postfix_queue(lines: Iterable[str], now: float) -> Iterator[Queued]:
    """What ``postqueue -j`` prints, one object a line."""
    for line in lines:
        record = _object(line)
        if not isinstance(record.get("queue_id"), str):
            continue
        recipients = record.get("recipients")
        texts = [one.get("delay_reason") for one in recipients or () if isinstance(one, dict)] if recipients else []
        yield Queued(
            str(record.get("queue_name")),
            _number(record.get("arrival_time")),
            _number(record.get("message_size")) or 0,
            tuple(reason_of(text) for text in texts if isinstance(text, str) and text),
        )


_EXIM_ID = r"[0-9A-Za-z]{6}-[0-9A-Za-z]{6}(?:[0-9A-Za-z]{5})?-[0-9A-Za-z]{2}(?:[0-9A-Za-z]{2})?"
# Recipients are indented by ten columns.
_EXIM_QUEUED = re.compile(rf" {{0,2}}(?:\d+[mhdw]|\?\?) +([0-9.]+)([KM]?) +({_EXIM_ID}) <")
_FROZEN = re.compile(r"\*\*\* frozen \*\*\*\s*$")
_UNITS = {"": 1, "K": 1024, "M": 1024**2}
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def exim_arrival(identifier: str) -> int:
    """The second in which a message came, which is the first part of its number, in base 62."""
    second = 0
    for digit in identifier[:6]:
        second = second * 62 + _DIGITS.index(digit)
    return second


def exim_queue(lines: Iterable[str], now: float) -> Iterator[Queued]:
    """What ``exim4 -bpr`` prints. Its sizes are rounded; that of a message that cannot be read is left out."""
    for line in lines:
        match = _EXIM_QUEUED.match(line[:LINE_LIMIT])
        if not match:
            continue
        try:
            size = round(float(match[1][:12]) * _UNITS[match[2]])
        except ValueError:
            size = 0
        yield Queued("frozen" if _FROZEN.search(line) else "waiting", exim_arrival(match[3]), size)


# evpid|source|agent|flags|sender|recipient|destination|creation|expiry|last try|retries|state|seconds|error
_ENVELOPE = re.compile(
    r"[0-9a-f]{16}\|\w+\|\w+\|([a-z,]*)\|.*?\|(\d{1,15})\|\d+\|\d+\|\d+\|(pending|inflight|invalid|offline)\|-?\d*\|(.*)"
)


def opensmtpd_queue(lines: Iterable[str], now: float) -> Iterator[Queued]:
    """What ``smtpctl show queue`` prints: envelopes, one for each recipient, without sizes."""
    for line in lines:
        match = _ENVELOPE.match(line[:LINE_LIMIT])
        if match:
            held = {"hold", "suspend"} & set(match[1].split(","))
            reasons = (reason_of(match[4]),) if match[4].strip() else ()
            yield Queued("hold" if held else match[3], int(match[2]), 0, reasons)


# --- logs ----------------------------------------------------------------------------------------

_POSTFIX_ID = r"[0-9A-Za-z]{5,30}"
_POSTFIX_DELIVERY = re.compile(
    rf"{_POSTFIX_ID}: to=<.*?>, (?:orig_to=<.*?>, )?relay=[^,\s]+, (?:conn_use=\d+, )?delay=[\d.]+, delays=[\d./]+, "
    r"dsn=[\d.]+, status=(\w+)(?: \((.*))?"
)
_POSTFIX_EXPIRED = re.compile(rf"{_POSTFIX_ID}: from=<.*>, status=(?:force-)?expired, returned to sender")
_POSTFIX_REJECT = re.compile(
    rf"(?:NOQUEUE|{_POSTFIX_ID}): (?:milter-)?reject: "
    r"(?:CONNECT|HELO|EHLO|MAIL|RCPT|DATA|END-OF-MESSAGE|BDAT|header|body)\b"
)
_REPLY = re.compile(r"(?:: |\]:\d+: )([45])\d\d[ -]|: ([45])\.\d+\.\d+ ")
_POSTFIX_AGENTS = frozenset("smtp lmtp local virtual pipe error discard".split())
_FORWARDED = "forwarded as "  # what an alias makes of a message is a message that is counted when it goes


def postfix_event(program: str, text: str) -> str | None:
    """The counter that a line of a Postfix program belongs to."""
    daemon = program.rpartition("/")[2]
    if daemon == "qmgr":
        return EXPIRED if _POSTFIX_EXPIRED.match(text) else None
    if daemon in ("smtpd", "cleanup", "postscreen"):
        if not _POSTFIX_REJECT.match(text):
            return None
        reply = _REPLY.search(text)
        return REJECTED[(reply[1] or reply[2]) if reply else "5"]
    match = _POSTFIX_DELIVERY.match(text) if daemon in _POSTFIX_AGENTS else None
    if not match:
        return None
    said = match[2] or ""
    if match[1] == "sent":
        return None if said.startswith(_FORWARDED) else SENT
    if match[1] in ("deferred", "SOFTBOUNCE"):
        return deferred(said)
    return REFUSED if match[1] == "bounced" else None


_EXIM_HEAD = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?(?: [+-]\d{4})?(?: \[\d+\])? ")
_EXIM_DELIVERY = re.compile(rf"{_EXIM_ID} (=>|->|>>|==|\*\*) (\S+)(.*)")
_EXIM_REJECT = re.compile(
    rf"(?:{_EXIM_ID} )?H=.*? (temporarily )?rejected "
    r"(?:RCPT|MAIL|EHLO|HELO|DATA|after DATA|connection|during MIME)\b"
)
_EXIM_NOT_TRIED = "retry time not reached"
_EXIM_EXPIRED = ("retry timeout exceeded", "retry time exceeded", "message is too old")


def exim_event(program: str, text: str) -> str | None:
    """The counter that a line of Exim's main log belongs to."""
    head = _EXIM_HEAD.match(text)
    text = text[head.end() :] if head else text
    match = _EXIM_DELIVERY.match(text)
    if not match:
        reject = _EXIM_REJECT.match(text)
        return REJECTED["4" if reject[1] else "5"] if reject else None
    flag, recipient, rest = match.groups()
    if flag == "**":
        return EXPIRED if any(word in rest for word in _EXIM_EXPIRED) else REFUSED
    if flag == "==":
        return None if _EXIM_NOT_TRIED in rest else deferred(rest.partition(" defer ")[2] or rest)
    return None if recipient.startswith(":blackhole:") else SENT


_SMTPD_DELIVERY = re.compile(
    r"[0-9a-f]{16} (?:mta|mda) delivery evpid=[0-9a-f]{16} .*? result=\"?(Ok|TempFail|PermFail)\"? stat=\"?(.*)"
)
_SMTPD_EXPIRED = re.compile(r"(?:relay|delivery): Expire for [0-9a-f]{16}: ")
_SMTPD_REJECT = re.compile(
    r"[0-9a-f]{16} smtp failed-command command=\"(?:MAIL|RCPT|DATA|\.).*\" result=\"([45])\d\d ", re.IGNORECASE
)


def opensmtpd_event(program: str, text: str) -> str | None:
    """The counter that a line of smtpd belongs to."""
    if match := _SMTPD_DELIVERY.match(text):
        result = match[1]
        return SENT if result == "Ok" else REFUSED if result == "PermFail" else deferred(match[2])
    if _SMTPD_EXPIRED.match(text):
        return EXPIRED
    match = _SMTPD_REJECT.match(text)
    return REJECTED[match[1]] if match else None


@contextlib.contextmanager
def lines_of(argv: list[str]) -> Iterator[Iterator[str]]:
    """The lines that a program prints; MonitorError if it fails. What it complains of goes to our own journal."""
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
    try:
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, env=env, text=True, errors="replace")
    except OSError as err:
        raise MonitorError(f"{argv[0]} cannot be started: {err}") from err
    with process:
        output = cast(IO[str], process.stdout)
        yield output
        if next(output, None) is not None:  # nobody wants the rest
            process.kill()
            process.wait()
        elif process.wait() != 0:
            raise MonitorError(f"{' '.join(argv[:3])} ended with {process.returncode}")


@dataclass(frozen=True)
class Journal:
    """The log of units, from the journal. The position is journald's cursor, or the time of the first look."""

    units: tuple[str, ...]

    def read(self, position: dict[str, Any], now: float) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Program, text and the position after it, for each line behind ``position``."""
        argv = ["journalctl", "--quiet", "--no-pager", "--output=json", "--output-fields=SYSLOG_IDENTIFIER,MESSAGE"]
        argv += [f"--unit={unit}" for unit in self.units]
        if isinstance(position.get("cursor"), str):
            argv.append(f"--after-cursor={position['cursor']}")
        else:
            argv.append(f"--since=@{_number(position.get('since')) or int(now)}")
        with lines_of(argv) as lines:
            for line in islice(lines, READ_LIMIT):
                record = _object(line)
                if isinstance(record.get("__CURSOR"), str):
                    program, text = _text(record.get("SYSLOG_IDENTIFIER")), _text(record.get("MESSAGE"))
                    yield program, text[:LINE_LIMIT], {"cursor": record["__CURSOR"]}

    def start(self, now: float) -> dict[str, Any]:
        """The position of somebody who has read nothing yet and wants no history."""
        return {"since": int(now)}


def _text(value: object) -> str:
    """A field of the journal, which is a list of octets where it is not plain UTF-8."""
    if isinstance(value, list):
        octets = [item for item in value[:LINE_LIMIT] if isinstance(item, int) and 0 <= item < 256]
        return bytes(octets).decode("utf-8", "replace")
    return value if isinstance(value, str) else ""


@dataclass(frozen=True)
class LogFile:
    """A log file that is renamed at rotation. The position is its inode and the bytes that have been read of it."""

    path: Path

    def read(self, position: dict[str, Any], now: float) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """As Journal.read; what was written before a rotation comes first."""
        inode, offset = position.get("inode"), _number(position.get("offset")) or 0
        left = READ_LIMIT
        if inode is not None and self._inode(self.path) != inode:
            former = self.path.with_name(f"{self.path.name}.1")
            if self._inode(former) == inode:
                for item in islice(self._lines(former, inode, offset), left):
                    left -= 1
                    yield item
            offset = 0
        yield from islice(self._lines(self.path, inode, offset), left)

    def start(self, now: float) -> dict[str, Any]:
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return {"inode": 0, "offset": 0}
        except OSError as err:
            raise MonitorError(f"{self.path} cannot be read: {err.strerror}") from err
        return {"inode": status.st_ino, "offset": status.st_size}

    @staticmethod
    def _inode(path: Path) -> int | None:
        try:
            return path.stat().st_ino
        except OSError:
            return None

    @staticmethod
    def _lines(path: Path, inode: int | None, offset: int) -> Iterator[tuple[str, str, dict[str, Any]]]:
        try:
            stream = path.open("rb")
        except FileNotFoundError:  # renamed, and nothing written since
            return
        except OSError as err:
            raise MonitorError(f"{path} cannot be read: {err.strerror}") from err
        with stream:
            status = os.fstat(stream.fileno())
            place = offset if status.st_ino == inode and offset <= status.st_size else 0
            stream.seek(place)
            for line in stream:
                if not line.endswith(b"\n"):  # somebody is writing it
                    return
                place += len(line)
                text = line[:LINE_LIMIT].decode("utf-8", "replace").rstrip("\n")
                yield "", text, {"inode": status.st_ino, "offset": place}


# --- metrics -------------------------------------------------------------------------------------

Labels = dict[str, str]
Row = tuple[str, Labels, float]  # a suffix of the family's name, labels, a value


def family(name: str, kind: str, text: str, rows: Iterable[Row]) -> list[str]:
    """HELP, TYPE and the samples, in whole numbers."""
    made = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    for suffix, labels, value in rows:
        inside = ",".join(f'{key}="{word}"' for key, word in labels.items())
        made.append(f"{name}{suffix}{{{inside}}} {round(value)}")
    return made


@dataclass
class Totals:
    """What is known of one queue."""

    count: int = 0
    size: int = 0
    ages: list[float] = field(default_factory=list)

    def histogram(self, labels: Labels) -> Iterator[Row]:
        """Rows of a histogram. What came at an unknown time is as old as can be."""
        for bound in BUCKETS:
            yield "_bucket", {**labels, "le": str(bound)}, sum(age <= bound for age in self.ages)
        yield "_bucket", {**labels, "le": "+Inf"}, self.count
        yield "_sum", labels, sum(self.ages)
        yield "_count", labels, self.count


def queue_metrics(mta: Mta, messages: Iterable[Queued], now: float) -> list[str]:
    """The families that tell of the queue as it is."""
    queues = {name: Totals() for name in mta.queues}
    reasons: Counter[str] = Counter()
    for message in messages:
        totals = queues.setdefault(message.queue if message.queue in queues else OTHER, Totals())
        totals.count += 1
        totals.size += message.size
        totals.ages += [] if message.arrival is None else [max(0.0, now - message.arrival)]
        reasons.update(message.reasons)
    named = [({"mta": mta.name, "queue": name}, totals) for name, totals in queues.items()]
    counts: list[Row] = [("", labels, totals.count) for labels, totals in named]
    sizes: list[Row] = [("", labels, totals.size) for labels, totals in named]
    oldest: list[Row] = [("", labels, max(totals.ages, default=0)) for labels, totals in named]
    ages = [row for labels, totals in named for row in totals.histogram(labels)]
    why: list[Row] = [("", {"mta": mta.name, "reason": word}, reasons[word]) for word in (*REASONS, OTHER)]
    made = family("mail_queue_messages", "gauge", "Messages that wait now.", counts)
    if mta.sizes:
        made += family("mail_queue_bytes", "gauge", "Size of the messages that wait now.", sizes)
    text = "Age of the oldest message that waits now, 0 where there is none."
    made += family("mail_queue_oldest_message_age_seconds", "gauge", text, oldest)
    made += family("mail_queue_message_age_seconds", "histogram", "Ages of the messages that wait now.", ages)
    if mta.reasons:
        text = "Recipients that wait now, by the reason of the last attempt."
        made += family("mail_queue_deferred_recipients", "gauge", text, why)
    return made


FAMILIES = {
    "sent": ("", "Recipients whose message was delivered or handed on."),
    "deferred": ("reason", "Attempts to deliver to a recipient that were put off, by reason."),
    "bounced": ("cause", "Recipients that were refused, and messages that were given up after waiting too long."),
    "rejected": ("kind", "Commands and messages of clients that were refused."),
}


def counter_metrics(mta: Mta, counters: Counter[str]) -> list[str]:
    """The families that tell what has happened, with every value of their label from the first run on."""
    made = []
    for kind, (label, text) in FAMILIES.items():
        words = [(key, key.partition("/")[2]) for key in COUNTERS if key.partition("/")[0] == kind]
        rows: list[Row] = [
            ("", {"mta": mta.name} | ({label: word} if word else {}), counters[key]) for key, word in words
        ]
        made += family(f"mail_{kind}_total", "counter", text, rows)
    return made


def monitor_metrics(mta: Mta, problems: Iterable[str], now: float) -> list[str]:
    """The families that tell of this program itself."""
    sources: list[Row] = [("", {"mta": mta.name, "source": name}, name not in problems) for name in ("queue", "log")]
    last: list[Row] = [("", {"mta": mta.name}, now)]
    return [
        *family("mail_monitor_readable", "gauge", "Whether the queue and the log could be read.", sources),
        *family("mail_monitor_last_run_timestamp_seconds", "gauge", "When the metrics were made.", last),
    ]


# --- programs and files --------------------------------------------------------------------------


@dataclass(frozen=True)
class Mta:
    """How a mail server's queue and log are read; ``sizes`` and ``reasons`` say whether its queue tells of them."""

    name: str
    command: tuple[str, ...]
    queues: tuple[str, ...]
    parse: Callable[[Iterable[str], float], Iterator[Queued]]
    log: Journal | LogFile
    event: Callable[[str, str], str | None]
    sizes: bool = True
    reasons: bool = True


_POSTFIX_QUEUES = ("maildrop", "incoming", "active", "deferred", "hold")
_SMTPD_QUEUES = ("pending", "inflight", "hold")
MTAS = {
    mta.name: mta
    for mta in (
        Mta(
            "postfix",
            ("postqueue", "-j"),
            _POSTFIX_QUEUES,
            postfix_queue,
            Journal(("postfix.service", "postfix@*.service")),
            postfix_event,
        ),
        Mta(
            "exim",
            ("exim4", "-bpr"),
            ("waiting", "frozen"),
            exim_queue,
            LogFile(Path("/var/log/exim4/mainlog")),
            exim_event,
            reasons=False,
        ),
        Mta(
            "opensmtpd",
            ("smtpctl", "show", "queue"),
            _SMTPD_QUEUES,
            opensmtpd_queue,
            Journal(("opensmtpd.service",)),
            opensmtpd_event,
            sizes=False,
        ),
    )
}


@dataclass
class State:
    """What is remembered from run to run."""

    counters: Counter[str] = field(default_factory=Counter)
    position: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path, mta: Mta) -> State:
        """An unreadable file, or one of another mail server, is a beginning."""
        try:
            known = _object(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            known = {}
        counters, position = known.get("counters"), known.get("position")
        if known.get("mta") != mta.name or not isinstance(counters, dict) or not isinstance(position, dict):
            return cls()
        return cls(Counter({key: _number(counters.get(key)) or 0 for key in COUNTERS}), position)

    def save(self, path: Path, mta: Mta) -> None:
        replace(path, json.dumps({"mta": mta.name, "counters": self.counters, "position": self.position}) + "\n", 0o600)


def replace(path: Path, text: str, mode: int) -> None:
    """Put ``text`` in place of a file, in one step."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as stream:
        os.fchmod(stream.fileno(), mode)
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    new.replace(path)


def read_log(mta: Mta, state: State, now: float) -> State:
    """``state`` after what the log has said since; the first time there is nothing to count."""
    if not state.position:
        return State(state.counters, mta.log.start(now))
    after = State(Counter(state.counters), state.position)
    for program, text, position in mta.log.read(state.position, now):
        after.position = position
        key = mta.event(program, text)
        if key:
            after.counters[key] += 1
    return after


def run(mta: Mta, folder: Path, now: float) -> dict[str, str]:
    """Bring the metrics up to date. Returns what could not be read, and why."""
    problems = {}
    queue: list[str] = []
    try:
        with lines_of(list(mta.command)) as lines:
            queue = queue_metrics(mta, mta.parse(lines, now), now)
    except MonitorError as err:
        problems["queue"], queue = str(err), []
    state = State.load(folder / STATE, mta)
    try:
        state = read_log(mta, state, now)
        state.save(folder / STATE, mta)
    except MonitorError as err:
        problems["log"] = str(err)
    metrics = [*queue, *counter_metrics(mta, state.counters), *monitor_metrics(mta, problems, now)]
    replace(folder / METRICS, "\n".join(metrics) + "\n", 0o644)
    return problems


def main(argv: list[str]) -> int:
    mta = MTAS.get(argv[0]) if len(argv) == 1 else None
    folder = os.environ.get("STATE_DIRECTORY", "")
    if not mta or not folder:
        sys.stderr.write(f"usage: STATE_DIRECTORY=<folder> mail_queue_metrics.py {'|'.join(MTAS)}\n")
        return 2
    # Not a failure of this program: a metric tells of it.
    for source, problem in run(mta, Path(folder), time.time()).items():
        sys.stderr.write(f"{source}: {problem}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
