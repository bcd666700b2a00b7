from torture import torture


def test_killed_runs_end_as_if_nothing_had_happened() -> None:
    tallies = torture(kills=6, seed=3, epochs=3)
    assert sum(tally.kills for tally in tallies.values()) == 6
