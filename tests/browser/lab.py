"""A JupyterLab of its own in a real browser: open a notebook, run it, act on it, and read what it shows."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import nbformat
import psutil
from ipykernel.kernelspec import write_kernel_spec

from tests.quiet import complaints

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request

START_S = 60
RUN_S = 120  # on a machine whose compiled code is not cached yet
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}

#: Notebooks that a test runs to their claim in a page; on a kernel alone only where there is no Chromium.
IN_A_PAGE = frozenset({"01_what_does_a_grid_earn", "04_why_was_this_order_sent", "06_does_paper_match_replay"})
CLAIM_S = 60

#: Errors that JupyterLab itself writes to the console and that say nothing about the notebook.
UNRELATED = (
    # A kernel was killed: JupyterLab asks the next one about a debugger that nobody had started.
    re.compile("Could not restore the debugger state: Canceled future"),
)

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class CellFailed(AssertionError):
    """A cell raised, or did not run; the message is its traceback."""


class Lab:
    """A JupyterLab server on loopback, as a context manager.

    Its folder holds everything: the notebooks' copies, settings, kernels, history. Nothing of the user is read or written, and
    nothing is fetched from anywhere.

    Parameters
    ----------
    browser
        Running Chromium.
    folder
        Empty folder.
    notebooks
        Files to copy into it.
    screenshots
        Where pictures go; made when the first is taken.
    """

    def __init__(self, browser: Browser, folder: Path, notebooks: Iterable[Path], screenshots: Path) -> None:
        self.work = folder / "work"
        self.screenshots = screenshots
        self._browser = browser
        self._folder = folder
        self._token = secrets.token_hex(16)
        self._log: list[str] = []
        self._ready = threading.Event()
        self._url = ""
        self.work.mkdir(parents=True)
        for path in notebooks:
            shutil.copy(path, self.work)

    def __enter__(self) -> Self:
        # One context for all pages: they share a cache, and JupyterLab is megabytes.
        self._context = self._browser.new_context(viewport={"width": 1280, "height": 900})
        self._context.add_init_script(path=Path(__file__).with_name("page.js"))
        write_kernel_spec(
            self._folder / "path" / "kernels" / "python3"
        )  # this interpreter, whatever else is registered
        quiet = self._folder / "config" / "lab" / "user-settings" / "@jupyterlab" / "apputils-extension"
        quiet.mkdir(parents=True)
        quiet.joinpath("notification.jupyterlab-settings").write_text(
            '{"fetchNews": "false", "checkForUpdates": false}'
        )
        command = [
            *(sys.executable, "-m", "jupyterlab", "--no-browser"),
            "--ServerApp.ip=127.0.0.1",
            "--ServerApp.port=0",
            "--ServerApp.allow_root=True",
            f"--ServerApp.root_dir={self.work}",
            "--LabApp.expose_app_in_browser=True",
            "--LabApp.extension_manager=readonly",
            "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
            "--LabApp.news_url=",
            "--LanguageServerManager.autodetect=False",
        ]
        self._server = subprocess.Popen(
            command, cwd=self.work, env=self._environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._ready.wait(START_S) or not self._url:
            self._stop()
            raise RuntimeError("JupyterLab did not start:\n" + self.log)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._context.close()
        self._stop()

    def _environment(self) -> dict[str, str]:
        mine = {name: text for name, text in os.environ.items() if not name.startswith(("JUPYTER", "IPYTHON", "XDG_"))}
        folders = {
            "HOME": "home",
            "IPYTHONDIR": "ipython",
            "JUPYTER_CONFIG_DIR": "config",
            "JUPYTER_DATA_DIR": "data",
            "JUPYTER_PATH": "path",
            "JUPYTER_RUNTIME_DIR": "runtime",
        }
        return (
            mine | {name: str(self._folder / part) for name, part in folders.items()} | {"JUPYTER_TOKEN": self._token}
        )

    def _read(self) -> None:
        assert self._server.stdout is not None
        for line in self._server.stdout:
            self._log.append(line)
            if found := re.search(r"http://127\.0\.0\.1:\d+/", line):
                self._url = self._url or found[0]
                self._ready.set()
        self._ready.set()  # it ended: nothing is left to wait for

    def _stop(self) -> None:
        family = [psutil.Process(self._server.pid), *psutil.Process(self._server.pid).children(recursive=True)]
        self._server.terminate()
        for process in psutil.wait_procs(family, timeout=10)[1]:
            process.kill()
        self._server.wait()
        self._reader.join()
        assert self._server.stdout is not None
        self._server.stdout.close()

    @property
    def log(self) -> str:
        """What the server and the kernels wrote so far."""
        return "".join(self._log)

    @property
    def home(self) -> Path:
        """The home folder of everything that runs in the lab."""
        return self._folder / "home"

    @property
    def url(self) -> str:
        """Where the server answers, with a slash at the end."""
        return self._url

    def write(self, name: str, cells: Sequence[str]) -> None:
        """Write a notebook of code cells, to be opened as `name`."""
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
        # Without a kernel's name a dialog covers the page.
        notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(notebook, self.work / f"{name}.ipynb")

    def open(self, name: str) -> NotebookPage:
        """Open a notebook of the folder in a page of its own and wait until its kernel is idle.

        Parameters
        ----------
        name
            File name without `.ipynb`.
        """
        page = self._context.new_page()
        opened = NotebookPage(self, page, name)
        page.goto(f"{self._url}lab/tree/{name}.ipynb?reset&token={self._token}")
        page.locator(".jp-Notebook").wait_for()
        opened.wait_until("grinder.status() === 'idle'")
        page.evaluate("grinder.listen()")
        return opened

    def ask(self, path: str, method: str = "GET") -> Any:
        """Call the server's REST API; what it answers is decoded."""
        request = urllib.request.Request(f"{self._url}api/{path}", method=method)
        request.add_header("Authorization", f"token {self._token}")
        loopback = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with loopback.open(request, timeout=START_S) as answer:
            return json.loads(answer.read() or "null")

    def sessions(self, name: str) -> list[dict[str, Any]]:
        """Return the sessions (and so the kernels) of a notebook."""
        return [session for session in self.ask("sessions") if session["path"] == f"{name}.ipynb"]

    def kernel_pid(self, name: str) -> int:
        """Return the process of a notebook's kernel."""
        (session,) = self.sessions(name)
        for process in psutil.Process(self._server.pid).children(recursive=True):
            if any(session["kernel"]["id"] in argument for argument in process.cmdline()):
                return process.pid
        raise LookupError(f"no process for the kernel of {name}")


