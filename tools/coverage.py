#!/usr/bin/env python3
"""Lines and branches that the tests have run, by layer, from the counters of a build (preset `coverage`).

    tools/coverage.py BUILD [--page FILE] [--write-bar COMMIT]

src/kernels is left out: every path is tested against the reference as a whole, and this machine runs only some.
A branch counts once for each way it can go, so an assertion that holds has one of two. Fails when the whole is
below the bar, tools/coverage_bar.json, which --write-bar replaces by this build's figures.
"""
import argparse
import json
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BAR = os.path.join(ROOT, "tools", "coverage_bar.json")
KINDS = ("line", "branch")
N_LOWEST = 12


def objects(build):
    """Folders of library and program: what tests have of inline functions is not counted."""
    return [os.path.join(build, "CMakeFiles", name + ".dir") for name in ("rk_objects", "rk_selftest", "rwkv")
            if os.path.isdir(os.path.join(build, "CMakeFiles", name + ".dir"))]


def files(build, root):
    """{file of src/: {"line": (covered, total), "branch": ...}}"""
    done = subprocess.run(["gcovr", "-r", root, "--object-directory", build, "--filter", os.path.join(root, "src", ""),
                           "--exclude", os.path.join(root, "src", "kernels", ""), "--json-summary", "-", *objects(build)],
                          stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit("coverage.py: gcovr ended with status %d" % done.returncode)
    return {f["filename"]: {k: (f[k + "_covered"], f[k + "_total"]) for k in KINDS} for f in json.loads(done.stdout)["files"]}


def summed(rows):
    return {k: tuple(sum(r[k][i] for r in rows) for i in (0, 1)) for k in KINDS}


def layers(by_file):
    names = sorted({name.split("/")[1] for name in by_file})
    rows = {n: summed([r for name, r in by_file.items() if name.split("/")[1] == n]) for n in names}
    return dict(rows, all=summed(by_file.values()))


def percent(pair):
    return 100.0 * pair[0] / pair[1] if pair[1] else 100.0


def cell(pair):
    return "%.1f %%" % percent(pair) if pair else "-"


def page(by_file, bar):
    out = ["# Coverage", "", "Made by `make coverage` (`tools/coverage.py`); do not edit. Lines and branches that the tests run, "
           "without `src/kernels/`, gcc without optimisation. A branch counts once for each way it can go; an assertion that holds "
           "takes one of two. The bar is commit %s; below it `make coverage` fails." % bar["commit"], "",
           "| layer | lines | branches | lines, bar | branches, bar |", "| --- | --- | --- | --- | --- |"]
    for name, row in layers(by_file).items():
        before = bar["layers"].get(name, {})
        label = "**all**" if name == "all" else name
        out.append("| %s | %s | %s | %s | %s |" % (label, cell(row["line"]), cell(row["branch"]), cell(before.get("line")),
                                                  cell(before.get("branch"))))
    out += ["", "The files with the lowest share of branches:", "", "| file | lines | branches |", "| --- | --- | --- |"]
    lowest = sorted((n for n in by_file if by_file[n]["branch"][1]), key=lambda n: percent(by_file[n]["branch"]))[:N_LOWEST]
    out += ["| %s | %s | %s |" % (n, cell(by_file[n]["line"]), cell(by_file[n]["branch"])) for n in lowest]
    return "\n".join(out) + "\n"


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("build")
    ap.add_argument("--page", metavar="FILE", help="write the table")
    ap.add_argument("--write-bar", metavar="COMMIT", help="these figures are the bar from now on")
    ap.add_argument("--root", default=ROOT, help="of the sources that were built")
    o = ap.parse_args()
    by_file = files(os.path.abspath(o.build), os.path.abspath(o.root))
    all_ = layers(by_file)
    if o.write_bar:
        with open(BAR, "w") as f:
            json.dump({"commit": o.write_bar, "layers": all_}, f, indent=1)
            f.write("\n")
    with open(BAR) as f:
        bar = json.load(f)
    if o.page:
        with open(o.page, "w") as f:
            f.write(page(by_file, bar))
    print(page(by_file, bar))
    below = [k for k in KINDS if round(percent(all_["all"][k]), 1) < round(percent(bar["layers"]["all"][k]), 1)]
    if below:
        sys.exit("coverage.py: fewer %s than the bar" % " and ".join({"line": "lines", "branch": "branches"}[k] for k in below))


if __name__ == "__main__":
    main()
