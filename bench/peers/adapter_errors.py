"""‖Δ − scale·B·A‖_F / ‖Δ‖_F of each changed matrix, in float64, as JSON; 1 where the adapter has no factors for it.
Usage: adapter_errors.py BASE TUNED ADAPTER"""
import json
import sys
from pathlib import Path

from checkpoint import Checkpoint

base, tuned, adapter = (Checkpoint(folder) for folder in sys.argv[1:4])
config = json.loads((Path(sys.argv[3]) / "adapter_config.json").read_text())
scale = config["lora_alpha"] / (config["r"] ** 0.5 if config.get("use_rslora") else config["r"])
if config.get("rank_pattern") or config.get("alpha_pattern"):
    sys.exit("adapter_errors.py reads no patterns")

layers, whole, left = {}, 0.0, 0.0
for name in tuned.names():
    if len(tuned.shape(name)) != 2:
        continue
    delta = tuned.read(name).double() - base.read(name).double()
    size = delta.square().sum().item()
    if size == 0:
        continue
    factors = [f"base_model.model.{name.removesuffix('.weight')}.{part}.weight" for part in ("lora_B", "lora_A")]
    if factors[0] in adapter.entries:
        B, A = (adapter.read(factor).double() for factor in factors)
        delta.addmm_(B, A, alpha=-scale)
    error = delta.square().sum().item()
    layers[name] = (error / size) ** 0.5
    whole += size
    left += error
print(json.dumps({"total": (left / whole) ** 0.5, "layers": layers}))
