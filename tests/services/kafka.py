"""Real Apache Kafka: an address from the environment, a container, or the release itself from Maven Central.

`KafkaCluster` runs one or more KRaft nodes with whatever server properties a test needs (SASL, TLS, limits)
and can stop, kill and restart them on the same ports and data.
"""

from __future__ import annotations

import functools
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import tempfile
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.services import cache, containers, maven
from tests.services.child import Child, free_ports, listening, wait_until

VERSION = "4.1.0"
IMAGE = f"apache/kafka:{VERSION}"
LOCK = Path(__file__).with_name("kafka.lock")
ARTIFACTS = (f"org.apache.kafka:kafka_2.13:{VERSION}", "org.slf4j:slf4j-simple:1.7.36")
START_TIMEOUT_S = 90.0
TRAINING_TIMEOUT_S = 240.0

# A broker of a test has little to do and must be up at once: the default heap would be gigabytes, and the
# second compiler makes the start 1 s longer. The log goes to stderr through slf4j-simple.
JAVA_OPTIONS = (
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
)


class Kafka(Protocol):
    """A running Kafka that tests may share: they use topics and groups of their own."""

    @property
    def client(self) -> Mapping[str, str]:
        """librdkafka options that connect to it, `bootstrap.servers` among them."""

    @property
    def description(self) -> str:
        """What it is and where it came from, for the summary at the end of the tests."""

    def close(self) -> None: ...


class Node(Protocol):
    """One broker process or container."""

    @property
    def running(self) -> bool: ...
    def start(self) -> None: ...
    def stop(self) -> int | None: ...
    def kill(self) -> None: ...
    def signal(self, number: signal.Signals) -> None: ...
    def remove(self) -> None: ...
    def tail(self) -> str: ...


class ExternalKafka:
    """The cluster `KAFKA_BOOTSTRAP` names. It is nobody's to stop."""

    def __init__(self, bootstrap: str) -> None:
        self.client = {"bootstrap.servers": bootstrap}
        self.description = f"the cluster at KAFKA_BOOTSTRAP={bootstrap}"

    def close(self) -> None:
        pass


