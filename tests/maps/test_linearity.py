import re

import numpy as np
import pytest

from bigsf.maps.linearity import why_not_linear


@pytest.mark.parametrize(
    ("values", "unit", "why"),
    [
        ([1.0, 2, 3, 4, 50], "cm-2", ""),
        ([0.0, 0, 0, 0, 5], "K", ""),
        ([-5.0, -4, -3, -2, -1], "K", ""),
        (
            [21.0, 21.5, 21.5, 21.5, 22],
            "",
            r"the values of this map vary by only 0\.\d+ around 21\.5, as those of a logarithm do",
        ),
        ([1.0, 2, 3, 4, 50], "log10(cm-2)", r"the unit of this map is log10\(cm-2\)"),
        ([-2.0, -1, 1, 2], "K", "50% of the valid pixels of this map are negative and 50% are positive"),
    ],
)
def test_a_map_is_linear_and_of_one_sign_or_it_is_said_why_not(values: list[float], unit: str, why: str) -> None:
    found = why_not_linear(np.array(values), unit, 0.05)
    assert re.fullmatch(why, found)
