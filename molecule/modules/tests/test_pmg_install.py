# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the role pmg installs a gateway, with a repository that is a fake: the real one is out of reach.

Its packages are empty but for the source for subscribers, which the real ones bring as well. What is proven is the key
by its checksum, the sources, who is refused, and that a second run changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab.plays import Played, play
from lab.probe import Lab

HOSTS = {"sat-postfix-12": "bookworm", "sat-postfix-13": "trixie"}
KEYRINGS = {
    "bookworm": "/etc/apt/trusted.gpg.d/proxmox-release-bookworm.gpg",
    "trixie": "/usr/share/keyrings/proxmox-archive-keyring.gpg",
}
ENTERPRISE = {
    "bookworm": "/etc/apt/sources.list.d/pmg-enterprise.list",
    "trixie": "/etc/apt/sources.list.d/pmg-enterprise.sources",
}
ENGINES = ("podman", "docker", "container-other")
PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.include_role: {name: postmaster.mail.pmg, tasks_from: install}
"""
FAKE = r"""
set -e
export DEBIAN_FRONTEND=noninteractive
echo 'Acquire::http::Proxy::127.0.0.1 "DIRECT";' > /etc/apt/apt.conf.d/99fake
apt-get -qq update; apt-get -qq install --no-install-recommends gpg gpg-agent >/dev/null
rm -rf /srv/fake /root/fake; mkdir -p /srv/fake/pmg/dists/SUITE/pmg-no-subscription/binary-amd64 /srv/fake/pmg/pool
export GNUPGHOME=/root/fake; mkdir -m 700 $GNUPGHOME
gpg -q --batch --passphrase '' --quick-gen-key 'A fake of a repository' rsa2048 sign 1d
gpg -q --export > /srv/fake/key.gpg
package() {
  mkdir -p /root/fake/$1/DEBIAN
  printf 'Package: %s\nVersion: 1\nArchitecture: all\nMaintainer: A fake\nDescription: A fake\n%s' $1 "$2" \
    > /root/fake/$1/DEBIAN/control
  dpkg-deb --root-owner-group -b /root/fake/$1 /srv/fake/pmg/pool/$1.deb >/dev/null
  { dpkg-deb -f /srv/fake/pmg/pool/$1.deb
    printf 'Filename: pool/%s.deb\nSize: %s\nSHA256: %s\n\n' $1 \
      $(stat -c %s /srv/fake/pmg/pool/$1.deb) $(sha256sum < /srv/fake/pmg/pool/$1.deb | cut -d' ' -f1)
  } >> /srv/fake/pmg/dists/SUITE/pmg-no-subscription/binary-amd64/Packages
}
mkdir -p /root/fake/pmg-api/etc/apt/sources.list.d /root/fake/pmg-api/DEBIAN
echo 'deb https://enterprise.invalid/debian/pmg SUITE pmg-enterprise' > /root/fake/pmg-apiENTERPRISE
echo ENTERPRISE > /root/fake/pmg-api/DEBIAN/conffiles
package pmg-api ''
package proxmox-mailgateway-container 'Depends: pmg-api
'
cd /srv/fake/pmg/dists/SUITE
file=pmg-no-subscription/binary-amd64/Packages
{ printf 'Origin: A fake\nSuite: SUITE\nCodename: SUITE\nArchitectures: amd64\nComponents: pmg-no-subscription\n'
  printf 'Date: %s\nSHA256:\n' "$(date -Ru)"
  printf ' %s %s %s\n' $(sha256sum < $file | cut -d' ' -f1) $(stat -c %s $file) $file
} > Release
gpg -q --batch --clearsign -o InRelease Release
systemctl stop fake-repository 2>/dev/null || true
systemd-run -q --unit=fake-repository python3 -m http.server --bind 127.0.0.1 --directory /srv/fake 8099
sha256sum < /srv/fake/key.gpg | cut -d' ' -f1
"""


@pytest.fixture(scope="module")
def fakes(lab: Lab) -> Iterator[dict[str, str]]:
    """The checksum of the key of each host's fake repository."""
    sums = {}
    for host, release in HOSTS.items():
        script = FAKE.replace("SUITE", release)
        said = lab.run(host, "bash", input=script.replace("ENTERPRISE", ENTERPRISE[release]), timeout=600)
        sums[host] = said.stdout.split()[-1]
    yield sums
    for host in HOSTS:
        lab.run(host, "systemctl stop fake-repository; rm -rf /srv/fake /root/fake /etc/apt/apt.conf.d/99fake")


def install(lab: Lab, folder: Path, fakes: dict[str, str], *, container: bool = True, **options: Any) -> Played:
    """A run of the role's installation; lab hosts are containers, which it would refuse."""
    path = folder / "play.yml"
    path.write_text(PLAY)
    extra = {
        "pmg_repository": "no-subscription", "pmg_repository_url": "http://127.0.0.1:8099/pmg", "pmg_install": True,
        "pmg_keyring_url": "http://127.0.0.1:8099/key.gpg", "sums": fakes,
        "pmg_keyring_checksum": "sha256:{{ sums[inventory_hostname] }}",
        **({"__pmg_packages": dict.fromkeys(ENGINES, "proxmox-mailgateway-container")} if container else {}),
        **options.pop("extra", {}),
    }  # fmt: skip
    return play(lab, path, limit=",".join(HOSTS), extra=extra, **options)


def test_it_is_installed_once(lab: Lab, tmp_path: Path, fakes: dict[str, str]) -> None:
    refused = install(lab, tmp_path, fakes, container=False, must_pass=False)
    assert set(refused.failures) == set(HOSTS)
    for host, said in refused.failures.items():
        assert f"{host} is a container of " in said and "use a machine, or a container of LXC" in said
    wrong = install(lab, tmp_path, fakes, must_pass=False, extra={"pmg_keyring_checksum": f"sha256:{'0' * 64}"})
    assert set(wrong.failures) == set(HOSTS) and all("checksum" in said for said in wrong.failures.values())
    for host, release in HOSTS.items():
        lab.run(host, f"! test -e {KEYRINGS[release]} && ! test -e {ENTERPRISE[release]}")

    foreseen = install(lab, tmp_path, fakes, check=True)
    assert set(foreseen.changed) == set(HOSTS)
    for host, release in HOSTS.items():
        lab.run(host, f"! test -e {KEYRINGS[release]} && ! dpkg -s pmg-api 2>/dev/null")
    install(lab, tmp_path, fakes)
    for host, release in HOSTS.items():
        installed = lab.run(
            host, "dpkg-query -Wf '${Package} ${Status}\n' pmg-api proxmox-mailgateway-container"
        ).stdout
        assert installed.count("install ok installed") == 2
        # Subscribers' source came with the package, and is not used.
        assert "enterprise.invalid" not in lab.run(host, f"cat {ENTERPRISE[release]}").stdout
        lab.run(host, "apt-get -qq update", timeout=300)
        assert lab.run(host, "apt-cache policy pmg-api | grep -c 127.0.0.1:8099").stdout.strip() == "1"
    for check in (True, False):
        assert install(lab, tmp_path, fakes, check=check).changed == {}
