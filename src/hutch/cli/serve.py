"""`hutch serve`: the server, in the foreground."""

import argparse
import gc
import importlib

from hutch import places
from hutch.cli import side
from hutch.core.errors import BadInput, Conflict, HutchError

_LOOK_WITHIN_S = 2.0


def serve(args: argparse.Namespace) -> None:
    """Serve until told to stop. Flags beat the environment."""
    address = places.Address.parse(args.host) if args.host else places.server_address()
    if args.host and address.remark:
        raise BadInput(f"--host: {address.remark.partition(',')[0]}", hint="Write host:port.")
    gc.disable()  # what is imported is there to stay: to look through it again and again takes a tenth of the start,
    server = importlib.import_module("hutch.api.server")
    gc.freeze()  # and later it would hold up every answer at once
    gc.enable()
    try:
        server.serve(address, idle_exit_s=args.idle_exit)
    except Conflict as error:  # the address is taken
        raise Conflict(error.message, hint=_who_is_there(address) or error.hint) from error


def _who_is_there(address: places.Address) -> str:
    try:
        version = side.server_version(address, _LOOK_WITHIN_S)
    except HutchError:
        return ""
    return (
        f"Version {version} answers there. One that 'hutch run' started leaves five minutes after its last request; "
        "end another where it was started, or choose another address with HUTCH_HOST."
    )
