import numpy as np
import pytest

from bigsf.filaments.designations import designations


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        ((332.1969, -0.1058), "G332.196-00.105"),
        ((332.196, -0.105), "G332.196-00.105"),  # as floating-point numbers, these are 332.19599999 and 0.10499999
        ((0.0004, -0.0004), "G000.000-00.000"),
        ((359.9999999, 0.0), "G000.000+00.000"),
        ((9.9999, 89.9999), "G009.999+89.999"),
        ((123.4567, 12.3456), "G123.456+12.345"),
    ],
)
def test_coordinates_are_truncated(position: tuple[float, float], expected: str) -> None:
    assert designations(np.array([position])) == [expected]


def test_the_prefix_stands_before() -> None:
    assert designations(np.array([[332.1969, -0.1058]]), "BSF") == ["BSF G332.196-00.105"]


def test_equal_positions_are_told_apart_by_letters() -> None:
    positions = np.array([[10.0001, 0], [10.0002, 0], [11, 0], [10.0003, 0]])
    assert designations(positions) == ["G010.000+00.000a", "G010.000+00.000b", "G011.000+00.000", "G010.000+00.000c"]
    many = designations(np.zeros((60, 2)))
    assert many[25:28] == ["G000.000+00.000z", "G000.000+00.000aa", "G000.000+00.000ab"]
    assert len(set(many)) == 60


def test_off_the_sky_there_is_none() -> None:
    assert designations(np.full((2, 2), np.nan), "BSF") == ["", ""]
    assert designations(np.empty((0, 2))) == []
