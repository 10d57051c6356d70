"""The pulse: what the runner and its supervisor see of each other, and the door that the supervisor can shut."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from grinder_kit.session.pulse import SHUT, Pulse, SharedEpoch


def test_both_see_the_same_numbers(tmp_path: Path) -> None:
    """What another process writes is seen at once, without a message."""
    with Pulse.create(tmp_path / "pulse") as pulse:
        epoch = SharedEpoch(lambda: pulse.shut, 3)
        assert (pulse.beat_ns, pulse.ready, pulse.ended, pulse.shut, epoch.current) == (0, False, False, False, 3)
        code = f"from grinder_kit.session.pulse import *; from pathlib import Path; p = Pulse(Path({str(tmp_path / 'pulse')!r}))"
        subprocess.run([sys.executable, "-c", f"{code}; p.beat(); p.ready = True; p.take_over()"], check=True)
        assert pulse.ready and pulse.shut and 0 <= pulse.age_s < 600
        assert epoch.current == SHUT
        pulse.acknowledge(pulse.takeovers)
        assert epoch.current == 3


@given(st.lists(st.sampled_from(["take over", "notice", "acknowledge", "raise"]), max_size=30))
def test_nothing_passes_until_every_takeover_was_noticed(steps: list[str]) -> None:
    """In whatever order it comes: the door is open only when the runner has acknowledged what it had noticed, and that was all."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder, Pulse.create(Path(folder) / "pulse") as pulse:
        epoch, noticed, taken, own = SharedEpoch(lambda: pulse.shut), 0, 0, 0
        acknowledged = 0
        for step in steps:
            if step == "take over":
                pulse.take_over()
                taken += 1
            elif step == "notice":
                noticed = pulse.takeovers
            elif step == "acknowledge":
                pulse.acknowledge(noticed)
                acknowledged = noticed
            else:
                own += 1
                epoch.raise_to(own)
            assert epoch.current == (own if acknowledged == taken else SHUT)


def test_new_run_begins_anew(tmp_path: Path) -> None:
    """A runner's file is its own: the supervisor of an earlier run sees that one stand still."""
    first = Pulse.create(tmp_path / "pulse")
    first.beat()
    with Pulse.create(tmp_path / "pulse") as second:
        assert second.beat_ns == 0 and first.beat_ns > 0
        second.take_over()
        assert not first.shut
    first.close()
