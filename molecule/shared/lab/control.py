# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts a lab up and takes it down."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from . import engine as engines
from . import packages, ready, state
from .credentials import Credentials
from .engine import Container, Engine, LabError, Link, Mount
from .hosts import BY_NAME, GATEWAY, HOSTS, SIDES, Host, Plan
from .images import Images, Say, base_tag, internet_tag
from .render import ACME_PORT, Renderer, pack

WORKERS = 4
REMOVALS, PAUSE = 5, 10  # how often an engine is told to remove a lab's hosts, and seconds between
FORWARDING = {"net.ipv4.ip_forward": "1", "net.ipv6.conf.all.forwarding": "1"}


def narrator() -> Say:
    """A function that prints a line with the seconds since now."""
    start = time.monotonic()
    return lambda text: print(f"[{time.monotonic() - start:5.1f} s] {text}", flush=True)


def choose(names: Iterable[str]) -> list[Host]:
    """The internet's hosts but those on request, the edge and the named ones; :class:`LabError` for an unknown name."""
    wanted = set(names)
    if unknown := sorted(wanted - set(BY_NAME)):
        raise LabError(f"no host of the lab is called {', '.join(unknown)}; there are {', '.join(BY_NAME)}")
    always = [host for host in HOSTS if (host.of_internet or host.routes) and not host.on_request]
    return [host for host in HOSTS if host in always or host.name in wanted]


def up(plan: Plan, *, hosts: Sequence[Host], engine_name: str, say: Say) -> None:
    """Start a lab from nothing; what an earlier one of the same name left is cleared away first."""
    engine = engines.find(engine_name, state=state.CACHE)
    if obstacle := engine.obstacle():
        raise LabError(obstacle)
    engines.make_room(engine, say)
    releases = {host.release for host in hosts}
    Images(engine, cache=state.CACHE / "images", say=say).ensure(releases)
    clear(plan.name, engine, say=say)
    _networks(plan, engine)
    credentials = Credentials()
    known = state.facts(plan, credentials, engine=engine.name, running=hosts)
    state.save(known, credentials)
    packages.share(state.CACHE / "packages", state.folder(plan.name) / "packages")
    say(f"starting {len(hosts)} hosts")
    renderer = Renderer(plan, credentials)
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(lambda host: _start(plan, host, engine, renderer), hosts))
    say("waiting for them to answer")
    _wait(plan, hosts)
    say(f"lab {plan.name} is up: {known['inventory']}")


def restart(name: str, host: str) -> None:
    """Restart a host of a lab, as its power button would, and wait until it can be reached."""
    known = state.load(name)
    about = known["hosts"][host]
    engines.find(known["engine"], state=state.CACHE).run("restart", about["container"])
    ready.wait(f"sshd on {host}", partial(ready.banner, about["control"], 22, b"SSH-"))


def down(name: str, *, engine_name: str, say: Say) -> None:
    """Remove a lab and its state; the packages it downloaded are kept for the next one.

    A lab whose state was lost is found by its label in the engine called ``engine_name``.
    """
    try:
        engine = engines.find(state.load(name)["engine"], state=state.CACHE)
    except FileNotFoundError:
        engine = engines.find(engine_name, state=state.CACHE)
        if not engine.containers(name) and not engine.networks(name):
            known = ", ".join(state.names()) or "none"
            raise LabError(f"there is no lab called {name}; labs known here: {known}") from None
    clear(name, engine, say=say)
    say(f"lab {name} is gone")


def clear(name: str, engine: Engine, *, say: Say) -> None:
    """Remove the containers and networks of a lab, whatever state they are in."""
    _remove_containers(name, engine, say=say)
    engine.remove_networks(engine.networks(name))
    own = state.folder(name) / "packages"
    if own.is_dir():
        packages.share(own, state.CACHE / "packages")
    state.forget(name)


def _remove_containers(name: str, engine: Engine, *, say: Say) -> None:
    """On a busy machine a killed host's last process may need longer to go than an engine waits: it is told again."""
    for last in (*[False] * (REMOVALS - 1), True):
        left = [container["name"] for container in engine.containers(name)]
        if not left:
            return
        say(f"removing {len(left)} containers of lab {name}")
        try:
            engine.remove(left)
            return
        except LabError as err:
            if last:
                raise
            say(str(err))
            time.sleep(PAUSE)


def _networks(plan: Plan, engine: Engine) -> None:
    for side in SIDES:
        v4, v6 = plan.net4(side), plan.net6(side)
        gateways = (plan.v4(GATEWAY, side), plan.v6(GATEWAY, side))
        try:
            engine.create_network(plan.network(side), plan.name, v4=str(v4), v6=str(v6), gateways=gateways)
        except LabError as err:
            others = ", ".join(engine.networks()) or "none"
            raise LabError(
                f"the network {v4} cannot be made; does another lab use index {plan.index}? "
                f"(networks of labs: {others}) {err}"
            ) from err


# What a host sees of it are the settings of its own network. /proc/sys itself is for reading only in a container, and
# a router in a namespace of a test needs to be told that it is one.
NETWORK_SETTINGS = Mount(Path("/proc/sys/net"), "/var/lib/lab-sysctl/net", read_only=False)


def _start(plan: Plan, host: Host, engine: Engine, renderer: Renderer) -> None:
    mounts = [NETWORK_SETTINGS]
    links = [Link(plan.network(side), plan.v4(host.number, side), plan.v6(host.number, side)) for side in host.sides]
    if host.name == "resolver":  # the way out, to package mirrors and nothing else
        links.append(Link(engine.uplink))
        mounts.append(Mount(state.folder(plan.name) / "packages", "/var/cache/apt-cacher-ng", read_only=False))
    container = Container(
        name=plan.container(host),
        hostname=host.fqdn,
        image=internet_tag() if host.of_internet else base_tag(host.release),
        lab=plan.name,
        links=tuple(links),
        mounts=tuple(mounts),
        sysctls=FORWARDING if host.routes else {},
    )
    engine.create(container)
    engine.put(container.name, pack(renderer.files(host)))
    engine.start(container.name)


def _wait(plan: Plan, hosts: Sequence[Host]) -> None:
    at = {host.name: plan.control(host) for host in hosts}
    tests: dict[str, Callable[[], bool]] = {
        f"sshd on {name}": partial(ready.banner, address, 22, b"SSH-") for name, address in at.items()
    }
    zones = ("corp.example", "shop.example", "post.example", "outside.test")
    for name in ("ns1", "ns2"):
        tests |= {f"{zone} on {name}": partial(ready.serves, at[name], zone) for zone in zones}
    tests |= {f"a validated answer for {zone}": partial(ready.validates, at["resolver"], zone) for zone in zones}
    tests["the package proxy"] = partial(ready.banner, at["resolver"], 3142, b"")
    tests["outside's SMTP"] = partial(ready.takes_mail, at["outside"])
    tests["the provider's submission"] = partial(ready.banner, at["provider"], 587, b"220 ")
    if "acme" in at:
        tests["the certificate authority"] = partial(ready.banner, at["acme"], ACME_PORT, b"")
    for what, test in tests.items():
        ready.wait(what, test)
