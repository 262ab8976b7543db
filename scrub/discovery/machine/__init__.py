"""Models as machines of parts: plain runs, runs with edges patched, and gradients part by part."""

from scrub.discovery.machine.machine import Machine, Run, as_machine, at_positions, machine_of, machine_of_expression
from scrub.discovery.machine.patched import PatchedRun, Replacement, writes_of
from scrub.discovery.machine.source import Given
from scrub.discovery.machine.tape import PartGradients, Tape, backward, port_rows, record

__all__ = [
    "Given",
    "Machine",
    "PartGradients",
    "PatchedRun",
    "Replacement",
    "Run",
    "Tape",
    "as_machine",
    "at_positions",
    "backward",
    "machine_of",
    "machine_of_expression",
    "port_rows",
    "record",
    "writes_of",
]
