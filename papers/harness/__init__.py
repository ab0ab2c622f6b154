"""What every folder under papers/ is run with: cells, a store of their results, tables, plots.

A paper is a list of cells. A cell is one measurement: its experiment, its settings, and a function
that makes its result from them alone. Results are kept in the paper's cells.jsonl, a line for each
cell, which is committed: a run makes the cells that are missing, on whatever machine it is started,
and then writes the tables and plots again from all of them.

Python's standard library is all this needs.
"""

from .cells import Cell, Store
from .packages import fetched
from .paper import ROOT, Paper, chosen
from .plot import Plot
from .program import Failed, Program, Run, words
from .table import mean, spread, table, tokens_to, with_spread
from .texts import corpus, novels_and_bible, parts, read_and_held_out

__all__ = ["ROOT", "Cell", "Failed", "Paper", "Plot", "Program", "Run", "Store", "chosen", "corpus", "fetched", "mean", "novels_and_bible", "parts",
           "read_and_held_out", "spread", "table", "tokens_to", "with_spread", "words"]
