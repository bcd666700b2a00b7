from kills import kill_commands


def test_what_was_killed_works_again_and_ends_as_if_undisturbed() -> None:
    names = ["preprocess", "split --overwrite", "mosaic", "segment --overwrite", "train", "resume, 2 processes"]
    assert sum(kill_commands(12, 1, names).values()) >= 12
