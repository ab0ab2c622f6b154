#!/usr/bin/env python3
"""Break the code on purpose, one small change at a time, and see which test fails.

    tools/mutants.py [--seed 1] [-n 60] [--slots FIRST-LAST] [--list] [--table FILE]

A mutant is a copy of the source in which one operator, constant, bound or statement of src/ is changed. Slot i
of the list belongs to a layer and a kind of change, both in turn, so that a short list covers all of them;
file and place are drawn at random from the seed, the same for the same source. A mutant that does not compile,
or compiles to the same program, is drawn again. A mutant is caught when a test fails or exceeds its time
limit: tests of the layer come first, quick ones before slow ones, and the first failure ends the run. What
survives all tests meets those of its layer and of the ones that see it most directly once more under the
address and undefined behaviour sanitizers, as in `make check-asan`.

What no test of this machine can see is not drawn: assertions, prefetching, the bound of a > b ? a : b, statements
that only give memory back, sources that this build does not compile.

Everything happens in build-mutants/: a copy of the files that git knows, built there. Results are kept in
build-mutants/results.json slot by slot, so that a run can be stopped and continued; --table writes the page
from them. Reasons for mutants that survive are read from tools/mutants_survivors.json.
"""
import argparse
import concurrent.futures
import hashlib
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WORK = os.path.join(ROOT, "build-mutants")
COPY = os.path.join(WORK, "source")
BUILD = os.path.join(WORK, "build")
SANITIZED = os.path.join(WORK, "asan")
RESULTS = os.path.join(WORK, "results.json")
REASONS = os.path.join(ROOT, "tools", "mutants_survivors.json")

# Labels of tests that see a layer most directly; its own comes first in any case.
NEAR = {"kernels": ["tensor"], "nn": ["tensor", "model"], "model": ["infer"], "format": ["io", "model"],
        "compress": ["tensor", "cli"], "tensor": ["model"], "tune": ["train"], "selftest": ["cli"]}
INCLUDED_BY_MAX = 8  # objects to compile again: headers that more of them include take too long
MEMORY_BYTES = 16 << 30
TRIES = 40


def say(text):
    print(text, flush=True)


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


# ---- the copy and its build

def run(*words, **more):
    return subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", **more)


def build(folder, *targets):
    return run("ninja", "-C", folder, *targets)


def configure(folder, *options):
    ccache = ["-DCMAKE_C_COMPILER_LAUNCHER=ccache"] if run("sh", "-c", "command -v ccache").returncode == 0 else []
    return run("cmake", "-S", COPY, "-B", folder, "-G", "Ninja", *options, *ccache)


def copy_file(name):
    """Only when it differs, so that little is built again."""
    there = os.path.join(COPY, name)
    with open(os.path.join(ROOT, name), "rb") as f:
        data = f.read()
    if os.path.exists(there):
        with open(there, "rb") as f:
            if f.read() == data:
                return
    os.makedirs(os.path.dirname(there), exist_ok=True)
    with open(there, "wb") as f:
        f.write(data)
    shutil.copymode(os.path.join(ROOT, name), there)


def prepare():
    known = {n for n in run("git", "-C", ROOT, "ls-files", "-z").stdout.split("\0") if os.path.isfile(os.path.join(ROOT, n))}
    for name in known - {""}:
        copy_file(name)
    for folder, _, names in os.walk(COPY):
        for path in (os.path.join(folder, n) for n in names):
            if os.path.relpath(path, COPY) not in known:
                os.remove(path)
    done = configure(BUILD, "-DCMAKE_BUILD_TYPE=Release")
    done = build(BUILD) if done.returncode == 0 else done
    if done.returncode == 0:
        done = configure(SANITIZED, "-DCMAKE_BUILD_TYPE=RelWithDebInfo", "-DRK_SANITIZE=address,undefined")
    if done.returncode:
        sys.exit("the copy does not build:\n" + done.stdout[-3000:])


