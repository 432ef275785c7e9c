"""How many 10-s, 12-lead ECGs a second the simulator makes, with one process and with two.

python benchmarks/simulator_speed.py [--ecgs 1000] [--rate 100]
"""

import argparse
import time

from lamae_toolkit.simulate.simulator import simulate_patients


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ecgs", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=100.0, help="sampling rate in Hz")
    args = parser.parse_args()
    for workers in (1, 2):
        start = time.perf_counter()
        made = sum(1 for _ in simulate_patients(args.ecgs, 0, args.rate, workers))
        seconds = time.perf_counter() - start
        print(
            f"{workers} process(es): {made} ECGs at {args.rate:g} Hz in {seconds:.1f} s,"
            f" {made / seconds:.0f} ECGs/s, {1000 * seconds / made:.1f} ms per ECG"
        )


if __name__ == "__main__":
    main()
