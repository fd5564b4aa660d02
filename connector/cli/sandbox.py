"""`partner-bridge sandbox`: the commands that start a sandbox, ask it, and tell it what to do."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

import typer

from connector.cli.options import AsJson, examples
from connector.cli.output import note, plural, print_json, print_table, print_values
from connector.process import EXIT_CHECK_FAILED, EXIT_USAGE
from connector.workbench.framings import WrittenFraming

if TYPE_CHECKING:
    from connector.sandbox.client import Event, SandboxClient
    from connector.sandbox.producer import RecordProducer

URL_VARIABLE = "PARTNER_BRIDGE_SANDBOX_URL"
DEFAULT_PORT = 9477
"""Where EventBridge and the control API listen, unless told otherwise: commands look here."""

ENDPOINT_VARIABLE = "AWS_ENDPOINT_URL_EVENTBRIDGE"
"""By which a configuration that names no endpoint finds the sandbox's EventBridge."""

UNSET = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN")
"""Variables of the user's own account that a bridge in the sandbox must not have."""

app = typer.Typer(
    help="Keep a broker, EventBridge and registry up, for your tests.\n\n"
    "All of them in one process, without Docker or AWS, until Ctrl-C. A bridge.yaml for it goes to stdout. "
    "The commands ask one that runs, and tell it what to do. Exit code 4: none runs, or it refuses.",
    epilog=examples(
        "partner-bridge sandbox | tee bridge.yaml",
        "partner-bridge sandbox --strict-sources",
        "partner-bridge sandbox --host 0.0.0.0 --advertised-host sandbox --kafka-port 9092",
        "partner-bridge sandbox events --wait 3 --timeout 30",
        "partner-bridge sandbox accept aws.partner/example.com/acme",
        "partner-bridge sandbox fault throttle --times 5",
    ),
    invoke_without_command=True,
    rich_markup_mode=None,
)

Url = Annotated[
    str,
    typer.Option(
        "--url",
        envvar=URL_VARIABLE,
        metavar="URL",
        help="Where the sandbox is: the address that it prints for EventBridge.",
    ),
]
DEFAULT_URL = f"http://127.0.0.1:{DEFAULT_PORT}"
Host = Annotated[
    str,
    typer.Option(
        "--host",
        metavar="ADDRESS",
        help="Address to listen on. Beyond this machine, whoever reaches it can do everything with it.",
    ),
]
AdvertisedHost = Annotated[
    str | None,
    typer.Option(
        "--advertised-host",
        metavar="NAME",
        help="Name under which others reach it. Default: the address; 0.0.0.0 is none.",
    ),
]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")]
Source = Annotated[str, typer.Argument(metavar="SOURCE", help="The whole name of the source.")]
Region = Annotated[
    str | None, typer.Option("--region", help="Its Region; needed where several have a source of that name.")
]
OnlyRegion = Annotated[str | None, typer.Option("--region", help="Only in this Region.")]
Part = Annotated[
    Literal["eventbridge", "kafka", "registry"], typer.Argument(metavar="[PART]", help="Which of the three.")
]


@app.callback()
def start(
    context: typer.Context,
    *,
    host: Host = "127.0.0.1",
    advertised_host: AdvertisedHost = None,
    eventbridge_port: Port = DEFAULT_PORT,
    kafka_port: Port = 0,
    registry_port: Port = 0,
    strict_sources: Annotated[
        bool,
        typer.Option("--strict-sources", help="A partner event source exists only once it was created."),
    ] = False,
) -> None:
    if context.invoked_subcommand is not None:
        return
    from connector.cli.sandbox_start import run_sandbox  # noqa: PLC0415

    raise typer.Exit(
        run_sandbox(
            host=host,
            advertised_host=advertised_host,
            eventbridge_port=eventbridge_port,
            kafka_port=kafka_port,
            registry_port=registry_port,
            strict_sources=strict_sources,
            usual_url=DEFAULT_URL,
        )
    )


