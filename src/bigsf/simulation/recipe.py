"""Parameters of a simulated map: column density, clouds, filaments, masks, noise."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """Parameters of a simulated map.

    The defaults define the science benchmark and are not to be tuned. A map lists all parameters by name in the HISTORY
    of its header.

    Examples
    --------
    >>> wide = bigsf.Recipe(width_px=(3, 12), noise=0.02)
    >>> bigsf.simulate_galaxy("wide.fits", 256, 128, seed=1, recipe=wide)
    PosixPath('wide.fits')
    """

    pixel_arcsec: float = 11.5
    """Side of a pixel in arcseconds, as in the Hi-GAL column density maps."""

    beam_arcsec: float = 23.0
    """Full width at half maximum (FWHM) of the beam in arcseconds."""

    disc_cm2: float = 1.8e22
    """Column density of the thin disc at b = 0, in cm^-2."""

    disc_scale_deg: float = 0.6
    """Scale height of the thin disc in degrees: it falls as sech^2(b / scale)."""

    diffuse_cm2: float = 2e21
    """Column density of the diffuse layer in cm^-2, the same at all latitudes."""

    cloud_index: float = 3.0
    """The power spectrum of the logarithm of the clouds falls as wavenumber**-index."""

    cloud_rms_64px: float = 0.15
    """Standard deviation of ln(N) of the octave of 64 pixels. It sets the amplitude of all octaves."""

    cloud_octaves: int = 9
    """Number of octaves of the clouds. Their lattices have spacings of 2, 4, ... 2**octaves pixels."""

    filaments_per_tile: float = 14.5
    """Mean number of filaments with their middle in a tile of 256 x 256 pixels; 14.5 cover a tenth of the map."""

    contrast: tuple[float, float] = (0.05, 3.0)
    """Range of the peak excess over the local background, in units of that background; log-uniform."""

    width_px: tuple[float, float] = (2.0, 6.0)
    """Range of the FWHM across a filament in pixels, as seen through the beam; uniform."""

    length_px: tuple[float, float] = (20.0, 200.0)
    """Range of the length of the main spine in pixels, without branches; log-uniform.

    At most 200, so that a filament with its branches reaches no further than into the next tile.
    """

    branch_every_px: float = 40.0
    """Mean length of spine per branch, in pixels."""

    hub_chance: float = 0.3
    """Probability of a hub where a branch leaves a filament that is bright enough for the catalogue."""

    hub_excess: tuple[float, float] = (1.0, 8.0)
    """Range of the peak excess of a hub over the local background, in units of that background; log-uniform."""

    target_contrast: float = 0.4
    """Contrast below which no filament is in the catalogue."""

    target_fraction: float = 0.8
    """Probability that a filament above that contrast is in the catalogue."""

    background_fraction: float = 0.1
    """Fraction of the pixels off the ground truth that are sure background.

    In each tile, these are the pixels of lowest column density relative to the latitude profile. Chosen from the whole
    map, they would all lie at the highest latitudes.
    """

    noise: float = 0.01
    """Standard deviation of the noise, as a fraction of the column density."""

    holes_per_tile: float = 0.4
    """Mean number of elliptical holes in a tile."""

    hole_px: tuple[float, float] = (4.0, 20.0)
    """Range of the semi-axes of a hole in pixels; uniform."""

    border_px: float = 12.0
    """Greatest depth of the ragged border in pixels."""


BENCHMARK = Recipe()
