"""`hutch metrics`: what the server counts, and how Prometheus is told to ask for it."""

import argparse
from importlib.resources import files

from hutch.cli import http, plain


def metrics(args: argparse.Namespace) -> None:
    """Print what `/metrics` tells, or a configuration for Prometheus."""
    if args.scrape_config:
        text = files("hutch.metrics").joinpath("prometheus.yml").read_text(encoding="utf-8")
    else:
        text = http.text("/metrics")
    plain.out(text.rstrip("\n"))
