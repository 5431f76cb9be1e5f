"""What every test folder shares: who can run where, short directories, real components, the leak check."""

from __future__ import annotations

import functools
import gc
import os
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from tricorn_testing import cgroups, leaks, orphans
from tricorn_testing.capabilities import missing_for
from tricorn_testing.daemon import Daemon, running_daemon
from tricorn_testing.images import ImageLayout
from tricorn_testing.paths import PREFIX, short_directory
from tricorn_testing.registry import Registry, running_registry
from tricorn_testing.releases import Release, build_release

# A shell without job control starts what it puts into the background with SIGINT ignored, `nohup` does that with
# SIGHUP, and children would inherit it: both must reach the programs under test however the suite was started.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
for number in (signal.SIGHUP, signal.SIGQUIT):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, lambda *_: None)  # the suite goes on without; a program starts with the default

# What is logged in this process: its default draws each traceback with all variables, which takes half a second.
_PLAIN = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
structlog.configure(processors=[structlog.processors.add_log_level, _PLAIN])

IN_WORKER = "PYTEST_XDIST_WORKER" in os.environ
IN_CI = os.environ.get("CI") == "true"
CAPABILITIES = ("root", "integration", "faults")
ROOT = Path(__file__).parents[1]
_BEFORE = pytest.StashKey[leaks.Traces]()
_LEFT = pytest.StashKey[list[str]]()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, with the reason, what this machine can't run; in CI that is a failure: nothing is missing there."""
    for marker in CAPABILITIES:
        if item.get_closest_marker(marker) and (reason := missing_for(marker)):
            (pytest.fail if IN_CI else pytest.skip)(reason)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With several processes, each takes whole files, which share an agent; the longest begin first, and the
    many short ones at the end make up for what took longer than another.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "labs" if _uses_labs(file) else file

    config.option.loadscopereorder = False
    return Scheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if IN_WORKER:
        items.sort(key=lambda item: not _uses_labs(item.nodeid.partition("::")[0]))


@functools.cache
def _uses_labs(file: str) -> bool:
    """Several labs at a time would be slow for all, and files share one."""
    return "tricorn_testing.labs" in (ROOT / file).read_text()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> None:
    """Report what failed, not the nurseries around it: a group of one error, however deep, becomes that error."""
    if call.excinfo is None:
        return
    error: BaseException = call.excinfo.value
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if error is not call.excinfo.value and error.__traceback__ is not None:
        call.excinfo = pytest.ExceptionInfo.from_exception(error)


@pytest.fixture(scope="session", autouse=True)
def leaves_nothing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fail the session if it left mounts, processes, cgroups, namespaces, loop devices or descriptors."""
    before = leaks.look()
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # reported where they belong, not here
        gc.collect()
    strict = IN_CI and not IN_WORKER
    if not IN_WORKER:
        cgroups.remove(cgroups.agent_cgroups())  # empty parents; what has processes stays, and is told
    own = [f"{PREFIX}{os.getpid()}-", f"tct-{os.getpid()}-", str(tmp_path_factory.getbasetemp())]
    left = leaks.look().since(before, None if strict else own)
    if left:
        pytest.fail("the test session left behind:\n  " + "\n  ".join(left), pytrace=False)


def pytest_sessionstart(session: pytest.Session) -> None:
    if session.config.pluginmanager.hasplugin("dsession"):  # it distributes the tests to others
        session.config.stash[_BEFORE] = leaks.look()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Look once more when all processes have come to their end, and at the whole machine in CI."""
    before = session.config.stash.get(_BEFORE, None)
    if before is None or not IN_CI:
        return
    cgroups.remove(cgroups.agent_cgroups())
    if left := leaks.look().of_machine().since(before, None):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        session.config.stash[_LEFT] = left


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if left := config.stash.get(_LEFT, []):
        terminalreporter.section("the test session left behind", red=True)
        terminalreporter.write("".join(f"  {line}\n" for line in left))


@pytest.fixture(autouse=True)
def no_orphans_here() -> Iterator[None]:
    """Let no test inherit the role of an orphans' parent that the agent's supervisor takes."""
    yield
    if orphans.is_subreaper():
        orphans.stop_reaping()


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory with a short name, for sockets; its mounts go with it."""
    with short_directory() as path:
        yield path


@pytest.fixture
def layout(tmp_path: Path) -> ImageLayout:
    """An empty OCI image layout to build images in."""
    return ImageLayout(tmp_path / "layout")


@pytest.fixture(scope="session")
def registry() -> Iterator[Registry]:
    """A real docker-registry on loopback, one for the whole session: name repositories after the test."""
    with short_directory() as directory, running_registry(directory) as server:
        yield server


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """The wheel and the collection's archive, of the checkout as it is."""
    return build_release(tmp_path_factory.mktemp("release"))


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    """A running agent of this test's own."""
    with running_daemon() as running:
        yield running
