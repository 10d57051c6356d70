"""A study in a process of its own: the notebook stays free, and a kernel that restarts finds it again by the study's file.

    <storage>          the study, see tuning/storage.py
    <storage>.run      how far it is, or why it ended; gone when all went well
    <storage>.lock     held while it runs: a process that dies lets go of it
    <storage>.log      what it wrote besides; gone when all went well

What is asked goes to the process by its standard input, pickled: markets and models are values, and no file holds them.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from grinder_kit.errors import ConfigError, DataError, GrinderError
from grinder_kit.model.whole_file import draft

#: How long a process waits for the lock of its study: whoever looks whether it is held, holds it for a moment.
LOCK_S = 2.0

# Handles of the processes that this one has started: without one that is waited for, each would leave a zombie.
_STARTED: dict[Path, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a study is.

    Attributes
    ----------
    pid : int
    done, wanted : int
        Trials; 0 wanted before anything is known.
    best : str
        In words.
    error : str
        Why it ended; empty while it runs.
    details : str
        Where in the code, for a report.
    """

    pid: int
    done: int = 0
    wanted: int = 0
    best: str = ""
    error: str = ""
    details: str = ""


class StudyProcess:
    """The process of one study, running or not.

    Parameters
    ----------
    storage : Path or str
        The study's file.
    """

    def __init__(self, storage: Path | str) -> None:
        self.storage = Path(storage).absolute()
        self._run, self._lock, self._log = (
            self.storage.with_name(f"{self.storage.name}.{end}") for end in ("run", "lock", "log")
        )

    def start(self, **asked: Any) -> None:
        """Start it; where it runs already, nothing happens.

        Parameters
        ----------
        **asked
            What `gk.tune` takes, but for `storage` and `progress`.

        Raises
        ------
        ConfigError
            For a model or a market that cannot go to another process.
        DataError
            For a folder that cannot be written.
        """
        if self.running():
            return
        try:
            request = pickle.dumps(asked)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise ConfigError(f"what is asked cannot go to another process ({error}); define it in a module") from None
        self._run.unlink(missing_ok=True)
        try:
            self.storage.parent.mkdir(parents=True, exist_ok=True)
            log = self._log.open("wb")
        except OSError as error:
            raise DataError(
                f"{self.storage}: {error.strerror or error}; name a file in a folder that can be written"
            ) from None
        with log:
            process = subprocess.Popen(
                [sys.executable, "-m", "grinder_widgets.tuner_process", str(self.storage)],
                stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        _STARTED[self.storage] = process
        assert process.stdin is not None  # it was asked for
        with process.stdin:
            process.stdin.write(request)

    def running(self) -> bool:
        """Whether it lives: as a child of this process, or by its lock."""
        process = _STARTED.get(self.storage)
        if process is not None:
            if process.poll() is None:
                return True
            del _STARTED[self.storage]
        if not self._lock.is_file():
            return False
        try:
            with FileLock(self._lock, timeout=0):
                return False
        except Timeout:
            return True

    def progress(self) -> Progress | None:
        """Return how far it is, or how it ended; None before it has said anything, and after all went well."""
        try:
            return Progress(**json.loads(self._run.read_bytes()))
        except FileNotFoundError:
            return None

    def said(self) -> str:
        """Return what it wrote that was not meant to be read."""
        try:
            return self._log.read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def cancel(self) -> None:
        """Stop it after the trials that are under way; what is done is kept."""
        process, told = _STARTED.get(self.storage), self.progress()
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)
        elif told is not None and self.running():  # the lock is its own, and so the number is not another's
            os.kill(told.pid, signal.SIGTERM)

    # --- inside it ----------------------------------------------------------------------------------------------------

    def work(self, asked: Mapping[str, Any]) -> None:
        """Run the study here, and leave word of how far it is.

        Raises
        ------
        Timeout
            Where another process runs it.
        """
        with FileLock(self._lock, timeout=LOCK_S):
            far = Progress(pid=os.getpid())
            self._tell(far)
            try:
                from grinder_kit.tuning.tune import tune

                def progress(done: int, wanted: int, best: str) -> None:
                    nonlocal far
                    far = Progress(pid=os.getpid(), done=done, wanted=wanted, best=best)
                    self._tell(far)

                tune(**asked, storage=self.storage, progress=progress)
            except KeyboardInterrupt:
                pass  # before the first trial: nothing is lost
            except Exception as error:
                cause = str(error) if isinstance(error, GrinderError) else repr(error)
                details = "".join(traceback.format_exception(error))
                self._tell(Progress(**(asdict(far) | {"error": cause, "details": details})))
                raise
            self._run.unlink()
            self._log.unlink(missing_ok=True)
            self._lock.unlink()

    def _tell(self, far: Progress) -> None:
        with draft(self._run) as part:
            part.write_text(json.dumps(asdict(far)))


def main() -> None:
    """Run the study whose file is named, as asked on standard input; SIGTERM ends it after the trials that are under way."""

    def stop(_number: int, _frame: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    asked = pickle.load(sys.stdin.buffer)  # written by the process that started this one
    StudyProcess(sys.argv[1]).work(asked)


if __name__ == "__main__":
    main()
