"""Small matrices take one thread, and only while they are computed with."""

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from curation import explain, superpixels
from curation.explain import belief
from curation.kernel.blas import one_thread
from curation.kernel.detector import ScoreKind
from curation.kernel.types import ScoreTarget
from tests.tiny_ssd import tiny_ssd
from tests.toy import textured_image


def threads():
    return {entry["num_threads"] for entry in threadpool_info() if entry["user_api"] == "blas"}


def test_the_block_has_one_thread_and_what_was_set_comes_back():
    with threadpool_limits(2, user_api="blas"):
        with one_thread():
            assert threads() == {1}
        assert threads() == {2}
        with pytest.raises(ValueError, match="stop"), one_thread():
            raise ValueError("stop")
        assert threads() == {2}


def test_the_process_over_masks_is_computed_on_one_thread(monkeypatch):
    seen = []
    fit = belief.fit
    monkeypatch.setattr(belief, "fit", lambda *given: seen.append(threads()) or fit(*given))
    image = textured_image(5, 96, 96)
    segments = superpixels.slic(image, (96, 96), 20)
    explainer = explain.get("gp_shap", num_samples=40, kind=ScoreKind.LOG_ODDS)
    with threadpool_limits(2, user_api="blas"):
        explainer.explain(tiny_ssd(), image, [ScoreTarget(3, 1)], segments)
    assert seen == [{1}]
