"""Line plots as SVG, with the spread over seeds as a band."""

import html
import math

COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555"]
WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 156, 40, 52


class Axis:
    def __init__(self, label, log=False, lo=None, hi=None, names=None):
        """names: {value: text} for ticks that are no plain numbers."""
        self.label, self.log, self.lo, self.hi, self.names = label, log, lo, hi, names

    def fit(self, values):
        lo = min(values) if self.lo is None else self.lo
        hi = max(values) if self.hi is None else self.hi
        if lo == hi:
            lo, hi = (lo / 2, hi * 2) if self.log and lo > 0 else (lo - 0.5, hi + 0.5)
        if not self.log and self.lo is None:
            lo -= 0.04 * (hi - lo)
        if not self.log and self.hi is None:
            hi += 0.04 * (hi - lo)
        self.lo, self.hi = lo, hi

    def at(self, value):
        """0 to 1."""
        if self.log:
            return math.log(value / self.lo) / math.log(self.hi / self.lo)
        return (value - self.lo) / (self.hi - self.lo)

    def ticks(self):
        if self.names:
            return [v for v in self.names if self.lo <= v <= self.hi]
        if self.log:
            return self.log_ticks()
        step = 10 ** math.floor(math.log10((self.hi - self.lo) / 4))
        step *= next(m for m in (1, 2, 5, 10) if (self.hi - self.lo) / (step * m) <= 6)
        first = math.ceil(self.lo / step)
        return [i * step for i in range(first, math.floor(self.hi / step + 1e-9) + 1)]

    def log_ticks(self):
        decades = range(math.floor(math.log10(self.lo)), math.ceil(math.log10(self.hi)) + 1)
        for multiples in ((1,), (1, 3), (1, 2, 5)):
            found = [m * 10.0**d for d in decades for m in multiples]
            found = [t for t in found if self.lo * 0.999 <= t <= self.hi * 1.001]
            if len(found) >= 3:
                break
        return found

    def text(self, value):
        if self.names:
            return self.names[value]
        for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
            if abs(value) >= size:
                size = 1e3 if unit == "k" else size
                return f"{value / size:g}{unit}" if value < 1e15 else f"{value:.0e}"
        return f"{value:.6g}"


class Plot:
    """Plot(title, x, y); line(...) for each series; write(path)."""

    def __init__(self, title, x, y, **axes):
        """x, y: labels. axes: x_log, y_log, x_lo, x_hi, x_names and the same for y."""
        of = lambda a: {k[2:]: v for k, v in axes.items() if k.startswith(a + "_")}
        self.title, self.x, self.y, self.series = title, Axis(x, **of("x")), Axis(y, **of("y")), []

    def line(self, name, points, dashed=False):
        """points: {x: [values]}; the line joins the means, the band covers the values."""
        points = {x: [v for v in vs if v is not None] for x, vs in points.items()}
        self.series.append((name, sorted((x, vs) for x, vs in points.items() if vs), dashed))

    def write(self, path):
        with open(path, "w", encoding="utf-8") as f:
            f.write(self.svg())

    def svg(self):
        series = [s for s in self.series if s[1]]
        self.width = WIDTH + max(0, round(44 + 6.5 * max([len(s[0]) for s in series], default=0)) - RIGHT)
        if not series:
            return self.frame([text(WIDTH / 2, HEIGHT / 2, "nothing measured yet", "middle")])
        self.x.fit([x for _, points, _ in series for x, _ in points])
        self.y.fit([v for _, points, _ in series for _, vs in points for v in vs])
        out = self.grid()
        for i, s in enumerate(series):
            out += self.drawn(COLOURS[i % len(COLOURS)], *s[1:])
        return self.frame(out + self.legend(series))

    def px(self, x):
        return LEFT + self.x.at(x) * (WIDTH - LEFT - RIGHT)

    def py(self, y):
        return HEIGHT - BOTTOM - self.y.at(y) * (HEIGHT - TOP - BOTTOM)

    def grid(self):
        out, bottom, right = [], HEIGHT - BOTTOM, WIDTH - RIGHT
        for t in self.x.ticks():
            out.append(rule(self.px(t), TOP, self.px(t), bottom))
            out.append(text(self.px(t), bottom + 18, self.x.text(t), "middle"))
        for t in self.y.ticks():
            out.append(rule(LEFT, self.py(t), right, self.py(t)))
            out.append(text(LEFT - 8, self.py(t) + 4, self.y.text(t), "end"))
        out.append(text((LEFT + right) / 2, HEIGHT - 12, self.x.label, "middle"))
        out.append(f'<g transform="translate(16 {(TOP + bottom) / 2:.1f}) rotate(-90)">'
                   f'{text(0, 0, self.y.label, "middle")}</g>')
        return out

    def drawn(self, colour, points, dashed):
        to_y = lambda v: self.py(min(max(v, self.y.lo), self.y.hi))
        places = [(self.px(x), to_y(sum(vs) / len(vs)), to_y(min(vs)), to_y(max(vs)))
                  for x, vs in points]
        band = [(x, hi) for x, _, _, hi in places] + [(x, lo) for x, _, lo, _ in reversed(places)]
        dash = ' stroke-dasharray="6 4"' if dashed else ""
        out = [f'<polygon points="{joined(band)}" fill="{colour}" opacity="0.18"/>',
               f'<polyline points="{joined([p[:2] for p in places])}" fill="none" '
               f'stroke="{colour}" stroke-width="2"{dash}/>']
        if len(places) <= 12:
            out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>'
                    for x, y, _, _ in places]
        return out

    def legend(self, series):
        out = []
        for i, (name, _, dashed) in enumerate(series):
            y, x = TOP + 8 + 20 * i, WIDTH - RIGHT + 12
            dash = ' stroke-dasharray="6 4"' if dashed else ""
            out.append(f'<line x1="{x}" y1="{y}" x2="{x + 20}" y2="{y}" stroke-width="3" '
                       f'stroke="{COLOURS[i % len(COLOURS)]}"{dash}/>')
            out.append(text(x + 26, y + 4, name, "start"))
        return out

    def frame(self, parts):
        head = (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {HEIGHT}" '
                'font-family="sans-serif" font-size="12" fill="#222">')
        title = f'<text x="{LEFT}" y="24" font-size="14">{html.escape(self.title)}</text>'
        paper = f'<rect width="{self.width}" height="{HEIGHT}" fill="#fff"/>'
        return "\n".join([head, paper, title, *parts, "</svg>"]) + "\n"


def joined(points):
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def rule(x1, y1, x2, y2):
    return (f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
            'stroke="#ddd"/>')


def text(x, y, words, anchor):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(words)}</text>'
