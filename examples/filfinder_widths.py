"""Measure the widths of the filaments of a segmented map with FilFinder (Koch & Rosolowsky 2015).

pip install fil_finder
bigsf segment higal-small map.fits --products mask,skeleton
python examples/filfinder_widths.py map.fits map_segmented.fits
"""

import sys
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.table import Table
from fil_finder import FilFinder2D

vars(np).setdefault("in1d", np.isin)  # FilFinder 1.8 calls np.in1d, which numpy 2.4 has no more


def widths(image: Path, segmented: Path) -> Table:
    """Return length and width of the filaments longer than 10 pixels.

    Widths are full widths at half maximum in pixels, NaN where no profile fits. The beam is not taken out of them.
    """
    with fits.open(image) as map_hdus, fits.open(segmented) as hdus:
        level, header = map_hdus[0].data.astype(float), map_hdus[0].header
        mask, skeleton = hdus["MASK"].data > 0, hdus["SKELETON"].data > 0
    finder = FilFinder2D(np.nan_to_num(level / np.nanmedian(level)), header=header, beamwidth=0 * u.pix, mask=mask)
    finder.preprocess_image(skip_flatten=True)
    finder.create_mask(use_existing_mask=True)
    finder.skeleton = skeleton  # for the skeleton of FilFinder itself: finder.medskel()
    finder.analyze_skeletons(skel_thresh=10 * u.pix, branch_thresh=5 * u.pix)
    finder.find_widths(max_dist=10 * u.pix)
    fwhm, error = finder.widths()
    table = Table([finder.lengths(), fwhm, error], names=["length", "fwhm", "fwhm_error"])
    return table[table["length"] > 10]


if __name__ == "__main__":
    widths(Path(sys.argv[1]), Path(sys.argv[2])).pprint_all()
