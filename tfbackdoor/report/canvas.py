"""What all figures are drawn on, with Matplotlib, and how they are written."""

import contextlib
import io
import math
import pathlib
import warnings

# Okabe & Ito's colours, which the colour-blind tell apart, dark ones first.
PALETTE = (
    "#000000",
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
)
MARKS = ("o", "s", "^", "D", "v", "P", "X")
CELL_INCHES = 1.5
_DPI = 120


def grid(rows: int, columns: int, *, inches=None, **kwargs):
    """A figure and its axes `(rows, columns)`."""
    # Matplotlib takes a second to import: only where it is needed. Figures
    # without pyplot need no display and leave no global state.
    from matplotlib.figure import Figure

    inches = inches or (CELL_INCHES * columns, CELL_INCHES * rows + 0.3)
    figure = Figure(figsize=inches, dpi=_DPI, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **kwargs)


def panels(
    count: int, *, cell: tuple[float, float], margin=(0.0, 0.0), **kwargs
):
    """A figure and `count` axes in rows of at most 4.

    Args:
        count: int > 0.
        cell: `(width, height)` of each in inches.
        margin: `(width, height)` in inches beside all of them.
        **kwargs: of Matplotlib's `subplots`.
    """
    columns = min(4, count)
    rows = math.ceil(count / columns)
    inches = [
        number * side + beside
        for number, side, beside in zip((columns, rows), cell, margin)
    ]
    figure, axes = grid(rows, columns, inches=inches, **kwargs)
    for axis in axes.flat[count:]:
        axis.set_visible(False)
    return figure, axes.flat[:count]


def hide_ticks(axis) -> None:
    """Takes the ticks off both sides of an axis."""
    axis.set_xticks([])
    axis.set_yticks([])


def set_title(axis, text: str) -> None:
    """Titles an axis with a name from outside, which is no formula."""
    text = "".join(x if x.isprintable() else "?" for x in text)
    axis.set_title(text, fontsize=8, parse_math=False)


def save(figure, path: str | pathlib.Path) -> None:
    """Writes a figure as the kind of picture that its name ends in."""
    with _unknown_letters_allowed():
        figure.savefig(path)


def to_svg(figure) -> str:
    """A figure as SVG, the same text for the same figure."""
    import matplotlib

    stream = io.StringIO()
    with (
        matplotlib.rc_context({"svg.hashsalt": "tfbackdoor"}),
        _unknown_letters_allowed(),
    ):
        figure.savefig(
            stream,
            format="svg",
            transparent=True,
            metadata={"Date": None, "Creator": None},
        )
    return stream.getvalue()


@contextlib.contextmanager
def _unknown_letters_allowed():
    """A context in which names may be of letters that the font lacks."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph ")
        yield
