# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's pure parts: names, addresses, zones, keys, verdicts, and what a machine demands of podman."""

from __future__ import annotations

import io
import os
import sys
import tarfile
from email import message_from_string, policy
from pathlib import Path

import dns.dnssec
import dns.rdata
import dns.zone
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "molecule" / "shared"))

from lab import control, engine, hosts, probe, render, state, zones
from lab.credentials import CA_NAME, Credentials, ZoneKey, openssl_hash

PLAN = hosts.Plan("unit", 31)


@pytest.mark.parametrize(
    ("name", "index", "complaint"),
    [
        ("Demo", 10, "a lab's name is made of a-z, 0-9 and inner hyphens"),
        ("-x", 10, "a lab's name"),
        ("", 10, "a lab's name"),
        ("x", 0, "between 1 and 254, not 0"),
        ("x", 255, "between 1 and 254, not 255"),
    ],
)
def test_plan_refuses(name: str, index: int, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        hosts.Plan(name, index)


def test_addresses_show_the_index_and_the_host_in_both_families() -> None:
    relay, edge = hosts.BY_NAME["relay1"], hosts.BY_NAME["edge"]
    assert PLAN.addresses(relay) == ["198.19.31.25", "2001:db8:31:2::25"]
    assert PLAN.addresses(edge) == ["198.18.31.2", "2001:db8:31:1::2", "198.19.31.2", "2001:db8:31:2::2"]


def test_no_two_hosts_share_an_address_or_a_name() -> None:
    addresses = [address for host in hosts.HOSTS for address in PLAN.addresses(host)]
    assert len(set(addresses)) == len(addresses)
    assert len({host.fqdn for host in hosts.HOSTS}) == len(hosts.HOSTS)


@pytest.mark.parametrize(
    ("limits", "systemd", "wanted", "unwanted"),
    [
        (True, True, [], ["["]),
        (False, True, ['runtime = "runc"', "default_ulimits"], ["cgroup_manager"]),
        (True, False, ['cgroup_manager = "cgroupfs"'], ["runc", "default_ulimits"]),
        (False, False, ['cgroup_manager = "cgroupfs"', 'runtime = "runc"', "default_ulimits"], []),
    ],
)
def test_podman_is_told_only_what_it_needs(limits: bool, systemd: bool, wanted: list[str], unwanted: list[str]) -> None:
    text = engine.containers_conf(engine.Machine(can_raise_limits=limits, has_systemd=systemd))
    assert all(part in text for part in wanted)
    assert not any(part in text for part in unwanted)
    assert text.count("[engine]") <= 1


@pytest.mark.parametrize(("bounding", "able"), [("000001ffffffffff", True), ("000001fffeffffff", False)])
def test_machine_reads_the_bounding_set(tmp_path: Path, bounding: str, able: bool) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/status").write_text(f"Name:\tx\nCapBnd:\t{bounding}\n", encoding="ascii")
    assert engine.Machine.look(root=tmp_path) == engine.Machine(can_raise_limits=able, has_systemd=False)


# What machines say of themselves. The version of their cgroups is no part of it: podman finds that out itself.
MACHINES = {
    "Debian 13, cgroup v2": {
        "proc/self/status": "CapInh:\t0000000000000000\nCapBnd:\t000001ffffffffff\nCapAmb:\t0000000000000000\n",
        "proc/self/cgroup": "0::/user.slice/user-1000.slice/session-1.scope\n",
        "sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory hugetlb pids rdma misc\n",
        "run/systemd/system/x": "",
    },
    "Debian 12 without an init, cgroup v1 and v2": {
        "proc/self/status": "CapInh:\t0000000000000000\nCapBnd:\t000001fffeffffff\nCapAmb:\t0000000000000000\n",
        "proc/self/cgroup": "3:memory:/\n2:pids:/\n1:name=systemd:/\n0::/\n",
        "sys/fs/cgroup/unified/cgroup.controllers": "\n",
    },
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Debian 13, cgroup v2", ""),
        (
            "Debian 12 without an init, cgroup v1 and v2",
            '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\nruntime = "runc"\n'
            '[containers]\ndefault_ulimits = ["nofile=1024:20000", "nproc=30000:30000"]\n'
            '[network]\nnetwork_backend = "netavark"\n',
        ),
    ],
)
def test_a_machine_gets_the_podman_settings_it_needs(tmp_path: Path, name: str, expected: str) -> None:
    for path, content in MACHINES[name].items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(content, encoding="ascii")
    assert engine.containers_conf(engine.Machine.look(root=tmp_path)) == expected


