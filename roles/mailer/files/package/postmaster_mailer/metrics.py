# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each stage shows to Prometheus. The names are those of Inboxbooster-Mailer, so its dashboards go on working."""

from __future__ import annotations

import logging
import resource
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, Histogram, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from .config import Prometheus

REGISTRY = CollectorRegistry()
_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 60, 600, 3600)
# From the moment a message was taken in until the stage was done with it.
LATENCY = Histogram(
    "mailer_stage_seconds",
    "Seconds from a message's coming in until this stage was done with it.",
    ["stage"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
WAITED = Histogram(
    "mailer_queue_wait_seconds",
    "Seconds that an entry lay in a stream until this stage took it.",
    ["stream"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
WORKED = Histogram(
    "mailer_work_seconds",
    "Seconds that this stage held an entry of a stream until it was done with it, or put it back.",
    ["stream"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
OLDEST = Gauge(
    "mailer_queue_oldest_seconds",
    "Age of the oldest entry of a stream; 0 where there is none.",
    ["stream"],
    registry=REGISTRY,
)
HELP = {
    "primary_queue_messages": "Messages that go first and wait for the transformer.",
    "default_queue_messages": "Messages that wait for the transformer.",
    "event_queue_messages": "Events that wait to be posted.",
    "event_dead_letter_messages": "Events that an endpoint did not take and that wait for a replay.",
    "queue_to_postfix_messages": "Messages that wait to be handed to Postfix.",
    "next_day_queue_messages": "Messages that wait for a day on which a new address may send more.",
    "message_dead_letter_messages": "Messages that a fault of the mailer kept from going on.",
    "mailer_redis_memory_used_bytes": "Memory that Redis uses.",
    "mailer_redis_memory_max_bytes": "Memory that Redis may use: maxmemory, or without it all of the machine's.",
    "receiver_warnings": "Warnings and errors in this stage's log.",
    "transformer_warnings": "Warnings and errors in this stage's log.",
    "postfix_poller_warnings": "Warnings and errors in this stage's log.",
    "nbr_emails_enqueued": "Messages that were accepted and queued.",
    "nbr_recipients": "Recipients of the messages that were queued.",
    "nbr_dropped_emails": "Messages that were refused.",
    "transformer_polled_primary": "Messages taken from the queue that goes first.",
    "transformer_polled_default": "Messages taken from the other queue.",
    "transformer_pushed": "Messages handed on to Postfix's queue.",
    "postfix_emails_polled": "Messages taken from Postfix's queue.",
    "postfix_emails_to_postfix": "Messages that Postfix took, one for each recipient.",
    "postfix_emails_to_sink": "Messages that sink mode kept from Postfix, one for each recipient.",
    "postfix_incoming_queue_messages": "Messages in Postfix's queue incoming.",
    "postfix_active_queue_messages": "Messages in Postfix's queue active.",
    "postfix_deferred_queue_messages": "Messages in Postfix's queue deferred.",
    "postfix_corrupt_queue_messages": "Messages in Postfix's queue corrupt.",
    "postfix_hold_queue_messages": "Messages in Postfix's queue hold.",
    "delivered_events": "Messages that a server took, one for each recipient.",
    "bounced_events": "Messages that a server refused, and automatic replies.",
    "error_events": "Messages that could not be sent because of an error within.",
    "spam_report_events": "Complaints.",
    "unsubscribe_events": "Unsubscriptions.",
    "malformed_events": "Entries of the stream of events that could not be read.",
    "number_of_events_currently_posting": "Events that are being posted, or wait for an endpoint that fails.",
    "successfully_pushed_events": "Events that an endpoint took.",
    "failed_pushed_events": "Events in requests that an endpoint did not take, counted at each attempt.",
    "given_up_events": "Events that went to a dead-letter stream.",
    "mxserver_received_unsubscribe": "Unsubscriptions, by mail and by one click.",
    "mxserver_received_spam": "Complaints.",
    "mxserver_received_autoreply": "Automatic replies.",
    "mxserver_received_bounce": "Bounces.",
    "mxserver_received_unclassified": "Messages that were not understood, and were kept.",
    "mxserver_warnings": "Messages that were put off, as they could not be kept.",
    "memory_usage_percent": "Memory that this stage uses, in percent of the machine's.",
}


class Warnings(logging.Handler):
    """Counts what a log warns of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        """See :class:`logging.Handler`."""
        self.count += 1


class Shown(Collector):
    """What is asked for when somebody looks. The name tells a gauge from a counter."""

    def __init__(self, values: Callable[[], Mapping[str, float]]) -> None:
        self._values = values

    def collect(self) -> Iterable[Metric]:
        """See :class:`prometheus_client.registry.Collector`."""
        for name, value in {**self._values(), "memory_usage_percent": _memory()}.items():
            gauge = name.endswith(("_messages", "_percent", "_posting", "_bytes"))
            kind = GaugeMetricFamily if gauge else CounterMetricFamily
            yield kind(name, HELP.get(name, name), value=value)


def _memory() -> float:
    pages = float(Path("/proc/self/statm").read_text().split()[1])
    lines = Path("/proc/meminfo").read_text().splitlines()
    whole = next(float(line.split()[1]) for line in lines if line.startswith("MemTotal:"))
    return 100 * pages * resource.getpagesize() / 1024 / whole


def serve(values: Callable[[], Mapping[str, float]], where: Prometheus) -> None:
    """Show the values, on a thread of their own."""
    REGISTRY.register(Shown(values))
    start_http_server(where.inet_port, where.inet_interface, REGISTRY)