@contextmanager
def _sandbox(url: str) -> Iterator[SandboxClient]:
    """The sandbox there; what it refuses, and events that do not come, are exit code 4 with the reason."""
    from connector.sandbox.client import (  # noqa: PLC0415
        MissingEventsError,
        SandboxClient,
        SandboxRefusedError,
    )

    try:
        yield SandboxClient(url)
    except SandboxRefusedError as error:
        typer.echo(f"The sandbox refuses: {error}.", err=True)
        raise typer.Exit(EXIT_CHECK_FAILED) from None
    except MissingEventsError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(EXIT_CHECK_FAILED) from None


# What a bridge needs


@app.command(
    epilog=examples(
        "partner-bridge sandbox status",
        "partner-bridge sandbox status --timeout 30",
        "partner-bridge sandbox status --json | jq -r '.kafka[\"bootstrap.servers\"]'",
    )
)
def status(
    *,
    url: Url = DEFAULT_URL,
    timeout: Annotated[float, typer.Option(min=0, help="How many seconds to wait for it to start.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Show where everything is, and what happened so far.

    Exit code 4: no sandbox answers.
    """
    with _sandbox(url) as sandbox:
        addresses = sandbox.wait_started(timeout_s=timeout)
        counts = sandbox.counts()
        is_down = sandbox.faults()["script"]["down"]
    if as_json:
        print_json({**addresses, "counts": counts})
        return
    kafka = addresses["kafka"]
    print_values(
        {
            "Kafka": kafka["bootstrap.servers"] + (" (down)" if kafka["down"] else ""),
            "schema registry": addresses["schema_registry"],
            "EventBridge": addresses["eventbridge"] + (" (down)" if is_down else ""),
            "accepted": f"{counts['accepted']:,} events of ACTIVE sources",
            "dropped": f"{counts['dropped']:,} events of PENDING sources" if counts["dropped"] else None,
            "refused": _counted(counts["refused"]),
            "requests": _counted(counts["requests"]),
            "answers": _counted(counts["answers"]),
            "faults struck": _counted(counts["faults"]),
        },
        mark=":",
    )


def _counted(counts: dict[str, int]) -> str | None:
    return ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items())) or None


@app.command(
    epilog=examples('eval "$(partner-bridge sandbox env)"', "partner-bridge sandbox env > sandbox.env")
)
def env(*, url: Url = DEFAULT_URL) -> None:
    """Print the environment of a bridge, for a shell.

    Access keys that only the sandbox knows, and where its EventBridge is; nothing of your own AWS account
    stays in reach.
    """
    with _sandbox(url) as sandbox:
        addresses = sandbox.addresses()
    environment = {**addresses["environment"], ENDPOINT_VARIABLE: addresses["eventbridge"]}
    typer.echo(f"unset {' '.join(UNSET)}")
    hosts = dict.fromkeys(["127.0.0.1", urlsplit(addresses["eventbridge"]).hostname or ""])
    for name, value in {**environment, "NO_PROXY": ",".join(hosts), URL_VARIABLE: url}.items():
        typer.echo(f"export {name}={shlex.quote(value)}")


@app.command(
    epilog=examples(
        "partner-bridge sandbox config > example.yaml",
        "partner-bridge sandbox config bridge.yaml > sandbox.yaml",
        "partner-bridge sandbox config bridge.yaml --http-port 8081 > sandbox.yaml",
    )
)
def config(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Your configuration. Without it, the example's.")
    ] = None,
    *,
    url: Url = DEFAULT_URL,
    http_port: Annotated[
        int,
        typer.Option(min=0, max=65535, help="Port of the bridge's page, health and metrics; 0: a free one."),
    ] = 8080,
) -> None:
    """Print your configuration, turned to the sandbox.

    Brokers, registry and endpoints become the sandbox's; sign-in, TLS and roles go, and missing dead-letter
    topics are created, and sources looked up every second. Topics, mappings, rules and limits stay.
    """
    import yaml  # noqa: PLC0415

    from connector.sandbox import orders  # noqa: PLC0415
    from connector.sandbox.configuration import for_sandbox  # noqa: PLC0415

    with _sandbox(url) as sandbox:
        addresses = sandbox.addresses()
    http = {"host": "127.0.0.1", "port": http_port}
    if file is None:
        typer.echo(orders.config(addresses, http_port=http_port), nl=False)
    else:
        settings = for_sandbox(file, addresses, http=http)
        typer.echo(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True, width=110), nl=False)


@app.command(epilog=examples("partner-bridge sandbox topic orders.v1 --partitions 6"))
def topic(
    name: Annotated[str, typer.Argument(metavar="TOPIC")],
    *,
    partitions: Annotated[int, typer.Option(min=1, help="How many partitions it gets.")] = 4,
    url: Url = DEFAULT_URL,
) -> None:
    """Create a topic; its first record would, with 4 partitions."""
    with _sandbox(url) as sandbox:
        sandbox.create_topic(name, partitions)
    typer.echo(f"{name} has {plural(partitions, 'partition')}.", err=True)


@app.command(
    epilog=examples(
        "partner-bridge sandbox produce notes notes.jsonl",
        'echo \'{"tenant": "acme"}\' | partner-bridge sandbox produce notes --key 1',
        "partner-bridge sandbox produce orders.v1 orders.jsonl --schema order.avsc",
        "partner-bridge sandbox produce notes notes.tsv --key-separator $'\\t'",
    )
)
def produce(
    topic: Annotated[str, typer.Argument(metavar="TOPIC")],
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="A record in each line. Without it, stdin.")
    ] = None,
    *,
    schema: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Avro schema: lines are JSON, and become Avro."),
    ] = None,
    framing: Annotated[
        WrittenFraming, typer.Option(help="With --schema: how each record names its schema.")
    ] = "confluent",
    key: Annotated[str | None, typer.Option(help="The key of every record.")] = None,
    key_separator: Annotated[
        str | None, typer.Option(help="What stands between key and value in each line.")
    ] = None,
    url: Url = DEFAULT_URL,
) -> None:
    """Produce a record for each line of a file, or of stdin.

    Lines are sent as they are, empty ones not at all. Exit code 2: a file or line cannot be used.
    """
    if key is not None and key_separator is not None:
        raise typer.BadParameter("give --key or --key-separator, not both", param_hint="--key")
    from connector.sandbox.producer import RecordProducer  # noqa: PLC0415

    with _sandbox(url) as sandbox:
        addresses = sandbox.addresses()
    producer = RecordProducer(addresses["kafka"]["bootstrap.servers"], addresses["schema_registry"])
    count = 0
    try:
        with sys.stdin.buffer if file is None else file.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if text := line.rstrip(b"\r\n"):
                    _add(
                        producer,
                        topic,
                        text,
                        key,
                        separator=key_separator,
                        schema=schema,
                        framing=framing,
                        number=number,
                    )
                    count += 1
    except OSError as error:
        typer.echo(f"{error.filename} cannot be read: {error.strerror}.", err=True)
        raise typer.Exit(EXIT_USAGE) from None
    finally:
        producer.flush()
    typer.echo(f"{plural(count, 'record')} produced to {topic}.", err=True)


def _add(
    producer: RecordProducer,
    topic: str,
    line: bytes,
    key: str | None,
    *,
    separator: str | None,
    schema: Path | None,
    framing: WrittenFraming,
    number: int,
) -> None:
    import orjson  # noqa: PLC0415

    problem = "has no key separator"
    before, found, after = line.partition(separator.encode()) if separator else (key, b"", line)
    if found or not separator:
        try:
            value = after if schema is None else orjson.loads(after)
            return producer.add(topic, value, key=before, schema=schema, framing=framing)
        except orjson.JSONDecodeError as error:  # whose text quotes nothing of the line
            problem = f"is not JSON: {error}"
        except ValueError as error:
            problem = str(error)
    typer.echo(f"Line {number}: {problem}. The lines before it were produced.", err=True)
    raise typer.Exit(EXIT_USAGE)


# What arrived


@app.command(
    epilog=examples(
        "partner-bridge sandbox events",
        "partner-bridge sandbox events --wait 3 --timeout 30",
        "partner-bridge sandbox events --source aws.partner/example.com/acme --json | jq '.events[].detail'",
    )
)
def events(
    *,
    url: Url = DEFAULT_URL,
    wait: Annotated[int, typer.Option(min=0, help="Wait until there are so many.")] = 0,
    timeout: Annotated[float, typer.Option(min=0, help="How many seconds to wait for them.")] = 30,
    source: Annotated[str | None, typer.Option(help="Only of this source.")] = None,
    detail_type: Annotated[str | None, typer.Option(help="Only of this detail type.")] = None,
    region: OnlyRegion = None,
    after: Annotated[int, typer.Option(min=0, metavar="SEQ", help="Only later than this one.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Show the events that customers got.

    Exit code 4: there are fewer than --wait wants, in this time; says why, as far as the sandbox knows.
    """
    with _sandbox(url) as sandbox:
        found = sandbox.wait_for_events(
            wait, timeout_s=timeout, after=after, source=source, detail_type=detail_type, region=region
        )
    if as_json:
        print_json({"events": found})
    elif found:
        header = ("seq", "source", "detail type", "time", "record")
        print_table(header, [_event_row(each) for each in found], right={"seq"})
    else:
        typer.echo("No events so far.", err=True)


def _event_row(event: Event) -> tuple[str, ...]:
    origin = event["detail"].get("_kafka") or {}
    record = f"{origin['topic']}/{origin['partition']}/{origin['offset']}" if "offset" in origin else ""
    place = str(event["sandbox"]["seq"])
    return place, event["source"], event["detail-type"], event["time"], record


# Sources


@app.command(
    epilog=examples(
        "partner-bridge sandbox sources",
        "partner-bridge sandbox sources --json | jq '.sources[].State'",
    )
)
def sources(*, url: Url = DEFAULT_URL, region: OnlyRegion = None, as_json: AsJson = False) -> None:
    """Show every partner event source."""
    with _sandbox(url) as sandbox:
        found = [each for each in sandbox.sources() if region in {None, each["Region"]}]
    if as_json:
        print_json({"sources": found})
    elif found:
        header = ("source", "state", "region", "account")
        print_table(
            header, [(each["Name"], each["State"], each["Region"], each["Account"]) for each in found]
        )
    else:
        typer.echo("No sources so far.", err=True)


@app.command(epilog=examples("partner-bridge sandbox accept aws.partner/example.com/acme"))
def accept(source: Source, *, region: Region = None, url: Url = DEFAULT_URL) -> None:
    """Be the customer who accepts: PENDING becomes ACTIVE.

    A bridge notices at its next lookup (`sources.refresh_interval`).
    """
    with _sandbox(url) as sandbox:
        sandbox.accept(source, region=region)
    typer.echo(f"{source} is ACTIVE.", err=True)


@app.command(epilog=examples("partner-bridge sandbox deactivate aws.partner/example.com/acme"))
def deactivate(source: Source, *, region: Region = None, url: Url = DEFAULT_URL) -> None:
    """Be the customer who wants no more: ACTIVE becomes PENDING."""
    with _sandbox(url) as sandbox:
        sandbox.deactivate(source, region=region)
    typer.echo(f"{source} is PENDING.", err=True)


@app.command(epilog=examples("partner-bridge sandbox reject aws.partner/example.com/acme"))
def reject(source: Source, *, region: Region = None, url: Url = DEFAULT_URL) -> None:
    """Be the customer who never accepts: a PENDING source is gone."""
    with _sandbox(url) as sandbox:
        sandbox.reject(source, region=region)
    typer.echo(f"{source} is gone, as after the 14 days that a customer has.", err=True)


@app.command(
    epilog=examples(
        "partner-bridge sandbox source aws.partner/example.com/acme PENDING --region eu-central-1",
        "partner-bridge sandbox source aws.partner/example.com/acme MISSING --region eu-central-1",
    )
)
def source(
    source: Source,
    state: Annotated[
        Literal["PENDING", "ACTIVE", "DELETED", "MISSING"],
        typer.Argument(metavar="STATE", help="PENDING, ACTIVE, DELETED or MISSING."),
    ],
    *,
    region: Annotated[str, typer.Option("--region", help="Its Region.")],
    account: Annotated[str | None, typer.Option(help="Its customer's account.")] = None,
    url: Url = DEFAULT_URL,
) -> None:
    """Put a source in a state, whatever its own was."""
    with _sandbox(url) as sandbox:
        sandbox.set_source(source, None if state == "MISSING" else state, region=region, account=account)
    typer.echo(f"{source} is {state} in {region}.", err=True)


# What goes wrong


@app.command(
    epilog=examples(
        "partner-bridge sandbox fault throttle --times 5",
        "partner-bridge sandbox fault unavailable --probability 0.1",
        "partner-bridge sandbox fault entry_error --code InternalFailure --times 3",
        "partner-bridge sandbox fault hang --seconds 20 --times 1 --not-accepted",
    )
)
def fault(
    kind: Annotated[
        str, typer.Argument(metavar="KIND", help="What goes wrong; docs/sandbox.md has the list.")
    ],
    *,
    times: Annotated[int | None, typer.Option(min=1, help="How often. Default: until `clear`.")] = None,
    after: Annotated[int | None, typer.Option(min=0, help="How many go well first.")] = None,
    probability: Annotated[float | None, typer.Option(help="How likely each is struck, up to 1.")] = None,
    operation: Annotated[
        str | None, typer.Option(help="Whose requests; * for all. Default: PutPartnerEvents.")
    ] = None,
    region: OnlyRegion = None,
    min_bytes: Annotated[int | None, typer.Option(min=0, help="Only requests so large.")] = None,
    source: Annotated[str | None, typer.Option(help="Only entries whose source begins so.")] = None,
    code: Annotated[str | None, typer.Option(help="The error code, instead of the usual one.")] = None,
    message: Annotated[str | None, typer.Option(help="Its message.")] = None,
    status: Annotated[int | None, typer.Option(help="Its HTTP status.")] = None,
    retry_after_ms: Annotated[int | None, typer.Option(min=0, help="Sent as x-amz-retry-after.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0, help="How long `hang` or `slow_drip` take.")] = None,
    not_accepted: Annotated[
        bool, typer.Option("--not-accepted", help="The events of a lost answer were not accepted.")
    ] = False,
    name: Annotated[str | None, typer.Option(help="Under which it is counted. Default: its kind.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the chance behind --probability.")] = None,
    url: Url = DEFAULT_URL,
) -> None:
    """Let EventBridge fail, besides the faults set already.

    Among faults that match a request, the first wins. Exit code 4: there is no such kind or setting.
    """
    given = {
        "times": times, "after": after, "probability": probability, "operation": operation, "region": region,
        "min_bytes": min_bytes, "source": source, "code": code, "message": message, "status": status,
        "retry_after_ms": retry_after_ms, "seconds": seconds, "name": name,
        "accept": False if not_accepted else None,
    }  # fmt: skip
    with _sandbox(url) as sandbox:
        sandbox.fault(kind, seed=seed, **{key: value for key, value in given.items() if value is not None})
    often = "until `partner-bridge sandbox clear`" if times is None else plural(times, "time")
    typer.echo(f"EventBridge fails with {kind}, {often}.", err=True)


@app.command(
    epilog=examples(
        "partner-bridge sandbox slow --latency-ms 200",
        "partner-bridge sandbox slow --rate 10 --burst 20",
        "partner-bridge sandbox slow --lookup-rate 5",
    )
)
def slow(
    *,
    latency_ms: Annotated[float | None, typer.Option(min=0, help="How long every answer takes.")] = None,
    rate: Annotated[
        float | None, typer.Option(min=0.001, help="PutPartnerEvents a second; others are throttled.")
    ] = None,
    lookup_rate: Annotated[
        float | None, typer.Option(min=0.001, help="All other calls a second, in each Region. AWS: 50.")
    ] = None,
    burst: Annotated[float, typer.Option(min=1, help="How many of either may come at once.")] = 1,
    clock_skew_s: Annotated[
        float | None, typer.Option(help="How far EventBridge's clock is ahead, in seconds.")
    ] = None,
    url: Url = DEFAULT_URL,
) -> None:
    """Let EventBridge be late, throttle, or have a wrong clock."""
    rates = {"rate": rate, "control_rate": lookup_rate}
    change: dict[str, Any] = {
        name: {"requests_per_second": value, "burst": burst}
        for name, value in rates.items()
        if value is not None
    }
    if latency_ms is not None:
        change["latency_ms"] = latency_ms
    if clock_skew_s is not None:
        change["clock_skew_s"] = clock_skew_s
    if not change:
        raise typer.BadParameter("say how: --latency-ms, --rate, --lookup-rate or --clock-skew-s")
    with _sandbox(url) as sandbox:
        sandbox.change(**change)
    typer.echo("Done, until `partner-bridge sandbox clear`.", err=True)


@app.command(epilog=examples("partner-bridge sandbox down", "partner-bridge sandbox down kafka"))
def down(part: Part = "eventbridge", *, url: Url = DEFAULT_URL) -> None:
    """Take EventBridge down, or Kafka, or the registry."""
    _set_down(part, url, down=True)
    typer.echo(f"{part} is down until `partner-bridge sandbox up {part}`.", err=True)


@app.command(epilog=examples("partner-bridge sandbox up", "partner-bridge sandbox up kafka"))
def up(part: Part = "eventbridge", *, url: Url = DEFAULT_URL) -> None:
    """Bring it back, with everything it had."""
    _set_down(part, url, down=False)
    typer.echo(f"{part} is up.", err=True)


def _set_down(part: str, url: str, *, down: bool) -> None:
    with _sandbox(url) as sandbox:
        match part:
            case "kafka":
                sandbox.set_kafka_down(down=down)
            case "registry":
                sandbox.set_registry_down(down=down)
            case _:
                sandbox.change(down=down)


@app.command(epilog=examples("partner-bridge sandbox faults", "partner-bridge sandbox faults --json"))
def faults(*, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Show what is set to go wrong, and how often it did."""
    with _sandbox(url) as sandbox:
        found, struck = sandbox.faults(), sandbox.counts()["faults"]
    if as_json:
        print_json({"faults": found["left"], "script": found["script"], "struck": struck})
        return
    script, left = found["script"], found["left"]
    rows = []
    for each in left:
        more = ", ".join(f"{key} {value}" for key, value in each.items() if key not in {"kind", "name"})
        rows.append((each["kind"], f"{struck.get(each.get('name') or each['kind'], 0):,}", more))
    if rows:
        print_table(("kind", "struck", "when"), rows, right={"struck"})
    ways = ("latency_ms", "down", "rate", "control_rate", "clock_skew_s")
    others = {name: _shown(script[name]) for name in ways if script[name]}
    print_values(others, mark=":")
    if not rows and not others:
        typer.echo("Nothing is set to go wrong.", err=True)


def _shown(setting: Any) -> str:
    if isinstance(setting, dict):
        return f"{setting['requests_per_second']:g} a second, {setting['burst']:g} at once"
    return "yes" if setting is True else f"{setting:g}"


@app.command(epilog=examples("partner-bridge sandbox clear"))
def clear(*, url: Url = DEFAULT_URL) -> None:
    """Let nothing go wrong any more; everything is up."""
    with _sandbox(url) as sandbox:
        sandbox.clear()
    typer.echo("Nothing goes wrong any more.", err=True)


@app.command(epilog=examples("partner-bridge sandbox reset"))
def reset(*, url: Url = DEFAULT_URL) -> None:
    """Forget events, counts, sources and faults.

    Topics, their records and schemas stay.
    """
    with _sandbox(url) as sandbox:
        sandbox.reset()
    typer.echo("Events, counts, sources and faults are forgotten.", err=True)


@app.command(epilog=examples("partner-bridge sandbox credentials keys.json"))
def credentials(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help='JSON: {"KEYID": {"secret": …, "session_token": …, "expired": true}}. Replaces all.',
        ),
    ],
    *,
    url: Url = DEFAULT_URL,
) -> None:
    """Replace the access keys that EventBridge knows."""
    import orjson  # noqa: PLC0415

    try:
        keys = orjson.loads(file.read_bytes())
    except OSError as error:
        typer.echo(f"{file} cannot be read: {error.strerror}.", err=True)
        raise typer.Exit(EXIT_USAGE) from None
    except orjson.JSONDecodeError as error:
        typer.echo(f"{file} is not JSON: {error}.", err=True)
        raise typer.Exit(EXIT_USAGE) from None
    with _sandbox(url) as sandbox:
        sandbox.set_credentials(keys)
    typer.echo(f"EventBridge knows {plural(len(keys), 'access key')}.", err=True)
    if not keys:
        note("no bridge can sign in now")
