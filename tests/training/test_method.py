"""Each method is a choice of terms and strengths; what the params say reaches the terms that are this project's."""

import pytest

from compass_ops.params import load_params
from compass_ops.tend_sections import UpdateParams
from compass_ops.training.method import Method, method_of
from pipelines._code import ROOT


def params(method: str) -> UpdateParams:
    strengths = {
        "ewc_strength": 0.3, "replay_strength": 0.7, "replay_share": 0.125, "temperature": 3.0, "interpolations": [0.5],
    }  # fmt: skip
    return UpdateParams(**(load_params(ROOT / "params.yaml").update.model_dump() | strengths | {"method": method}))


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("naive", Method()),
        ("ewc", Method(ewc=0.3)),
        ("random_rehearsal", Method(replay=0.7, anchors="random", replay_share=0.125)),
        ("ecda_paper", Method(ewc=2.0, normalised=False, replay=0.1, replay_share=0.125)),
        ("ecda", Method(ewc=0.3, replay=0.7, replay_share=0.125, temperature=3.0, interpolations=(0.5,))),
        ("full_retrain", Method(from_parent=False)),
    ],
)
def test_a_method_is_its_terms(name: str, method: Method) -> None:
    assert method_of(params(name)) == method


def test_the_projects_own_is_the_default() -> None:
    assert load_params(ROOT / "params.yaml").update.method == "ecda"


def test_naive_has_no_term_but_the_tasks() -> None:
    naive = method_of(params("naive"))
    assert (naive.ewc, naive.replay, naive.from_parent, naive.interpolations) == (0.0, 0.0, True, (1.0,))
