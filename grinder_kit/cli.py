"""The `grinder` command: what notebooks do, for shells and programs.

Exit codes: 0 done, 1 differs (verify) or damaged (journal), 2 bad input, 3 refused for safety, 4 venue unreachable, 130 interrupted.
Errors are lines on stderr; tracebacks only with --debug. Results go to stdout, progress to stderr.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from grinder_kit import __version__
from grinder_kit.errors import (
    ConfigError,
    ConnectivityError,
    GrinderError,
    NotArmedError,
    SessionError,
    SessionLostError,
)
from grinder_kit.model.whole_file import draft

if TYPE_CHECKING:
    from grinder_kit.market.source import Market
    from grinder_kit.model.section import InvalidConfigError
    from grinder_kit.simulation.result import Result

DONE, DAMAGED, DIFFERS, BAD_INPUT, REFUSED, UNREACHABLE, BUG, INTERRUPTED = 0, 1, 1, 2, 3, 4, 70, 130

app = typer.Typer(
    name="grinder",
    help="Research toolkit for grid trading: import recordings, replay grids, report what they earn.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def main(argv: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    args = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in args
    sys.exit(_run([arg for arg in args if arg != "--debug"], debug))


def _run(args: list[str], debug: bool) -> int:
    try:
        code = app(args=args, prog_name="grinder", standalone_mode=False)
        sys.stdout.flush()
        if code == INTERRUPTED:
            _say("interrupted")
        return code if isinstance(code, int) else DONE
    except SystemExit:
        # typer leaves this way, and only this way, when the reader of a pipe has gone while a command printed.
        return DONE
    except (KeyboardInterrupt, typer.Abort):
        _say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has seen enough; Python would complain once more while it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except GrinderError as error:
        if debug:
            raise
        _say(*(f"error: {line}" for line in str(error).splitlines()))
        return _code(error)
    except OSError as error:
        if debug:
            raise
        name = f"{error.filename}: " if error.filename else ""
        _say(f"error: {name}{error.strerror or error}")
        return BAD_INPUT
    except Exception as error:
        if hasattr(error, "format_message") and not isinstance(error, GrinderError):
            _say(f"error: {error.format_message()}", "try: grinder --help, or grinder COMMAND --help")
            return BAD_INPUT
        if debug:
            raise
        _say(f"error: {type(error).__name__}: {error}", "this is a bug in grinder_kit: --debug shows where it is")
        return BUG


def _code(error: GrinderError) -> int:
    if isinstance(error, ConnectivityError | SessionLostError):
        return UNREACHABLE
    return REFUSED if isinstance(error, NotArmedError | SessionError) else BAD_INPUT


def _say(*lines: str) -> None:
    for line in lines:
        typer.echo(line, err=True)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"grinder_kit {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks; may stand anywhere.")] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


# --- commands --------------------------------------------------------------------------------------------------------


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the report and the configuration.")] = Path("build/demo"),
    seed: Annotated[int, typer.Option(help="Seed of the synthetic market.")] = 7,
    minutes: Annotated[float, typer.Option(help="Length of the synthetic market.")] = 30,
    as_json: AsJson = False,
) -> None:
    """Trade a paper grid on the synthetic market; write its report and its configuration."""
    from grinder_kit.market.synthetic import synthetic_market
    from grinder_kit.model.config import Config, GridConfig
    from grinder_kit.simulation.replay import replay as run

    market = synthetic_market(seed=seed, minutes=minutes)
    config = Config(grid=GridConfig(spacing_bps=5, levels=10, size="0.002", position_limit="0.02"))
    with _bar("replaying", " events") as bar:
        result = run(market, config, progress=bar.update)
    page, file = out / "report.html", out / "grid.toml"
    _report(result, market, page)
    from grinder_kit.tuning.export import export

    export(result, file, trace=False, overwrite=True)
    if as_json:
        _print_json(result.to_json())
        return
    typer.echo(str(result))
    typer.echo(f"\nreport         {page}\nconfiguration  {file}\nrun it again   grinder replay {file}")


@app.command("import")
def import_(
    form: Annotated[str, typer.Argument(metavar="FORMAT", help="Format of the source: binance-ws.")],
    source: Annotated[list[Path], typer.Argument(metavar="SRC...", help="Files, in the order of time.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Recording to write (Parquet).")],
    instrument: Annotated[
        str | None, typer.Option(help="A built-in NAME, or an exchangeInfo FILE; otherwise known or inferred.")
    ] = None,
    allow_partial: Annotated[bool, typer.Option("--allow-partial", help="Keep what a truncated file holds.")] = False,
    as_json: AsJson = False,
) -> None:
    """Turn a raw recording into a recording of grinder_kit."""
    if form != "binance-ws":
        from grinder_kit.model.section import did_you_mean

        raise ConfigError(f"unknown format '{form}'{did_you_mean(form, ['binance-ws'])}; this version reads binance-ws")
    from grinder_kit.market.binance_ws import import_binance_ws

    with _bar("importing", "B") as bar:

        def advance(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        report = import_binance_ws(source, out, instrument=instrument, allow_partial=allow_partial, progress=advance)
    if as_json:
        facts = {"target": report.target, "lines": report.lines, "seconds": report.seconds}
        _print_json(facts | report.metadata | {"warnings": report.warnings})
    else:
        typer.echo(str(report))


@app.command()
def info(
    file: Annotated[Path, typer.Argument(help="A recording, or a folder of daily ones.")],
    as_json: AsJson = False,
) -> None:
    """Say what a recording holds: counts by kind, span, gaps, clock offset."""
    from grinder_kit.market.info import recording_info
    from grinder_kit.market.recording import Recording

    found = recording_info(Recording.open(file))
    if as_json:
        _print_json(found.to_json())
    else:
        typer.echo(str(found))


@app.command()
def replay(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A configuration file (TOML).")],
    data: Annotated[
        str | None,
        typer.Option(metavar="REC", help="A recording, a folder, or 'synthetic seed=7 minutes=30'."),
    ] = None,
    report: Annotated[Path | None, typer.Option(metavar="X.html", help="Write a report: one page.")] = None,
    compare: Annotated[
        bool, typer.Option(help="In the report, run the grid under the other queue models too (four more replays).")
    ] = True,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="A.B=V", help="Override a key, such as execution.queue=power.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a grid on a recorded market."""
    from grinder_kit.model.config_diff import edits
    from grinder_kit.model.config_file import apply_overrides, load_config
    from grinder_kit.model.section import InvalidConfigError

    whole = load_config(config)
    _say(*(f"note: {config} was edited after its export: {change}" for change in edits(whole)))
    whole = apply_overrides(whole, changes or ())
    name = data or whole.provenance.market
    if name is None:
        raise ConfigError(f"{config}: names no market; pass --data RECORDING")
    from grinder_kit.market.naming import open_market

    market = open_market(name)
    from grinder_kit.simulation.replay import replay as run  # compiles: only when the input is good

    try:
        with _bar("replaying", " events") as bar:
            result = run(market, whole, progress=bar.update)
    except InvalidConfigError as error:
        raise _located(error, config, changes or []) from None
    if report is not None:
        _report(result, market if compare else None, report)
    if as_json:
        _print_json(result.to_json())
        return
    typer.echo(str(result))
    if whole.provenance.digest is not None and not changes:
        same = "the same as" if whole.provenance.digest == result.digest else "another than"
        typer.echo(f"{'':30}{same} the digest in {config}")
        if whole.provenance.digest != result.digest:
            typer.echo(f"{'':30}`grinder verify {config} --data ...` says what differs")
    if report is not None:
        typer.echo(f"{'report':30}{report}")


