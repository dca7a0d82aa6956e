"""Processes of one group, forked from that of the tests."""

import datetime
import os
import sys
import traceback

import torch
import torch.distributed as dist

N_PROCESSES = 2


def in_processes(call, folder, n_processes=N_PROCESSES):
    """What ``call(rank)`` returns in each of some forked processes of one group; nothing is imported again."""
    codes = exit_codes(call, folder, n_processes)
    assert codes == [0] * n_processes
    return [torch.load(folder / f"{rank}.pt") for rank in range(n_processes)]


def exit_codes(call, folder, n_processes=N_PROCESSES):
    """How each process ended: 0, 1 after an error, the negative number of a signal."""
    pids = []
    for rank in range(n_processes):
        if pid := os.fork():
            pids.append(pid)
            continue
        status = 1
        try:
            dist.init_process_group(
                "gloo", store=dist.FileStore(str(folder / "store"), n_processes), rank=rank, world_size=n_processes,
                timeout=datetime.timedelta(seconds=30),
            )  # fmt: skip
            torch.save(call(rank), folder / f"{rank}.pt")
            status = 0
        except BaseException as error:  # noqa: BLE001 - told to the parent
            said = f"process {rank}: {''.join(traceback.format_exception(error))}\n"
            os.write(sys.stderr.fileno(), said.encode())  # at once, so that the processes do not write into each other
        finally:
            os._exit(status)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
