from kills import torment


def test_a_command_that_was_killed_works_again_and_writes_the_same_files() -> None:
    assert sum(torment(kills=24, seed=1).values()) == 24
