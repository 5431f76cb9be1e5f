"""The agent's figures in Prometheus' format, from a registry of its own."""

from __future__ import annotations

import platform
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import structlog
import trio
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from tricorn.api.container_metrics import render as render_containers
from tricorn.errors import TricornError
from tricorn.model.samples import ContainerSample

log = structlog.get_logger(__name__)
Statistics = Callable[[], Mapping[str, Any]]
Samples = Callable[[], Awaitable[Sequence[ContainerSample]]]
_METHODS: Final = frozenset({"GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"})
_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 60.0)
_LIMITER: Final = trio.CapacityLimiter(1)


_NAMED: Final = {
    "content.bytes": "Bytes of all blobs",
    "operations.running": "Long work under way",
    "gc.seconds": "Seconds that the last collection took",
    "scrub.checked": "Blobs read again on disk since the start",
    "scrub.damaged": "Blobs found damaged on disk since the start",
    "scrub.restored": "Damaged blobs fetched again since the start",
}


class Metrics:
    """`statistics` gives nested figures at any time, cheaply. Some have names of their own: `containers`
    (state → count), `usage` (namespace → kind → number), `content.bytes`, `operations.running`,
    `gc.seconds` (the last collection's), some of `scrub`; every other number becomes
    `tricorn_statistic{name="outer.inner"}`.
    """

    def __init__(self, statistics: Statistics, *, version: str, revision: str = "") -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "tricorn_http_requests", "Requests answered", ("method", "route", "code"), registry=self.registry
        )
        self._seconds = Histogram(
            "tricorn_http_request_seconds", "Seconds until the answer (of streams: its begin)", ("route",),
            buckets=_BUCKETS, registry=self.registry,
        )  # fmt: skip
        self._children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._calls = Counter(
            "tricorn_grpc_calls", "gRPC calls that have ended", ("method", "code"), registry=self.registry
        )
        self._call_seconds = Histogram(
            "tricorn_grpc_call_seconds", "Seconds from their begin to their end", ("method",),
            buckets=_BUCKETS, registry=self.registry,
        )  # fmt: skip
        self._called: dict[tuple[str, str], tuple[Counter, Histogram]] = {}
        info = Gauge(
            "tricorn_build_info", "The agent", ("version", "revision", "python"), registry=self.registry
        )
        info.labels(version, revision, platform.python_version()).set(1)
        self._sources: dict[str, Statistics] = {}
        self.noticed: Callable[[], None] = lambda: None  # told of each answer
        self.containers: Samples | None = None  # what takes the samples of the containers
        self._statistics = statistics
        self._figures = _Figures()
        self.registry.register(self._figures)
        ProcessCollector(registry=self.registry)

    def observe(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one answered request. `route` is a path's template, never the path."""
        self.noticed()
        key = (method if method in _METHODS else "other", route, status)
        if key not in self._children:  # bounded: methods x routes x statuses
            counter = self._requests.labels(key[0], route, str(status))
            self._children[key] = (counter, self._seconds.labels(route))
        count, duration = self._children[key]
        count.inc()
        duration.observe(seconds)

    def observe_call(self, method: str, code: str, seconds: float) -> None:
        """Count one gRPC call that has ended; `method` is one that there is, or "unmatched"."""
        self.noticed()
        if (method, code) not in self._called:  # bounded: methods that are there x codes
            self._called[method, code] = (self._calls.labels(method, code), self._call_seconds.labels(method))
        count, duration = self._called[method, code]
        count.inc()
        duration.observe(seconds)

    def watch(self, name: str, statistics: Statistics) -> None:
        """Take the figures of one more part of the agent in."""
        self._sources[name] = statistics

    async def render(self) -> bytes:
        """Return all figures in the text format."""
        more = {name: source() for name, source in self._sources.items()}
        self._figures.latest = {**self._statistics(), **more}  # here: the sources aren't made for threads
        try:
            samples = await self.containers() if self.containers else ()
        except TricornError as error:  # the agent's own figures are worth the more then
            log.warning("containers not sampled", error=error.one_line())
            samples = ()
        return await trio.to_thread.run_sync(self._generate, samples, limiter=_LIMITER)

    def _generate(self, samples: Sequence[ContainerSample]) -> bytes:
        return generate_latest(self.registry) + render_containers(samples).encode()


class _Figures(Collector):
    def __init__(self) -> None:
        self.latest: Mapping[str, Any] = {}

    def collect(self) -> Iterable[GaugeMetricFamily]:
        figures = dict(self.latest)
        yield _by_state(figures.pop("containers", None))
        yield _by_namespace(figures.pop("usage", None))
        rest = GaugeMetricFamily("tricorn_statistic", "Figures of the agent's parts", labels=("name",))
        for name, number in _flat(figures):
            if name in _NAMED:
                yield GaugeMetricFamily(f"tricorn_{name.replace('.', '_')}", _NAMED[name], value=number)
            else:
                rest.add_metric((name,), number)
        yield rest


def _by_state(counts: object) -> GaugeMetricFamily:
    family = GaugeMetricFamily("tricorn_containers", "Containers by state", labels=("state",))
    for state, count in counts.items() if isinstance(counts, Mapping) else ():
        family.add_metric((str(state),), float(count))
    return family


def _by_namespace(usage: object) -> GaugeMetricFamily:
    text = "What namespaces use (bytes, or numbers of objects), and their budgets"
    family = GaugeMetricFamily("tricorn_namespace_usage", text, labels=("namespace", "kind"))
    for namespace, kinds in usage.items() if isinstance(usage, Mapping) else ():
        for kind, number in kinds.items():
            family.add_metric((str(namespace), str(kind)), float(number))
    return family


def _flat(figures: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for key, value in figures.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif _is_number(value):
            yield f"{prefix}{key}", float(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