def test_key_tag_and_ds_agree_with_dnspython() -> None:
    key = ZoneKey()
    dnskey = dns.rdata.from_wire("IN", "DNSKEY", key.rdata, 0, len(key.rdata))
    assert key.tag == dns.dnssec.key_id(dnskey)  # type: ignore[arg-type]
    ds = dns.dnssec.make_ds("corp.example.", dnskey, "SHA256")  # type: ignore[arg-type]
    assert key.ds("corp.example.").lower() == ds.to_text().lower()


def test_subject_hash_is_what_openssl_says() -> None:
    assert openssl_hash(CA_NAME) == "e6ab0bba"  # openssl x509 -subject_hash


def test_every_zone_loads_and_is_delegated() -> None:
    credentials = Credentials()
    renderer = render.Renderer(PLAN, credentials)
    names = {zone.name for zone in renderer.zones}
    assert {
        "31.18.198.in-addr.arpa.",
        "31.19.198.in-addr.arpa.",
        "corp.example.",
        "shop.example.",
        "post.example.",
    } <= names
    assert "2.0.0.0.1.3.0.0.8.b.d.0.1.0.0.2.ip6.arpa." in names
    delegated = set()
    for zone in renderer.zones:
        text = renderer.template("zone.j2", zone=zone, ttl=zones.TTL)
        loaded = dns.zone.from_text(text, origin=zone.name, relativize=False)
        delegated |= {name.to_text() for name in loaded if loaded.get_rdataset(name, "DS")}
    assert delegated == names - {"."}


def test_one_zone_is_bogus_and_no_other() -> None:
    key = ZoneKey()
    for zone in zones.build(PLAN, key):
        for owner, rdtype, rdata in zone.records:
            if rdtype == "DS":
                assert (rdata == key.ds(owner)) is (owner != "bogus.test.")


def test_estate_publishes_its_mail_records_itself() -> None:
    for zone in zones.build(PLAN, ZoneKey()):
        if zone.name in zones.OF_ESTATE:
            assert "estate." in zone.updaters
            assert not {"MX", "TXT"} & {rdtype for dummy, rdtype, dummy in zone.records}


def test_no_secret_of_a_host_is_readable_by_others() -> None:
    credentials = Credentials()
    renderer = render.Renderer(PLAN, credentials)
    secrets = [credentials.host.private, credentials.zone_key.pem, credentials.provider_password]
    secrets += credentials.tsig.values()
    for host in hosts.HOSTS:
        with tarfile.open(fileobj=io.BytesIO(render.pack(renderer.files(host)))) as archive:
            for member in archive.getmembers():
                file = archive.extractfile(member) if member.isfile() else None
                content = file.read().decode() if file else ""
                assert member.mode & 0o077 == 0 or not any(s in content for s in secrets), (host.name, member.name)


def test_each_host_writes_its_own_names_as_it_boots() -> None:
    """A file of the controller's shown inside would belong to its user, and Postfix warns of such."""
    renderer = render.Renderer(PLAN, Credentials())
    scripts = {
        name: {file.path: file.content for file in renderer.files(hosts.BY_NAME[name])}["/usr/local/sbin/lab-network"]
        for name in ("relay1", "resolver")
    }
    assert "\n198.19.31.25 relay1.corp.example relay1\n" in scripts["relay1"]
    assert "cat > /etc/resolv.conf << 'END'\nnameserver 198.18.31.13\n" in scripts["relay1"]
    assert "cat > /etc/hosts" in scripts["resolver"] and "/etc/resolv.conf" not in scripts["resolver"]


def test_the_package_proxy_runs_as_a_user_of_the_controller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    monkeypatch.setattr(os, "getgid", lambda: 1000)
    renderer = render.Renderer(PLAN, Credentials())
    files = {file.path: file.content for file in renderer.files(hosts.BY_NAME["resolver"])}
    unit = files["/etc/systemd/system/apt-cacher-ng.service.d/lab.conf"]
    # systemd starts nothing for a user without a name, and the host knows none of the controller's.
    assert "User=root\n" in unit
    assert "--reuid=1000 --regid=1000" in unit


def test_inventory_holds_the_running_hosts_only() -> None:
    running = [hosts.BY_NAME[name] for name in ("ns1", "edge", "relay1", "sat-exim-12", "mail-13")]
    known = state.facts(PLAN, Credentials(), engine="podman", running=running)
    inventory = state.inventory(known)["all"]
    assert list(inventory["hosts"]) == ["ns1", "edge", "relay1", "sat-exim-12", "mail-13"]
    groups = {name: list(group["hosts"]) for name, group in inventory["children"].items()}
    assert groups["estate"] == ["relay1", "sat-exim-12", "mail-13"]
    assert groups["satellites"] == groups["satellites_exim"] == ["sat-exim-12"]
    assert groups["satellites_postfix"] == []
    assert groups["mail_servers"] == ["mail-13"]


