"""The program under test, called as a user would."""

import json
import os
import signal
import subprocess


class Stopped(Exception):
    """A signal ended a call; what it had made is saved."""


class Failed(Exception):
    """The program said no."""


class Program:
    def __init__(self, path):
        self.path, self.children, self.stopping = path, set(), False

    def stop(self):
        """Ask what runs to save and end, and let nothing else begin."""
        self.stopping = True
        for child in list(self.children):
            child.send_signal(signal.SIGTERM)

    def run(self, *args):
        """Standard output of a call."""
        return self.call(*args)[0]

    def said(self, *args):
        """What a call says on the way: its standard error."""
        return self.call(*args)[1]

    def call(self, *args):
        if self.stopping:
            raise Stopped
        child = subprocess.Popen([self.path, *map(str, args)], stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, text=True, start_new_session=True)
        self.children.add(child)
        out, err = child.communicate()
        self.children.discard(child)
        if child.returncode > 128 or self.stopping:
            raise Stopped
        if child.returncode != 0:
            raise Failed(f"{' '.join(child.args)}\n{err.strip()}")
        return out, err

    def json(self, *args):
        return json.loads(self.run(*args, "--json"))

    def eval_task(self, model, n, **options):
        """What a model answers to n samples of a task; options as those of `rwkv eval --task`."""
        return self.json("eval", "-m", model, "--n", n, "-t", 1, *words(options))

    def train(self, folder, **options):
        """Train in a folder, or go on there; the run's log.

        Options are those of `rwkv train`, with _ for -. True stands for a flag, a list for an option
        that is given several times. One thread computes: cells run beside each other.
        """
        return self.run_in("train", folder, options)

    def tune(self, folder, **options):
        """The same of `rwkv tune`."""
        return self.run_in("tune", folder, options)

    def run_in(self, command, folder, options):
        self.run(command, "--out", folder, "--resume", "--quiet", "-t", 1, *words(options))
        return Run(folder)


def words(options):
    out = []
    for name, value in options.items():
        name = "--" + name.replace("_", "-")
        for v in value if isinstance(value, list) else [value]:
            if v is True:
                out.append(name)
            elif v is not None and v is not False:
                out += [name, v]
    return out


class Run:
    """A finished training run: what its folder says."""

    def __init__(self, folder):
        self.model = os.path.join(folder, "model.safetensors")
        with open(os.path.join(folder, "config.json"), encoding="utf-8") as f:
            self.config = json.load(f)
        with open(os.path.join(folder, "log.jsonl"), encoding="utf-8") as f:
            self.log = [json.loads(line) for line in f]

    def curve(self, name="val_loss"):
        """[[tokens, value]] wherever it was measured."""
        return [[e["tokens"], e[name]] for e in self.log if e.get(name) is not None]

    def last(self, name):
        found = self.curve(name)
        return found[-1][1] if found else None

    @property
    def seconds(self):
        """That the steps took, whatever stopped between them."""
        tokens, total = 0, 0.0
        for e in self.log:
            if e.get("tokens_per_s"):
                total += (e["tokens"] - tokens) / e["tokens_per_s"]
                tokens = e["tokens"]
        return total
