"""Everything landscope is fast at, beside what a user would otherwise take: ``python -m benchmarks --help``."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from benchmarks import peers, spectra_peers, table
from benchmarks.group import GROUPS, ON_GPU, ONCE
from benchmarks.subject import Subject, prepare


def measured(name: str, subject: Path, threads: int, device: str) -> list[dict]:
    """The rows of one group, from a process of its own: memory and thread pools of others are not in it."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "rows.json"
        command = [sys.executable, "-m", "benchmarks.group", name, str(subject), str(threads), device, str(out)]
        pools = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
        subprocess.run(command, check=True, env=os.environ | pools)
        return json.loads(out.read_text())


def main() -> None:
    """Measure on one thread and on all, print, and save where asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("groups", nargs="*", help=f"of {', '.join(GROUPS)}; all by default")
    parser.add_argument("--threads", type=int, nargs="*", default=sorted({1, torch.get_num_threads()}))
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--json", type=Path, help="groups measured before and not now are kept")
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    if unknown := set(arguments.groups) - GROUPS.keys():
        parser.error(f"no group named {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    chosen = arguments.groups or [name for name in GROUPS if arguments.device == "cpu" or name in ON_GPU]
    kept = json.loads(arguments.json.read_text()) if arguments.json and arguments.json.exists() else {}
    done = {(group["name"], group["threads"], group["device"]): group for group in kept.get("groups", [])}
    device = "cpu" if arguments.device == "cpu" else torch.cuda.get_device_name()
    with tempfile.TemporaryDirectory() as folder:
        subject = Path(folder) / "subject.pt"
        prepare(subject)
        for name in chosen:
            for threads in arguments.threads if name not in ONCE else [max(arguments.threads)]:
                print(f"{name}, {threads} thread(s)", file=sys.stderr, flush=True)
                rows = measured(name, subject, threads, arguments.device)
                done[name, threads, device] = {"name": name, "threads": threads, "device": device, "rows": rows}
                results = {
                    "data": Subject(subject).name,
                    "versions": kept.get("versions", {})
                    | {"torch": torch.__version__.split("+")[0]}
                    | {"scikit-learn": importlib.metadata.version("scikit-learn")}
                    | peers.versions()
                    | spectra_peers.versions(),
                    "groups": sorted(
                        done.values(), key=lambda g: (list(GROUPS).index(g["name"]), g["device"], g["threads"])
                    ),
                }
                if arguments.json is not None:
                    arguments.json.write_text(json.dumps(results, indent=1) + "\n")
    text = table.markdown(results)
    print(text)
    if arguments.markdown is not None:
        arguments.markdown.write_text(text)


if __name__ == "__main__":
    main()
