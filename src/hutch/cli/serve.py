"""`hutch serve`: the server, in the foreground."""

import argparse
import importlib

from hutch import places


def serve(args: argparse.Namespace) -> None:
    """Serve until told to stop. Flags beat the environment."""
    address = places.Address.parse(args.host) if args.host else places.server_address()
    importlib.import_module("hutch.api.server").serve(address, idle_exit_s=args.idle_exit)
