"""Claim: a scorer reads five stages of sleep off a point that diffuses between three wells: wake, NREM and REM.

P(stage k) = softmax(b + A z)ₖ, one category per epoch of half a minute; stages are names, and not numbers between which
there is a mean. Known answers: three wells (N1 is a passage and N3 a side of NREM, no wells of their own), their shares
of the night, and which of them holds every epoch.
"""

import numpy as np
import torch

import pyro_nld as nld

PRIORS = {
    "temperature": 1.0,  # energy unit of U; with a free decoder only U/T is identified
    "friction": None,  # learned, one per axis: with a free decoder it is the axis' unit of length
}
STAGES = ["wake", "N1", "N2", "N3", "REM"]
NIGHTS, EPOCHS = 60, 200
TRUTH = nld.GaussianWells([[-1.0, -0.6], [1.0, -0.6], [0.1, 1.1]], weights=[0.25, 0.5, 0.25], widths=0.35)
PLACES = [[-1.0, -0.6], [0.0, -0.6], [0.9, -0.3], [1.2, -1.0], [0.1, 1.1]]  # where a stage is most likely
SHARPNESS = 3.0  # 1/length²: how surely a place is told from its neighbours


def build(data):
    """Overdamped prior with a neural potential on a plane, log odds linear in the position, two-sided guide."""
    prior = nld.OverdampedLangevin(
        nld.NeuralPotential(latent=2), temperature=PRIORS["temperature"], friction=PRIORS["friction"]
    )
    stages = nld.Categorical(nld.LinearDecoder(2, len(STAGES)), categories=len(STAGES))
    model = nld.LatentLangevin(prior, stages, substeps=8)
    return model, nld.AmortizedGuide(model, nld.GRUEncoder(len(STAGES)))


def simulate(seed):
    """60 nights of 200 epochs, scored by the softmax of −3 |z − place|², which is linear in z but for a constant."""
    place = torch.tensor(PLACES)
    odds = {"decoder": lambda z: -SHARPNESS * (z.unsqueeze(-2) - place).square().sum(-1), "noise": 0.0}
    data = nld.datasets.langevin_wells(TRUTH, NIGHTS, EPOCHS, seed, interval=0.1, **odds)
    # Gumbel's trick: the largest of log odds with this noise is a draw from their softmax
    gumbel = np.random.default_rng((seed, NIGHTS)).gumbel(size=data["observations"].shape)
    stage = (data["observations"].values + gumbel).argmax(-1, keepdims=True).astype(float)
    scored = nld.datasets.from_arrays(data["time"].values, stage, data["states"].values)
    return scored.assign(occupancy=data["occupancy"]).assign_attrs(stages=", ".join(STAGES))


if __name__ == "__main__":
    torch.manual_seed(0)
    data = simulate(0)
    fit = nld.fit(*build(data), data, nld.Schedule(steps=250, batch_size=16, coarse=0.7))
    wells = fit.wells()
    truth = nld.tables.score(nld.segment(fit, wells=wells), data)
    names = [STAGES[int(stage)] for stage in wells["decoded"].values[:, 0]]
    expected = data["occupancy"].values[truth["partner"].values]
    error = float(abs(wells["occupancy_data"].values - expected).sum())
    print(f"{wells.sizes['state']} states: {', '.join(names)}; ℓ1 error of their shares {error:.3f}")
    print(f"{100 * float(truth['accuracy']):.1f} % of the epochs in their true state")
    assert wells.sizes["state"] == 3
    assert {"wake", "REM"} < set(names)
    assert truth["accuracy"] > 0.85
    assert error < 0.2
