"""Log-spaced ranks."""

from landscope.directions.ranks import log_spaced_ranks


def test_log_spaced_ranks():
    assert log_spaced_ranks(5).tolist() == [1, 2, 3, 4, 5]
    assert log_spaced_ranks(500, 100, 2)[[0, -1]].tolist() == [2, 500]
    assert 100 <= len(log_spaced_ranks(500, 100, 2)) <= 102
    assert log_spaced_ranks(7, 100, 3).tolist() == [3, 4, 5, 6, 7]