def program_hash():
    h = hashlib.sha256()
    for name in ("librk.a", "rwkv"):
        with open(os.path.join(BUILD, name), "rb") as f:
            h.update(f.read())
    return h.hexdigest()


def sources():
    """{layer: [(file of src/, its code)]} of what this build compiles and few objects include."""
    deps = run("ninja", "-C", BUILD, "-t", "deps").stdout
    seen = {}
    for line in deps.splitlines():
        m = re.match(r"\s+(?:.*/)?(src/\w+/[\w/.]+)$", line)
        if m:
            seen[m.group(1)] = seen.get(m.group(1), 0) + 1
    layers = {}
    for path, n in sorted(seen.items()):
        with open(os.path.join(COPY, path)) as f:
            text = f.read()
        if n <= INCLUDED_BY_MAX:
            layers.setdefault(path.split("/")[1], []).append((path, text, code_only(text)))
    return layers


# ---- tests

def tests(folder):
    listing = json.loads(run("ctest", "--test-dir", folder, "--show-only=json-v1").stdout)
    found = []
    for t in listing["tests"]:
        p = {q["name"]: q["value"] for q in t["properties"]}
        command = t.get("command") or [os.path.join(folder, t["name"])]  # ctest knows none before it is built
        found.append({"name": t["name"], "command": command, "label": p.get("LABELS", [""])[0],
                      "env": dict(e.split("=", 1) for e in p.get("ENVIRONMENT", [])), "seconds": 0.0,
                      "limits": limits if folder == BUILD else None})  # sanitizers reserve terabytes
    return found