def test_all_of_the_estate_is_what_its_variables_describe() -> None:
    """The demo runs site.yml on these, so a host in a group that nothing describes would end it."""
    described = {path.stem for path in (state.REPOSITORY / "molecule/shared/estate/group_vars").iterdir()}
    groups = {group for name in hosts.EVERYTHING for group in hosts.BY_NAME[name].groups}
    assert groups - {"internet", "routers", "estate", "satellites_postfix", "satellites_exim"} <= described
    assert "mail-13" not in hosts.EVERYTHING


HEADER = "Authentication-Results: {}\n\nbody\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mx.outside.test; none", ("none", "none", "none")),
        ("mx.outside.test;\n\tdkim=pass header.d=a.example header.s=x; spf=fail (mx: it; does not) smtp.mailfrom=a@b;"
         "\n\tdmarc=pass (policy=reject) header.from=a.example", ("fail", "pass", "pass")),
        ("mx.outside.test; dkim=fail (why) header.d=a; dkim=pass header.d=b", ("none", "pass", "none")),
        ("mx.outside.test; dkim=permerror header.d=a; dkim=fail header.d=b", ("none", "permerror", "none")),
    ],
)  # fmt: skip
def test_verdicts(text: str, expected: tuple[str, str, str]) -> None:
    message = message_from_string(HEADER.format(text), policy=policy.default)
    assert tuple(probe.verdicts(message, "mx.outside.test").values()) == expected


@pytest.mark.parametrize(
    ("headers", "complaint"),
    [
        ("Subject: x\n\n", "has no Authentication-Results header"),
        (HEADER.format("mx.outside.test.evil; spf=pass"), "not mx.outside.test's"),
        ("Authentication-Results: other.test; spf=pass\n" + HEADER.format("mx.outside.test; spf=fail"), "topmost"),
    ],
)
def test_verdicts_of_others_count_for_nothing(headers: str, complaint: str) -> None:
    with pytest.raises(probe.ProbeError, match=complaint):
        probe.verdicts(message_from_string(headers, policy=policy.default), "mx.outside.test")


@pytest.mark.parametrize(
    ("steps", "accepted", "refused_at"),
    [
        ([("connect", 220, ""), ("DATA", 354, ""), (".", 250, "")], True, None),
        ([("connect", 220, ""), ("RCPT", 550, "no")], False, "RCPT"),
        ([("connect", 220, ""), ("connection", 0, "gone")], False, "connection"),
        ([("connect", 220, ""), ("RCPT", 250, "")], False, None),
    ],
)
def test_dialogue(steps: list[tuple[str, int, str]], accepted: bool, refused_at: str | None) -> None:
    dialogue = probe.Dialogue(steps)
    assert dialogue.accepted is accepted
    assert (dialogue.refusal[0] if dialogue.refusal else None) == refused_at


def test_the_limit_of_inotify_instances_is_raised_once(tmp_path) -> None:
    setting = tmp_path / "max_user_instances"
    setting.write_text("128\n", encoding="ascii")
    said: list[str] = []
    for dummy in range(2):
        engine.make_room(engine.Podman(), said.append, setting=setting)
    assert setting.read_text(encoding="ascii") == "2048\n"
    assert len(said) == 1


class SlowToDie(engine.Engine):
    """Two hosts, of which one outlives ``refusals`` orders to go."""

    name = "podman"

    def __init__(self, refusals: int) -> None:
        super().__init__()
        self.refusals = refusals
        self.left = ["pml-x-sat1", "pml-x-sat2"]

    def containers(self, lab: str) -> list[dict[str, str]]:
        return [{"name": name, "status": "Up"} for name in self.left]

    def remove(self, names) -> None:
        self.left = ["pml-x-sat2"] if self.refusals else []
        if self.refusals:
            self.refusals -= 1
            raise engine.LabError("podman rm -f failed: given PIDs did not die within timeout")

    def networks(self, lab: str = "") -> list[str]:
        return []


@pytest.fixture
def _at_once(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(control, "PAUSE", 0)
    monkeypatch.setattr(state, "CACHE", tmp_path)


@pytest.mark.usefixtures("_at_once")
def test_a_host_that_is_slow_to_die_is_told_again() -> None:
    slow, said = SlowToDie(3), []
    control.clear("x", slow, say=said.append)
    assert not slow.left
    assert [line for line in said if line.startswith("removing")] == ["removing 2 containers of lab x"] + 3 * [
        "removing 1 containers of lab x"
    ]


@pytest.mark.usefixtures("_at_once")
def test_a_host_that_never_dies_is_told_of() -> None:
    with pytest.raises(engine.LabError, match="did not die"):
        control.clear("x", SlowToDie(99), say=lambda text: None)
