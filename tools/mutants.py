#!/usr/bin/env python3
"""Break the code on purpose, one small change at a time, and see which test fails.

    tools/mutants.py [--seed 1] [-n 60] [--commit HEAD] [--slots 1-12,27] [--list] [--table FILE]

A mutant is a copy of the source in which one operator, constant, bound or statement of src/ is changed. Slot i
of the list belongs to a layer and a kind of change, both in turn, so that a short list covers all of them. Within
both every place has a random rank that depends on the seed, the slot and its line; the first is drawn. So the list
is the same for the same source, and nearly the same for a source that has changed a little. A mutant that does not
compile, or compiles to the same program, gives way to the next.

A mutant is caught when a test fails or exceeds its time limit: tests of the layer come first, quick ones before
slow ones, and the first failure ends the run. A failure counts when the test fails once more, alone, and passes
with the unchanged code in between: a busy machine catches no mutant. What survives all tests meets those of its
layer and of the ones that see it most directly once more under the address and undefined behaviour sanitizers, as in
`make check-asan`, after the last slot.

What no test of this machine can see is not drawn: assertions, prefetching, the bound of a > b ? a : b, statements
that only give memory back, sources that this build does not compile, and src/selftest/, which is a test itself.

Everything happens in build-mutants/: a copy of the files of one commit, built there, each kind of build twice, with
and without the change. Results are kept in build-mutants/results.json, so that a run can be stopped and continued,
and that one of another commit runs only what has to be run: a mutant stays caught while its line is there and the
test that failed is unchanged; one that survived runs again once anything in src/ or tests/ has changed. --table
writes the page from them. Reasons for mutants that survive are read from tools/mutants_survivors.json.
"""
import argparse
import concurrent.futures
import hashlib
import io
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WORK = os.path.join(ROOT, "build-mutants")
COPY = os.path.join(WORK, "source")
RESULTS = os.path.join(WORK, "results.json")
SECONDS = os.path.join(WORK, "seconds.json")
REASONS = os.path.join(ROOT, "tools", "mutants_survivors.json")

# Labels of tests that see a layer most directly; its own comes first in any case.
NEAR = {"kernels": ["tensor"], "nn": ["tensor", "model"], "model": ["infer"], "format": ["io", "model"],
        "compress": ["tensor", "cli"], "tensor": ["model"], "tune": ["train"]}
NOT_DRAWN = {"selftest"}  # is itself a test
INCLUDED_BY_MAX = 8  # objects to compile again: headers that more of them include take too long
LIMIT_BASE = 60      # seconds
SLOWER_SANITIZED = 5 # times
NEXT_KEPT = 3        # of a slot, in place of mutants whose lines go

# A mutant may write, remove or signal anything, such as a device that a test names as an output. So tests run
# where only their build folder and an empty /tmp can be written, and no other process is seen.
CAGE = r"""set -e
folder=$1
shift
mount --bind "$folder" "$folder"
awk '{print $5}' /proc/self/mountinfo | while read -r at; do
    case $at in "$folder" | /proc* | /sys*) ;; *) mount -o remount,bind,ro "$at" ;; esac
done
mount -t tmpfs tmpfs /tmp
setsid --wait "$@"
"""


def say(text):
    print(text, flush=True)


def caged(folder, command):
    alone = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    return alone + ([] if os.getuid() == 0 else ["--user", "--map-root-user"]) + ["sh", "-c", CAGE, "cage", folder] + command


# ---- what can be changed

OPERATORS = {"+": "-", "-": "+", "*": "+", "/": "*", "%": "/", "==": "!=", "!=": "==", "&&": "||", "||": "&&",
             "+=": "-=", "-=": "+=", "*=": "+=", "&": "|", "|": "&", "<<": ">>", ">>": "<<"}
BOUNDS = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}
FREES = r"(free|\w+_(free|close|deinit|decref|destroy)|close|fclose|munmap)"


def blank(match):
    return re.sub(r"[^\n]", "\0", match.group())


