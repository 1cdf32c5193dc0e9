"""The program of an ONNX worker: reads a launch plan, and serves it until standard input ends."""

import sys

from hutch.engines.protocol import LaunchPlan


def main() -> None:
    """Read the plan and serve."""
    plan = LaunchPlan.loads(sys.stdin.buffer.readline())
    raise SystemExit(f"error: {plan.weights} cannot be run: this Hutch has no ONNX engine")


if __name__ == "__main__":
    main()
