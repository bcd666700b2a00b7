import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bigsf.maps.subsampled import SubsampledPlanes


@given(ny=st.integers(1, 30), nx=st.integers(1, 30), edges_in=st.sets(st.integers(1, 29)), most=st.integers(1, 1000))
def test_subsampled_planes_are_every_nth_pixel_however_the_rows_come(
    ny: int, nx: int, edges_in: set[int], most: int
) -> None:
    plane = np.arange(ny * nx, dtype=np.float32).reshape(ny, nx)
    subsampled = SubsampledPlanes((ny, nx), most)
    edges = [0, *sorted(edge for edge in edges_in if edge < ny), ny]
    for y0, y1 in zip(edges, edges[1:], strict=False):  # noqa: RUF007
        subsampled.add(y0, image=plane[y0:y1])
        subsampled.add_masks(y0, lines=plane[y0:y1] % 7 == 3)
    marked = np.argwhere(plane % 7 == 3) // subsampled.step
    expected = np.zeros(subsampled.plane("image").shape, np.bool_)
    expected[tuple(marked.T)] = True
    np.testing.assert_array_equal(subsampled.plane("lines"), expected)
    small = subsampled.plane("image")
    np.testing.assert_array_equal(small, plane[:: subsampled.step, :: subsampled.step])
    assert small.size <= most
    assert subsampled.step == 1 or plane[:: subsampled.step - 1, :: subsampled.step - 1].size > most
