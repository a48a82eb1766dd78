import pytest

from worker import cli

COMMANDS = (
    ("dead", "show"), ("dead", "list", "--id"), ("dead", "redrive", "--id"), ("dead", "discard", "--id"),
    ("archive", "list", "--since", "1h", "--invoice"), ("archive", "replay", "--since", "1h", "--invoice"), ("trace",),
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("empty", ["", "  "], ids=["empty", "blank"])
def test_an_empty_id_is_wrong_usage(command: tuple[str, ...], empty: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It would mean every event that has none: the command ends with 2 before it asks anybody."""
    with pytest.raises(SystemExit) as ended:
        cli.main([*command, empty])
    assert ended.value.code == 2
    assert "is empty" in capsys.readouterr().err
