"""What objects say of themselves: sizes, priors, units, steps, ELBO, states; nothing is computed or drawn for it."""

from html.parser import HTMLParser
from textwrap import dedent

import numpy as np
import pytest
import torch
import xarray as xr
from pyro import distributions as dist
from pyro.nn import PyroSample
from torch import nn

import pyro_nld as nld


def said(text):
    return dedent(text).strip("\n")


SHORT = {
    "DoubleWell(barrier=3, half_distance=1, latent=1, stiffness=1)": lambda: nld.DoubleWell(),
    "NeuralPotential(latent=2, hidden=(8, 7)), 96 parameters": lambda: nld.NeuralPotential(2, hidden=(8, 7)),
    "Quadratic(stiffness=((1, 0), (0, 2)), centre=(0, 0))": lambda: nld.Quadratic([1.0, 2.0]),
    "GaussianWells(centres=((0, 1), (2, 3)), weights=(0.25, 0.75), widths=(0.3, 0.3), temperature=1)": (
        lambda: nld.GaussianWells([[0.0, 1.0], [2.0, 3.0]], [1.0, 3.0], 0.3)
    ),
    "IdentityDecoder(latent=2, standardise=True)": lambda: nld.IdentityDecoder(2, standardise=True),
    "LinearDecoder(latent=2, channels=4), 12 parameters": lambda: nld.LinearDecoder(2, 4),
    "GRUEncoder(channels=1, size=4, hidden=3, causal=True), 88 parameters": lambda: nld.GRUEncoder(1, 4, 3, True),
    "PathELBO(path_weight=0.5, path_stride=1)": lambda: nld.PathELBO(path_weight=0.5),
    "EulerMaruyama()": lambda: nld.EulerMaruyama(),
}


@pytest.mark.parametrize("expected", SHORT)
def test_what_has_a_few_numbers_says_them_in_a_line(expected):
    assert repr(SHORT[expected]()) == expected


def overdamped(**quantities):
    return nld.OverdampedLangevin(nld.DoubleWell(latent=2), **quantities)


QUANTITIES = {
    "= 0.7": lambda: 0.7,
    "= (0.5, 2)": lambda: torch.tensor([0.5, 2.0]),
    "~ LogNormal(0, 0.5)": lambda: dist.LogNormal(0.0, 0.5),
    "~ Gamma(2, 4) for each of 2": lambda: dist.Gamma(2.0, 4.0).expand([2]).to_event(1),
    "~ LogNormal((0, 1), 0.5) for each of 2": lambda: dist.LogNormal(torch.tensor([0.0, 1.0]), 0.5).to_event(1),
    "~ Uniform(0.5, 2)": lambda: dist.Uniform(0.5, 2.0),
    "~ HalfNormal(2)": lambda: dist.HalfNormal(2.0),
    "~ a law that depends on other quantities": lambda: PyroSample(lambda part: dist.LogNormal(part.temperature, 1.0)),
    "learned, now 0.7": lambda: nn.Parameter(torch.tensor(0.7)),
    "learned, now (1, 1)": lambda: None,
}


@pytest.mark.parametrize("expected", QUANTITIES)
def test_a_quantity_is_fixed_learned_or_has_a_prior(expected):
    assert repr(overdamped(friction=QUANTITIES[expected]())) == said(f"""
        OverdampedLangevin
          potential = DoubleWell(barrier=3, half_distance=1, latent=2, stiffness=1)
          temperature = 1 [energy]
          friction {expected} [energy·time/length²]
    """)


def test_many_numbers_are_told_by_their_range():
    fixed = nld.Gaussian(nld.LinearDecoder(2, 15), torch.linspace(0.1, 1, 15))
    assert repr(fixed).splitlines()[-1] == "  noise_scale = 15 numbers from 0.1 to 1 [the decoder's unit]"
    learned = nld.Gaussian(nld.LinearDecoder(2, 15))
    assert repr(learned).splitlines()[-1] == "  noise_scale learned, now 15 times 0.5 [the decoder's unit]"


def test_forces_without_a_landscape_are_told():
    force = nld.SumOfForces(nld.NeuralForce(1, hidden=(2,)), nld.NeuralForce(1, "momentum", hidden=(2,)))
    assert repr(nld.UnderdampedSDE(force)) == said("""
        UnderdampedSDE
          force = SumOfForces
            force 0 = NeuralForce(latent=1, sees='position', hidden=(2,)), 8 parameters
            force 1 = NeuralForce(latent=1, sees='momentum', hidden=(2,)), 7 parameters
          temperature = 1 [energy]
          friction = 1 [energy·time/length²]
          mass = 1 [energy·time²/length²]
    """)


class Ramp(nld.Potential):
    """A user's own, which knows nothing of all this."""

    def __init__(self, slope):
        super().__init__()
        self.latent, self.slope = 1, slope
        self.network = nn.Linear(1, 1)

    def forward(self, z):
        return self.slope * self.network(z).squeeze(-1)


def test_a_users_own_part_is_told_by_what_it_was_made_of():
    assert repr(Ramp(2.5)) == "Ramp(slope=2.5), 2 parameters"


def test_what_a_user_hands_in_takes_no_more_than_a_line():
    told = repr(Ramp(nn.Sequential(*(nn.Linear(1, 1) for _ in range(9)))))
    assert told.startswith("Ramp(slope=Sequential( (0): Linear(")
    assert len(told) < 120
    assert "\n" not in told


# Model, guide, fit

TIMES, X = torch.arange(0, 10, 0.5), torch.zeros(3, 20, 2)

