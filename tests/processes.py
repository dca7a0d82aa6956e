"""Two processes of one group, forked from that of the tests."""

import datetime
import os
import sys

import torch
import torch.distributed as dist

N_PROCESSES = 2


def in_processes(call, folder):
    """What ``call(rank)`` returns in each of two forked processes of one group; nothing is imported again."""
    pids = []
    for rank in range(N_PROCESSES):
        if pid := os.fork():
            pids.append(pid)
            continue
        status = 1
        try:
            dist.init_process_group(
                "gloo", store=dist.FileStore(str(folder / "store"), N_PROCESSES), rank=rank, world_size=N_PROCESSES,
                timeout=datetime.timedelta(seconds=30),
            )  # fmt: skip
            torch.save(call(rank), folder / f"{rank}.pt")
            status = 0
        except BaseException as error:  # noqa: BLE001 - told to the parent
            print(f"process {rank}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(status)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0] * N_PROCESSES
    return [torch.load(folder / f"{rank}.pt") for rank in range(N_PROCESSES)]
