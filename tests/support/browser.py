"""A headless browser, where the machine has one: what a page says on its console, and what becomes of it."""

import re
import shutil
import subprocess
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_CONSOLE = re.compile(r":CONSOLE[(:]\d+[)\]]+ (?P<said>.*)")


def browser() -> str | None:
    """The browser's path, if there is one."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def opened(page: Path, profile: Path) -> tuple[str, list[str]]:
    """The page as it is after its script has run, and the lines on its console. The browser reaches no network."""
    program = browser()
    assert program is not None
    options = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync --enable-logging=stderr --dump-dom --virtual-time-budget=2000"
    )
    done = subprocess.run(
        [program, *options.split(), f"--user-data-dir={profile}", page.as_uri()],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=90,
        check=True,
    )
    return done.stdout, [match["said"] for match in _CONSOLE.finditer(done.stderr)]
