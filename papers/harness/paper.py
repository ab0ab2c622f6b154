"""A paper's command: make the cells that are missing, then write the tables and plots."""

import argparse
import concurrent.futures
import os
import shutil
import signal
import sys
import threading
import time

from .cells import Store
from .program import Failed, Program, Stopped

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Paper:
    """The folder of a paper, and what its command was told.

    file   __file__ of the command
    title  the first line of results.md
    """

    def __init__(self, file, title):
        self.home, self.title = os.path.dirname(os.path.abspath(file)), title
        self.name = os.path.basename(self.home)
        self.options = options(self.name)
        self.small = self.options.small
        self.program = Program(self.options.program)
        self.work = os.path.join(self.options.out, self.name + ("-small" if self.small else ""))
        # A small run shows that everything works and is no result: nothing of it is kept here.
        self.page = self.work if self.small else self.home
        os.makedirs(self.work, exist_ok=True)
        self.making = threading.RLock()  # what is shared may need another
        cells = os.path.join(self.page, "cells.jsonl")
        if self.small and os.path.exists(cells):
            os.remove(cells)
        self.store = Store(cells)

    def path(self, name):
        """Of a file among the results."""
        return os.path.join(self.page, name)

    def shared(self, name, make):
        """The path of what all cells of a run use. make(path) makes it, once, under another name, so that
        it is whole where it is there; False: it could not, and the answer is None. Training that was stopped
        goes on there."""
        path = os.path.join(self.work, name)
        with self.making:
            if not os.path.exists(path):
                if not os.path.exists(os.path.join(path + ".part", "log.jsonl")):
                    shutil.rmtree(path + ".part", ignore_errors=True)
                if make(path + ".part") is False:
                    return None
                os.rename(path + ".part", path)
        return path

    def results(self, experiment, **like):
        """[(settings, result)] of the finished cells of an experiment whose settings are like that."""
        return [(r["settings"], r["result"]) for r in self.store.results.values()
                if r["experiment"] == experiment
                and all(r["settings"].get(k) == v for k, v in like.items())]

    def best(self, setting, key, n, experiment, **like):
        """The value of a setting at which a result is lowest; None until all n are measured."""
        found = {s[setting]: r[key] for s, r in self.results(experiment, **like)}
        return min(found, key=found.get) if len(found) == n else None

    def main(self, cells, report):
        """cells: all of them. report(): Markdown for results.md; writes the plots on its way."""
        if not os.access(self.program.path, os.X_OK):
            sys.exit(f"{self.program.path}: no such program; `make` builds it")
        known = {c.key for c in cells}
        stale = [k for k in self.store.results if k not in known]
        for key in stale:  # made for settings that are no longer asked for
            del self.store.results[key]
        only = self.options.only
        cells = [c for c in cells if only in (None, c.experiment)]
        status = self.make([c for c in cells if self.store.result(c) is None], len(cells))
        text = f"# {self.title}\n\nWritten by `papers/{self.name}/run`; do not edit.\n\n" + report()
        with open(self.path("results.md"), "w", encoding="utf-8") as f:
            f.write(text)
        print(text)
        return status

    def make(self, missing, n_cells):
        """Make cells, `jobs` beside each other, until all are there, one fails, or a signal comes."""
        for s in (signal.SIGINT, signal.SIGTERM):
            signal.signal(s, lambda *_: self.program.stop())
        end = time.monotonic() + 60 * self.options.minutes
        done, began, failed = n_cells - len(missing), time.monotonic(), []
        if missing:
            note(f"{self.name}: {done} of {n_cells} cells are there")
        with concurrent.futures.ThreadPoolExecutor(self.options.jobs) as pool:
            running = {pool.submit(self.make_one, c, end): c for c in missing}
            for future in concurrent.futures.as_completed(running):
                cell = running[future]
                try:
                    seconds = future.result()
                except Stopped:
                    continue
                except Exception as e:  # the others, and the page, do not depend on it
                    failed.append(cell)
                    note(f"failed: {cell.title}: {e if isinstance(e, Failed) else repr(e)}")
                    continue
                done += 1
                note(f"[{done}/{n_cells}] {cell.title}: {seconds / 60:.1f} min")
        if done < n_cells:
            note(f"{self.name}: {n_cells - done} cells are missing after "
                 f"{(time.monotonic() - began) / 60:.0f} min; the next call goes on")
        return 1 if failed else 130 if self.program.stopping else 0

    def make_one(self, cell, end):
        began = time.monotonic()
        if began > end or self.program.stopping:
            raise Stopped
        folder = os.path.join(self.work, cell.folder)
        os.makedirs(folder, exist_ok=True)
        self.store.add(cell, cell.work(folder))
        return time.monotonic() - began


def chosen(value):
    """What cells before this one chose (Paper.best)."""
    if value is None:
        raise Failed("what this depends on is not measured yet: the next call goes on")
    return value


def note(line):
    print(line, file=sys.stderr, flush=True)


def options(name):
    p = argparse.ArgumentParser(
        prog=f"papers/{name}/run",
        description="Make the measurements that are missing, then the tables and plots.")
    p.add_argument("--small", action="store_true",
                   help="a minute's run that shows that everything works; keeps no result")
    p.add_argument("--out", default=os.path.join(ROOT, "build", "papers"),
                   help="where runs are kept until they are done (default build/papers)")
    p.add_argument("--program", default=os.path.join(ROOT, "build", "rwkv"),
                   help="default build/rwkv")
    p.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)),
                   help="cells beside each other, each on one thread (default: usable cores)")
    p.add_argument("--only", metavar="EXPERIMENT", help="make cells of this experiment only")
    p.add_argument("--minutes", type=float, default=1e9,
                   help="begin no cell after this time (default: all are made)")
    return p.parse_args()
