"""What a model can be told of a person: reading, coding, and the effects of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from napari_normative.core.condition import Covariates
from napari_normative.core.config import VAEConfig
from napari_normative.core.covariate_effects import linear_effects
from napari_normative.core.vae import VAE
from napari_normative.errors import ModelFileError

COLUMNS = {"age": [20.0, 40.0, 60.0, None], "sex": ["F", "F", "F", "M"]}
KNOWN = Covariates.of(("age", "sex"), COLUMNS)


def network(**changes) -> VAE:
    """Return a small network that is told age and sex."""
    torch.manual_seed(0)
    config = {
        "shape": (8, 8, 8), "stem": 2, "widths": (8, 8), "bottleneck": 4, "latent_size": 3,
        "condition": KNOWN.each, **changes,
    }  # fmt: skip
    return VAE(VAEConfig(**config)).eval()


def test_a_person_becomes_deviations_from_the_average_and_what_is_known() -> None:
    sd = np.std([20, 40, 60])
    np.testing.assert_allclose(
        KNOWN.code({"age": 60.0, "sex": "M"}), [20 / sd, 1, -0.75, 0.75, 1], rtol=1e-6
    )


def test_unknown_is_not_average() -> None:
    average = KNOWN.code({"age": 40.0})
    assert average[:2].tolist() == [0, 1]
    assert KNOWN.code({}).tolist() == [0] * 5


def test_cells_are_read_as_a_table_has_them() -> None:
    assert KNOWN.read({"age": " 71.5 ", "sex": "F"}) == {"age": 71.5, "sex": "F"}
    assert KNOWN.read({"age": "n/a", "sex": ""}) == {}
    assert KNOWN.read({"sex": "M", "age": 30}) == KNOWN.read({"age": "30", "sex": "M"})


@pytest.mark.parametrize(
    ("given", "code", "says"),
    [
        ({"height": 180}, "MOD-070", "age (20 to 60), sex (F, M)"),
        ({"age": "old"}, "MOD-071", "no number"),
        ({"age": "nan"}, "MOD-071", "no number"),
        ({"sex": "f"}, "MOD-071", "Choose among F, M."),
    ],
)
def test_what_a_model_does_not_know_is_refused_with_what_it_knows(given, code, says) -> None:
    with pytest.raises(ModelFileError) as caught:
        KNOWN.read(given)
    assert caught.value.code == code
    assert says in str(caught.value)


def test_a_row_of_a_table_may_say_more_and_stranger_things() -> None:
    row = {"path": "a.nii", "age": "33", "sex": "X", "height": "180"}
    assert KNOWN.read_row(row) == {"age": 33.0}


def test_ages_beyond_the_training_people_are_taken_with_a_word_of_caution() -> None:
    assert KNOWN.cautions({"age": 60.0, "sex": "M"}) == ()
    (caution,) = KNOWN.cautions({"age": 90.0})
    assert "age 90 lies outside the training people's 20 to 60" in caution


def test_the_range_tells_nobodys_exact_age() -> None:
    (age,) = Covariates.of(["age"], {"age": [20.17, 44.0, 79.41]}).each
    assert (age.low, age.high) == (20, 80)


def test_effects_are_found_and_nothing_is_where_there_is_none() -> None:
    random = np.random.default_rng(0)
    codes = random.standard_normal((60, 2)).astype(np.float32)
    codes[:, 1] *= 0.1  # a column of a rare group is small and no less true
    true = np.array([[2, 0, 0, 0], [0, 30, 0, 0]], np.float32)
    images = codes @ true + 0.3 * random.standard_normal((60, 4)).astype(np.float32)
    np.testing.assert_allclose(linear_effects(images, codes), true, atol=1.2)
    noise = random.standard_normal((60, 4)).astype(np.float32)
    assert np.abs(linear_effects(noise, codes)[0]).max() < 0.15


def test_an_effect_that_helps_nobody_left_out_is_zero() -> None:
    codes = np.array([[1], [-1], [1], [-1]], np.float32)
    images = np.array([[1], [1], [-1], [-1]], np.float32)
    assert linear_effects(images, codes).tolist() == [[0.0]]


def test_a_network_that_is_told_nothing_expects_the_mean_image() -> None:
    told = network()
    told.mean_image.fill_(0.7)
    told.condition.effects[0] = 0.1
    assert torch.equal(told.expected(), told.mean_image[None])
    older = told.given(torch.from_numpy(KNOWN.code({"age": 60.0})))
    step = 20 / float(np.std([20, 40, 60])) * 0.1
    torch.testing.assert_close(older.expected(), told.mean_image[None] + step)


def test_telling_shares_the_weights_and_leaves_the_network_as_it_was() -> None:
    told = network()
    twin = told.given(torch.ones(5))
    assert twin.decoder is told.decoder
    assert twin.condition.to_cells is told.condition.to_cells
    assert told.condition.bound.abs().sum() == 0
    assert list(told.state_dict()) == list(twin.state_dict())
    assert not any("bound" in name for name in told.state_dict())


def test_a_batch_of_people_is_told_apart() -> None:
    told = network()
    told.condition.effects.normal_()
    for layer in (told.condition.to_latent, told.condition.to_cells):
        torch.nn.init.normal_(layer.weight)
    x, codes = torch.rand(3, 1, 8, 8, 8), torch.randn(3, 5)
    together = told.given(codes).reconstruct(x)
    alone = [
        told.given(code).reconstruct(image[None]) for code, image in zip(codes, x, strict=True)
    ]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-4)
    assert (together - told.reconstruct(x)).abs().max() > 0.01


def test_gradients_reach_what_the_network_makes_of_the_code() -> None:
    told = network().train()
    twin = told.given(torch.ones(2, 5))
    torch.nn.init.normal_(told.decoder.layers[-1].weight)
    twin.decode(twin.encode(torch.rand(2, 1, 8, 8, 8)).mean).sum().backward()
    for layer in (told.condition.to_latent, told.condition.to_cells):
        assert layer.weight.grad.abs().sum() > 0


def test_networks_that_are_not_conditioned_stay_what_they_were() -> None:
    plain = network(condition=())
    assert plain.given(torch.zeros(0)) is plain
    assert not any("condition" in name for name in plain.state_dict())
    with pytest.raises(ValidationError, match="dense latent"):
        network(latent="spatial")
