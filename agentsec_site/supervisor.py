"""A whole instance in one terminal: web, workers, sequencer and clock, until Ctrl-C."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from agentsec_site import embedded
from agentsec_site.embedded import REPOSITORY, say
from agentsec_site.home import SetupError
from agentsec_site.listening import Listener, listen
from agentsec_site.processes import Child, Processes, check_start
from agentsec_site.startup import Ready, ready

READY_SECONDS = 60.0
HEAL_SECONDS, LONGEST_HEAL_SECONDS = 0.5, 10.0
START_ATTEMPTS = 3
# What one instance has one of: a second `up` on the same home would run two of each.
UP_LOCK = "up.lock"


@dataclass(frozen=True)
class Plan:
    """What to run. `before` is a command run once the schema stands; `link` prints what to open;
    `extra` are further processes, each given the site's address as its last word."""

    root: Path
    host: str
    port: int
    workers: int
    began: float
    before: tuple[str, ...] = ()
    link: tuple[str, ...] = ()
    extra: tuple[tuple[str, ...], ...] = ()
    demo: bool = False


class Stopped(Exception):
    """A signal asked the instance to end."""


def run(plan: Plan) -> None:
    """Start everything, print the address, stay until a signal; nothing survives. Raises SetupError."""
    listener = listen(plan.host, plan.port)
    try:
        with _signals(), _alone(plan.root), ready(plan.root) as instance:
            _run(plan, listener, instance)
    except Stopped:
        say("stopped")
    finally:
        listener.socket.close()


def _run(plan: Plan, listener: Listener, instance: Ready) -> None:
    environment = site_environment(plan, listener, instance)
    # Commands in another terminal print links, and must know where the site is.
    (instance.services.home.root / "url").write_text(environment["AGENTSEC_URL"])
    link = _command(plan.before, environment) if plan.before else ""
    children = site_children(plan, listener, instance, environment)
    processes = Processes(children, logs=instance.services.home.logs, say=say)
    try:
        # The page comes first: all processes at once would keep each other from starting.
        processes.start("web")
        _wait_until_ready(processes, listener)
        processes.start()
        link = _command(plan.link, environment) if plan.link else link
        _announce(plan, listener, link)
        _stay(processes, instance)
    finally:
        _ignore_signals()
        processes.stop()


def site_environment(plan: Plan, listener: Listener, instance: Ready) -> dict[str, str]:
    """The app role's environment, with the site's own address in it."""
    environment = instance.environment()
    environment.setdefault("AGENTSEC_URL", listener.url)
    hosts = environment.get("AGENTSEC_ALLOWED_HOSTS", "127.0.0.1,localhost,[::1]").split(",")
    own = f"[{listener.reach}]" if ":" in listener.reach else listener.reach
    environment["AGENTSEC_ALLOWED_HOSTS"] = ",".join(
        dict.fromkeys([*hosts, own, *filter(None, [listener.name])])
    )
    environment["PYTHONUNBUFFERED"] = "1"
    environment.pop("AGENTSEC_DEMO", None)
    if plan.demo:
        environment["AGENTSEC_DEMO"] = "1"
    return environment


def site_children(
    plan: Plan, listener: Listener, instance: Ready, environment: dict[str, str]
) -> list[Child]:
    """Every process of the instance; only the sequencer gets the sequencer's address."""
    sequencer = {**environment, "AGENTSEC_DATABASE_URL": instance.urls.sequencer}
    descriptor = listener.socket.fileno()
    web = [sys.executable, "-m", "agentsec_site.web", str(descriptor)]
    children = [
        Child("web", web, _named(environment, "web"), pass_fds=(descriptor,)),
        Child("sequencer", manage("sequencer"), _named(sequencer, "sequencer")),
        Child("clock", manage("clock"), _named(environment, "clock")),
    ]
    for number in range(1, plan.workers + 1):
        children.append(Child(f"worker-{number}", manage("worker"), _named(environment, f"worker-{number}")))
    for words in plan.extra:
        children.append(
            Child(words[0], manage(*words, listener.url), _named(environment, words[0]), once=True)
        )
    return children


def manage(*words: str) -> list[str]:
    return [sys.executable, str(REPOSITORY / "manage.py"), *words]


def _named(environment: dict[str, str], name: str) -> dict[str, str]:
    return {**environment, "AGENTSEC_PROCESS": f"agentsec {name}"}


def _command(words: Sequence[str], environment: dict[str, str]) -> str:
    """Run a command of manage.py to its end; what it printed. Raises SetupError with its last line."""
    done = subprocess.run(
        manage(*words),
        env=environment,
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise SetupError(f"`manage.py {' '.join(words)}` failed: {lines[-1] if lines else done.returncode}")
    return done.stdout.strip()


def _wait_until_ready(processes: Processes, listener: Listener) -> None:
    deadline = time.monotonic() + READY_SECONDS
    web = next(child for child in processes.children if child.name == "web")
    while not healthy(listener):
        processes.step(0.05)
        check_start(web, attempts=START_ATTEMPTS)
        if time.monotonic() > deadline:
            raise SetupError(
                f"the site did not become ready within {READY_SECONDS:.0f} s; see {processes.logs}"
            )


def healthy(listener: Listener) -> bool:
    """Whether /healthz answers 200 now; a connection that the site does not take yet waits a little."""
    connection = http.client.HTTPConnection(listener.reach, listener.port, timeout=0.5)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _announce(plan: Plan, listener: Listener, link: str) -> None:
    say(f"agentsec is ready in {time.time() - plan.began:.1f} s: {listener.url}")
    if link:
        print(link, flush=True)
    say("Ctrl-C stops it.")


def _stay(processes: Processes, instance: Ready) -> None:
    next_look = pause = 0.0
    while True:
        processes.step(HEAL_SECONDS / 2)
        if time.monotonic() >= next_look:
            pause = _heal(instance, pause)
            next_look = time.monotonic() + pause


def _heal(instance: Ready, pause: float = 0.0) -> float:
    """Start services that were killed; in how many seconds to look again, where it was `pause` before. What
    keeps them from starting may be gone at the next look, and an instance that ends would not see it.
    """
    try:
        if embedded.heal(instance.services):
            say("the services had been killed and were started again")
        return HEAL_SECONDS
    except SetupError as error:
        pause = min(2 * max(pause, HEAL_SECONDS), LONGEST_HEAL_SECONDS)
        say(f"the services do not start, which is tried again in {pause:g} s: {error}")
        return pause


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Refuse a second instance on one home."""
    home = embedded.prepare(root)
    descriptor = os.open(home.root / UP_LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if not embedded.try_lock(descriptor):
            raise SetupError(f"an instance already runs in {home.root}; stop it or choose another --home")
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _signals() -> Iterator[None]:
    """Ctrl-C, SIGTERM and a closed terminal end the block by an exception; further ones change nothing."""

    def stop(number: int, frame: FrameType | None) -> None:
        _ignore_signals()
        say("stopping …")
        raise Stopped

    old = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _ignore_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
