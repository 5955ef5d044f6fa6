from studies import overhead


def test_the_time_over_a_bare_loop_is_a_ratio(anogan, monkeypatch, capsys):
    monkeypatch.setattr(overhead, "AnoGANDetector", anogan)
    argv = ["--rows", "200", "--columns", "3", "--pairs", "1"]
    assert overhead.main(argv) == 0
    assert "ratio: median" in capsys.readouterr().out
