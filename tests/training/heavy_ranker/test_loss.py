import math

import pytest
import torch

from training.heavy_ranker.loss import MultiTaskLoss


def test_it_is_the_mean_over_tasks_of_means_by_weight_of_known_labels() -> None:
    logits = torch.tensor([[0.0, 2.0], [1.0, -1.0], [-3.0, 5.0]], requires_grad=True)
    labels = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    mask = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    weights = torch.tensor([1.0, 3.0, 2.0])
    loss, tasks = MultiTaskLoss()(logits, labels, mask, weights)

    def cost(logit: float, label: float) -> float:
        return math.log1p(math.exp(-logit if label else logit))

    first = (cost(0, 1) + 3 * cost(1, 0)) / 4
    second = (cost(2, 0) + 2 * cost(5, 0)) / 3
    assert tasks.tolist() == pytest.approx([first, second])
    assert float(loss.detach()) == pytest.approx((first + second) / 2)
    assert not tasks.requires_grad
    loss.backward()
    assert logits.grad is not None
    assert float(logits.grad[0, 0]) == pytest.approx((0.5 - 1) / 4 / 2)


def test_scales_say_what_a_task_counts() -> None:
    loss, plain = MultiTaskLoss(), MultiTaskLoss()
    loss.scales = torch.tensor([0.5, 4.0])
    given = torch.zeros(3, 2), torch.ones(3, 2), torch.ones(3, 2), torch.ones(3)
    assert float(loss(*given)[0]) == pytest.approx(2.25 * math.log(2))
    # What is told of each task stays its cross entropy.
    torch.testing.assert_close(loss(*given)[1], plain(*given)[1])
    assert not loss.state_dict()


def test_a_label_that_is_not_known_gives_no_gradient_whatever_it_is() -> None:
    logits = torch.randn(6, 3, requires_grad=True)
    mask = torch.ones(6, 3)
    mask[2, 1], mask[:, 2] = 0, 0
    for label in (0.0, 1.0):
        logits.grad = None
        loss, tasks = MultiTaskLoss()(logits, torch.full((6, 3), label), mask, torch.ones(6))
        loss.backward()
        assert logits.grad is not None
        assert ((logits.grad == 0) == (mask == 0)).all()
        assert float(tasks[2]) == 0
        assert loss.isfinite()
