"""What a starting server does before it is ready: what was deployed is served again, and FOUNDRY_MODEL too."""

import asyncio
import logging
from collections.abc import Container
from functools import partial

from hutch.api.threads import Threads
from hutch.app import App
from hutch.core.deployment import Deployment
from hutch.core.errors import HutchError, NotFound
from hutch.core.names import ModelName
from hutch.runtime.deployed import Deployed
from hutch.runtime.deployer import Deployer
from hutch.store import deployments
from hutch.store.blobs import exhaust
from hutch.store.deployments import Record, Recorded

_log = logging.getLogger(__name__)


def begin(parts: App, deployer: Deployer) -> "asyncio.Task[None]":
    """Serve what is on record, then the model that the settings name. What fails is logged, and keeps the server unready."""
    deployer.deployed.is_read = False
    task = asyncio.create_task(deployed_before(parts, deployer))
    task.add_done_callback(partial(_ended, deployer.deployed))
    return task


def _ended(deployed: Deployed, task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        deployed.broke(error)


async def deployed_before(parts: App, deployer: Deployer) -> None:
    """What `begin` begins."""
    on_record = await asyncio.to_thread(deployments.read_all)
    records = [each.now for each in on_record.values() if isinstance(each, Record)]
    for port, each in on_record.items():
        if isinstance(each, HutchError):
            deployer.deployed.failed(port, None, f"{each.message}. {each.hint}")
    for recorded in records:
        deployer.deployed.expect(recorded)
    preload = _preload(parts, on_record)
    if preload is not None:
        deployer.deployed.expect(preload)
    deployer.deployed.is_read = True
    for recorded in records:
        await deployer.restore(recorded)
    if preload is not None and await _is_here(parts, deployer.deployed, preload):
        await deployer.restore(preload)


def _preload(parts: App, on_record: Container[int]) -> Recorded | None:
    """What the settings have served, if anything."""
    settings = parts.settings
    if not settings.preload:
        return None
    if settings.preload_port in on_record:
        _log.info("port %d has a deployment, which goes over FOUNDRY_MODEL", settings.preload_port)
        return None
    name = ModelName.parse(settings.preload)
    return Recorded(Deployment(name, settings.preload_port, settings.hardware), None, "")


async def _is_here(parts: App, deployed: Deployed, preload: Recorded) -> bool:
    """Whether its model is here, or could be fetched."""
    name = preload.deployment.model
    try:
        try:
            await asyncio.to_thread(parts.store.stamp, name)
        except NotFound:
            _log.info("fetching %s", name.short)
            await Threads(1, "downloads").run(exhaust, parts.store.pull(name))
    except HutchError as error:
        deployed.failed(preload.port, preload, f"{error.message}. {error.hint}".rstrip(". "))
        return False
    return True
