import sys
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

from bigsf.filaments.catalogue import AT_A_TIME
from conftest import Sky
from programs import run_program


def test_two_processes_write_what_one_writes(trained: Path, sky: Sky, tmp_path: Path) -> None:
    """The map is higher than a tile, so that each process predicts one."""
    image = np.tile(1.1 * sky.image[:, :48], (12, 3)).astype(np.float32)
    fits.PrimaryHDU(image, sky.header).writeto(tmp_path / "map.fits")
    command = [
        "-m",
        "bigsf",
        "segment",
        trained,
        tmp_path / "map.fits",
        "--device",
        "cpu",
        "--products",
        "mask,skeleton,labels,catalog,regions,spines,moc",
    ]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    for name, launcher in (("one", []), ("two", torchrun)):
        done = run_program([sys.executable, *launcher, *command, "-o", tmp_path / f"{name}.fits"])
        assert done.returncode == 0, done.stderr
    assert done.stdout.count("filaments, the 8-connected components") == 1, "one process speaks"
    for hdu in ("PRIMARY", "MASK", "SKELETON", "LABELS"):
        one, two = (fits.getdata(tmp_path / f"{name}.fits", hdu) for name in ("one", "two"))
        np.testing.assert_array_equal(one, two)
    tables = [Table.read(tmp_path / f"{name}.ecsv") for name in ("one", "two")]
    assert len(tables[0]) > AT_A_TIME, "each process measures the lines of some"
    for ending in (".reg", "_spines.reg", "_spines.ecsv", "_branches.ecsv", "_hubs.ecsv", ".moc.fits"):
        one, two = ((tmp_path / f"{name}{ending}").read_bytes() for name in ("one", "two"))
        assert one == two, ending
    assert {path.name.partition(".")[0] for path in tmp_path.iterdir()} <= {
        "map",
        *(f"{name}{part}" for name in ("one", "two") for part in ("", "_spines", "_branches", "_hubs")),
    }
    assert all((tables[0][name] == tables[1][name]).all() for name in ("x", "y", "mean", "length_px"))
