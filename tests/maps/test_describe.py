from pathlib import Path

import numpy as np
from astropy.io import fits

from bigsf.maps.describe import describe_file


def test_each_image_has_a_line_and_the_blank_value_is_of_the_map_alone(tmp_path: Path) -> None:
    path = tmp_path / "map.fits"
    image, mask = np.array([[0, 2, 3, 4]], np.float32), np.array([[0, 0, 0, 1]], np.uint8)
    fits.HDUList([fits.PrimaryHDU(image), fits.ImageHDU(mask, name="TARGET")]).writeto(path)
    facts = "no BUNIT, no celestial WCS"
    images = describe_file(path, blank=0)
    assert [image.kind for image in images] == ["map", "mask"]
    assert [image.text for image in images] == [
        f"map.fits[0] 4 x 1 pixels (x, y), float32, {facts}, 75.0% finite, 2 to 4",
        f"map.fits[1] TARGET: 4 x 1 pixels (x, y), uint8, {facts}, 100.0% finite, a mask: 25.0% are 1",
    ]
