"""Axes: where values lie along them."""

from runner.report.scales import Linear, losses_scale


def test_losses_far_out_do_not_hide_the_others() -> None:
    scale = losses_scale([0.1, 0.11, 0.12, 0.13, 9.0])
    assert isinstance(scale, Linear)
    assert scale.high < 0.3
    assert scale.place(9.0) == 1.0
    assert losses_scale([0.5, 0.5]).low < 0.5 < losses_scale([0.5, 0.5]).high
