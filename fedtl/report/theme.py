"""How the report's pictures look: inline SVG in the colours of the page's light or dark theme.

Matplotlib draws with placeholder colours, one per role; each becomes a CSS variable of the page,
so one picture suits both themes. Text stays text: searchable, scalable, in the page's typeface.
"""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from typing import IO, TYPE_CHECKING, Any

from markupsafe import Markup

from fedtl.report.spots import Spot, title_of
from fedtl.wording import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# It tells of a folder for its fonts where there is no home; that is none of a user's concern.
logging.getLogger("matplotlib").setLevel(logging.ERROR)

INK, MUTED, LINE, SURFACE = "#0a0b01", "#0a0b02", "#0a0b03", "#0a0b04"
LOCAL, FEDERATED, CENTRALISED, HARMED = "#0a0b05", "#0a0b06", "#0a0b07", "#0a0b08"
PERSONAL = "#0a0b09"
CORRECTED = "#0a0b0a"
ZERO_SHOT = "#0a0b0b"
SERIES = tuple(f"#0a0b1{number}" for number in range(8))
"""Colours of things that have no role, told apart with any colour vision."""
_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    SURFACE: "var(--surface)",
    LOCAL: "var(--local)",
    FEDERATED: "var(--federated)",
    CENTRALISED: "var(--centralised)",
    HARMED: "var(--harmed)",
    PERSONAL: "var(--personal)",
    CORRECTED: "var(--corrected)",
    ZERO_SHOT: "var(--zero-shot)",
    **{colour: f"var(--series-{number})" for number, colour in enumerate(SERIES)},
}
WIDTH = 880.0
"""Width of the page's column in CSS pixels."""
NARROW = 320.0
"""Width of a section's inside on a telephone, in CSS pixels."""

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "svg.hashsalt": "fedtl",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 12,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 12,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "grid.color": LINE,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "legend.frameon": False,
    "legend.fontsize": 12,
}


@dataclass(frozen=True)
class Plot:
    """A picture, and a note on what it leaves out.

    Attributes:
        svg: An ``<svg>`` element with its text alternative.
        note: One sentence on what was left out or grouped; empty if nothing was.
    """

    svg: Markup
    note: str = ""


@dataclass(frozen=True)
class Drawing:
    """A figure in placeholder colours, for the page or for a file of its own.

    Attributes:
        figure: Drawn within :func:`themed`.
        alt: What it shows, in words.
        note: As of :class:`Plot`.
        spots: Texts that its parts show on a page.
    """

    figure: Figure
    alt: str
    note: str = ""
    spots: Sequence[Spot] = ()

    def plot(self, name: str) -> Plot:
        """Return it for the page, where ``name`` makes its identifiers unique."""
        with themed():
            return Plot(svg(self.figure, name, self.alt, spots=self.spots), self.note)

    def files(self) -> dict[str, bytes]:
        """Return it as files for a paper, by ``svg`` and ``pdf``, in the light theme's colours."""
        made = {}
        with themed():
            _paint(self.figure, _light_colours())
            for kind, undated in (("svg", "Date"), ("pdf", "CreationDate")):
                buffer = io.BytesIO()
                write_figure(self.figure, buffer, kind, [undated])
                made[kind] = buffer.getvalue()
        return made


def _light_colours() -> dict[str, str]:
    """Return the page's light colours by placeholder."""
    css = resources.files("fedtl.report").joinpath("report.css").read_text(encoding="utf-8")
    found: dict[str, str] = {}
    for name, colour in re.findall(r"(--[\w-]+): (#[0-9a-f]{6});", css):
        found.setdefault(f"var({name})", colour)  # the first block is the light theme's
    return {placeholder: found[variable] for placeholder, variable in _VARIABLES.items()}


def _paint(figure: Figure, colours: Mapping[str, str]) -> None:
    """Give every mark of a figure its true colour in place of a placeholder, opacity kept."""
    from matplotlib.colors import to_hex, to_rgba

    def painted(colour: Any) -> Any:
        try:
            *_, opacity = to_rgba(colour)
            return to_rgba(colours.get(to_hex(colour), colour), opacity)
        except ValueError:  # "auto", "none"
            return colour

    for artist in figure.findobj():
        for part in ("color", "facecolor", "edgecolor", "markerfacecolor", "markeredgecolor"):
            get, set_ = (getattr(artist, f"{verb}_{part}", None) for verb in ("get", "set"))
            if (
                get is None
                or set_ is None
                or (part == "color" and hasattr(artist, "get_facecolor"))
            ):
                continue
            now = get()
            many = hasattr(now, "ndim") and now.ndim == 2
            set_([painted(one) for one in now] if many else painted(now))


@contextmanager
def themed() -> Iterator[None]:
    """Give matplotlib the report's style while figures are made and written."""
    import matplotlib as mpl

    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # The browser, not matplotlib, draws the text, so its own font need not have the letters.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def figure_of(width: float, height: float) -> Figure:
    """Return a figure of a size in user units, one of which is a CSS pixel at full width."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width / 72, height / 72), dpi=72, layout="constrained")


def write_figure(
    figure: Figure, file: IO[str] | IO[bytes], kind: str, without: Sequence[str]
) -> None:
    """Write a figure; ``Figure.savefig`` writes the same bytes, but draws twice to lay out once.

    Args:
        figure: Drawn within :func:`themed`, which is still in force.
        file: Open for writing.
        kind: ``svg`` or ``pdf``.
        without: Metadata that are left out.
    """
    from matplotlib.backends.backend_pdf import FigureCanvasPdf
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    canvas: Any = {"svg": FigureCanvasSVG, "pdf": FigureCanvasPdf}[kind](figure)
    getattr(canvas, f"print_{kind}")(file, metadata=dict.fromkeys(without))


def svg(
    figure: Figure,
    name: str,
    alt: str,
    titles: Mapping[str, str] | None = None,
    spots: Sequence[Spot] = (),
) -> Markup:
    """Return the figure as an element that can stand in a page beside others.

    Args:
        figure: What to write.
        name: Makes its ids unique on the page.
        alt: What it shows, in words.
        titles: Text that a mark shows under the pointer, by the mark's ``gid``.
        spots: The same for parts that are not marks; later ones lie over earlier ones.
    """
    buffer = io.StringIO()
    write_figure(figure, buffer, "svg", ("Creator", "Date", "Format", "Type"))
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\b(id="|href="#|url\(#)', rf"\g<1>{name}-", text)
    told = {f"{name}-{gid}": title_of(title) for gid, title in (titles or {}).items()}
    text = re.sub(r'<g id="([^"]+)">', lambda found: f"{found[0]}{told.get(found[1], '')}", text)
    for placeholder, variable in _VARIABLES.items():
        text = text.replace(placeholder, variable)
    width = re.search(r'width="([\d.]+)pt"', text)
    assert width is not None
    opening = Markup('<svg role="img" aria-label="{}" style="--natural-width:{:.0f}px" ').format(
        printable(alt), float(width[1])
    )
    text = re.sub(r'\s(?:width|height)="[\d.]+pt"', "", text, count=2)
    text = text.removeprefix("<svg ").rstrip().removesuffix("</svg>")
    # Positions are known only now, as writing the figure lays it out.
    drawn = Markup("\n").join(spot.rectangle() for spot in spots)
    return opening + Markup(text) + drawn + Markup("</svg>")
