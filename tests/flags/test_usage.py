from flags import definitions, usage


def test_help_shows_every_flag_under_its_area():
    text = usage.help_text()
    values = definitions.define_flags()
    shown = set()
    for name in values:
        if name in ("help", "helpshort", "helpfull", "helpxml", "?"):
            continue
        assert f"--{name}" in text
        shown.add(name)
    assert len(shown) > 60
    positions = [text.index(f"\n{area}:") for area in ("Run", *definitions.AREAS)]
    assert positions == sorted(positions)


def test_lines_fit_a_terminal():
    assert max(len(line) for line in usage.help_text().splitlines()) <= 100
