"""The pytest plugin: your agent and your tools, on simulated calls, under faults.

Comes with the package; a test only has to ask for a fixture::

    def test_my_agent_survives_bad_days(offhook_simulate):
        offhook_simulate(toolbox=my_toolbox())

And on a call from a script of yours, with a verdict::

    def test_my_agent_takes_an_order(offhook_rehearse):
        offhook_rehearse("order.yaml", config="offhook.toml")

The first runs once for every seed: ten of them, or `pytest --offhook-seeds 500`. A failure names
its seed, and `pytest --offhook-seed 417` runs that one alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
import pytest

if TYPE_CHECKING:
    from actors.toolbox import Toolbox
    from gateway.configuration.config import AgentSettings, Config
    from gateway.lab.rehearsing.rehearse import Rehearsed
    from gateway.lab.rehearsing.scenario import Scenario
    from gateway.lab.simulator.simulation import Outcome

# Nothing of offhook is imported before a test asks for it: pytest loads this file in every project
# of the environment, and a project that measures its coverage would find us half loaded.

SEEDS: Final = 10


def pytest_addoption(parser: pytest.Parser) -> None:
    """Say how many seeds, or which."""
    group = parser.getgroup("offhook", "simulated phone calls")
    group.addoption(
        "--offhook-seeds",
        type=int,
        default=SEEDS,
        metavar="N",
        help=f"seeds for every test that asks for offhook_simulate (default: {SEEDS})",
    )
    group.addoption(
        "--offhook-seed", type=int, metavar="N", help="only this seed: replays a failure"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that wants a seed once for each."""
    if "offhook_seed" in metafunc.fixturenames:
        one: int | None = metafunc.config.getoption("--offhook-seed")
        count: int = metafunc.config.getoption("--offhook-seeds")
        if count < 1:
            raise pytest.UsageError("--offhook-seeds needs a number from 1 on")
        seeds: Sequence[int] = range(1, count + 1) if one is None else [one]
        metafunc.parametrize("offhook_seed", seeds, ids=lambda seed: f"seed{seed}")


@attrs.frozen
class Simulate:
    """What the fixture `offhook_simulate` is."""

    seed: int
    """Stands for the calls, the faults, and everything else that is drawn."""

    def __call__(
        self,
        toolbox: Toolbox | None = None,
        *,
        agent: AgentSettings | None = None,
        scenario: Scenario | str | Path | None = None,
        faults: bool | Sequence[str] = True,
    ) -> Outcome:
        """Run one to four calls through a whole gateway in virtual time.

        Args:
            toolbox: Your functions. The simulated model calls them with arguments that fit their
                schemas. A function must not use threads or sockets of its own: hand it what it
                talks to, and hand it a double here.
            agent: Your agent's settings.
            scenario: What is said on the calls, a `Scenario` or where one is; drawn when `None`.
            faults: False: nothing goes wrong. Or only those with these ids, such as `["F35"]`.

        Raises:
            AssertionError: Something did not hold that must hold in every call. Says what, and
                tells the whole story.

        """
        from gateway.lab.rehearsing import scenario as scenarios  # noqa: PLC0415 - see above.
        from gateway.lab.simulator.simulation import Wish, compose, play  # noqa: PLC0415
        from gateway.lab.simulator.story import tell  # noqa: PLC0415

        if isinstance(scenario, str | Path):
            scenario = scenarios.load(scenario)
        only = None if faults is True else () if faults is False else tuple(faults)
        setting = compose(self.seed, Wish(only=only, scenario=scenario), toolbox=toolbox)
        played = play(setting, toolbox=toolbox, agent=agent)
        if played.outcome.violations:
            again = f"replay: pytest --offhook-seed {self.seed}"
            pytest.fail("\n".join([*tell(setting, played), "", again]), pytrace=False)
        return played.outcome


@pytest.fixture
def offhook_simulate(offhook_seed: int) -> Simulate:
    """Simulated phone calls with your tools; see `Simulate`."""
    return Simulate(offhook_seed)


@attrs.frozen
class Rehearse:
    """What the fixture `offhook_rehearse` is."""

    folder: Path
    """Of the test: where its scenarios and its configuration are looked for first."""

    def __call__(
        self,
        scenario: Scenario | str | Path,
        *,
        toolbox: Toolbox | None = None,
        config: Config | str | Path | None = None,
        seed: int = 1,
    ) -> Rehearsed:
        """Run one scenario in virtual time, from the first webhook to the verdict.

        Args:
            scenario: A `Scenario`, the file of one, or the name of one that is shipped.
            toolbox: Your functions, beside those in the files that your agent names. They must use
                neither threads nor sockets of their own.
            config: Your `offhook.toml`, without the environment; the defaults when `None`.
            seed: Of every id and delay.

        Raises:
            AssertionError: Something was not as the scenario expects it. Says what, and tells what
                happened in the call.

        """
        from io import StringIO  # noqa: PLC0415 - see above.

        from rich.console import Console  # noqa: PLC0415

        from actors.toolbox import Toolbox  # noqa: PLC0415
        from gateway.configuration.config import load  # noqa: PLC0415
        from gateway.lab.rehearsing import scenario as scenarios  # noqa: PLC0415
        from gateway.lab.rehearsing.rehearse import rehearse  # noqa: PLC0415
        from gateway.terminal import TerminalView  # noqa: PLC0415

        is_shipped = isinstance(scenario, str) and scenario in scenarios.names()
        if isinstance(scenario, str | Path):
            scenario = scenarios.load(scenario if is_shipped else self._found(scenario))
        if isinstance(config, str | Path):
            config = load(self._found(config), {})
        told = StringIO()
        view = TerminalView(console=Console(file=told, width=120, highlight=False))
        done = rehearse(
            scenario,
            toolbox=toolbox if toolbox is not None or is_shipped else Toolbox(),
            config=config,
            observer=view.show,
            seed=seed,
        )
        if done.ending is not None:
            view.ended(done.ending)
        if done.complaints:
            wrong = [f"wrong: {complaint}" for complaint in done.complaints]
            pytest.fail("\n".join([*wrong, "", told.getvalue()]), pytrace=False)
        return done

    def _found(self, path: str | Path) -> Path:
        beside = self.folder / path
        return beside if beside.exists() else Path(path)


@pytest.fixture
def offhook_rehearse(request: pytest.FixtureRequest) -> Rehearse:
    """Your agent on a call from a script, in virtual time; see `Rehearse`."""
    return Rehearse(request.path.parent)
