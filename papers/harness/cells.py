"""Cells and the file that keeps their results."""

import json
import os
import threading


class Cell:
    """One measurement.

    experiment  the name that the report finds it under
    settings    a flat dict of what the result depends on: numbers and words
    work        work(folder) returns the result, a dict that JSON can hold. The folder is the cell's own
                and survives a stop, so that training goes on where it was
    """

    def __init__(self, experiment, settings, work):
        self.experiment, self.settings, self.work = experiment, settings, work

    @property
    def key(self):
        return json.dumps([self.experiment, self.settings], sort_keys=True)

    @property
    def title(self):
        return " ".join([self.experiment] + [str(v) for v in self.settings.values()])

    @property
    def folder(self):
        """A name for the cell's folder."""
        words = [self.experiment] + [f"{k}={v}" for k, v in self.settings.items()]
        return "-".join(words).replace("/", "_").replace(" ", "_").replace("*", "+")


class Store:
    """Results by cell, in a file of one JSON object a line. Lines are only ever added, whole."""

    def __init__(self, path):
        self.path, self.lock, self.results = path, threading.Lock(), {}
        if not os.path.exists(path):
            return
        with open(path, encoding="utf-8") as f:
            for line in f:
                try:
                    record = json.loads(line)
                except json.JSONDecodeError:
                    continue  # a crash in the middle of writing it
                cell = Cell(record["experiment"], record["settings"], None)
                self.results[cell.key] = record

    def result(self, cell):
        """Of this cell; None while it is not made."""
        record = self.results.get(cell.key)
        return record and record["result"]

    def add(self, cell, result):
        record = {"experiment": cell.experiment, "settings": cell.settings, "result": result}
        with self.lock:
            torn = os.path.exists(self.path) and not ends_with_newline(self.path)
            with open(self.path, "a", encoding="utf-8") as f:
                f.write(("\n" if torn else "") + json.dumps(record) + "\n")
                f.flush()
                os.fsync(f.fileno())
            self.results[cell.key] = record


def ends_with_newline(path):
    with open(path, "rb") as f:
        f.seek(0, os.SEEK_END)
        if f.tell() == 0:
            return True
        f.seek(-1, os.SEEK_END)
        return f.read(1) == b"\n"
