"""What every network shares: its planes in and out, and the normalization in front of it."""

from pydantic import PositiveInt

from bigsf.config import Config
from bigsf.models.normalizations import MinMaxConfig, NormalizationConfig


class NetworkConfig(Config):
    """The part common to all networks."""

    in_channels: PositiveInt = 1
    """Image planes of the patch file; checked against it."""

    out_channels: PositiveInt = 1
    """Planes of the answer; BigSF separates one class from the rest."""

    normalization: NormalizationConfig = MinMaxConfig()
    """From raw map values to the network's input."""

    @property
    def patch_multiple(self) -> int:
        """Patches must be a multiple of this many pixels."""
        return 1
