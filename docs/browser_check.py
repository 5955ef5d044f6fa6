"""Look at every built page in a browser: nothing is cut, nothing hard to read.

``python docs/browser_check.py docs/_build/html`` opens each page in widths of a phone,
a laptop and a desktop, light and dark. It prints what is wrong, and exits with 1. It
needs Chromium or Chrome, and skips the check if there is none: nothing is downloaded.
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

__all__ = ["Browser", "faults_of_page", "faults_of_pages", "find_browser"]

WIDTHS = (390, 1280, 1600)
"""Pixels: a phone, a laptop, a desktop."""

THEMES = ("light", "dark")

N_BROWSERS = min(os.cpu_count() or 1, 4)
"""Browsers that look at pages at once. A browser draws a page on one core."""

MOST_FAULTS = 5
"""Faults to print for a page. One cause has many: a box, and all that is in it."""

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MACOS = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"

LOOK = (Path(__file__).parent / "browser_check.js").read_text()
"""The function that finds faults, which runs in the page."""


def find_browser() -> str | None:
    """Find Chromium or Chrome: in the variable CHROMIUM, or by its usual names."""
    if os.name == "nt":  # has no inherited pipes with the numbers 3 and 4
        return None
    found = os.environ.get("CHROMIUM") or next(
        filter(None, map(shutil.which, NAMES)), None
    )
    return found or (MACOS if Path(MACOS).exists() else None)


class Browser:
    """A browser without a window, driven by the DevTools protocol through two pipes.

    Parameters
    ----------
    program : str
        Chromium or Chrome.
    profile : str
        An empty folder for its files.
    """

    def __init__(self, program: str, profile: str) -> None:
        reads, self._to_browser = os.pipe()
        self._from_browser, writes = os.pipe()

        def connect() -> None:
            # Copies first: a pipe may have the number 3 or 4 itself.
            copies = os.dup(reads), os.dup(writes)
            os.dup2(copies[0], 3)
            os.dup2(copies[1], 4)

        self._process = subprocess.Popen(
            [
                program,
                "--headless",
                "--remote-debugging-pipe",
                f"--user-data-dir={profile}",
                # The pages are our own, and a sandbox needs rights in containers.
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--disable-background-networking",
                "--hide-scrollbars",
                "--host-resolver-rules=MAP * ~NOTFOUND",
            ],
            close_fds=False,
            preexec_fn=connect,
            stderr=subprocess.DEVNULL,
        )
        os.close(reads)
        os.close(writes)
        self._unread = b""
        self._n_sent = 0
        self._session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        self.call("Page.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol, and return its result."""
        self._n_sent += 1
        message = {"id": self._n_sent, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to_browser, json.dumps(message).encode() + b"\0")
        for answer in self._messages():
            if answer.get("id") == self._n_sent:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return dict(answer["result"])
        raise RuntimeError(f"The browser ended during {method}.")

    def open(self, page: Path) -> None:
        """Load a page, with its pictures and style sheets."""
        self.call("Page.navigate", url=page.resolve().as_uri())
        for message in self._messages():
            if message.get("method") == "Page.loadEventFired":
                return
        raise RuntimeError(f"The browser ended while it loaded {page}.")

    def resize(self, width: int) -> None:
        """Set the width of the window."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=False,
        )

    def evaluate(self, expression: str) -> Any:
        """Evaluate JavaScript in the page, and return its value."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"]["description"])
        return answer["result"].get("value")

    def close(self) -> None:
        """End the browser."""
        self._session = None
        with contextlib.suppress(RuntimeError, OSError):
            self.call("Browser.close")
        self._process.wait()
        os.close(self._to_browser)
        os.close(self._from_browser)

    def _messages(self) -> Iterator[dict[str, Any]]:
        """Yield what the browser sends, until it ends."""
        while True:
            message, end, rest = self._unread.partition(b"\0")
            if end:
                self._unread = rest
                yield json.loads(message)
            elif received := os.read(self._from_browser, 2**20):
                self._unread += received
            else:
                return


@contextlib.contextmanager
def running(program: str) -> Iterator[Browser]:
    """Run a browser, and end it afterwards."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(program, profile)
        try:
            yield browser
        finally:
            browser.close()


def faults_of_page(browser: Browser, page: Path) -> dict[str, list[str]]:
    """Find what is wrong with a page: each fault, and the windows that show it."""
    browser.open(page)
    found: dict[str, list[str]] = {}
    for width in WIDTHS:
        browser.resize(width)
        for theme in THEMES:
            for fault in browser.evaluate(f"({LOOK})({json.dumps(theme)})"):
                found.setdefault(fault, []).append(f"{width} {theme}")
    return found


def faults_of_pages(
    program: str, pages: Sequence[Path], n_browsers: int = N_BROWSERS
) -> list[dict[str, list[str]]]:
    """Find what is wrong with each page, in several browsers at once."""
    with contextlib.ExitStack() as stack:
        idle: SimpleQueue[Browser] = SimpleQueue()
        for _ in range(n_browsers):
            idle.put(stack.enter_context(running(program)))

        def look(page: Path) -> dict[str, list[str]]:
            browser = idle.get()
            try:
                return faults_of_page(browser, page)
            finally:
                idle.put(browser)

        with ThreadPoolExecutor(n_browsers) as threads:
            return list(threads.map(look, pages))


def main() -> int:
    """Check the pages in a folder; return 1 if one of them has a fault."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="built pages")
    folder = parser.parse_args().folder
    program = find_browser()
    if program is None:
        print("No Chromium or Chrome was found, so the pages are not looked at.")
        return 0
    pages = sorted(folder.rglob("*.html"))
    if not pages:
        print(f"There are no pages in {folder}.")
        return 1
    n_faults = 0
    for page, found in zip(pages, faults_of_pages(program, pages), strict=True):
        name = page.relative_to(folder)
        n_faults += len(found)
        for fault, windows in list(found.items())[:MOST_FAULTS]:
            print(f"{name} ({', '.join(windows)}): {fault}")
        if len(found) > MOST_FAULTS:
            print(f"{name}: and {len(found) - MOST_FAULTS} more")
    print(
        f"{len(pages)} pages in {len(WIDTHS)} widths, light and dark: {n_faults} faults"
    )
    return 1 if n_faults else 0


if __name__ == "__main__":
    sys.exit(main())