def code_only(text):
    """The same length and lines, with \\0 for what is not to be changed: comments, texts, directives, assertions,
    and all that is outside of functions."""
    text = re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text, flags=re.S)
    text = re.sub(r"^[ \t]*#(?:.*\\\n)*.*$", blank, text, flags=re.M)
    text = re.sub(r"\b(?:static_)?assert\(.*?\);|\brk_prefetch\w*\(.*?\);", blank, text, flags=re.S)
    out, at = [], 0
    for body in re.finditer(r"^\{\n.*?^\}", text, flags=re.M | re.S):
        out += [re.sub(r"[^\n]", "\0", text[at:body.start()]), body.group()]
        at = body.end()
    return "".join(out) + re.sub(r"[^\n]", "\0", text[at:])


def operators(code):
    names = "|".join(re.escape(o) for o in sorted(OPERATORS, key=len, reverse=True))
    for m in re.finditer(r"(?<=[\w)\]] )(%s)(?= [\w(!*&\-])" % names, code):
        yield m.start(1), m.end(1), OPERATORS[m.group(1)]
    for m in re.finditer(r"!(?=[A-Za-z_(])", code):
        yield m.start(), m.end(), ""


def bounds(code):
    for m in re.finditer(r"(?<=[\w)\]] )(<=|>=|<|>)(?= [\w(\-])(?! (\w+) \? [\w.>-]+ : )", code):
        yield m.start(1), m.end(1), BOUNDS[m.group(1)]


def constants(code):
    for m in re.finditer(r"(?<![\w.])(0x[0-9A-Fa-f]+|\d+\.\d*(?:[eE][-+]?\d+)?|[1-9]\d*|0)([uUlLfF]*)(?![\w.])", code):
        number, suffix = m.groups()
        if "." in number:
            yield m.start(), m.end(), ("1.0" if float(number) == 0 else repr(1.5 * float(number))) + suffix
        else:
            yield m.start(), m.end(), "%d%s" % (int(number, 0) + 1, suffix)


def statements(code):
    """Calls and assignments that fill a line: replaced by an empty statement."""
    for m in re.finditer(r"^ +([^\s;{}\0][^;{}\n]*);$", code, flags=re.M):
        s = m.group(1)
        declares = re.match(r"(const |static |struct |enum |unsigned )|\w+ [*]*\w+( =|\[|$)", s)
        leaves = re.match(r"(return|break|continue|goto|else|case|default|for|while|if|do)\b", s)
        works = re.match(r"[(*]*\w[\w\->.\[\]()+ *&]*?\s*(=|\+=|-=|\*=|/=|\|=|&=|<<=|>>=)\s", s) or re.match(r"\w+\(", s)
        if works and not declares and not leaves and s.count("(") == s.count(")") and not re.match(FREES + r"\(", s):
            yield m.start(1), m.end(1), ""


KINDS = {"operator": operators, "constant": constants, "bound": bounds, "statement": statements}


# ---- the copy and its builds

def run(*words, **more):
    return subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", **more)


def git(*words):
    done = subprocess.run(("git", "-C", ROOT) + words, stdout=subprocess.PIPE)
    if done.returncode:
        sys.exit("git %s failed" % " ".join(words))
    return done.stdout


def load(path):
    if os.path.exists(path):
        with open(path) as f:
            return json.load(f)
    return {}


def store(path, value):
    """In one step: a run may be killed at any time."""
    with open(path + ".new", "w") as f:
        json.dump(value, f, indent=1)
    os.replace(path + ".new", path)


def write(path, data):
    """A file of the copy, only when it differs, so that little is built again."""
    there = os.path.join(COPY, path)
    if os.path.exists(there):
        with open(there, "rb") as f:
            if f.read() == data:
                return
    os.makedirs(os.path.dirname(there), exist_ok=True)
    with open(there, "wb") as f:
        f.write(data)


def copy_source(commit):
    known = set()
    with tarfile.open(fileobj=io.BytesIO(git("archive", commit))) as archive:
        for member in archive:
            if member.isfile():
                write(member.name, archive.extractfile(member).read())
                os.chmod(os.path.join(COPY, member.name), member.mode)
                known.add(member.name)
    for folder, _, names in os.walk(COPY):
        for path in (os.path.join(folder, n) for n in names):
            if os.path.relpath(path, COPY) not in known:
                os.remove(path)


