"""Means, spreads and Markdown tables."""


def mean(xs):
    return sum(xs) / len(xs)


def spread(xs):
    """Half the distance between the least and the most."""
    return (max(xs) - min(xs)) / 2


def with_spread(xs, form="{:.3f}"):
    """0.512 ± 0.004; one value stands alone, none is a dash."""
    xs = [x for x in xs if x is not None]
    if not xs:
        return "-"
    if len(xs) == 1:
        return form.format(xs[0])
    return f"{form.format(mean(xs))} ± {form.format(spread(xs))}"


def tokens_to(curves, share):
    """Thousands of tokens until a curve of shares is as high; those where it never is are left out."""
    return with_spread([next((tokens / 1e3 for tokens, x in curve if x >= share), None) for curve in curves], "{:.0f}")


def table(head, rows):
    """A Markdown table: the first column is text, the others are numbers."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1)] + rows
    return "\n".join("| " + " | ".join(str(c) for c in line) + " |" for line in lines) + "\n"
