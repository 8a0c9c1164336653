"""The bias of the background logit: the one that leaves what is true and nothing else."""

import numpy as np

from fake_network import BACKGROUND, OBJECT, constant_heads
from ssd_resnet34.contract import COCO, LEVELS
from ssd_resnet34.network.layout import parameter_shapes
from ssd_resnet34.training.scores import BIASES, best_bias, with_bias
from ssd_resnet34.vision.postprocess import postprocess


def test_a_bias_is_chosen_that_silences_false_alarms_and_keeps_the_objects() -> None:
    heads = constant_heads(COCO, [(9000, 1), (12000, 3)])
    (truth,) = postprocess(heads, score_threshold=0.3)
    # A false alarm two under the objects: 0.88 of probability at first.
    heads[0].reshape(81, -1)[7, 500] = OBJECT - 4
    (before,) = postprocess(heads, score_threshold=0.3)
    assert len(before) == 3
    bias, scores = best_bias([(heads, truth)])
    assert scores[bias] == 1
    assert scores[0] < 1
    shifted = [head.copy() for head in heads]
    for head, level in zip(shifted, LEVELS, strict=False):
        head[:, : level.anchors] += bias
    (after,) = postprocess(shifted, score_threshold=0.3)
    assert sorted(after.indices) == sorted(truth.indices)


def test_scores_that_are_right_already_are_left_nearly_alone() -> None:
    heads = constant_heads(COCO, [(9000, 1)])
    (truth,) = postprocess(heads, score_threshold=0.3)
    _, scores = best_bias([(heads, truth)])
    assert scores[0] == 1
    assert set(scores) == set(BIASES)
    assert max(BIASES) < OBJECT - BACKGROUND


def test_only_the_background_of_every_level_is_moved() -> None:
    state = {
        key: np.zeros(shape, np.float32)
        for key, shape in parameter_shapes(81).items()
        if key.startswith("conf")
    }
    made = with_bias(state, 1.5)
    for k, level in enumerate(LEVELS):
        moved = made[f"conf.{k}.bias"].reshape(81, level.anchors)
        assert (moved[0] == 1.5).all()
        assert not moved[1:].any()
    assert not state["conf.0.bias"].any()
