"""All benchmarks against peers, in one process.

    python -m benchmarks [forward gradients ...] [--rounds 7] [--threads 2] [--clock processor] [--write]

Without names, all of them run. `--write` puts the results into `docs/`; those of benchmarks that did not run are kept.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence

import torch

from benchmarks import report
from benchmarks.demo_rows import demo
from benchmarks.discovery import discovery
from benchmarks.forward import compiling, forward, llama, memory
from benchmarks.gradients import gradients
from benchmarks.loading import loading
from benchmarks.scrubbing import scrubbing
from benchmarks.setting import Setting
from benchmarks.timing import CLOCKS, Row
from benchmarks.variants import every_head, many, path_scrub

BENCHMARKS: dict[str, Callable[[Setting], Iterator[Row]]] = {
    "forward": forward,
    "llama": llama,
    "gradients": gradients,
    "every_head": every_head,
    "path_scrub": path_scrub,
    "demo": demo,
    "many": many,
    "memory": memory,
    "compiling": compiling,
    "loading": loading,
    "scrubbing": scrubbing,
    "discovery": discovery,
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"which ones, of {', '.join(BENCHMARKS)}; all if none is named")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="processor: of all threads, on a busy machine")
    parser.add_argument("--write", action="store_true", help="put the results into docs/")
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - set(BENCHMARKS):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    torch.set_num_threads(options.threads)
    setting = Setting(rounds=options.rounds, clock=options.clock)
    results = report.read(report.DOCS / "benchmarks.csv") if options.write else {}
    for name in BENCHMARKS:
        if options.names and name not in options.names:
            continue
        started, rows = time.perf_counter(), list[Row]()
        for row in BENCHMARKS[name](setting):
            rows.append(row)
            print(
                f"{row.what}, {row.size}: {row.median:.3g} {row.unit} ({row.low:.3g} to {row.high:.3g}) {row.note}",
                flush=True,
            )
        print(f"-- {name}: {time.perf_counter() - started:.0f} s", flush=True)
        results[name] = rows
        if options.write:  # after each, so that a run that is stopped leaves what it found
            report.write({name: results[name] for name in BENCHMARKS if name in results}, report.DOCS)


if __name__ == "__main__":
    main()
