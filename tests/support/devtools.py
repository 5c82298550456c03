"""A headless Chromium that a test leads by the DevTools protocol, over pipes: it opens no port but to the page's server.

https://chromedevtools.github.io/devtools-protocol/ ; messages are JSON, each ended by a zero byte.
"""

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.browser import browser

_OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --remote-debugging-pipe"
)
_MAX_MESSAGE = 64 * 1024 * 1024
_SECONDS = 20.0


class Page:
    """The browser's one tab. `said` is what stood on its console, `failed` what it could not load or refused to do."""

    def __init__(self, reader: asyncio.StreamReader, send: asyncio.WriteTransport) -> None:
        self._reader, self._send = reader, send
        self._number = 0
        self._session: str | None = None
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self.said: list[str] = []
        self.failed: list[str] = []

    async def listen(self) -> None:
        """Takes what the browser says, until it ends."""
        while True:
            try:
                raw = await self._reader.readuntil(b"\0")
            except asyncio.IncompleteReadError:
                break
            message = json.loads(raw[:-1])
            if (waiting := self._waiting.pop(message.get("id", 0), None)) is not None:
                waiting.set_result(message)
            else:
                self._hear(message.get("method", ""), message.get("params", {}))
        for waiting in self._waiting.values():
            waiting.set_exception(ConnectionError("the browser has ended"))

    def _hear(self, method: str, parameters: Any) -> None:
        if method == "Runtime.consoleAPICalled":
            self.said.append(" ".join(str(each.get("value", each.get("description"))) for each in parameters["args"]))
        elif method == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            self.said.append(str(details.get("exception", {}).get("description", details["text"])))
        elif method == "Log.entryAdded":
            entry = parameters["entry"]
            self.failed.append(f"{entry['source']}: {entry['text']} {entry.get('url', '')}")
        elif method == "Audits.issueAdded":
            self.failed.append(f"issue: {parameters['issue']['code']}")

    async def ask(self, method: str, **parameters: Any) -> Any:
        """One command of the protocol; its result."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        waiting = self._waiting[self._number] = asyncio.get_running_loop().create_future()
        self._send.write(json.dumps(message).encode() + b"\0")
        answer = await asyncio.wait_for(waiting, _SECONDS)
        assert "error" not in answer, (method, answer["error"])
        return answer["result"]

    async def attach(self) -> None:
        """Makes the tab, and has it tell all that it can."""
        target = (await self.ask("Target.createTarget", url="about:blank"))["targetId"]
        self._session = (await self.ask("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Audits"):
            await self.ask(f"{domain}.enable")

    async def open(self, url: str) -> None:
        """Goes to an address."""
        answer = await self.ask("Page.navigate", url=url)
        assert "errorText" not in answer, answer

    async def run(self, script: str) -> Any:
        """The value of an expression in the page; promises are waited for."""
        answer = await self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def until(self, condition: str, seconds: float = 10) -> None:
        """Waits until an expression is true; fails with what the page shows."""
        wait = (
            "new Promise((resolve) => { const look = () => { let found = false; "
            f"try {{ found = {condition}; }} catch {{ found = false; }} "
            f"if (found || performance.now() > end) resolve(Boolean(found)); else setTimeout(look, 20); }}; "
            f"const end = performance.now() + {seconds * 1000}; look(); }})"
        )
        found = await self.run(wait)
        assert found, f"never: {condition}\n{await self.run('document.body.innerText')}\n{self.said}\n{self.failed}"
        return found

    async def text(self, selector: str = "body") -> str:
        """The text that an element shows."""
        return str(await self.run(f"document.querySelector({json.dumps(selector)}).innerText"))

    async def press(self, label: str, within: str = "body") -> None:
        """Clicks the button or link whose text begins so, once it is there and may be clicked."""
        found = (
            f"[...document.querySelectorAll({json.dumps(f'{within} button, {within} a')})]"
            f".find((each) => each.innerText.trim().startsWith({json.dumps(label)}) && !each.disabled)"
        )
        await self.until(found)
        await self.run(f"{found}.click()")

    async def write(self, selector: str, text: str) -> None:
        """Writes into a field as a person does."""
        await self.until(f"document.querySelector({json.dumps(selector)}) !== null")
        await self.run(f"document.querySelector({json.dumps(selector)}).focus()")
        await self.ask("Input.insertText", text=text)

    async def key(self, name: str) -> None:
        """Presses a key, such as Tab or Enter."""
        codes = {"Tab": 9, "Enter": 13, "Escape": 27}
        text = {"text": "\r"} if name == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            await self.ask(
                "Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=codes[name], **text
            )

    async def screenshot(self, path: Path, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """A picture of the whole page."""
        await self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        await self.ask("Emulation.setEmulatedMedia", features=scheme)
        size = (await self.ask("Page.getLayoutMetrics"))["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": width, "height": size["height"], "scale": 1}
        taken = await self.ask("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(taken["data"]))


@asynccontextmanager
async def opened_browser(profile: Path) -> AsyncIterator[Page]:
    """A browser with an empty profile, ended after the block."""
    program = browser()
    assert program is not None
    to_read, theirs_to_write = os.pipe()
    theirs_to_read, to_write = os.pipe()
    # Chromium reads from 3 and writes to 4, which are free in nobody's process but a shell's that was just started.
    shell = f'exec "$0" "$@" 3<&{theirs_to_read} 4>&{theirs_to_write}'
    command = ["/bin/bash", "-c", shell, program, *_OPTIONS.split(), f"--user-data-dir={profile}"]
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        pass_fds=(theirs_to_read, theirs_to_write),
        start_new_session=True,
    )
    os.close(theirs_to_read)
    os.close(theirs_to_write)
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_MAX_MESSAGE)
    incoming, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(to_read, "rb"))
    outgoing, _ = await loop.connect_write_pipe(asyncio.Protocol, os.fdopen(to_write, "wb"))
    page = Page(reader, outgoing)
    listening = asyncio.create_task(page.listen())
    try:
        await page.attach()
        yield page
    finally:
        os.killpg(process.pid, 9)  # a session of its own: all its processes, and nobody else's
        await process.wait()
        await listening
        incoming.close()
        outgoing.close()
