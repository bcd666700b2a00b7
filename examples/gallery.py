"""Draw the filaments of a segmented map on the map, as one would show them in a talk.

    python examples/gallery.py map.fits map_segmented.fits filaments.png

The ending of the figure is its format: .png, .pdf or .svg.
"""

import sys

import matplotlib.pyplot as plt

import bigsf


def main(image: str, segmented: str, output: str) -> None:
    axes = bigsf.plot.filaments(image, segmented, ids=12)
    axes.figure.set_size_inches(9, 6)
    axes.figure.savefig(output, dpi=100, bbox_inches="tight")
    plt.close(axes.figure)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
