"""The routes of an encoder as a worker serves them, for tests."""

from starlette.types import ASGIApp

from hutch.engines.onnx.encoder_wire import EncoderWire
from hutch.engines.onnx.server import Application


def app(wire: EncoderWire) -> ASGIApp:
    """The application of a worker that has loaded this."""
    application = Application()
    application.wire = wire
    return application
