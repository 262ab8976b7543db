"""The command line: `scrub demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from scrub.demo import run_demo
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
