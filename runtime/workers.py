"""Episode slots spread over worker processes, one message to each worker per round."""

import multiprocessing
import signal
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from diffusion_controller.runtime.episode_slots import EnvironmentSpec, EpisodeSlots, SlotReport
from diffusion_controller.runtime.errors import WorkerError


class Slots(Protocol):
    """What plays episodes for an evaluation: in this process or in others."""

    def begin(self) -> SlotReport:
        """Start the first episode of every slot."""

    def advance(self, chunks: Mapping[int, NDArray[np.float64]]) -> SlotReport:
        """Execute a chunk in each slot given."""


class WorkerPool:
    """`EpisodeSlots` in worker processes; a context manager that ends them.

    Processes are spawned, not forked: a fork would copy the locks of torch's threads.
    """

    def __init__(
        self,
        spec: EnvironmentSpec,
        seeds: Mapping[int, Sequence[int]],
        *,
        num_workers: int,
        obs_horizon: int,
        observation_names: Sequence[str],
    ) -> None:
        """Start the workers; slot s goes to worker s mod num_workers.

        Args:
            spec: The environment.
            seeds: Slot to the seeds that it plays.
            num_workers: How many processes; no more than slots are started.
            obs_horizon: Observations in a request.
            observation_names: Entries of the observation that the policy reads.
        """
        context = multiprocessing.get_context("spawn")
        self._connections: list[Connection] = []
        self._processes: list[multiprocessing.process.BaseProcess] = []
        order = sorted(seeds)
        count = min(num_workers, len(order))
        self._worker_of = {slot: place % count for place, slot in enumerate(order)}
        for worker in range(count):
            share = {slot: tuple(seeds[slot]) for slot in order if self._worker_of[slot] == worker}
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_serve,
                args=(theirs, spec, share, obs_horizon, tuple(observation_names)),
                name=f"rollout-{worker}",
                daemon=True,
            )
            process.start()
            theirs.close()
            self._connections.append(ours)
            self._processes.append(process)

    def __enter__(self) -> Self:
        """The pool itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the workers."""
        for connection in self._connections:
            connection.close()  # a worker ends when nobody can send to it any more
        for process in self._processes:
            process.join(timeout=2.0)
            if process.is_alive():
                process.kill()
                process.join()

    def begin(self) -> SlotReport:
        """Start the first episode of every slot."""
        return _joined([self._receive(worker) for worker in range(len(self._processes))])

    def advance(self, chunks: Mapping[int, NDArray[np.float64]]) -> SlotReport:
        """Execute a chunk in each slot given; the workers step at the same time.

        Raises:
            WorkerError: If a worker failed or died.
        """
        shares: dict[int, dict[int, NDArray[np.float64]]] = {}
        for slot, chunk in chunks.items():
            shares.setdefault(self._worker_of[slot], {})[slot] = chunk
        for worker, share in shares.items():
            try:
                self._connections[worker].send(share)
            except OSError as error:
                raise self._death(worker) from error
        return _joined([self._receive(worker) for worker in shares])

    def _receive(self, worker: int) -> SlotReport:
        try:
            answer = self._connections[worker].recv()
        except (EOFError, OSError) as error:
            raise self._death(worker) from error
        if isinstance(answer, SlotReport):
            return answer
        raise WorkerError(f"worker {worker} of the rollouts failed with {answer}")

    def _death(self, worker: int) -> WorkerError:
        process = self._processes[worker]
        process.join(timeout=2.0)
        return WorkerError(
            f"worker {worker} of the rollouts ended with exit code {process.exitcode}; "
            "expected it to answer. Is the memory full? Does a script that evaluates stand under "
            "`if __name__ == '__main__':`? Try fewer workers, or num_workers=0"
        )


def _joined(reports: Sequence[SlotReport]) -> SlotReport:
    requests = {slot: made for report in reports for slot, made in report.requests.items()}
    return SlotReport(
        tuple(end for report in reports for end in report.finished),
        tuple(trace for report in reports for trace in report.traces),
        requests,
    )


def _serve(
    connection: Connection,
    spec: EnvironmentSpec,
    seeds: Mapping[int, Sequence[int]],
    obs_horizon: int,
    observation_names: Sequence[str],
) -> None:
    """A worker's life: answer every message until the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    try:
        slots = EpisodeSlots(
            spec, seeds, obs_horizon=obs_horizon, observation_names=observation_names
        )
        connection.send(slots.begin())
        while True:
            connection.send(slots.advance(connection.recv()))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except Exception as error:  # whatever it is, the parent reports it
        connection.send(f"{type(error).__name__}: {error}")