class Build:
    """A kind of build: `folder` is built with each mutant, `plain` once of the unchanged code."""

    def __init__(self, name, *options, memory_bytes=None):
        self.name, self.options, self.memory_bytes = name, options, memory_bytes
        self.folder, self.plain = os.path.join(WORK, name), os.path.join(WORK, name + "-plain")

    def configure(self):
        ccache = ["-DCMAKE_C_COMPILER_LAUNCHER=ccache"] if shutil.which("ccache") else []
        for folder in (self.folder, self.plain):
            done = run("cmake", "-S", COPY, "-B", folder, "-G", "Ninja", *self.options, *ccache)
            done = run("ninja", "-C", folder) if done.returncode == 0 else done
            if done.returncode:
                sys.exit("the unchanged copy does not build:\n" + done.stdout[-3000:])

    def make(self, *targets):
        """True when it builds."""
        return run("ninja", "-C", self.folder, *targets).returncode == 0

    def program_hash(self):
        h = hashlib.sha256()
        for name in ("librk.a", "rwkv"):
            with open(os.path.join(self.folder, name), "rb") as f:
                h.update(f.read())
        return h.hexdigest()

    def limits(self):
        """Of a test: a mutant may ask for any amount of memory."""
        if self.memory_bytes:
            resource.setrlimit(resource.RLIMIT_AS, (self.memory_bytes, self.memory_bytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def tests(self):
        """Each with its command in both folders."""
        def listing(folder):
            return json.loads(run("ctest", "--test-dir", folder, "--show-only=json-v1").stdout)["tests"]

        found = []
        for mutated, plain in zip(listing(self.folder), listing(self.plain)):
            test = {"name": mutated["name"], "seconds": 0.0}
            for which, t in ("mutated", mutated), ("plain", plain):
                p = {q["name"]: q["value"] for q in t["properties"]}
                test["label"] = p.get("LABELS", [""])[0]
                test[which] = (t["command"], dict(e.split("=", 1) for e in p.get("ENVIRONMENT", [])))
            found.append(test)
        return found


RELEASE = Build("release", "-DCMAKE_BUILD_TYPE=Release", memory_bytes=16 << 30)
SANITIZED = Build("asan", "-DCMAKE_BUILD_TYPE=RelWithDebInfo",  # reserves terabytes
                  "-DRK_SANITIZE=address,undefined")


def sources():
    """{layer: [(file of src/, its text, its code)]} of what this build compiles and few objects include."""
    deps = run("ninja", "-C", RELEASE.plain, "-t", "deps").stdout
    seen = {}
    for line in deps.splitlines():
        m = re.match(r"\s+(?:.*/)?(src/\w+/[\w/.]+)$", line)
        if m:
            seen[m.group(1)] = seen.get(m.group(1), 0) + 1
    layers = {}
    for path, n in sorted(seen.items()):
        with open(os.path.join(COPY, path)) as f:
            text = f.read()
        if n <= INCLUDED_BY_MAX and path.split("/")[1] not in NOT_DRAWN:
            layers.setdefault(path.split("/")[1], []).append((path, text, code_only(text)))
    return layers


# ---- tests

class Runner:
    """Runs tests of a build beside each other until one fails, and then ends those still running."""

    def __init__(self, build, jobs, factor):
        self.build, self.jobs, self.factor = build, jobs, factor
        self.running, self.stopped = set(), False

    def once(self, test, which, seconds):
        """"" when it passes, else what happened; its time limit is a multiple of `seconds`."""
        command, more = test[which]
        folder = self.build.folder if which == "mutated" else self.build.plain
        start = time.time()
        p = subprocess.Popen(caged(folder, command), env=dict(os.environ, **more), cwd=folder, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, start_new_session=True,
                             preexec_fn=self.build.limits)
        self.running.add(p)
        try:
            bad = "" if p.wait(LIMIT_BASE + self.factor * seconds) in (0, 77) else "fails"
        except subprocess.TimeoutExpired:
            bad = "exceeds its time limit"
        end(p)  # and with it what it started
        p.wait()
        self.running.discard(p)
        test["took"] = time.time() - start
        return bad

    def steady(self, test):
        """It fails with the mutant once more, alone, and passes without, in a limit of the time which that takes now."""
        if self.once(test, "plain", test["seconds"]):
            return False
        return self.once(test, "mutated", max(test["seconds"], test["took"])) != ""

    def failure(self, some, which="mutated"):
        """(test, what happened) of the first that fails, or None; all that pass are then in self.passed."""
        self.stopped, found = False, []

        def one(test):
            if self.stopped:
                return
            bad = self.once(test, which, test["seconds"])
            if not bad:
                self.passed.add(test["name"])
            elif not self.stopped:
                self.stopped = True
                found.append((test, bad))
                for other in list(self.running):
                    end(other)

        with concurrent.futures.ThreadPoolExecutor(self.jobs) as pool:
            list(pool.map(one, some))
        return found[0] if found else None

    def catches(self, some):
        """What the page says of the test that catches the mutant, or None."""
        self.passed = set()
        while True:
            found = self.failure([t for t in some if t["name"] not in self.passed])
            if not found:
                return None
            test, bad = found
            if self.steady(test):
                return "%s %s" % (test["name"], bad)
            say("   %s %s, but not each time, or without the change, too" % (test["name"], bad))
            self.passed.add(test["name"])

    def measure(self):
        """The tests with their seconds for the code as it is, which has to pass the first time."""
        all_tests, known = self.build.tests(), load(SECONDS).get(self.build.name, {})
        new = [t for t in all_tests if t["name"] not in known]
        for t in new:
            t["seconds"] = 30.0
        self.passed = set()
        while True:
            found = self.failure([t for t in new if t["name"] not in self.passed], "plain")
            if not found:
                break
            if self.once(found[0], "plain", found[0]["seconds"]):
                sys.exit("before any change: %s %s" % (found[0]["name"], found[1]))
            self.passed.add(found[0]["name"])
        known.update({t["name"]: round(t["took"], 3) for t in new})
        store(SECONDS, dict(load(SECONDS), **{self.build.name: known}))
        for t in all_tests:
            t["seconds"] = known[t["name"]]
        return sorted(all_tests, key=lambda t: t["seconds"])


def end(p):
    try:
        os.killpg(p.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def stages(all_tests, layer):
    near = [layer] + NEAR.get(layer, [])
    own = [t for t in all_tests if t["label"] in near]
    return own, [t for t in all_tests if t not in own]


def executables(build, some):
    """Targets of the tests that are programs of the build folder, and what scripts start."""
    return [os.path.basename(t["mutated"][0][0]) for t in some if t["mutated"][0][0].startswith(build.folder)] + ["rwkv"]


# ---- mutants

def places(layer, kind, path, text, code):
    """All mutants of a kind in a file: (mutant, changed text). The key tells one from the others, in other versions
    of the file, too."""
    seen, lines = {}, text.split("\n")
    for lo, hi, new in KINDS[kind](code):
        at = text.count("\n", 0, lo)
        changed = text[:lo] + new + text[hi:]
        was, now = lines[at].strip(), changed[changed.rfind("\n", 0, lo) + 1:].split("\n", 1)[0].strip() or ";"
        nth = seen[was, now] = seen.get((was, now), 0) + 1
        key = "%s: %s -> %s%s" % (path, was, now, " (%d)" % nth if nth > 1 else "")
        yield {"key": key, "layer": layer, "kind": kind, "file": path, "line": at + 1, "was": was, "is": now}, changed


def ranked(layers, seed, slot):
    """The mutants of a slot, in the order in which they are drawn: (mutant, changed text)."""
    names = sorted(layers)
    turn, of_layer = divmod(slot, len(names))
    layer, kind = names[of_layer], list(KINDS)[(of_layer + turn) % len(KINDS)]
    found = [f for file in layers[layer] for f in places(layer, kind, *file)]
    return sorted(found, key=lambda f: hashlib.sha256(("%s %d %s" % (seed, slot, f[0]["key"])).encode()).digest())


def verdict(layer, original, all_tests, runner):
    if not RELEASE.make("rk_static", "rwkv"):
        return "does not build", None
    if RELEASE.program_hash() == original:
        return "the same program", None
    own, others = stages(all_tests, layer)
    for some in (own, others):
        if not RELEASE.make(*(executables(RELEASE, own) if some is own else [])):
            return "does not build", None
        by = runner.catches(some)
        if by:
            return "caught", by
    return "survived", None


class Changed:
    """The copy with a mutant in it; the source is as before afterwards."""

    def __init__(self, mutant, changed):
        self.path, self.changed = mutant["file"], changed

    def __enter__(self):
        with open(os.path.join(COPY, self.path), "rb") as f:
            self.text = f.read()
        write(self.path, self.changed.encode())

    def __exit__(self, *_):
        write(self.path, self.text)


class Campaign:
    """Results by mutant, kept in a file."""

    def __init__(self, o):
        self.o, self.kept = o, load(RESULTS).get("mutants", {})
        self.commit = git("rev-parse", "--short", o.commit).decode().strip()
        self.trees = git("rev-parse", o.commit + ":src", o.commit + ":tests").decode().split()
        self.blobs = {}  # of src/ and tests/
        for line in git("ls-tree", "-r", o.commit, "src", "tests").decode().splitlines():
            words, path = line.split("\t")
            self.blobs[path] = words.split()[2]

    def stands_on(self, r):
        """What has to be unchanged for a result to hold."""
        if r["result"] == "survived":
            return self.trees
        if r["result"] != "caught":
            return [self.blobs.get(r["file"])]
        test = r["by"].split()[0]
        stems = {re.sub(r"\.\w+$", "", os.path.basename(p)): h for p, h in self.blobs.items() if p.startswith("tests/")}
        return [stems.get(test) or stems.get(re.sub(r"_avx512_emulated$", "", test))]

    def result(self, mutant):
        r = self.kept.get(mutant["key"])
        stays = self.o.keep_survivors and r and r["result"] == "survived"
        return r if r and (stays or r["commit"] == self.commit or r["stands_on"] == self.stands_on(r)) else None

    def keep(self, mutant, **more):
        r = dict(mutant, commit=self.commit, **more)
        r["stands_on"] = self.stands_on(r)
        earlier = self.kept.get(mutant["key"])
        survived = list(earlier["survived"]) if earlier else []
        if r["result"] == "survived" and self.commit not in survived:
            survived.append(self.commit)
        if r["result"] == "caught" and r["sanitized"]: # by the stage that was still to come
            survived = [c for c in survived if c != self.commit]
        self.kept[mutant["key"]] = dict(r, survived=survived)
        self.save()

    def save(self, **more):
        store(RESULTS, dict(load(RESULTS), mutants=self.kept, **more))

    def judge(self, mutant, changed, original, all_tests, runner):
        start = time.time()
        with Changed(mutant, changed):
            result, by = verdict(mutant["layer"], original, all_tests, runner)
        self.keep(mutant, result=result, by=by, sanitized=False, seconds=round(time.time() - start))

    def slots(self, slots):
        """Judge the mutants of these slots: [(slot, mutant, changed text, what was drawn before)]."""
        layers, runner = sources(), Runner(RELEASE, self.o.jobs, self.o.factor)
        all_tests, original, drawn, listed = runner.measure(), RELEASE.program_hash(), [], []
        for slot in slots:
            passed_over, ranking = [], ranked(layers, self.o.seed, slot)
            for at, (mutant, changed) in enumerate(ranking):
                if mutant["key"] in [m["key"] for _, m, _, _ in drawn]:
                    continue
                r = self.result(mutant)
                if not r:
                    self.judge(mutant, changed, original, all_tests, runner)
                    r = self.kept[mutant["key"]]
                    tell(slot, r)
                self.kept[mutant["key"]] = dict(r, line=mutant["line"])
                if r["result"] in ("caught", "survived"):
                    drawn.append((slot, mutant, changed, passed_over))
                    listed.append(dict(mutant, slot=slot, passed_over=passed_over,
                                       next=[m for m, _ in ranking[at + 1:at + 1 + NEXT_KEPT]]))
                    break
                passed_over.append(r["result"])
            else:
                sys.exit("slot %d: nothing that builds" % (slot + 1))
        self.save(list={"seed": self.o.seed, "commit": self.commit, "slots": listed})
        RELEASE.make()
        return drawn

    def here(self, m):
        """A mutant of another commit in the source of this one: (mutant, changed text), or None where its line is gone."""
        path = os.path.join(COPY, m["file"])
        if not os.path.exists(path):
            return None
        with open(path) as f:
            text = f.read()
        return next((x for x in places(m["layer"], m["kind"], m["file"], text, code_only(text)) if x[0]["key"] == m["key"]), None)

    def again(self, slots):
        """Judge the mutants of the last list that are not caught in the source of this commit. One whose line is gone
        gives way to the next of its slot."""
        runner, drawn = Runner(RELEASE, self.o.jobs, self.o.factor), load(RESULTS)["list"]
        all_tests, original, judged = runner.measure(), RELEASE.program_hash(), []
        for s in [s for s in drawn["slots"] if s["slot"] in slots]:
            r = self.kept.get(s["key"], {})
            while r.get("result") != "caught" and not self.here(s) and s["next"]:
                s.update(s["next"][0], next=s["next"][1:], passed_over=s["passed_over"] + ["its line is gone"])
                r = self.kept.get(s["key"], {})
            found = self.here(s)
            if found and r.get("result") != "caught" and r.get("commit") != self.commit:
                self.judge(*found, original, all_tests, runner)
                tell(s["slot"], self.kept[s["key"]])
                judged.append((s["slot"], *found, []))
            self.save(list=drawn)
        RELEASE.make()
        return judged

    def sanitizers(self, drawn):
        """What survived meets the tests of its layer and those near it under the sanitizers."""
        left = [(slot, m, changed) for slot, m, changed, _ in drawn
                if self.kept[m["key"]]["result"] == "survived" and not self.kept[m["key"]]["sanitized"]]
        if not left:
            return
        SANITIZED.configure()
        runner, known = Runner(SANITIZED, self.o.jobs, self.o.factor), load(SECONDS)[RELEASE.name]
        all_tests = SANITIZED.tests()
        for t in all_tests:
            t["seconds"] = SLOWER_SANITIZED * known[t["name"]]
        all_tests.sort(key=lambda t: t["seconds"])
        for slot, mutant, changed in left:
            start, r = time.time(), self.kept[mutant["key"]]
            own = stages(all_tests, mutant["layer"])[0]
            with Changed(mutant, changed):
                built = SANITIZED.make(*executables(SANITIZED, own))
                by = runner.catches(own) if built else None
            self.keep(mutant, result="caught" if by else "survived", by=by + ", sanitized" if by else None, sanitized=built,
                      seconds=r["seconds"] + round(time.time() - start))
            tell(slot, self.kept[mutant["key"]])
        SANITIZED.make()


def tell(slot, r):
    say("%2d %-8s %-9s %s:%d  %s%s, %d s\n   - %s\n   + %s" %
        (slot + 1, r["layer"], r["kind"], r["file"], r["line"], r["result"], " by " + r["by"] if r["by"] else "",
         r["seconds"], r["was"], r["is"]))


def run_slots(o, slots):
    os.makedirs(WORK, exist_ok=True)
    if WORK.startswith("/tmp/") or run(*caged(WORK, ["true"])).returncode:
        sys.exit("tests of mutants run apart from the system: this needs unshare and mount, and a folder outside of /tmp")
    campaign = Campaign(o)
    copy_source(o.commit)
    RELEASE.configure()
    drawn = campaign.again(slots) if o.again else campaign.slots(slots)
    if not o.no_sanitizers:
        campaign.sanitizers(drawn)


# ---- the page

def cell(code):
    return "`%s`" % code.replace("|", "\\|").replace("`", "'")


def last_list():
    kept = load(RESULTS)
    drawn = kept["list"]
    rows = [dict(kept["mutants"][m["key"]], **m) for m in drawn["slots"] if m["key"] in kept["mutants"]]
    return drawn, rows


def table(drawn, rows):
    reasons = {(r["file"], r["was"], r["is"]): r["reason"] for r in load(REASONS).get("survivors", [])}
    caught = [r for r in rows if r["result"] == "caught"]
    later = [r for r in caught if r["survived"]]
    over = [a for r in rows for a in r["passed_over"]]
    commits = ["%s (%d)" % (c, sum(r["commit"] == c for r in rows)) for c in dict.fromkeys(r["commit"] for r in rows)]
    out = ["# Mutants", "",
           "Made by `make mutants` (`tools/mutants.py`), which tells what is changed and how a list is drawn; do not edit.", "",
           "Seed %s, %d mutants drawn from commit %s: **%d caught**, %d survived all tests, %d of them also those near them "
           "under sanitizers%s. %d of those caught survived on an earlier commit and led to a test. Passed over: %d that did "
           "not build, %d that compiled to the same program, %d whose line had been simplified away. Results are of the "
           "commits %s: one stays while the line and the test are unchanged, and what survives runs again when tests are "
           "added." %
           (drawn["seed"], len(drawn["slots"]), drawn["commit"], len(caught), len(rows) - len(caught),
            sum(r["sanitized"] for r in rows if r["result"] == "survived"),
            ", %d not run yet" % (len(drawn["slots"]) - len(rows)) if len(rows) < len(drawn["slots"]) else "", len(later),
            over.count("does not build"), over.count("the same program"), over.count("its line is gone"), ", ".join(commits)),
           "", "| | layer | kind | place | was | became | result |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for r in rows:
        told = r["by"] if r["by"] else "**survived**: " + reasons.get((r["file"], r["was"], r["is"]), "not read yet")
        if r["by"] and r["survived"]:
            told += "; survived on %s" % ", ".join(r["survived"])
        out.append("| %d | %s | %s | %s:%d | %s | %s | %s |" % (r["slot"] + 1, r["layer"], r["kind"], r["file"][4:], r["line"],
                                                             cell(r["was"]), cell(r["is"]), told))
    return "\n".join(out) + "\n"


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--seed", default="1", help="of the list (1)")
    ap.add_argument("-n", type=int, default=60, help="mutants (60)")
    ap.add_argument("--commit", default="HEAD", help="whose source is changed and tested (HEAD)")
    ap.add_argument("--slots", help="only these, such as 1-12,27")
    ap.add_argument("--keep-survivors", action="store_true", help="do not run again what survived on an earlier commit")
    ap.add_argument("--again", action="store_true", help="those of the last list that survived, in the source of --commit")
    ap.add_argument("--no-sanitizers", action="store_true", help="leave out what survivors meet after the last slot")
    ap.add_argument("--list", action="store_true", help="print the first draw of each slot, run nothing")
    ap.add_argument("--no-run", action="store_true", help="only write the table of the last run")
    ap.add_argument("--table", metavar="FILE", help="write the page")
    ap.add_argument("-j", dest="jobs", type=int, default=os.cpu_count(), help="tests beside each other (all cores)")
    ap.add_argument("--factor", type=float, default=10, help="time limit of a test: 60 s and so many times its own (10)")
    o = ap.parse_args()
    slots = []
    for some in (o.slots or "1-%d" % o.n).split(","):
        first, last = (int(w) for w in (some.split("-") * 2)[:2])
        slots += range(first - 1, last)
    if o.list:
        copy_source(o.commit)
        RELEASE.configure()
        layers = sources()
        for slot in slots:
            m = ranked(layers, o.seed, slot)[0][0]
            say("%2d %-9s %s:%d\n   - %s\n   + %s" % (slot + 1, m["kind"], m["file"], m["line"], m["was"], m["is"]))
        return
    if not o.no_run:
        run_slots(o, slots)
    drawn, rows = last_list()
    if o.table:
        with open(o.table, "w") as f:
            f.write(table(drawn, rows))
    survived = sum(r["result"] == "survived" for r in rows)
    say("%d mutants, %d caught, %d survived" % (len(rows), len(rows) - survived, survived))


if __name__ == "__main__":
    main()
