"""`/api/hardware`: what this machine has, and which engines can use it."""

from starlette.responses import JSONResponse, Response

from hutch import places
from hutch.api.ollama_wire import OLLAMA
from hutch.api.route import Call, Route
from hutch.config import Settings
from hutch.core.access import Action
from hutch.runtime.hardware import Inventory
from hutch.store import installed


class Hardware:
    """Answers by the inventory."""

    def __init__(self, inventory: Inventory, settings: Settings) -> None:
        self._inventory = inventory
        self._settings = settings

    def routes(self) -> tuple[Route, ...]:
        """The routes of this file."""
        see = Action.SEE_HARDWARE
        summary = "What this machine has, and which engines can use it"
        return (Route(("GET",), "/api/hardware", see, self.hardware, OLLAMA, summary=summary),)

    async def hardware(self, call: Call) -> Response:  # noqa: ARG002
        """Look at everything anew; engines are asked in processes of their own."""
        binary = installed.binary_in_use(places.engines(), self._settings.llama_server)
        return JSONResponse(await self._inventory.told(self._settings.hardware, binary))