MODEL = """
LatentLangevin
  dynamics = OverdampedLangevin
    potential = DoubleWell(barrier=3, half_distance=1, latent=2, stiffness=1)
    temperature ~ LogNormal(0, 0.5) [energy]
    friction = 1 [energy·time/length²]
  likelihood = Gaussian
    decoder = IdentityDecoder(latent=2, standardise=False)
    noise_scale = 0.3 [the decoder's unit]
  steps = 20 per observation interval, EulerMaruyama()
  start = normal
  time_unit {time_unit}
"""
GUIDE = """
AmortizedGuide
  encoder = GRUEncoder(channels=2, size=4, hidden=4, causal=False), 300 parameters
  control = AffineControl(hidden=5, coupled=None), 1250 parameters
  autoguide = AutoNormal of temperature
"""


def build():
    prior = overdamped(temperature=dist.LogNormal(0.0, 0.5))
    model = nld.LatentLangevin(prior, nld.Gaussian(nld.IdentityDecoder(2), 0.3), substeps=20)
    return model, nld.AmortizedGuide(model, nld.GRUEncoder(2, 4, 4), nld.AffineControl(hidden=5))


def met():
    """Model and guide that have met data."""
    model, guide = build()
    guide(TIMES.expand(3, -1), X)
    return model, guide


def history(steps=40):
    terms = {"log_likelihood": np.linspace(-2, -1, steps), "path_kl": np.full(steps, 0.25)}
    rest = dict.fromkeys(("initial_kl", "global_kl"), np.zeros(steps)) | {"seconds": np.linspace(0, 90, steps)}
    return xr.Dataset({name: ("step", values) for name, values in (terms | rest).items()})


def test_a_model_says_what_it_is_and_then_its_unit_of_time():
    model, guide = build()
    assert repr(model) == said(MODEL.format(time_unit="to be taken from the first data"))
    guide(TIMES.expand(3, -1), X)
    assert repr(model) == said(MODEL.format(time_unit="= 5 of the data's"))


def test_substeps_that_may_grow_say_so():
    model = nld.LatentLangevin(overdamped(), nld.Gaussian(nld.IdentityDecoder(2), 0.3), substeps="auto")
    expected = "  steps = 5 per observation interval, more where the landscape asks for it, EulerMaruyama()"
    assert expected in repr(model).splitlines()


def test_a_guide_says_of_what_it_holds_the_posterior():
    model, guide = build()
    assert repr(guide) == said(GUIDE)
    model.dynamics.friction = dist.LogNormal(0.0, 1.0)
    assert repr(guide).splitlines()[-1] == "  autoguide = AutoNormal of temperature, friction"
    model.dynamics.temperature, model.dynamics.friction = 1.0, 1.0
    assert repr(guide).splitlines()[-1] == "  autoguide = AutoNormal of nothing else"


def test_a_fit_says_its_data_its_steps_its_elbo_and_what_is_known_of_states():
    fit = nld.Fit(*met(), TIMES.expand(3, -1), X, history(), [{}, {}])
    model, guide = (said(text).replace("\n", "\n  ") for text in (MODEL.format(time_unit="= 5 of the data's"), GUIDE))
    head = ["Fit", "data = 3 sequences × 20 times × 2 channels", "steps = 40 in 90 s, 2 runs"]
    head += ["ELBO = -1.263 per observed value, mean of the last 2 steps", "states not read yet"]
    assert repr(fit) == "\n  ".join([*head, f"model = {model}", f"guide = {guide}"])
    median = fit.temperature
    fit.states()
    told = repr(fit).splitlines()
    assert told[4] == f"  temperature = {median:.4g}, posterior median"
    assert told[5] in ("  states = 1", "  states = 2")


def test_a_fit_made_by_hand_has_no_steps_to_tell_of():
    told = repr(nld.Fit(*met(), TIMES.expand(3, -1), X)).splitlines()
    assert told[1:3] == ["  data = 3 sequences × 20 times × 2 channels", "  states not read yet"]


# Without a computation


def test_nothing_is_drawn_or_computed(monkeypatch):
    model, guide = met()
    fit = nld.Fit(model, guide, TIMES.expand(3, -1), X, history())
    for forbidden in ("positions", "elbo", "wells", "encoded"):
        monkeypatch.setattr(nld.Fit, forbidden, lambda *_: pytest.fail("computed for a repr"))
    monkeypatch.setattr(nn.Module, "__call__", lambda *_: pytest.fail("called for a repr"))
    generator = torch.get_rng_state()
    for thing in (fit, model, guide):
        assert repr(thing)
        assert thing._repr_html_()
    assert bool((torch.get_rng_state() == generator).all())
    assert "medians" not in vars(fit)


# In a notebook


class Reader(HTMLParser):
    """Collects cells, and refuses tags that do not close in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.words = [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_the_same_is_shown_in_a_notebook():
    assert Reader(overdamped(temperature=dist.LogNormal(0.0, 0.5))._repr_html_()).words == [
        "OverdampedLangevin",
        *("potential", "DoubleWell(barrier=3, half_distance=1, latent=2, stiffness=1)"),
        *("temperature", "~ LogNormal(0, 0.5) [energy]"),
        *("friction", "1 [energy·time/length²]"),
    ]


def test_words_cannot_become_tags():
    assert Reader(Ramp("<script>")._repr_html_()).words == ["Ramp(slope='<script>'), 2 parameters"]
    assert "<script>" not in Ramp("<script>")._repr_html_()


def test_every_object_of_a_fit_can_be_shown():
    fit = nld.Fit(*met(), TIMES.expand(3, -1), X, history())
    for thing in (fit, fit.model, fit.guide, fit.model.dynamics, fit.potential, fit.model.likelihood):
        assert Reader(thing._repr_html_()).words
