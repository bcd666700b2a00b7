import csv
from pathlib import Path

from bigsf.trackers import CSVConfig, History, Tracker

ROWS: History = [{"epoch": 1, "lr": 0.01, "val_loss": 0.5}, {"epoch": 2, "lr": 0.01, "val_loss": float("nan")}]


def tracker_in(folder: Path) -> Tracker:
    return CSVConfig().build(folder, "run", {})


def read(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_row_an_epoch(tmp_path: Path) -> None:
    tracker = tracker_in(tmp_path)
    for n in (1, 2):
        tracker.write(ROWS[:n])
    tracker.close()
    assert read(tmp_path) == [{name: str(value) for name, value in row.items()} for row in ROWS]


def test_numbers_are_written_in_full(tmp_path: Path) -> None:
    tracker_in(tmp_path).write([{"epoch": 1, "val_loss": 1 / 3}])
    assert float(read(tmp_path)[0]["val_loss"]) == 1 / 3


def test_a_resumed_run_keeps_the_rows_it_starts_from_and_no_later_ones(tmp_path: Path) -> None:
    tracker_in(tmp_path).write(ROWS)
    tracker_in(tmp_path).write(ROWS[:1])
    assert [row["epoch"] for row in read(tmp_path)] == ["1"]


def test_no_rows_yet_is_an_empty_file(tmp_path: Path) -> None:
    tracker_in(tmp_path).write([])
    assert read(tmp_path) == []
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]