class KafkaCluster:
    """A KRaft cluster on free ports of 127.0.0.1, with its data in a temporary folder.

    Clients use the listener CLIENT; brokers talk to each other on a plain one of their own. So a test sets
    up security by properties alone, for instance `{"listener.security.protocol.map": "CLIENT:SASL_PLAINTEXT,
    BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT", ...}`, with SCRAM users as `scram={"user": "password"}`. What a
    client then needs to connect goes into `client`.
    """

    def __init__(
        self,
        *,
        brokers: int = 1,
        properties: Mapping[str, str] | None = None,
        scram: Mapping[str, str] | None = None,
        client: Mapping[str, str] | None = None,
        trains: Path | None = None,
    ) -> None:
        """`trains` is where Java writes down at the end which classes it has loaded."""
        self._in_container = brokers == 1 and containers.has_image(IMAGE)  # nodes meet on 127.0.0.1
        self._libraries = "/opt/kafka/libs" if self._in_container else str(maven.folder(LOCK))
        self._folder = Path(tempfile.mkdtemp(prefix="kafka-for-tests-"))
        self._ports = [free_ports(3) for _ in range(brokers)]
        self._trains = trains
        self._scram = scram or {}
        how = f"container {IMAGE}" if self._in_container else f"Java {maven.JAVA_VERSION}, from the cache"
        self.description = f"Apache Kafka {VERSION} ({how})"
        self.addresses = [f"127.0.0.1:{ports[0]}" for ports in self._ports]
        self.client = {"bootstrap.servers": ",".join(self.addresses), **(client or {})}
        # Begins with "A": one that began with "-" would be taken for an option of the command.
        cluster_id = urlsafe_b64encode(b"\0" + secrets.token_bytes(15)).decode().rstrip("=")
        self.nodes = [self._node(number, cluster_id, properties or {}) for number in range(brokers)]

    def start(self) -> KafkaCluster:
        """Starts every node that is down and returns once the whole cluster answers."""
        for node in self.nodes:
            if not node.running:
                node.start()
        try:
            for ports in self._ports:
                wait_until(
                    lambda port=ports[0]: listening(port) or self._ended(),  # type: ignore[misc]
                    what="a broker listens",
                    timeout_s=START_TIMEOUT_S,
                )
            wait_until(
                lambda: self._brokers_seen() == len(self.nodes) or self._ended(),
                what="all brokers are registered",
                timeout_s=START_TIMEOUT_S,
            )
            assert not self._ended(), "a broker ended while it started"
        except AssertionError as error:
            logs = "\n".join(node.tail() for node in self.nodes)
            self.close()
            raise AssertionError(f"Kafka did not start: {error}\n{logs}") from None
        return self

    def stop(self, broker: int = 0) -> None:
        """Shuts one broker down in order."""
        self.nodes[broker].stop()

    def kill(self, broker: int = 0) -> None:
        """Ends one broker with SIGKILL."""
        self.nodes[broker].kill()

    def freeze(self, broker: int = 0) -> None:
        """Lets one broker stand still: its connections stay open, and nothing is answered on them."""
        self.nodes[broker].signal(signal.SIGSTOP)

    def thaw(self, broker: int = 0) -> None:
        """Lets one that stands still go on."""
        self.nodes[broker].signal(signal.SIGCONT)

    def close(self) -> None:
        """Ends every broker and removes its data."""
        for node in self.nodes:
            node.remove()
        shutil.rmtree(self._folder, ignore_errors=True)

    def log(self) -> str:
        """The end of every broker's log, for failure messages."""
        return "\n".join(node.tail() for node in self.nodes)

    def _ended(self) -> bool:
        return not all(node.running for node in self.nodes)

    def _brokers_seen(self) -> int:
        try:
            return len(AdminClient({**self.client, "log_level": "0"}).list_topics(timeout=2).brokers)
        except KafkaException:
            return 0

    def _node(self, number: int, cluster_id: str, properties: Mapping[str, str]) -> Node:
        folder = self._folder / str(number)
        folder.mkdir()
        file = folder / "server.properties"
        file.write_text(
            "".join(f"{key}={value}\n" for key, value in self._properties(number, properties).items())
        )
        where = "/tmp/server.properties" if self._in_container else str(file)
        java = ["java" if self._in_container else maven.JAVA, *JAVA_OPTIONS, "-cp", f"{self._libraries}/*"]
        if not self._in_container and self._trains is None:
            java[1:1] = [f"-XX:AOTCache={_loaded_classes()}", "-Xlog:aot*=error"]
        format_storage = [*java, "kafka.tools.StorageTool", "format", "--ignore-formatted"]
        format_storage += ["--cluster-id", cluster_id, "--config", where]
        for user, password in self._scram.items():
            for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
                format_storage += ["--add-scram", f"{mechanism}=[name={user},password={password}]"]
        run = [*java, "kafka.Kafka", where]
        if self._trains is not None:
            run.insert(1, f"-XX:AOTCacheOutput={self._trains}")
        if self._in_container:
            script = f"{shlex.join(format_storage)} && exec {shlex.join(run)}"
            return containers.Container(
                IMAGE, ["sh", "-c", script], ports=self._ports[number], files={where: file}
            )
        formatted = subprocess.run(format_storage, capture_output=True, text=True, timeout=60, check=False)
        assert formatted.returncode == 0, (
            f"Kafka's storage was not formatted: {formatted.stdout}{formatted.stderr}"
        )
        return Child(run, log=folder / "kafka.log")

    def _properties(self, number: int, properties: Mapping[str, str]) -> dict[str, str]:
        client, broker, controller = self._ports[number]
        copies = str(min(3, len(self._ports)))
        listen = "0.0.0.0" if self._in_container else "127.0.0.1"
        return {
            "process.roles": "broker,controller",
            "node.id": str(number),
            "controller.quorum.voters": ",".join(
                f"{voter}@127.0.0.1:{ports[2]}" for voter, ports in enumerate(self._ports)
            ),
            "listeners": f"CLIENT://{listen}:{client},BROKER://{listen}:{broker},CONTROLLER://{listen}:{controller}",
            "advertised.listeners": f"CLIENT://127.0.0.1:{client},BROKER://127.0.0.1:{broker}",
            "listener.security.protocol.map": "CLIENT:PLAINTEXT,BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "BROKER",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": "/tmp/kafka" if self._in_container else str(self._folder / str(number) / "log"),
            "auto.create.topics.enable": "false",
            "offsets.topic.num.partitions": "1",
            "offsets.topic.replication.factor": copies,
            "transaction.state.log.num.partitions": "1",
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": copies,
            "share.coordinator.state.topic.min.isr": "1",
            # Tests write records of years ago, which Kafka's default of 7 days would delete under them.
            "log.retention.ms": "-1",
            "log.segment.bytes": str(16 * 1024 * 1024),
            "log.index.size.max.bytes": str(256 * 1024),
            "log.cleaner.dedupe.buffer.size": str(2 * 1024 * 1024),
            "num.network.threads": "2",
            "num.io.threads": "4",
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            # A killed member must be missed within the time a test can wait.
            "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "1000",
            "group.consumer.min.session.timeout.ms": "1000",
            "group.consumer.session.timeout.ms": "6000",
            "group.consumer.min.heartbeat.interval.ms": "500",
            "group.consumer.heartbeat.interval.ms": "1000",
            **properties,
        }


@functools.cache
def _loaded_classes() -> Path:
    """Kafka's classes as Java has them once they are loaded: with them a broker starts in half the CPU time.

    Made once, by a broker that starts and ends. Java goes without where they are of another Java.
    """
    name = "loaded.aot"

    def train(into: Path) -> None:
        cluster = KafkaCluster(trains=into / name)
        try:
            (broker,) = cluster.start().nodes
            assert isinstance(broker, Child)
            broker.signal(signal.SIGTERM)
            broker.wait(timeout_s=TRAINING_TIMEOUT_S)
        finally:
            cluster.close()

    return cache.folder(f"{maven.folder(LOCK).name}-java-{maven.JAVA_VERSION}", train) / name


def shared() -> Kafka:
    """Answers the Kafka all tests of a run share; raises MissingServiceError where there is no way to one."""
    bootstrap = os.environ.get("KAFKA_BOOTSTRAP")
    if bootstrap:
        return ExternalKafka(bootstrap)
    # Nobody stops it, so nobody need notice soon; and a busy machine must not make it fence itself.
    return KafkaCluster(properties={"broker.session.timeout.ms": "30000"}).start()
