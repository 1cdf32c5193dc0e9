"""`/api/catalog`: the models that can be pulled by name, and which of them are here."""

from starlette.responses import JSONResponse, Response

from hutch.api.ollama_wire import OLLAMA
from hutch.api.route import Call, Route
from hutch.api.threads import Threads
from hutch.core.access import Action, Principal
from hutch.store.catalog_listing import CHOICES, Filter, told
from hutch.store.store import ModelStore

_MAX_LOOKS = 8  # each may wait for a catalog's address


class CatalogTable:
    """Answers by the store."""

    def __init__(self, store: ModelStore) -> None:
        self._store = store
        self._threads = Threads(_MAX_LOOKS, "looks at the catalog")

    def routes(self) -> tuple[Route, ...]:
        """The routes of this file."""
        return (
            Route(
                ("GET",),
                "/api/catalog",
                Action.LIST_MODELS,
                self.table,
                OLLAMA,
                summary="The models that can be pulled by name, what suits this machine, and what is here",
                query={"prefix": (), **CHOICES},
            ),
        )

    async def table(self, call: Call) -> Response:
        """The whole table, or what the query leaves of it."""
        wanted = Filter.parse(call.request.query_params)
        return JSONResponse(await self._threads.run(_table, self._store, wanted, call.who))


def _table(store: ModelStore, wanted: Filter, who: Principal) -> dict[str, object]:
    return told(store.catalog(), [each for each in store.list() if who.may_use(each.name)], wanted)