@app.command()
def tune(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A configuration file (TOML): what is not varied.")],
    space: Annotated[Path, typer.Option(metavar="FILE", help="The space (TOML): levels = { from = 3, to = 30 }, ...")],
    data: Annotated[str, typer.Option(metavar="REC", help="A recording, a folder, or 'synthetic seed=7 minutes=30'.")],
    trials: Annotated[
        int | None, typer.Option(help="By default 200, or all combinations where there are fewer.")
    ] = None,
    objective: Annotated[
        str, typer.Option(metavar="NAME,...", help="net, drawdown, inventory, fill_rate; one or several.")
    ] = "net",
    design: Annotated[str, typer.Option(help="tpe learns from earlier trials; random; grid.")] = "tpe",
    seed: Annotated[int, typer.Option(help="The same seed gives the same trials.")] = 0,
    test: Annotated[float, typer.Option(help="Share of the time that judges, at the end.")] = 0.4,
    storage: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keep the trials here; the same call goes on where it stopped.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Search grids on the first part of a market, and judge them on the rest; Ctrl-C keeps what is done."""
    from grinder_kit.market.naming import open_market
    from grinder_kit.model.config_file import load_config
    from grinder_kit.tuning.space import Space

    base, choices, market = load_config(config), Space.from_file(space), open_market(data)
    from grinder_kit.tuning.tune import tune as search

    study = search(
        market,  # type: ignore[arg-type]  # what has a name can be split
        base,
        choices,
        trials=trials,
        objective=[name.strip() for name in objective.split(",")],
        seed=seed,
        design=design,
        test=test,
        storage=storage,
        progress=sys.stderr.isatty(),
    )
    if as_json:
        _print_json(study.to_json())
    else:
        typer.echo(str(study))
    if study.interrupted:
        raise typer.Exit(INTERRUPTED)


@app.command()
def verify(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="An exported configuration file (TOML).")],
    data: Annotated[
        str | None,
        typer.Option(
            metavar="REC", help="The data of its export: a recording, a folder, or 'synthetic seed=7 minutes=30'."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say whether an exported grid still does what it did; exit code 1 where it does not."""
    from grinder_kit.tuning.verify import verify as compare

    with _bar("replaying", " events") as bar:
        found = compare(config, data, progress=bar.update)
    if as_json:
        _print_json(found.to_json())
    else:
        typer.echo(str(found))
    if not found.same:
        raise typer.Exit(DIFFERS)


@app.command()
def journal(
    file: Annotated[Path, typer.Argument(help="The journal of a session; it may be running.")],
    kind: Annotated[str, typer.Option(metavar="KIND,...", help="Only these kinds, such as intent,event.")] = "",
    level: Annotated[str | None, typer.Option(metavar="KEY", help="Only this level, such as B3.")] = None,
    last: Annotated[int | None, typer.Option(min=1, metavar="N", help="Only the last N of them.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON value a line, entries only.")] = False,
) -> None:
    """Show what a session meant to do and what came of it, entry by entry, and what is still open."""
    from grinder_kit.execution.journal_view import kinds_of, level_key, show

    key = None if level is None else level_key(level)
    damage = show(file, typer.echo, kinds=kinds_of(kind), level=key, last=last, as_json=as_json)
    if damage is not None:
        _say(f"error: {damage}")
        raise typer.Exit(DAMAGED)


# --- sessions --------------------------------------------------------------------------------------------------------

SessionName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the session; `grinder status` lists them.")]
Reason = Annotated[str, typer.Option(help="Why; it stands in the journal.")]


@app.command("run")
def run_(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A configuration file (TOML).")],
    mode: Annotated[str, typer.Option(help="paper: simulated fills, no credentials.")] = "paper",
    market: Annotated[
        str | None,
        typer.Option(help="A recording, 'synthetic seed=7 minutes=30', or 'venue 127.0.0.1:PORT' (see grinder venue)."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the session; by default the symbol.")] = None,
    speed: Annotated[float, typer.Option(help="Of a market that is played; 1 is real time.")] = 1.0,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the local API; 0 takes a free one.")] = 0,
    policy: Annotated[
        str,
        typer.Option(help="When the last notebook that attached has gone: run_on, or cancel (what a notebook starts)."),
    ] = "run_on",
    grace: Annotated[float, typer.Option(min=0, help="s for another client to come.")] = 30.0,
    patience: Annotated[float, typer.Option(min=0.5, help="s without a heartbeat until the supervisor acts.")] = 5.0,
    lifeline: Annotated[
        bool,
        typer.Option(
            "--lifeline", help="Whoever started this holds its stdin: the end of it is a client that has gone."
        ),
    ] = False,
    stream: Annotated[bool, typer.Option("--stream", help="Play the market as a live feed would come.")] = False,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="A.B=V", help="Override a key, such as execution.queue=power.")
    ] = None,
) -> None:
    """Run a session until it is stopped; Ctrl-C withdraws its orders and ends it, a second one hurries."""
    from grinder_kit.model.config_file import apply_overrides, load_exported

    whole = apply_overrides(load_exported(config), changes or ())
    from grinder_kit.session.client import Session
    from grinder_kit.session.guard import Policy
    from grinder_kit.session.runner import RunOptions, run

    # The same checks as in a notebook, before anything is touched.
    session = Session(
        whole, mode=mode, market=market, name=name, speed=speed, policy=policy, grace_s=grace, patience_s=patience
    )
    options = RunOptions(
        name=session.name,
        config=whole,
        market=session.market,
        speed=speed,
        port=port,
        policy=Policy(policy),
        grace_s=grace,
        patience_s=patience,
        lifeline=lifeline,
        stream=stream,
    )
    _say(
        f"session {session.name}: paper, {session.market}; steer it with: grinder status | stop | flatten | kill {session.name}"
    )
    code = run(options)
    _say(f"session {session.name} {session.status}")
    raise typer.Exit(code)


@app.command()
def status(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only this session.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say how a session is, or list all."""
    from grinder_kit.session.folder import SessionFolder, sessions
    from grinder_kit.session.look import look

    found = {one: look(SessionFolder(one)) for one in ([name] if name is not None else sessions())}
    if as_json:
        _print_json({one: seen.to_json() for one, seen in found.items()})
        return
    if not found:
        typer.echo("no sessions")
    for one, seen in found.items():
        typer.echo(f"{one}: {seen.line}")


@app.command()
def stop(name: SessionName, reason: Reason = "grinder stop") -> None:
    """Withdraw a session's orders and end it; the position is kept."""
    _command(name, "stop", reason)


@app.command()
def flatten(
    name: SessionName,
    reason: Reason = "grinder flatten",
    twap_s: Annotated[
        float | None, typer.Option(metavar="S", help="Close it over S seconds, in slices that take liquidity.")
    ] = None,
    slices: Annotated[
        int | None, typer.Option(metavar="N", help="So many slices; by default what the smallest order allows.")
    ] = None,
    show: Annotated[
        str | None, typer.Option(metavar="QUANTITY", help="Close it with post-only orders of QUANTITY, one at a time.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Draws sizes and times of the slices.")] = None,
) -> None:
    """Withdraw a session's orders and close its position, at once and taking liquidity; it is paused then."""
    from grinder_kit.execution.way_out import How

    how = How(twap_s, slices, show, seed)
    how.check()
    _command(name, "flatten", reason, **{key: value for key, value in how._asdict().items() if value is not None})


@app.command()
def kill(name: SessionName, reason: Reason = "grinder kill") -> None:
    """End a session at once, past its runner where that does not answer."""
    from grinder_kit.session.folder import SessionFolder
    from grinder_kit.session.request import kill as kill_session

    typer.echo(str(kill_session(SessionFolder(name), reason)))


def _command(name: str, command: str, reason: str, **facts: Any) -> None:
    from grinder_kit.session.folder import SessionFolder
    from grinder_kit.session.request import command as give

    typer.echo(str(give(SessionFolder(name), command, reason=reason, **facts)))


@app.command()
def venue(
    market: Annotated[str, typer.Option(help="A recording, or 'synthetic seed=7 minutes=30'.")],
    config: Annotated[
        Path | None, typer.Option(help="A configuration file: its [execution] says how orders fill.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
    speed: Annotated[float, typer.Option(help="1 is real time.")] = 1.0,
) -> None:
    """Serve a simulated venue on loopback: orders live on there when the session that sent them dies."""
    import asyncio

    from grinder_kit.market.naming import open_market
    from grinder_kit.model.config_file import load_config
    from grinder_kit.model.execution_config import ExecutionConfig
    from grinder_kit.venue.served import serve

    execution = ExecutionConfig() if config is None else load_config(config).execution
    played = open_market(market)

    def ready(number: int) -> None:
        typer.echo(f"venue 127.0.0.1:{number}")
        sys.stdout.flush()

    asyncio.run(serve(played, execution, port=port, speed=speed, on_ready=ready))


@app.command()
def fit(
    data: Annotated[str, typer.Option(help="A recording, or 'synthetic seed=7 minutes=30'.")],
    fraction: Annotated[float, typer.Option(help="Of the time that trains; the rest tests.")] = 0.6,
    queue: Annotated[str, typer.Option(help="Queue model that fills the labels.")] = "power",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the fitted model (JSON).")] = None,
    as_json: AsJson = False,
) -> None:
    """Fit the fill model on the first part of a market, and score it on the rest beside simpler ones."""
    from grinder_kit.fillprob.evaluation import evaluate
    from grinder_kit.fillprob.model_file import load_fitted, save_model
    from grinder_kit.market.naming import open_market

    found = evaluate(open_market(data), fraction=fraction, queue=queue)
    if out is not None:
        with draft(out) as part:
            save_model(found.model, part, markout=found.markout)
    if as_json:
        _print_json(found.to_json())
        return
    typer.echo(str(found))
    if out is not None:
        named = f'[fill_model]\nfile = "{out}"\nsha256 = "{load_fitted(out).sha256}"'
        typer.echo(f"model  {out}; in a configuration (the path counts from its folder):\n\n{named}")


# --- what commands share ---------------------------------------------------------------------------------------------


def _located(error: InvalidConfigError, file: Path, changes: list[str]) -> InvalidConfigError:
    """Say where a key that does not fit the market was set: in which line of the file, or by which --set."""
    from grinder_kit.model.config_file import locate
    from grinder_kit.model.section import InvalidConfigError, Problem

    text, found = file.read_text(encoding="utf-8"), []
    overridden = {change.split("=")[0].strip() for change in changes}
    for problem in error.problems:
        key = ".".join(problem.path)
        if key in overridden:
            found.append(Problem(path=problem.path, text=f"--set {key}: {problem.text}"))
        else:
            found += locate(InvalidConfigError([problem]), text, str(file)).problems
    return InvalidConfigError(found)


def _report(result: Result, market: Market | None, target: Path) -> None:
    """Write the page of a result; with its market, what other queue models would have said stands in it."""
    from grinder_kit.simulation.sensitivity import fill_sensitivity

    try:
        import grinder_widgets as gw  # the one import in this direction: only `report` draws

        write: Callable[..., object] = gw.report
    except ModuleNotFoundError as error:
        if error.name != "plotly":
            raise
        raise ConfigError("a report needs plotly: pip install 'grinder-kit[report]'") from None
    others = None
    if market is not None:
        with _bar("other queue models", " events") as bar:
            others = fill_sensitivity(market, result.config, known=result, progress=bar.update)
    with draft(target) as part:
        write(result, part, sensitivity=others)


@contextmanager
def _bar(what: str, unit: str) -> Iterator[Any]:
    """Give a tqdm bar on stderr, where a person looks at it; it stays hidden from programs and for the first second."""
    from tqdm import tqdm

    hidden = not sys.stderr.isatty()
    with tqdm(desc=what, unit=unit, unit_scale=True, delay=1.0, leave=False, disable=hidden) as bar:
        yield bar


def _print_json(value: Any) -> None:
    import orjson

    typer.echo(orjson.dumps(value, default=str, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY).decode())
