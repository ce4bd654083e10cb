"""A real browser, without a network: what a page shows, what it asks for, and what went wrong."""

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: `make chromium` (Debian)")
_OWN = ("file:", "data:", "blob:", "chrome:", "chrome-untrusted:", "chrome-extension:", "about:")


@dataclass(frozen=True)
class Opened:
    """The page as it stood after its scripts ran, what the console said, and the addresses it asked the network for."""

    text: str
    console: tuple[str, ...]
    asked: tuple[str, ...]


def opened(page: Path, workplace: Path) -> Opened:
    """Open a file in headless Chromium, any name of a host answered with "not found"."""
    log = workplace / f"{page.stem}.netlog.json"
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
        "--disable-component-update", "--no-first-run", "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--user-data-dir={workplace / 'profile'}", "--enable-logging=stderr", "--log-level=0",
        f"--log-net-log={log}", "--virtual-time-budget=20000", "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    ended = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
    console = tuple(line for line in ended.stderr.splitlines() if ":CONSOLE" in line)
    return Opened(ended.stdout, console, tuple(sorted(_asked_for(json.loads(log.read_text("utf-8"))))))


def _asked_for(log: dict[str, Any]) -> set[str]:
    """Return the addresses that the page asked for; the browser's own errands have no origin."""
    kinds = {number: name for name, number in log["constants"]["logEventTypes"].items()}
    asked = set()
    for event in log["events"]:
        url = str(event.get("params", {}).get("url", ""))
        initiator = str(event.get("params", {}).get("initiator", ""))
        if (
            kinds.get(event["type"]) == "URL_REQUEST_START_JOB"
            and url
            and not url.startswith(_OWN)
            and initiator != "not an origin"
        ):
            asked.add(url)
    return asked
