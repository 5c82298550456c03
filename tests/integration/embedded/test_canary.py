"""The watcher of the secret canary test sees what it must see, and nothing where there is nothing."""

import base64
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.canary import Canary

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYzEXAMPLEKEY"
HOLDER = """
import sys
kept = bytearray(sys.stdin.buffer.readline().strip())
print("ready", flush=True)
sys.stdin.buffer.readline()
"""


@pytest.mark.parametrize(
    ("form", "make"),
    [
        ("raw", lambda secret: secret),
        ("raw", lambda secret: secret[:20]),
        ("raw", lambda secret: secret[-20:]),
        ("raw", lambda secret: secret[7:27]),
        ("base64 at 0", base64.b64encode),
        ("base64 at 1", lambda secret: base64.b64encode(b"x" + secret + b"yy")),
        ("base64 at 2", lambda secret: base64.b64encode(b"xy" + secret)),
        ("base64url at 0", base64.urlsafe_b64encode),
        ("hex", lambda secret: secret.hex().encode()),
        ("HEX", lambda secret: secret.hex().upper().encode()),
        ("url", lambda secret: quote(secret, safe="").encode()),
        ("json", lambda secret: secret.replace(b"/", b"\\/")),
        ("utf-16-le", lambda secret: secret.decode().encode("utf-16-le")),
        ("utf-16-be", lambda secret: secret.decode().encode("utf-16-be")),
    ],
)
def test_each_form_is_seen_in_a_file_also_across_blocks(
    tmp_path: Path, form: str, make: Callable[[bytes], bytes]
) -> None:
    for before in (10, 16 * 1024 * 1024 - 9):
        (tmp_path / "file").write_bytes(b"." * before + make(SECRET.encode()) + b"." * 100)
        assert form in {sighting.form for sighting in Canary(SECRET).in_files([tmp_path])}


def test_less_than_a_piece_and_other_secrets_are_not_seen(tmp_path: Path) -> None:
    (tmp_path / "short").write_text(SECRET[:19] + "." + SECRET[22:])
    (tmp_path / "other").write_text(SECRET[::-1])
    assert Canary(SECRET).in_files([tmp_path]) == []


def test_a_files_name_counts(tmp_path: Path) -> None:
    (tmp_path / SECRET[:25].replace("/", "")).touch()
    assert Canary(SECRET.replace("/", "")).in_files([tmp_path]) != []


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only Linux's root reads another's memory")
def test_another_processs_memory_is_looked_through() -> None:
    canary = Canary(SECRET)
    with subprocess.Popen([sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert canary.in_memory(process.pid, "holder") == []
        process.stdin.write(SECRET.encode() + b"\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"ready\n"
        assert "raw" in {sighting.form for sighting in canary.in_memory(process.pid, "holder")}
        process.stdin.close()
