# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``postmaster-mailer STAGE``: run one stage until it is told to stop (SIGTERM), then end it in order."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path

import uvloop
from redis.exceptions import RedisError

from . import connect, gauges, http_server, metrics, preflight
from .backdata import BackData, Names
from .config import Config, ConfigError, Prometheus, default_files, load
from .connection import is_socket, open_to_all
from .delivery import Delivery, Lane, Waiting, waiting_of
from .events import UNSUBSCRIBE
from .http_receiver import Manner as HttpManner
from .http_receiver import Suppressions, application
from .limits import Rate
from .log_follower import FileSource, JournalSource, LogFollower, Source
from .mx import MxTaker
from .passwords import Passwords
from .pools import Counts, Ways, today
from .quarantine import Quarantine
from .receiver import Intake, SmtpTaker, domains_of
from .records import Records
from .reporter import Reporter
from .sink import SinkHole, Switches, configured
from .smtp_server import TLS_END, Manner, Server
from .suppression import Suppression
from .transformer import Transformer, dead_of
from .unsubscribe import Unsubscribe
from .worker import Flow, Reading, Worker

log = logging.getLogger("postmaster_mailer")

DRAIN = 30.0  # seconds that work under way gets at a stop
LOOKED = 5.0  # seconds between two looks at a queue
INSTANCES_APART = 10  # ports


class Stage:
    """What stages share: the configuration, this instance's name, and the order to stop."""

    def __init__(self, settings: Config, name: str, instance: str = "1") -> None:
        self.settings, self.name, self.instance = settings, f"{socket.gethostname()}-{name}-{instance}", instance
        self.stop = asyncio.Event()
        self.warnings = metrics.Warnings()
        log.addHandler(self.warnings)

    def show(self, values: Callable[[], Mapping[str, float]], where: Prometheus) -> None:
        """Show metrics, and say that the stage is up."""
        metrics.serve(values, _of_instance(where, self.instance))
        _notify("READY=1")
        log.info("up")

    async def until_stopped(self, *work: Awaitable[None], at_stop: Callable[[], None] = lambda: None) -> None:
        """Have work done until the order to stop, then let it end. Work that fails ends the stage."""
        tasks = [asyncio.ensure_future(one) for one in work]
        stopping = asyncio.ensure_future(self.stop.wait())
        await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
        at_stop()
        if self.stop.is_set():
            await asyncio.wait(tasks, timeout=DRAIN)
        for task in (stopping, *tasks):
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result


def _of_instance(where: Prometheus, instance: str) -> Prometheus:
    """Each further process of a stage on this host shows its metrics ten ports above the one before."""
    number = int(instance) if instance.isdecimal() else 1
    return where.model_copy(update={"inet_port": where.inet_port + INSTANCES_APART * (max(number, 1) - 1)})


async def receiver(stage: Stage) -> None:
    """SMTP in."""
    settings = stage.settings.receiver
    queue = connect.queue_of(stage.settings, settings)
    names = stage.settings.reliable_queue.queue_names
    domains = domains_of(settings.auth_logins)
    intake = Intake(queue, names, from_header=settings.ignore_smtp_mail_from_rcpt_to, domains=domains)
    taker = SmtpTaker(intake, Passwords(settings.auth_logins))
    tls = connect.tls_of(settings.certificate, settings.key)
    loop = asyncio.get_running_loop()
    servers: list[Server] = []
    for at_once, bind in ((False, settings.bind), (True, settings.bind_tls)):
        if bind is None:
            continue
        manner = Manner(
            socket.getfqdn(), settings.size_limit, settings.recipients_limit, tls, tls_at_once=at_once, auth=True
        )
        servers.append(Server(manner, taker))
        await loop.create_server(
            servers[-1],
            bind.inet_interface,
            bind.inet_port,
            ssl=tls if at_once else None,
            ssl_shutdown_timeout=TLS_END if at_once else None,
            reuse_port=True,
        )
    stage.show(lambda: _taken_in(intake, stage.warnings), settings.prometheus)
    await stage.stop.wait()
    for server in servers:
        await server.drain(DRAIN)


async def http_receiver(stage: Stage) -> None:
    """HTTP in."""
    settings = stage.settings.httpreceiver
    queue = connect.queue_of(stage.settings, settings)
    intake = Intake(queue, stage.settings.reliable_queue.queue_names, domains=domains_of(settings.auth_logins))
    listed = Suppression(queue, case_sensitive=stage.settings.suppression.case_sensitive)
    may = Suppressions(listed, frozenset(one.username for one in settings.auth_logins if one.suppressions))
    app = application(intake, Passwords(settings.auth_logins), HttpManner(settings.size_limit), Records(queue), may)
    server = http_server.Server(http_server.behind(app, settings.trusted_proxies), settings.bind)
    with http_server.listening(settings.bind) as listening:
        serving = asyncio.ensure_future(server.serve(sockets=[listening]))
        await server.listening.wait()
        stage.show(lambda: _taken_in(intake, stage.warnings), settings.prometheus)
        await stage.until_stopped(serving, at_stop=server.leave)


