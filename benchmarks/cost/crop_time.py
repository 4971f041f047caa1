"""What the bundled classifier costs a crop against those bundled before it, and how large all bundled models are.

    python -m benchmarks.cost.crop_time [--repeats 9] [--dry-run]

The networks before are read from the repository's history (BEFORE). All see the same crops in turn, on one thread, at
the side that each states, in processor time: what is compared is a ratio. Noise takes as long as cells.
Writes benchmarks/results/crop_time.csv.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import numpy as np
import onnxruntime

from benchmarks.harness import Args, Rows, benchmark, option
from benchmarks.provenance import ROOT
from leukoscope.models.bundle import BUNDLED

WHERE = "src/leukoscope/models/bundled/blood/classifier/model.onnx"
BEFORE = {  # (commit, whether it is the one that may cost no more than MOST_TIMES less)
    "two trunks, before other laboratories were learnt": ("25ecab7", True),
    "one trunk": ("067172e", False),
}
MOST_TIMES, MOST_MB = 1.3, 45.0
CROPS, UNCOUNTED = 32, 1


def main(args: Args) -> Rows:
    runs = {"now": onnx_session((ROOT / WHERE).read_bytes())}
    runs |= {name: onnx_session(shown(commit)) for name, (commit, _) in BEFORE.items()}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(args.repeats + UNCOUNTED):
        for name, session in runs.items():
            seconds[name].append(seconds_a_crop(session))
    counted = {name: np.array(s[UNCOUNTED:]) for name, s in seconds.items()}
    for name, (commit, is_asked) in BEFORE.items():
        ratios = counted["now"] / counted[name]
        yield {
            "set": "blood classifier", "measure": f"processor time a crop against {name} ({commit})",
            "value": round(float(np.median(ratios)), 3), "low": round(float(ratios.min()), 3),
            "high": round(float(ratios.max()), 3), "limits": "least and most of the repeats",
            "threshold": f"<= {MOST_TIMES}" if is_asked else "",
        }  # fmt: skip
    size = sum(path.stat().st_size for path in Path(BUNDLED).rglob("*") if path.is_file()) / 1e6
    yield {"set": "bundled models", "measure": "MB, all of them", "value": round(size, 1), "threshold": f"<= {MOST_MB}"}
    return {"repeats": args.repeats, "crops": CROPS}


def shown(commit: str) -> bytes:
    """The network as `commit` bundled it."""
    return subprocess.run(["git", "-C", str(ROOT), "show", f"{commit}:{WHERE}"], capture_output=True, check=True).stdout


def onnx_session(network: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])


def seconds_a_crop(session: onnxruntime.InferenceSession) -> float:
    """Processor seconds for one of CROPS crops of noise at the network's own side, diameters known."""
    pixels, _ = session.get_inputs()
    side = pixels.shape[1]
    crops = np.random.default_rng(0).integers(0, 256, (CROPS, side, side, 3), np.uint8)
    began = time.process_time()
    session.run(None, {"pixels": crops, "diameter_um": np.full(CROPS, 12, np.float32)})
    return (time.process_time() - began) / CROPS


if __name__ == "__main__":
    benchmark(main, option("--repeats", type=int, default=9))
