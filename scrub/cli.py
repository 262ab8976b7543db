"""The command line: `scrub demo`, `scrub discover`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from scrub.demo import run_demo
from scrub.demo.discovery import run_discovery
from scrub.demo.discovery_report import HEADER as METHOD_HEADER
from scrub.demo.discovery_report import circuit_rows, discovery_html, method_rows
from scrub.demo.discovery_report import summary as discovery_summary
from scrub.demo.report import HEADER, report_html, summary, table_rows

app = typer.Typer(
    help="Causal scrubbing of computation graphs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def main() -> None:
    """Write down how a network computes something, and measure how much of it the explanation recovers."""


@app.command()
def demo(
    samples: Annotated[int, typer.Option(help="Draws per hypothesis.", min=64)] = 2048,
    seq_len: Annotated[int, typer.Option(help="Tokens per draw.", min=16, max=256)] = 128,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    batch_size: Annotated[int, typer.Option(help="Draws evaluated at a time; changes memory, not numbers.")] = 8,
    out: Annotated[Path, typer.Option(help="Where to write the report.")] = Path("induction.html"),
) -> None:
    """Test the textbook account of induction heads on the shipped model: a table, and an HTML report."""
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("drawing", total=samples)
        result = run_demo(
            n=samples,
            seed=seed,
            seq_len=seq_len,
            batch_size=batch_size,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    shown = Table(title="Induction heads: loss (nats) and loss recovered, ± 95%")
    for name in HEADER:
        if name != "claim":  # the report has room for it
            shown.add_column(name, justify="left" if name == "hypothesis" else "right", no_wrap=True)
    for hypothesis, _, *numbers in table_rows(result):
        shown.add_row(hypothesis, *numbers)
    console.print(shown)
    console.print(summary(result))
    if result.note:
        console.print(result.note)
    out.write_text(report_html(result), encoding="utf-8")
    console.print(f"report: {out}")


@app.command()
def discover(
    prompts: Annotated[int, typer.Option(help="Prompts; half are searched, half held out.", min=16)] = 128,
    seed: Annotated[int, typer.Option(help="Seed of the prompts.")] = 0,
    out: Annotated[Path, typer.Option(help="Where to write the report.")] = Path("discovery.html"),
) -> None:
    """Find the circuit of indirect object identification in the shipped model: tables, and an HTML report."""
    console = Console()
    with console.status("starting") as status:
        result = run_discovery(n=prompts, seed=seed, progress=status.update)
    methods = Table(title="Methods: area under faithfulness (CPR) and its distance from 1 (CMD), 95% intervals")
    for name in METHOD_HEADER:
        methods.add_column(name, justify="left" if name == "method" else "right", no_wrap=name == "method")
    for row in method_rows(result):
        methods.add_row(*row)
    console.print(methods)
    measured = Table(title="The circuit, on held-out prompts, 95% intervals", show_header=False)
    for row in circuit_rows(result):
        measured.add_row(*row)
    console.print(measured)
    console.print(discovery_summary(result))
    out.write_text(discovery_html(result), encoding="utf-8")
    console.print(f"report: {out}")
