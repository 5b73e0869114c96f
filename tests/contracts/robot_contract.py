"""What every driver promises, as tests to inherit.

```python
class TestMyDriver(RobotContract):
    def rig(self) -> RobotRig:
        return MyRig()
```
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import pytest
from numpy.typing import NDArray

from diffusion_controller.robots import (
    DeadlinePassedError,
    FaultTokenError,
    InvalidCommandError,
    NotArmedError,
    NotConnectedError,
    Robot,
    RobotDescription,
    RobotFaultError,
    StopKind,
    UnsupportedStopError,
)


class RobotRig(Protocol):
    """A driver and what stands in for its device."""

    @property
    def robot(self) -> Robot:
        """The driver."""

    def received(self) -> Sequence[NDArray[np.float64]]:
        """Every command that the device received."""

    def break_device(self) -> None:
        """Make the device fail at the next command."""

    def mend_device(self) -> None:
        """Make the device work again."""


class RobotContract:
    """Inherit, and say how to make the rig."""

    def rig(self) -> RobotRig:
        """A new rig, not connected."""
        raise NotImplementedError(f"{type(self).__name__} must make its rig")

    @pytest.fixture
    def bench(self) -> Iterator[RobotRig]:
        rig = self.rig()
        yield rig
        rig.robot.close()

    @pytest.fixture
    def armed(self, bench: RobotRig) -> RobotRig:
        bench.robot.connect()
        bench.robot.arm()
        return bench

    def test_the_description_is_consistent(self, bench: RobotRig) -> None:
        description = bench.robot.describe()
        assert description.name
        assert description.action_low.shape == description.action_high.shape
        assert (description.action_low < description.action_high).all()
        assert len(description.action_units) == description.action_dim
        assert description.control_hz > 0
        assert description.stop_kinds

    def test_nothing_works_before_connecting(self, bench: RobotRig) -> None:
        robot = bench.robot
        for call in (robot.read, robot.arm, lambda: robot.stop(StopKind.CONTROLLED)):
            with pytest.raises(NotConnectedError, match="connect"):
                call()
        with pytest.raises(NotConnectedError):
            robot.write(middle(robot.describe()), deadline=np.inf)
        assert not bench.received()

    def test_connecting_twice_does_no_harm(self, armed: RobotRig) -> None:
        before = armed.robot.read().time
        armed.robot.connect()
        assert armed.robot.read().time >= before
        write_middle(armed.robot)

    def test_a_state_holds_what_the_description_says(self, armed: RobotRig) -> None:
        state = armed.robot.read()
        shapes = armed.robot.describe().observation_shapes
        assert {name: array.shape for name, array in state.observation.items()} == dict(shapes)
        assert np.isfinite(state.time)

    def test_time_stamps_never_go_back(self, armed: RobotRig) -> None:
        times = []
        for _ in range(3):
            times.append(armed.robot.read().time)
            write_middle(armed.robot)
        assert times == sorted(times)

    def test_no_command_reaches_a_robot_that_is_not_armed(self, bench: RobotRig) -> None:
        bench.robot.connect()
        with pytest.raises(NotArmedError, match="arm"):
            write_middle(bench.robot)
        assert not bench.received()

    def test_a_command_within_the_limits_is_sent_as_it_is(self, armed: RobotRig) -> None:
        command = middle(armed.robot.describe())
        sent = write_middle(armed.robot)
        np.testing.assert_allclose(sent, command, rtol=1e-6)
        np.testing.assert_allclose(armed.received()[-1], command, rtol=1e-6)

    def test_what_is_sent_stays_within_the_limits_and_is_told(self, armed: RobotRig) -> None:
        description = armed.robot.describe()
        beyond = description.action_high + 0.1 * (description.action_high - description.action_low)
        sent = armed.robot.write(beyond, deadline=soon(armed.robot))
        assert (sent <= description.action_high).all()
        np.testing.assert_allclose(armed.received()[-1], sent, rtol=1e-6)

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_a_command_with_one_number_that_is_not_finite_is_refused_whole(
        self, armed: RobotRig, bad: float
    ) -> None:
        command = middle(armed.robot.describe())
        command[-1] = bad
        with pytest.raises(InvalidCommandError, match="not finite"):
            armed.robot.write(command, deadline=soon(armed.robot))
        assert not armed.received()

    def test_a_command_of_another_shape_is_refused(self, armed: RobotRig) -> None:
        command = middle(armed.robot.describe())
        for wrong in (command[:-1], np.append(command, 0.0), command[None]):
            with pytest.raises(InvalidCommandError, match="shape"):
                armed.robot.write(wrong, deadline=soon(armed.robot))
        assert not armed.received()

    def test_a_command_after_its_deadline_is_refused(self, armed: RobotRig) -> None:
        command = middle(armed.robot.describe())
        with pytest.raises(DeadlinePassedError, match="after its deadline"):
            armed.robot.write(command, deadline=armed.robot.read().time - 0.01)
        assert not armed.received()

    def test_a_refused_command_leaves_the_robot_usable(self, armed: RobotRig) -> None:
        with pytest.raises(InvalidCommandError):
            armed.robot.write(np.full(99, np.nan), deadline=soon(armed.robot))
        write_middle(armed.robot)
        assert len(armed.received()) == 1

    def test_every_described_stop_disarms(self, armed: RobotRig) -> None:
        robot = armed.robot
        for kind in robot.describe().stop_kinds - {StopKind.EMERGENCY}:
            robot.stop(kind)
            robot.stop(kind)  # again does no harm
            with pytest.raises(NotArmedError):
                write_middle(robot)
            robot.arm()
        assert not armed.received()

    def test_a_stop_that_is_not_described_is_refused(self, armed: RobotRig) -> None:
        for kind in set(StopKind) - armed.robot.describe().stop_kinds:
            with pytest.raises(UnsupportedStopError, match=kind.value):
                armed.robot.stop(kind)

    def test_a_fault_is_latched_until_its_own_token_clears_it(self, armed: RobotRig) -> None:
        robot = armed.robot
        armed.break_device()
        with pytest.raises(RobotFaultError) as raised:
            write_middle(robot)
        armed.mend_device()
        for call in (robot.arm, lambda: write_middle(robot)):
            with pytest.raises(RobotFaultError):
                call()
        with pytest.raises(FaultTokenError):
            robot.clear_fault(raised.value.token + 1)
        robot.clear_fault(raised.value.token)
        with pytest.raises(NotArmedError):
            write_middle(robot)
        robot.arm()
        write_middle(robot)

    def test_there_is_no_fault_to_clear_when_nothing_failed(self, armed: RobotRig) -> None:
        with pytest.raises(FaultTokenError):
            armed.robot.clear_fault(1)

    def test_after_closing_nothing_works_and_closing_again_does_no_harm(
        self, armed: RobotRig
    ) -> None:
        armed.robot.close()
        armed.robot.close()
        with pytest.raises(NotConnectedError):
            armed.robot.read()
        with pytest.raises(NotConnectedError):
            armed.robot.write(middle(armed.robot.describe()), deadline=np.inf)
        assert not armed.received()

    def test_after_reconnecting_the_robot_is_not_armed(self, armed: RobotRig) -> None:
        armed.robot.close()
        armed.robot.connect()
        with pytest.raises(NotArmedError):
            write_middle(armed.robot)


def middle(description: RobotDescription) -> NDArray[np.float64]:
    """A command in the middle of the limits."""
    return (description.action_low + description.action_high) / 2


def soon(robot: Robot) -> float:
    """A deadline that is kept: ten periods from now."""
    return robot.read().time + 10 * robot.describe().period


def write_middle(robot: Robot) -> NDArray[np.float64]:
    """Send the command in the middle of the limits."""
    return robot.write(middle(robot.describe()), deadline=soon(robot))
