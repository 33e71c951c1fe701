"""The script of `test_processes`: fits of which every process does a half. FOLDER STEPS."""

import sys
from pathlib import Path

import pyro.distributions as dist
import torch

import pyro_nld as nld


def built():
    data = nld.datasets.ornstein_uhlenbeck(sequences=12, steps=8, seed=0)
    prior = nld.OverdampedLangevin(nld.NeuralPotential(1, hidden=(4,)), dist.LogNormal(0.0, 0.5), friction=None)
    model = nld.LatentLangevin(prior, nld.Gaussian(nld.LinearDecoder(1, 1)), substeps=2)
    return (model, nld.AmortizedGuide(model, nld.GRUEncoder(1, size=4, hidden=4))), data


def fitted(steps, **kept):
    torch.manual_seed(0)
    pair, data = built()
    schedule = nld.Schedule(steps, batch_size=10, parts=4, particles=4, refine=0.3)
    return nld.fit(*pair, data, schedule, progress=False, every=4, **kept)


if __name__ == "__main__":
    from lightning_fabric import Fabric

    fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp")
    fabric.launch()
    folder, steps, found = Path(sys.argv[1]), int(sys.argv[2]), {}
    for name, resume in (("whole", False), ("half", True)):
        fit = fitted(steps, device=fabric, checkpoint=folder / f"{name}.pt", resume=resume)
        loss = fabric.all_gather(torch.tensor(fit.history["loss"].values))
        found[name] = {"loss": loss, "model": fit.model.state_dict()}
    if fabric.is_global_zero:
        torch.save(found, folder / "found.pt")
