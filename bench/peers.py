"""peers.py: what the scripts that compare share: a peer's packages, turns, ratios with their spread.

Neighbours change the speed of a shared machine from one moment to the next. So what is compared is
measured in turn, round by round, who goes first changes with the round, and what is told is the
median of the rounds' ratios with the least and the most of them.
"""
import fcntl
import json
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROGRAM = os.path.join(ROOT, "build", "rwkv")


def fail(sentence, status=1):
    print("%s: %s" % (os.path.basename(sys.argv[0]), sentence), file=sys.stderr)
    sys.exit(status)


def say(text):
    print(text, file=sys.stderr, flush=True)


def venv(variable, name, module, packages, **env):
    """The Python of a virtual environment that has a module: the folder that an environment variable
    names, else build/NAME. It is made when it is not there; who comes while it is waits."""
    folder = os.environ.get(variable) or os.path.join(ROOT, "build", name)
    python = os.path.join(folder, "bin", "python")
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    with open(folder + ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.exists(python) and not subprocess.run(
                [python, "-c", "import " + module], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
            return python
        say("installing %s into %s" % (" ".join(packages), folder))
        for command in ([sys.executable, "-m", "venv", folder], [python, "-m", "pip", "install", "-q"] + packages):
            if subprocess.run(command, stdout=sys.stderr, env=dict(os.environ, **env)).returncode:
                fail("%s failed" % " ".join(command))
    return python


class Worker:
    """A peer in a process of its own, which answers lines of JSON: ["decode", 128] -> seconds."""

    def __init__(self, python, *words):
        self.process = subprocess.Popen([python, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.about = self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            fail("the peer's process ended with status %d" % self.process.wait())
        return json.loads(line)

    def __call__(self, *words):
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def serve(about, calls):
    """The other side: say what this is, then answer until stdin ends. Other output goes to stderr."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print(json.dumps(about), file=out, flush=True)
    for line in sys.stdin:
        name, *words = json.loads(line)
        print(json.dumps(calls[name](*words)), file=out, flush=True)


def bench(program, *words):
    """What `rwkv bench --json` says."""
    command = [program, "bench", *map(str, words), "--json", "-q"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        fail("%s ended with status %d" % (" ".join(command), done.returncode), 2 if done.returncode == 2 else 1)
    return json.loads(done.stdout)


def median(numbers):
    s = sorted(numbers)
    return (s[(len(s) - 1) // 2] + s[len(s) // 2]) / 2


def spread(numbers):
    return {"median": median(numbers), "least": min(numbers), "most": max(numbers)}


def compare(ours, theirs, less_is_better=False):
    """Rates of the same rounds, or sizes, side by side."""
    ratios = [t / o if less_is_better else o / t for o, t in zip(ours, theirs)]
    return {"ours": spread(ours), "theirs": spread(theirs), "ratio": spread(ratios)}


def show(rows, peer):
    """Rows of (label, unit, comparison)."""
    print("%-34s %12s %12s   %s" % ("", "rwkv", peer, "ratio (least to most)"))
    for label, unit, c in rows:
        r = c["ratio"]
        print("%-34s %12.1f %12.1f   %.2f (%.2f to %.2f)" % (label + ", " + unit, c["ours"]["median"],
                                                           c["theirs"]["median"], r["median"], r["least"], r["most"]))


def cpu_name():
    with open("/proc/cpuinfo") as f:
        names = [line.split(":", 1)[1].strip() for line in f if line.startswith("model name")]
    return names[0] if names else "an unknown CPU"
