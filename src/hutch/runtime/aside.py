"""Work on bytes from outside that could go wrong: done in a process of its own, which may not take long."""

import asyncio
import sys

from hutch import places

_AT_ONCE = asyncio.Semaphore(2)  # whoever sends many such bytes starts no more processes than that


async def done_aside(module: str, data: bytes, within_s: float) -> bytes | None:
    """What `python -m module` makes of these bytes, in its turn; None where it fails, or takes too long. For short work."""
    async with _AT_ONCE:
        return await done_at_once(module, data, within_s)


async def done_at_once(module: str, data: bytes, within_s: float) -> bytes | None:
    """The same for long work, which has a line of its own, so that nobody's short work waits for it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", module),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=places.worker_environment(),
    )
    try:
        made, _ = await asyncio.wait_for(process.communicate(data), within_s)
    except TimeoutError:
        return None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return None if process.returncode else made