def limits():
    """Of a test: a mutant may ask for any amount of memory."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


class Runner:
    """Runs tests beside each other until one fails, and then ends those still running."""

    def __init__(self, jobs, factor):
        self.jobs, self.factor = jobs, factor
        self.running, self.failed = set(), None

    def one(self, test):
        if self.failed:
            return
        start, limit = time.time(), 60 + self.factor * test["seconds"]
        p = subprocess.Popen(test["command"], env=dict(os.environ, **test["env"]), stdout=subprocess.DEVNULL, cwd=BUILD,
                             stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=test["limits"])
        self.running.add(p)
        try:
            bad = "" if p.wait(limit) in (0, 77) else "fails"
        except subprocess.TimeoutExpired:
            bad = "exceeds its time limit"
        try:
            os.killpg(p.pid, signal.SIGKILL)  # what it started, too
        except ProcessLookupError:
            pass
        p.wait()
        self.running.discard(p)
        if bad and not self.failed:
            self.failed = "%s %s" % (test["name"], bad)
            for other in list(self.running):
                try:
                    os.killpg(other.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        elif not bad:
            test["took"] = time.time() - start

    def __call__(self, some):
        self.failed = None
        with concurrent.futures.ThreadPoolExecutor(self.jobs) as pool:
            list(pool.map(self.one, some))
        return self.failed


def stages(all_tests, layer):
    near = [layer] + NEAR.get(layer, [])
    quick = sorted(all_tests, key=lambda t: t["seconds"])
    own = [t for t in quick if t["label"] in near]
    return own, [t for t in quick if t not in own]


def executables(some):
    """Targets of the tests that are programs of the build folder, and what scripts start."""
    return [os.path.basename(t["command"][0]) for t in some if t["command"][0].startswith(WORK)] + ["rwkv"]


# ---- mutants

def draw(layers, seed, slot, attempt):
    """The mutant of a slot: (file, line, kind, text of the file, what was, what is)."""
    names = sorted(layers)
    turn, of_layer = divmod(slot, len(names))
    kind = list(KINDS)[(of_layer + turn) % len(KINDS)]
    rng = random.Random("%s-%d-%d" % (seed, slot, attempt))
    places = [(path, text, place) for path, text, code in layers[names[of_layer]] for place in KINDS[kind](code)]
    path, text, (lo, hi, new) = rng.choice(places)
    line = text.count("\n", 0, lo)
    changed = text[:lo] + new + text[hi:]
    return {"slot": slot, "layer": names[of_layer], "kind": kind, "file": path, "line": line + 1,
            "was": text.split("\n")[line].strip(), "is": changed.split("\n")[line].strip() or ";"}, text, changed


def write(path, text):
    with open(os.path.join(COPY, path), "w") as f:
        f.write(text)


def under_sanitizers(layer, seconds, runner):
    """The first test of the layer and those near it that fails."""
    near = stages(tests(SANITIZED), layer)[0]
    for t in near:
        t["seconds"] = 5 * seconds.get(t["name"], 0.0)
    near.sort(key=lambda t: t["seconds"])
    if build(SANITIZED, *executables(near)).returncode:
        return None
    by = runner(near)
    return by + ", sanitized" if by else None


def verdict(layer, original, all_tests, runner):
    done = build(BUILD, "rk_static", "rwkv")
    if done.returncode:
        return "does not build", None
    if program_hash() == original:
        return "the same program", None
    own, others = stages(all_tests, layer)
    for some in (own, others):
        done = build(BUILD, *executables(some)) if some is own else build(BUILD)
        if done.returncode:
            return "does not build", None
        by = runner(some)
        if by:
            return "caught", by
    by = under_sanitizers(layer, {t["name"]: t["seconds"] for t in all_tests}, runner)
    return ("caught", by) if by else ("survived", None)


def judge(mutant, text, changed, original, all_tests, runner):
    """The mutant with its result; the source is as before afterwards."""
    start = time.time()
    write(mutant["file"], changed)
    try:
        result, by = verdict(mutant["layer"], original, all_tests, runner)
    finally:
        write(mutant["file"], text)
    return dict(mutant, result=result, by=by, seconds=round(time.time() - start))


def once_more(mutant, original, all_tests, runner):
    """A mutant of an earlier run, in the source as it is now: None where its line is gone."""
    with open(os.path.join(COPY, mutant["file"])) as f:
        text = f.read()
    lines = text.split("\n")
    places = [i for i, line in enumerate(lines) if line.strip() == mutant["was"]]
    if not places:
        return None
    at = min(places, key=lambda i: abs(i + 1 - mutant["line"]))
    lines[at] = lines[at].replace(mutant["was"], mutant["is"])
    return judge(dict(mutant, line=at + 1), text, "\n".join(lines), original, all_tests, runner)


def slot_result(slot, o, layers, original, all_tests, runner):
    again = []
    for attempt in range(TRIES):
        mutant, text, changed = draw(layers, o.seed, slot, attempt)
        judged = judge(mutant, text, changed, original, all_tests, runner)
        if judged["result"] in ("caught", "survived"):
            return dict(judged, drawn_again=again)
        again.append(judged["result"])
    sys.exit("slot %d: nothing that builds in %d draws" % (slot, TRIES))


def load(path):
    if os.path.exists(path):
        with open(path) as f:
            return json.load(f)
    return {}


def measure_tests(all_tests, runner):
    """Seconds of each test of the code as it is, which has to pass."""
    known = load(os.path.join(WORK, "seconds.json"))
    for t in all_tests:
        t["seconds"] = known.get(t["name"], 0.0)
    if all(t["name"] in known for t in all_tests):
        return
    by = runner(all_tests)
    if by:
        sys.exit("before any change: %s" % by)
    for t in all_tests:
        t["seconds"] = t.get("took", 0.0)
    with open(os.path.join(WORK, "seconds.json"), "w") as f:
        json.dump({t["name"]: t["seconds"] for t in all_tests}, f)


def tell(r):
    say("%2d %-8s %-9s %s:%d  %s%s, %d s\n   - %s\n   + %s" %
        (r["slot"] + 1, r["layer"], r["kind"], r["file"], r["line"], r["result"], " by " + r["by"] if r["by"] else "",
         r["seconds"], r["was"], r["is"]))


def run_slots(o, slots):
    prepare()
    layers, all_tests, runner = sources(), tests(BUILD), Runner(o.jobs, o.factor)
    original = program_hash()
    measure_tests(all_tests, runner)
    results = {k: v for k, v in load(RESULTS).items() if v["seed"] == o.seed}
    commit = run("git", "-C", ROOT, "describe", "--always").stdout.strip()
    for slot in slots:
        last = results.get(str(slot))
        if last and not (o.survivors and last["result"] == "survived"):
            continue
        r = once_more(last, original, all_tests, runner) if last else slot_result(slot, o, layers, original, all_tests, runner)
        if not r:
            say("%2d the line is gone: %s" % (slot + 1, last["was"]))
            continue
        tell(r)
        results[str(slot)] = dict(r, seed=o.seed, commit=commit)
        with open(RESULTS, "w") as f:
            json.dump(results, f, indent=1)
    build(BUILD)
    return results


# ---- the page

def cell(code):
    return "`%s`" % code.replace("|", "\\|").replace("`", "'")


def table(results, seed):
    reasons = {(r["file"], r["was"], r["is"]): r["reason"] for r in load(REASONS).get("survivors", [])}
    rows = [results[k] for k in sorted(results, key=int)]
    caught = sum(r["result"] == "caught" for r in rows)
    again = [a for r in rows for a in r["drawn_again"]]
    commits = list(dict.fromkeys(r["commit"] for r in rows))
    out = ["# Mutants", "",
           "Made by `make mutants` (`tools/mutants.py`), which tells what is changed and how a list is drawn; do not edit.", "",
           "Seed %s, %d mutants of commit %s: **%d caught**, %d survived. Drawn again: %d that did not build, %d that "
           "compiled to the same program." % (seed, len(rows), ", ".join(commits), caught, len(rows) - caught,
                                              again.count("does not build"), again.count("the same program")), "",
           "| | layer | kind | place | was | became | result |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for r in rows:
        told = r["by"] if r["by"] else "**survived**: " + reasons.get((r["file"], r["was"], r["is"]), "not read yet")
        out.append("| %d | %s | %s | %s:%d | %s | %s | %s |" % (r["slot"] + 1, r["layer"], r["kind"], r["file"][4:], r["line"],
                                                             cell(r["was"]), cell(r["is"]), told))
    return "\n".join(out) + "\n"


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--seed", default="1", help="of the list (1)")
    ap.add_argument("-n", type=int, default=60, help="mutants (60)")
    ap.add_argument("--slots", help="only these, such as 1-12 or 7")
    ap.add_argument("--survivors", action="store_true", help="also those that survived, in the source as it is now")
    ap.add_argument("--list", action="store_true", help="print the first draw of each slot, run nothing")
    ap.add_argument("--no-run", action="store_true", help="only write the table of the results there are")
    ap.add_argument("--table", metavar="FILE", help="write the page")
    ap.add_argument("-j", dest="jobs", type=int, default=os.cpu_count(), help="tests beside each other (all cores)")
    ap.add_argument("--factor", type=float, default=10, help="time limit of a test: 60 s and so many times its own (10)")
    o = ap.parse_args()
    first, last = (int(w) for w in (o.slots.split("-") * 2)[:2]) if o.slots else (1, o.n)
    slots = range(first - 1, last)
    if o.list:
        prepare()
        layers = sources()
        for slot in slots:
            m = draw(layers, o.seed, slot, 0)[0]
            say("%2d %-9s %s:%d\n   - %s\n   + %s" % (slot + 1, m["kind"], m["file"], m["line"], m["was"], m["is"]))
        return
    results = load(RESULTS) if o.no_run else run_slots(o, slots)
    if o.table:
        with open(o.table, "w") as f:
            f.write(table(results, o.seed))
    survived = [r for r in results.values() if r["result"] == "survived"]
    say("%d mutants, %d caught, %d survived" % (len(results), len(results) - len(survived), len(survived)))


if __name__ == "__main__":
    main()