class NotebookPage:
    """A notebook in a page; `errors` collects what went wrong beside its cells, and should stay empty.

    That is an error on the console or in a script, a request that leaves this machine, and a widget's callback that raised in the
    kernel. Cells are counted as in the file, from 0, the written ones included.
    """

    def __init__(self, lab: Lab, page: Page, name: str) -> None:
        self.lab, self.page, self.name = lab, page, name
        self.errors: list[str] = []
        page.on("console", self._said)
        page.on("pageerror", lambda error: self._wrong(str(error)))
        page.on("request", self._asked)

    def _wrong(self, text: str) -> None:
        if not any(pattern.search(text) for pattern in UNRELATED):
            self.errors.append(text)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._wrong(f"{message.text} ({message.location['url']})")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((self.lab.url, "data:", "blob:")):
            self._wrong(f"{request.url} was asked for")

    def close(self) -> None:
        """Close the page and end its kernel."""
        self.page.close()
        for session in self.lab.sessions(self.name):
            self.lab.ask(f"sessions/{session['id']}", "DELETE")

    # --- the kernel ---------------------------------------------------------------------------------------------------

    def run_all(self, timeout_s: float = RUN_S) -> None:
        """Run every cell and wait for the last.

        Raises
        ------
        CellFailed
            A cell raised or did not run.
        """
        self._begin("grinder.run()")
        self.finish(timeout_s=timeout_s)
        idle = [i for i, cell in self._code() if "".join(cell["source"]).strip() and cell["execution_count"] is None]
        if idle:
            raise CellFailed(f"cells {idle} of {self.name} did not run")

    def run_to_the_claim(self) -> None:
        """Run every cell of a notebook of `IN_A_PAGE`, without an error or a warning, within a minute."""
        assert self.name in IN_A_PAGE
        started = time.monotonic()
        self.run_all()
        assert time.monotonic() - started < CLAIM_S
        outputs = (output for _, cell in self._code() for output in cell["outputs"] if output.get("name") == "stderr")
        said = "".join("".join(output["text"]) for output in outputs)
        assert not complaints(said), said

    def run_cell(self, index: int, timeout_s: float = RUN_S) -> None:
        """Run one cell and wait for it; raises `CellFailed` where it raised."""
        self.start_cell(index)
        self.finish([index], timeout_s=timeout_s)

    def start_cell(self, index: int) -> None:
        """Begin to run a cell; `finish` waits for it."""
        self._begin(f"grinder.runCell({index})")

    def finish(self, cells: Sequence[int] | None = None, timeout_s: float = RUN_S) -> None:
        """Wait until what was begun has ended and the kernel is idle.

        Parameters
        ----------
        cells
            Those that must not have failed; None takes all.
        timeout_s
            After how long it is given up.
        """
        self.wait_until("grinder.settled() && grinder.status() === 'idle'", timeout_s=timeout_s)
        for index, cell in self._code():
            for output in cell["outputs"] if cells is None or index in cells else ():
                if output["output_type"] == "error":
                    trace = _COLOURS.sub("", "\n".join(output["traceback"]))
                    raise CellFailed(f"cell {index} of {self.name}: {output['ename']}: {output['evalue']}\n{trace}")

    def clear_output(self, index: int) -> None:
        """Take away what a cell shows."""
        self._begin(f"grinder.clear({index})")
        self.wait_until("grinder.settled()")

    def interrupt(self) -> None:
        """Interrupt the kernel, as the stop button does."""
        self.page.evaluate("grinder.kernel().interrupt()")

    def restart_kernel(self) -> None:
        """Restart the kernel and wait until it is idle; outputs stay."""
        self._begin("grinder.panel().sessionContext.restartKernel()")
        self.wait_until("grinder.settled() && grinder.status() === 'idle'")

    @property
    def kernel_pid(self) -> int:
        """The process of the kernel, so that a test can kill it."""
        return self.lab.kernel_pid(self.name)

    def _begin(self, work: str) -> None:
        self.page.evaluate(f"grinder.begin(() => {work})")

    def _code(self) -> list[tuple[int, dict[str, Any]]]:
        cells = enumerate(self.page.evaluate("grinder.cells()"))
        return [(index, cell) for index, cell in cells if cell["cell_type"] == "code"]

    # --- what it shows ------------------------------------------------------------------------------------------------

    def wait_until(self, expression: str, argument: Any = None, timeout_s: float = 30) -> None:
        """Wait until a JavaScript expression, or a function of `argument`, is true."""
        self.page.wait_for_function(expression, arg=argument, timeout=timeout_s * 1000)

    def cell(self, index: int) -> Locator:
        """Return a cell, to look for what is in it."""
        return self.page.locator(".jp-Notebook .jp-Cell").nth(index)

    def outputs(self, index: int) -> list[dict[str, Any]]:
        """Return a cell's outputs as they stand in a notebook's file."""
        return dict(self._code())[index]["outputs"]

    def wait_for_figures(self, count: int) -> None:
        """Wait until that many figures are drawn, no more and no fewer."""
        self.wait_until("count => grinder.drawn() === count", count)

    def traces(self) -> list[list[dict[str, Any]]]:
        """Return the traces of each figure from the top, arrays as lists of numbers; what is not a number is None."""
        return self.page.evaluate("grinder.traces()")

    def wait_for_data_change(
        self, before: list[list[dict[str, Any]]], timeout_s: float = 10
    ) -> list[list[dict[str, Any]]]:
        """Wait until any trace differs from what `traces` returned before; returns the new ones."""
        self.wait_until("before => grinder.changed(before)", before, timeout_s)
        return self.traces()

    def screenshot(self, name: str, theme: str = "light") -> Path:
        """Save the whole notebook, not only what fits the window; JupyterLab is light again afterwards.

        Parameters
        ----------
        name
            The file is called `name-theme.png`.
        theme
            `light` or `dark`.
        """
        file = self.lab.screenshots / f"{name}-{theme}.png"
        window = self.page.viewport_size
        assert window is not None
        self._wear(theme)
        # Cells outside the window have only a guessed height: it grows until all are inside.
        size, area = window, self.page.evaluate("grinder.area()")
        while area["y"] + area["height"] > size["height"]:
            size = {"width": window["width"], "height": area["y"] + area["height"] + 100}
            self.page.set_viewport_size(size)
            area = self.page.evaluate("grinder.area()")
        self.page.screenshot(path=file, clip=area)
        self.page.set_viewport_size(window)
        self._wear("light")
        return file

    def _wear(self, theme: str) -> None:
        self._begin(f"jupyterapp.commands.execute('apputils:change-theme', {{theme: '{THEMES[theme]}'}})")
        self.wait_until("name => grinder.settled() && document.body.dataset.jpThemeName === name", THEMES[theme])
        self.page.locator("#jupyterlab-splash").wait_for(state="detached")

    # --- what a hand does ---------------------------------------------------------------------------------------------

    def slider(self, name: str) -> Locator:
        """Return the handle of the slider with that description."""
        label = self.page.get_by_text(name, exact=True)
        return self.page.locator(".jp-OutputArea .widget-slider").filter(has=label).locator(".noUi-handle").first

    def press_slider(self, name: str, key: str = "ArrowRight", times: int = 1) -> None:
        """Move a slider with the keyboard."""
        for _ in range(times):
            self.slider(name).press(key)

    def drag_slider(self, name: str, by_px: float) -> None:
        """Drag a slider with the mouse, in ten moves; to the right is positive."""
        handle = self.slider(name)
        handle.scroll_into_view_if_needed()
        box = handle.bounding_box()
        assert box is not None
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        self.page.mouse.move(x, y)
        self.page.mouse.down()
        self.page.mouse.move(x + by_px, y, steps=10)
        self.page.mouse.up()

    def click_button(self, name: str) -> None:
        """Click the button of a widget by its accessible name."""
        self.page.locator(".jp-OutputArea").get_by_role("button", name=name, exact=True).click()
