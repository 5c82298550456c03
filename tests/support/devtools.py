"""A headless Chromium that a test leads by the DevTools protocol (https://chromedevtools.github.io/devtools-protocol/)."""

import asyncio
import base64
import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from tests.support.browser import browser

_OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --remote-debugging-port=0"
)
_MAX_MESSAGE = 64 * 1024 * 1024
_SECONDS = 20.0
_LISTENS = re.compile(rb"DevTools listening on (ws://127\.0\.0\.1:\S+)")


class Page:
    """The browser's one tab. `said` is what stood on its console, `failed` what it could not load or refused to do."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._number = 0
        self._session: str | None = None
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self.said: list[str] = []
        self.failed: list[str] = []

    async def listen(self) -> None:
        """Takes what the browser says, until it ends."""
        async for raw in self._connection:
            message = json.loads(raw)
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
        await self._connection.send(json.dumps(message))
        answer = await asyncio.wait_for(waiting, _SECONDS)
        assert "error" not in answer, (method, answer["error"])
        return answer["result"]

    async def attach(self) -> None:
        """Makes the tab, and has it tell all that it can."""
        context = (await self.ask("Target.createBrowserContext", disposeOnDetach=True))["browserContextId"]
        target = (await self.ask("Target.createTarget", url="about:blank", browserContextId=context))["targetId"]
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
        await asyncio.to_thread(path.write_bytes, base64.b64decode(taken["data"]))


@contextmanager
def started_browser(profile: Path) -> Iterator[str]:
    """A browser with an empty profile, ended after the block: where it is to be spoken to, on this machine alone."""
    program = browser()
    assert program is not None
    command = [program, *_OPTIONS.split(), f"--user-data-dir={profile}"]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            assert process.stderr is not None
            said = b""
            while (found := _LISTENS.search(said)) is None:
                line = process.stderr.readline()
                assert line, f"the browser has ended: {said!r}"
                said += line
            draining = threading.Thread(target=process.stderr.read)  # else it would stop when the pipe is full
            draining.start()
            yield found[1].decode()
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # a session of its own: all its processes, and nobody else's
            process.wait()
            draining.join()


@asynccontextmanager
async def opened_page(address: str) -> AsyncIterator[Page]:
    """A tab that shares nothing with others; closed after the block."""
    async with connect(address, max_size=_MAX_MESSAGE, compression=None) as connection:
        page = Page(connection)
        listening = asyncio.create_task(page.listen())
        try:
            await page.attach()
            yield page
        finally:
            await connection.close()
            await listening
