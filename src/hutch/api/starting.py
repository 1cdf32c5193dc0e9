"""What a starting server does before it is ready: what was deployed is served again, and FOUNDRY_MODEL too."""

import asyncio
import logging

from hutch.api.threads import Threads
from hutch.app import App
from hutch.core.deployment import Deployment
from hutch.core.errors import HutchError, NotFound
from hutch.core.names import ModelName
from hutch.runtime.deployer import Deployer
from hutch.store import deployments
from hutch.store.blobs import exhaust
from hutch.store.deployments import Recorded

_log = logging.getLogger(__name__)


async def deployed_before(parts: App, deployer: Deployer) -> None:
    """Serve what is on record, then the model that the settings name. What fails is logged, and keeps the server unready."""
    try:
        records = await asyncio.to_thread(deployments.read_all)
    except HutchError as error:
        deployer.pending.add(error.message)
        _log.error("%s. %s", error.message, error.hint)
        return
    names = {record.now.deployment.model.short for record in records}
    deployer.pending |= names | ({parts.settings.preload} - {""})
    for record in records:
        await deployer.restore(record.now)
    deployer.pending -= names
    settings = parts.settings
    if not settings.preload:
        return
    if all(record.port != settings.preload_port for record in records):
        await _preload(parts, deployer)
    else:
        _log.info("port %d has a deployment, which goes over FOUNDRY_MODEL", settings.preload_port)
    deployer.pending.discard(settings.preload)


async def _preload(parts: App, deployer: Deployer) -> None:
    name = ModelName.parse(parts.settings.preload)
    wanted = Deployment(name, parts.settings.preload_port, parts.settings.hardware)
    try:
        await asyncio.to_thread(parts.store.stamp, name)
    except NotFound:
        _log.info("fetching %s", name.short)
        try:
            await Threads(1, "downloads").run(exhaust, parts.store.pull(name))
        except HutchError as error:
            deployer.failed(wanted.port, f"{error.message}. {error.hint}".rstrip(". "))
            return
    await deployer.restore(Recorded(wanted, None, ""), is_recorded=False)
