# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guide's example of octoDNS: its configuration, run by octodns-sync on zones of two parts."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils._records import derive
from ansible_collections.postmaster.mail.plugins.module_utils._records_formats import files

GUIDE = Path(__file__).parents[2] / "docs" / "octodns.md"
DOMAIN = {
    "name": "example.org",
    "senders": [{"ip4": "192.0.2.25"}],
    "texts": ["proof=1"],
    "mx": [{"host": "mx.example.org"}],
}
ZONE = """---
www:
  - {ttl: 300, type: A, value: 192.0.2.80}
"""


@pytest.fixture
def dns(tmp_path: Path) -> Path:
    """The folder ``dns`` as the guide has it."""
    pytest.importorskip("octodns")
    config = next(
        block for block in re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(), re.DOTALL) if "providers:" in block
    )
    for folder in ("zones", "mail", "published"):
        (tmp_path / folder).mkdir()
    (tmp_path / "octodns.yaml").write_text(config)
    (tmp_path / "zones" / "example.org.yaml").write_text(ZONE)
    write_mail(tmp_path, DOMAIN)
    return tmp_path


def write_mail(dns: Path, domain: dict[str, object]) -> None:
    written, dummy = files(derive([domain]).records, ["example.org"])
    (dns / "mail" / "example.org.yaml").write_text(written["example.org"]["octodns"])


def sync(dns: Path, *, doit: bool = True, safe: bool = True) -> subprocess.CompletedProcess[str]:
    program = str(Path(sys.executable).parent / "octodns-sync")
    options = ["--config-file", "octodns.yaml", *(["--doit"] if doit else []), *([] if safe else ["--force"])]
    return subprocess.run([program, *options], cwd=dns, capture_output=True, text=True, check=False, timeout=120)


def test_both_parts_are_published_and_a_second_run_changes_nothing(dns: Path) -> None:
    assert sync(dns, doit=False).returncode == 0
    assert not (dns / "published" / "example.org.yaml").exists()
    done = sync(dns)
    assert done.returncode == 0, done.stderr
    published = (dns / "published" / "example.org.yaml").read_text()
    for expected in ("192.0.2.80", "v=spf1 ip4:192.0.2.25 ~all", "proof=1", "mx.example.org.", "v=DMARC1; p=none"):
        assert expected in published
    again = sync(dns)
    assert again.returncode == 0 and "No changes were planned" in again.stdout + again.stderr


def test_a_changed_sender_changes_spf_alone(dns: Path) -> None:
    sync(dns)
    before = (dns / "published" / "example.org.yaml").read_text()
    write_mail(dns, {**DOMAIN, "senders": [{"ip4": "192.0.2.26"}]})
    assert sync(dns, safe=False).returncode == 0
    assert (dns / "published" / "example.org.yaml").read_text() == before.replace("192.0.2.25", "192.0.2.26")


def test_a_text_in_both_parts_stops_it(dns: Path) -> None:
    (dns / "zones" / "example.org.yaml").write_text(
        ZONE.replace("www:", "'':\n  - {ttl: 300, type: TXT, value: another}\nwww:")
    )
    done = sync(dns)
    assert done.returncode != 0 and "Duplicate record" in done.stdout + done.stderr
    assert not (dns / "published" / "example.org.yaml").exists()