def _taken_in(intake: Intake, warnings: metrics.Warnings) -> dict[str, float]:
    counts = intake.counts
    return {
        "nbr_emails_enqueued": counts.enqueued,
        "nbr_recipients": counts.recipients,
        "nbr_dropped_emails": counts.dropped,
        "receiver_warnings": warnings.count,
    }


async def transformer(stage: Stage) -> None:
    """From what came to what goes out."""
    whole, settings = stage.settings, stage.settings.transformer
    queue = connect.queue_of(whole, settings)
    names = whole.reliable_queue.queue_names
    work = Transformer(
        queue,
        connect.domains_of(settings),
        connect.style_of(settings),
        primary=names.primary_queue,
        outgoing=whole.postfix.incoming_queue_name,
        told=whole.backdata.queue_name,
        suppression=connect.suppression_of(whole, queue),
    )
    reading = Reading(
        (names.primary_queue, names.default_queue), stage.name, claim_after=whole.reliable_queue.claim_after
    )
    worker = Worker(queue, reading, work.work)
    stage.show(lambda: {**work.counts, "transformer_warnings": stage.warnings.count}, settings.prometheus)
    await stage.until_stopped(worker.run(), at_stop=worker.stop)


async def postfix(stage: Stage) -> None:
    """To Postfix, and what its log says of it."""
    whole, settings = stage.settings, stage.settings.postfixlog
    queue = connect.queue_of(whole, settings)
    told = whole.backdata.queue_name
    where = settings.postfix
    await _private(whole)
    lanes = [
        Lane(where.hostname, where.port, settings.hostname or socket.getfqdn()) for dummy in range(settings.connections)
    ]
    outgoing = whole.postfix.incoming_queue_name
    waits = Waiting(queue, waiting=waiting_of(outgoing), outgoing=outgoing, consumer=stage.name, today=today)
    ways = Ways(connect.pools_of(settings), Counts(queue))
    delivery = Delivery(queue, lanes, told=told, ways=ways, waiting=waiting_of(outgoing), stopping=stage.stop.is_set)
    reading = Reading(
        (outgoing,),
        stage.name,
        count=settings.connections,
        claim_after=whole.reliable_queue.claim_after,
    )
    hole = SinkHole(queue, Switches(queue, configured(whole.sink)), delivery.work, told=told)
    worker = Flow(queue, reading, hole.work, at_once=settings.connections)
    source: Source = FileSource(settings.logfile) if settings.logfile else JournalSource(settings.journal_units)
    secrets = connect.secrets(whole.transformer.secret_file)
    follower = LogFollower(queue, source, host=socket.gethostname(), secrets=secrets, told=told)
    spooled: dict[str, float] = {}

    def counts() -> dict[str, float]:
        return {**delivery.counts, **hole.counts, **spooled, "postfix_poller_warnings": stage.warnings.count}

    stage.show(counts, settings.prometheus)
    looking = _look(stage, spooled, lambda: gauges.of_postfix(settings.spool))
    await stage.until_stopped(
        worker.run(), follower.run(stage.stop), waits.run(stage.stop), looking, at_stop=worker.stop
    )


async def _private(settings: Config) -> None:
    """Refuse to work where others can hand mail to Postfix. Behind NAT that cannot be seen from here."""
    mx, where = settings.mxserver, settings.postfixlog.postfix
    if is_socket(where.hostname):
        with contextlib.suppress(OSError):  # it is awaited, as at any other time
            if open_to_all(Path(where.hostname)):
                raise ConfigError(
                    f"any user of this host can reach {where.hostname}, and so send what nobody has signed; "
                    f"{preflight.OPEN_SOCKET}"
                )
        return
    try:
        own = await preflight.greeting(where.hostname, where.port)
    except OSError:  # it is awaited, as at any other time
        own = ""
    try:
        public = preflight.public(preflight.own_addresses())
    except OSError as err:
        log.warning("the addresses of this host cannot be read, so it is not known whether Postfix is private: %s", err)
        return
    greets = f"220 {mx.hostname or socket.getfqdn()} ESMTP"
    open_, dummy = await preflight.exposed(where.port, public, greets, own)
    if open_:
        raise ConfigError(
            f"port {where.port} answers on {', '.join(open_)}, which is public: anybody could send by it; "
            "set inet_interfaces = loopback-only in main.cf and restart Postfix"
        )


