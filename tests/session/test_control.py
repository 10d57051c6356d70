"""The local API of a session that runs: who may speak to it, what it says, and that a command is carried out once."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
from typing import Any

import aiohttp
import orjson
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from grinder_kit.execution.journal import entries
from grinder_kit.session.client import Session
from grinder_kit.session.snapshot import PARTS, Snapshot
from tests.session.conftest import Make, until


def call(
    session: Session, method: str, path: str, body: Any = None, *, token: str | None = "own", host: str | None = None
) -> tuple[int, dict[str, Any]]:
    """Speak to a session in plain HTTP; `token` None sends none."""
    card = session.folder.read_card()
    assert card is not None
    connection = http.client.HTTPConnection("127.0.0.1", card.port, timeout=10)
    headers = {} if host is None else {"Host": host}
    if token is not None:
        headers["Authorization"] = f"Bearer {session.folder.read_token() if token == 'own' else token}"
    content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    connection.request(method, path, body=content, headers=headers)
    response = connection.getresponse()
    raw = response.read()
    connection.close()
    return response.status, json.loads(raw) if raw.startswith(b"{") else {"raw": raw.decode()}


def test_nobody_speaks_without_the_token(running: Session) -> None:
    """No token, a wrong one, or another Host header: refused for every path, and written down."""
    for method, path in (
        ("GET", "/snapshot"),
        ("GET", "/stream"),
        ("GET", "/metrics"),
        ("GET", "/frames/fills"),
        ("POST", "/command"),
    ):
        for token in (None, "", "x" * 43):
            status, told = call(running, method, path, token=token)
            assert (status, told["accepted"]) == (401, False)
        status, told = call(running, method, path, host="evil.example:80")
        assert status == 403 and "Host" in told["text"]
    log = running.folder.log.read_text()
    assert "why=token path=/command" in log and "why=host host='evil.example:80' path=/stream" in log
    assert running.folder.read_token() not in log


def test_command_is_carried_out_once(running: Session) -> None:
    """The same id again is refused with the first answer; both stand in the log, one in the journal."""
    asked = {"id": "a-command-0001", "command": "pause", "reason": "test"}
    status, first = call(running, "POST", "/command", asked)
    assert status == 200 and first["accepted"] and first["state"] == "PAUSED"
    assert call(running, "POST", "/command", {"id": "a-command-0002", "command": "resume"})[1]["state"] == "RUNNING"
    status, again = call(running, "POST", "/command", asked)
    assert (status, again) == (409, {**first, "repeated": True})
    snapshot = running.snapshot().value
    assert snapshot.status.state == "RUNNING"
    assert "why=repeated command=pause id=a-command-0001" in running.folder.log.read_text()
    card = running.folder.read_card()
    assert card is not None

    def noted() -> list[Any]:
        return [e.body for e in entries(card.journal) if e.kind == "note" and "a-command-0001" in str(e.body)]  # type: ignore[union-attr]

    assert len(until(noted)) == 1


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"{", 400, "no command"),
        ({"command": "pause"}, 400, "no command"),
        ({"id": "short", "command": "pause"}, 400, "8 to 100 characters"),
        ({"id": 12345678, "command": "pause"}, 400, "no command"),
        (
            {"id": "b-command-0001", "command": "buy"},
            422,
            "unknown command 'buy'; there are pause, resume, flatten, stop, kill, update",
        ),
        ({"id": "b-command-0002", "command": "update"}, 422, "needs the whole configuration"),
        ({"id": "b-command-0003", "command": "update", "config": "[grid]\nspacing_bps = -1"}, 422, "spacing_bps"),
    ],
)
def test_what_is_no_command_is_said(running: Session, body: Any, status: int, said: str) -> None:
    """Bad input is refused with what to write instead, and the session goes on."""
    found, told = call(running, "POST", "/command", body)
    assert found == status and said in told["text"] and told["accepted"] is False
    assert running.snapshot().value.status.failure == ""


def test_stream_sends_what_has_changed(running: Session) -> None:
    """First everything; then only parts whose number rose, and of the equity curve only the new points."""
    card = running.folder.read_card()
    assert card is not None

    async def main() -> None:
        headers = {"Authorization": f"Bearer {running.folder.read_token()}"}
        async with (
            aiohttp.ClientSession(headers=headers) as http,
            http.ws_connect(f"http://127.0.0.1:{card.port}/stream?who=test") as stream,
        ):
            have: dict[str, Any] = {}
            known: dict[str, Any] = {}
            for turn in range(6):
                await stream.send_str(json.dumps({"have": have, "every_s": 0.3 if turn else 0.0}))
                answer = orjson.loads((await stream.receive()).data)
                assert set(answer["numbers"]) == set(PARTS)
                if turn == 0:
                    assert set(answer["parts"]) == set(PARTS)
                    known = answer["parts"]
                    known["series"].pop("from")
                else:
                    for part, value in answer["parts"].items():
                        assert answer["numbers"][part] > have[part]
                        if part != "series":
                            known[part] = value
                            continue
                        start = value.pop("from")
                        assert start == len(known["series"]["ts_ns"])
                        for name, column in value.items():
                            known["series"][name] = column if name == "generation" else known["series"][name] + column
                    assert "about" not in answer["parts"]
                series = known["series"]
                have = {**answer["numbers"], "points": [series["generation"], len(series["ts_ns"])]}
            snapshot = Snapshot.from_json(known)
            assert len(set(map(len, (snapshot.series.ts_ns, snapshot.series.equity, snapshot.series.mid)))) == 1
            assert len(snapshot.series.ts_ns) > 5
            await stream.send_str("{]")
            assert (await stream.receive()).type is aiohttp.WSMsgType.CLOSE

    asyncio.run(main())


def test_client_that_does_not_read_is_sent_nothing(running: Session) -> None:
    """An open stream that asks once is answered once: a kernel that is busy for a minute finds no heap of messages."""
    card = running.folder.read_card()
    assert card is not None

    async def main() -> int:
        headers = {"Authorization": f"Bearer {running.folder.read_token()}"}
        async with (
            aiohttp.ClientSession(headers=headers) as http,
            http.ws_connect(f"http://127.0.0.1:{card.port}/stream") as stream,
        ):
            await stream.send_str('{"every_s": 0.02}')
            await stream.receive()
            clients = running.snapshot
            answered = 0
            try:
                while True:
                    await stream.receive(timeout=0.5)
                    answered += 1
            except TimeoutError:
                pass
            assert callable(clients)
            return answered

    assert asyncio.run(main()) == 0


def scraped(session: Session) -> dict[str, Metric]:
    """Return what Prometheus reads of a session, by name without the prefix."""
    status, told = call(session, "GET", "/metrics")
    assert status == 200
    families = list(text_string_to_metric_families(told["raw"]))
    assert all(family.name.startswith("grinder_execution_") for family in families)
    found = {family.name.removeprefix("grinder_execution_"): family for family in families}
    assert len(found) == len(families), "each metric stands there once"
    return found


def test_metrics_can_be_parsed(running: Session) -> None:
    """Prometheus reads every line; each name of the specification is there with its type, and the session's own beside them."""
    until(lambda: running.latest is not None and running.latest.counts.round_trips > 0)
    families = scraped(running)
    assert {name: family.type for name, family in families.items()} == {
        **{f"orders_{how}": "counter" for how in ("placed", "amended", "filled", "cancelled", "expired", "rejected")},
        **dict.fromkeys(("fills", "round_trips", "decisions"), "counter"),
        **dict.fromkeys(("order_latency_ms", "round_trip_pnl_bps", "heartbeat_gap_seconds"), "histogram"),
        **dict.fromkeys(("fill_rate", "open_orders", "position", "equity", "synced", "drift"), "gauge"),
        **dict.fromkeys(("weight_used", "weight_limit", "state", "clients", "limit_used"), "gauge"),
    }
    placed = families["orders_placed"].samples[0]
    assert placed.name == "grinder_execution_orders_placed_total"
    assert placed.labels == {"session": "r", "symbol": "SYNTH-USDT"} and placed.value >= 10
    states = {s.labels["state"]: s.value for s in families["state"].samples}
    assert states["RUNNING"] == 1 and sum(states.values()) == 1
    assert 0 < families["fill_rate"].samples[0].value <= 1


