"""Chromium, headless, driven over its DevTools protocol: what a reader's mouse and keyboard do to a page."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp


class Page:
    """An open page."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket, self._number = socket, 0
        self.complaints: list[str] = []  # errors of scripts, and what the page's policy refused

    async def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol, answered."""
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        while True:
            message = await asyncio.wait_for(self._socket.receive_json(), 60)
            if message.get("method") == "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(message["params"]["exceptionDetails"]))
            elif message.get("method") == "Log.entryAdded":
                self.complaints.append(message["params"]["entry"]["text"])
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]

    async def value(self, expression: str) -> Any:
        """What JavaScript evaluates to."""
        found = await self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def width(self, pixels: int, height: int = 900) -> None:
        """Makes the window so wide."""
        await self.send(
            "Emulation.setDeviceMetricsOverride",
            width=pixels, height=height, deviceScaleFactor=1, mobile=pixels < 500,
        )  # fmt: skip

    async def click(self, selector: str) -> None:
        """Clicks into the middle of an element."""
        place = f"document.querySelector({selector!r})"
        await self.value(f"{place}.scrollIntoView({{block: 'center'}})")
        box = await self.value(f"JSON.stringify({place}.getBoundingClientRect())")
        corner = json.loads(box)
        at = {"x": corner["x"] + corner["width"] / 2, "y": corner["y"] + corner["height"] / 2}
        for kind in ("mousePressed", "mouseReleased"):
            await self.send("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **at)

    async def type(self, selector: str, text: str) -> None:
        """Puts the focus on an element and types."""
        await self.value(f"document.querySelector({selector!r}).focus()")
        await self.send("Input.insertText", text=text)

    async def choose(self, selector: str, value: str) -> None:
        """Chooses an option of a list by the keyboard."""
        place = f"document.querySelector({selector!r})"
        await self.value(f"{place}.focus()")
        options = await self.value(f"[...{place}.options].map(o => o.value)")
        steps = options.index(value) - await self.value(f"{place}.selectedIndex")
        key = {"key": "ArrowDown", "windowsVirtualKeyCode": 40} if steps > 0 else {
            "key": "ArrowUp", "windowsVirtualKeyCode": 38}  # fmt: skip
        for _ in range(abs(steps)):
            for kind in ("rawKeyDown", "keyUp"):
                await self.send("Input.dispatchKeyEvent", type=kind, code=key["key"], **key)
        assert await self.value(f"{place}.value") == value

    async def seen(self, selector: str) -> int:
        """How many elements of the kind take up room."""
        return await self.value(
            f"[...document.querySelectorAll({selector!r})].filter(e => e.getClientRects().length).length"
        )

    async def screenshot(self, file: Path) -> None:
        """The window as PNG."""
        found = await self.send("Page.captureScreenshot")
        file.write_bytes(base64.b64decode(found["data"]))


@contextlib.asynccontextmanager
async def opened(program: str, file: Path) -> AsyncIterator[Page]:
    """Opens a file in a browser of its own, which ends with the context."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        process = await asyncio.create_subprocess_exec(
            program, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0",
            f"--user-data-dir={home}", "about:blank",
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            async with aiohttp.ClientSession() as session:
                port = await asyncio.wait_for(_port(process), 120)
                async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                    pages = [one for one in await answer.json() if one["type"] == "page"]
                address = pages[0]["webSocketDebuggerUrl"]
                async with session.ws_connect(address, max_msg_size=0) as socket:
                    page = Page(socket)
                    for domain in ("Page", "Runtime", "Log"):
                        await page.send(f"{domain}.enable")
                    await page.send("Page.navigate", url=file.resolve().as_uri())
                    while not await page.value(
                        "document.readyState == 'complete' && location.protocol == 'file:'"
                    ):
                        await asyncio.sleep(0.05)
                    yield page
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def _port(process: asyncio.subprocess.Process) -> int:
    said = b""
    assert process.stderr is not None
    while line := await process.stderr.readline():
        said += line
        if found := re.search(rb"DevTools listening on ws://127\.0\.0\.1:(\d+)/", line):
            return int(found[1])
    raise AssertionError(said.decode(errors="replace"))
