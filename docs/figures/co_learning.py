"""Draw the co-learning network, at training and at prediction.

``python docs/figures/co_learning.py`` writes docs/images/co_learning.png. It is narrow
and in large type, to be read on a phone too; the hues are of Okabe and Ito's palette,
and every box and term is told by its text as well.
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch

IMAGE = Path(__file__).parents[1] / "images" / "co_learning.png"
WIDTH, HEIGHT = 7.2, 10.25  # inches, and the unit of all coordinates below

INK, QUIET = "#222222", "#8a8a8a"
S1, S2, SHARED, TEACHER = "#0072B2", "#B34700", "#00785A", "#7A3E6B"
TINT = {
    S1: "#d6e9f5",
    S2: "#fbe3d2",
    SHARED: "#d3efe5",
    TEACHER: "#f0dfeb",
    QUIET: "#f2f2f2",
    INK: "#ffffff",
}


def box(ax, x, y, text, colour, width, height=0.46, *, lift=0.0):
    """Draw a box around (x, y), its text higher by `lift`."""
    ax.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - height / 2),
            width,
            height,
            boxstyle="round,pad=0,rounding_size=0.09",
            facecolor=TINT[colour],
            edgecolor=colour,
            linewidth=1.6,
        )
    )
    ax.text(x, y + lift, text, ha="center", va="center", size=12, color=INK)


def arrow(ax, start, end, colour=INK, style="-|>", width=1.6, **changes):
    """Draw an arrow between two points."""
    ax.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle=style,
            mutation_scale=13,
            color=colour,
            linewidth=width,
            shrinkA=0,
            shrinkB=0,
            joinstyle="miter",
            **changes,
        )
    )


def badge(ax, x, y, number):
    """Draw the number of a term."""
    ax.add_patch(
        Circle((x, y), 0.15, facecolor=INK, edgecolor="white", lw=1.4, zorder=5)
    )
    ax.text(
        x,
        y - 0.008,
        number,
        ha="center",
        va="center_baseline",
        size=11,
        weight="bold",
        color="white",
        zorder=6,
    )


def series(ax, x, y, colour, phase):
    """Draw a small time series, the input of a modality."""
    box(ax, x, y, "", colour, 1.9, 0.56)
    steps = np.linspace(0, 1, 12)
    ax.plot(
        x + 0.12 + 0.66 * steps,
        y + 0.13 * np.sin(7 * steps + phase) + 0.05 * np.cos(17 * steps),
        "o-",
        color=colour,
        markersize=3,
        linewidth=1.2,
    )


def training(ax, top):
    """Draw the network of two modalities and the five terms, from `top` downwards."""
    ax.text(0.15, top, "Training: all sensors", size=15, weight="bold", color=INK)
    inputs, encoders, made, joint, heads, answers = (
        top - d for d in (0.55, 1.42, 2.37, 3.05, 3.75, 4.55)
    )
    places = {  # mirrored, so that the shared representations are neighbours
        "S1": {"unused": 0.66, "specific": 1.76, "shared": 2.86},
        "S2": {"unused": 6.54, "specific": 5.44, "shared": 4.34},
    }
    for (name, place), colour, sign, phase in zip(
        places.items(), (S1, S2), (1, -1), (0.3, 2.2), strict=True
    ):
        unused, specific, shared = place.values()
        unique = (unused + specific) / 2
        series(ax, specific, inputs, colour, phase)
        ax.text(
            specific - 0.4,
            inputs,
            name,
            ha="center",
            va="center",
            size=13,
            weight="bold",
            color=colour,
        )
        box(ax, unique, encoders, "unique\nencoder", colour, 1.5, 0.62)
        box(ax, shared, encoders, "common\nencoder", colour, 1.02, 0.62)
        for x in (unique, shared):
            arrow(
                ax,
                (specific + 0.5 * (x - specific), inputs - 0.28),
                (x, encoders + 0.31),
            )
        box(ax, unused, made, "unused", QUIET, 1.0, 0.62, lift=0.1)
        box(ax, specific, made, "specific", colour, 1.0, 0.62, lift=0.1)
        box(ax, shared, made, "shared", SHARED, 1.0, 0.62, lift=0.1)
        for x in (unused, specific):
            arrow(ax, (unique + 0.55 * (x - unique), encoders - 0.31), (x, made + 0.31))
        arrow(ax, (shared, encoders - 0.31), (shared, made + 0.31))
        badge(ax, unused - 0.42 * sign, made - 0.29, "4")
        badge(ax, specific - 0.42 * sign, made - 0.29, "4")
        badge(ax, specific - 0.09 * sign, made - 0.29, "2")
        badge(ax, shared - 0.42 * sign, made - 0.29, "2")

        # specific and shared side by side: what heads and teacher see
        ends = sorted((specific - 0.5 * sign, shared + 0.5 * sign))
        ax.plot(ends, [joint, joint], color=INK, linewidth=3, solid_capstyle="butt")
        for x in (specific + 0.3 * sign, shared + 0.2 * sign):
            ax.plot([x, x], [made - 0.31, joint], color=INK, linewidth=1.6)
        head = specific - 0.25 * sign
        box(ax, head, heads, f"{name}'s head", colour, 1.4)
        arrow(ax, (head, joint), (head, heads + 0.23))
        arrow(
            ax,
            (shared + 0.25 * sign, joint),
            (3.6 - 0.35 * sign, heads + 0.23),
            TEACHER,
        )
        box(ax, head, answers, f"{name}'s answer", colour, 1.5)
        arrow(ax, (head, heads - 0.23), (head, answers + 0.23))
        badge(ax, head - 0.72 * sign, answers - 0.22, "1")
        arrow(
            ax,
            (3.6 - 0.62 * sign, answers),
            (head + 0.75 * sign, answers),
            TEACHER,
            linestyle=(0, (3, 2)),
        )
        badge(ax, (3.6 - 0.62 * sign + head + 0.75 * sign) / 2, answers + 0.24, "5")
    arrow(ax, (3.36, made), (3.84, made), SHARED, "<|-|>", 2)
    badge(ax, 3.6, made + 0.25, "3")
    box(ax, 3.6, heads, "teacher", TEACHER, 1.24)
    box(ax, 3.6, answers, "its answer", TEACHER, 1.24)
    arrow(ax, (3.6, heads - 0.23), (3.6, answers + 0.23), TEACHER)


def terms(ax, top):
    """Say in words what each numbered term asks for."""
    lines = [
        ("main", "the label, by each sensor's answer"),
        ("auxiliary", "the label, by each of these alone"),
        ("contrastive", "alike for one sample in both sensors"),
        ("discriminative", "which sensor it is, by each of these alone"),
        ("distillation", "the teacher's answer; the teacher learns the label"),
    ]
    ax.text(0.15, top, "What training asks for", size=15, weight="bold", color=INK)
    for i, (name, meaning) in enumerate(lines):
        y = top - 0.42 - 0.37 * i
        badge(ax, 0.35, y, str(i + 1))
        ax.text(0.62, y, name, va="center_baseline", size=12, weight="bold", color=INK)
        ax.text(2.2, y, meaning, va="center_baseline", size=12, color=INK)


def prediction(ax, top):
    """Draw what runs when S1 alone is there."""
    ax.text(0.15, top, "Prediction: S1 alone", size=15, weight="bold", color=INK)
    y = top - 0.88
    up, down = y + 0.36, y - 0.36
    box(ax, 0.62, y, "S1", S1, 0.7, 0.56)
    box(ax, 2.1, up, "unique\nencoder", S1, 1.16, 0.6)
    box(ax, 2.1, down, "common\nencoder", S1, 1.16, 0.6)
    box(ax, 3.68, up, "specific", S1, 1.06)
    box(ax, 3.68, down, "shared", SHARED, 1.06)
    box(ax, 5.12, y, "S1's\nhead", S1, 0.86, 0.66)
    box(ax, 6.5, y, "answer", S1, 0.98)
    for to in (up, down):
        arrow(ax, (0.97, y + 0.3 * (to - y)), (1.52, to))
        arrow(ax, (2.68, to), (3.15, to))
        arrow(ax, (4.21, to), (4.69, y + 0.35 * (to - y)))
    arrow(ax, (5.55, y), (6.01, y))


def draw():
    """Return the figure."""
    figure, ax = plt.subplots(figsize=(WIDTH, HEIGHT))
    figure.subplots_adjust(0, 0, 1, 1)
    ax.set(xlim=(0, WIDTH), ylim=(0, HEIGHT), aspect="equal")
    ax.axis("off")
    training(ax, HEIGHT - 0.4)
    terms(ax, HEIGHT - 5.78)
    prediction(ax, 1.82)
    return figure


if __name__ == "__main__":
    IMAGE.parent.mkdir(exist_ok=True)
    draw().savefig(IMAGE, dpi=180, facecolor="white", metadata={"Software": None})