async def backdata(stage: Stage) -> None:
    """Outcomes are kept, acted on and posted."""
    whole, settings = stage.settings, stage.settings.backdata
    queue = connect.queue_of(whole, settings)
    work = BackData(
        queue,
        Names(settings.queue_name),
        connect.sinks_of(settings, queue),
        consumer=stage.name,
        records=Records(queue, keep=whole.reliable_queue.keep_records),
        suppression=connect.suppression_of(whole, queue),
        rules=connect.rules_of(whole.suppression),
        dead=dead_of(whole.postfix.incoming_queue_name),
        claim_after=whole.reliable_queue.claim_after,
    )
    stage.show(lambda: work.counts, settings.prometheus)
    await stage.until_stopped(work.run(), at_stop=work.stop)


async def mxserver(stage: Stage) -> None:
    """Answers of the world, over SMTP and by one click."""
    whole, settings = stage.settings, stage.settings.mxserver
    addresses = connect.addresses_of(whole)
    reporter = Reporter(connect.queue_of(whole, settings), whole.backdata.queue_name)
    kept = Quarantine(settings.eml_directory, count=settings.eml_count, size=settings.eml_bytes)
    taker = MxTaker(addresses, reporter, kept, Rate(settings.messages_per_minute))
    manner = Manner(
        settings.hostname or socket.getfqdn(),
        settings.size_limit,
        100,  # RFC 5321 section 4.5.3.1.8
        connect.tls_of(settings.certificate, settings.key) if settings.certificate and settings.key else None,
        connections=settings.connections,
        connections_of_client=settings.connections_of_client,
    )
    server = Server(manner, taker)
    bind = settings.bind
    await asyncio.get_running_loop().create_server(server, bind.inet_interface, bind.inet_port, reuse_port=True)
    clicks = Unsubscribe(addresses.secrets, reporter, Rate(settings.clicks_per_minute), unproven=addresses.forged)

    def counts() -> dict[str, float]:
        unsubscribed = taker.counts["mxserver_received_unsubscribe"] + clicks.counts[UNSUBSCRIBE]
        return {**taker.counts, "mxserver_received_unsubscribe": unsubscribed}

    stage.show(counts, settings.prometheus)
    if settings.unsubscribe_bind is None:
        await stage.stop.wait()
    else:
        app = http_server.behind(clicks.app(), settings.unsubscribe_proxies)
        web = http_server.Server(app, settings.unsubscribe_bind)
        with http_server.listening(settings.unsubscribe_bind) as listening:
            await stage.until_stopped(web.serve(sockets=[listening]), at_stop=web.leave)
    await server.drain(DRAIN)


async def queues(stage: Stage) -> None:
    """How full the queue is."""
    whole = stage.settings
    queue = connect.queue_of(whole, whole.redis)
    shown = gauges.shown_streams(whole)
    counted: dict[str, float] = {}
    await connect.restored(whole, queue.redis)
    stage.show(lambda: counted, whole.redis.prometheus)
    await _look(stage, counted, lambda: gauges.of_redis(queue, shown))
    await connect.saved(whole, queue.redis)


async def _look(stage: Stage, counted: dict[str, float], look: Callable[[], Awaitable[Mapping[str, float]]]) -> None:
    """Look every few seconds. What cannot be counted is not shown, and is warned of once."""
    failed = ""
    while not stage.stop.is_set():
        try:
            counted |= await look()
            failed = ""
        except (RedisError, OSError, gauges.PostfixQueueError) as err:
            counted.clear()
            if str(err) != failed:
                log.warning("a queue cannot be counted: %s", err)
            failed = str(err)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stage.stop.wait(), LOOKED)


STAGES: dict[str, Callable[[Stage], Awaitable[None]]] = {
    "receiver": receiver,
    "http-receiver": http_receiver,
    "transformer": transformer,
    "postfix": postfix,
    "backdata": backdata,
    "mxserver": mxserver,
    "redis": queues,
}


def _notify(state: str) -> None:
    """Tell systemd, where it listens (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
            to.connect("\0" + address[1:] if address[0] == "@" else address)
            to.send(state.encode())


@contextlib.contextmanager
def _told_to_stop(stop: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for one in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(one, stop.set)
    yield
    _notify("STOPPING=1")


async def run(name: str, settings: Config, instance: str) -> None:
    """Run a stage."""
    stage = Stage(settings, name, instance)
    with _told_to_stop(stage.stop):
        await STAGES[name](stage)
    log.info("down")


def main() -> None:
    """Read the command line and run a stage."""
    parser = argparse.ArgumentParser(prog="postmaster-mailer", description=__doc__)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--config", type=Path, action="append", help="a YAML file, laid over those before it")
    parser.add_argument("--instance", default="1", help="what tells this process from others of its stage on this host")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    paths = given.config or default_files()
    try:
        uvloop.run(run(given.stage, load(paths), given.instance))
    except ConfigError as err:
        sys.exit(f"postmaster-mailer: {err}")


if __name__ == "__main__":
    main()