def test_metrics_are_those_of_the_frames(running: Session) -> None:
    """Between two scrapes lie the fills and round trips of the frames, and the latencies of the snapshot."""

    def counts() -> tuple[float, float, float]:
        families = scraped(running)
        latencies = families["order_latency_ms"].samples
        answered = [s.value for s in latencies if s.labels["operation"] == "place" and s.name.endswith("_count")]
        return families["fills"].samples[0].value, families["round_trips"].samples[0].value, answered[0]

    before = counts()
    places = {one.operation: one for one in running.snapshot().value.latency}["place"]
    told = running.fills.height, running.round_trips.height, places.count + places.timeouts
    assert all(low <= value <= high for low, value, high in zip(before, told, counts(), strict=True))


def test_frames_hold_every_fill(running: Session) -> None:
    """As many as were counted; a frame that does not exist is named."""
    until(lambda: running.latest is not None and running.latest.counts.fills > 0)
    fills = running.fills
    assert fills.height >= 1 and fills["fill_id"].is_unique().all()
    assert "there are fills, round_trips" in call(running, "GET", "/frames/orders")[1]["text"]


def test_port_in_use_is_said(make: Make) -> None:
    """The reason stands in the cell, and nothing is left behind."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        session = make(port=number).start()
        with pytest.raises(
            Exception, match=rf"ended: port {number} cannot be used \(Address already in use\); take another"
        ):
            session.wait("RUNNING", timeout_s=60)
    assert not session.folder.running()


def test_stale_token_is_read_again(running: Session) -> None:
    """A client with the token of another run is told to read the file again."""
    status, told = call(running, "GET", "/snapshot", token="of-another-run")
    assert status == 401 and "read the session's token file again" in told["text"]
