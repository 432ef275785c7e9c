"""The kernels of `lamae app`: one for each browser that has its page open, and none for longer than that."""

import asyncio
from contextlib import suppress

from jupyter_server import CallContext
from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from tornado.web import HTTPError
from tornado.websocket import WebSocketClosedError
from traitlets import Unicode

BROWSERS = 4
"""How many browsers may have the page open at a time."""
MEMORY_GB = 0.6
"""What one page takes; tests/widgets/test_browser_app.py measures it."""
IDLE_S = 3600
"""After this time without any use, the kernel of an open page is ended."""
LEFT_S = 3.0
"""A page that is left or reloaded says so; a browser that crashed does not, and its connection has this long to come
back."""
LOADING_S = 180.0
"""A page has this long for its first connection, which it opens when its content is there."""
FULL = (
    "{browsers} browsers have this app open, each with a Python of about {memory} GB; close it in one of them, then"
    " load this page again."
)


class BrowserKernels(AsyncMappingKernelManager):
    """Starts and ends the kernels of Voila's pages.

    A browser is recognized by its login cookie. A page that it loads gets a kernel, and the kernel of the page that it
    had before is ended; so it is when the page is closed, or idle for `IDLE_S`.
    """

    folder = Unicode(help="The working directory of the kernels.", config=True)
    imports = Unicode(help="The module that the first kernel imports before a page asks for it.", config=True)

    def __init__(self, **settings) -> None:
        super().__init__(cull_idle_timeout=IDLE_S, cull_interval=60, cull_connected=True, **settings)
        self._kernels_of: dict[str, asyncio.Task[str]] = {}  # by browser; the task gives the kernel's id
        self._spare: asyncio.Task[str] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def prepare_first(self) -> None:
        """Start a kernel in advance, so that the first page opens at once."""
        self._spare = asyncio.get_running_loop().create_task(self._launch(self.imports))

    async def start_kernel(self, **_) -> str:  # type: ignore[override]
        """The kernel for the page that is being loaded; HTTPError if too many browsers have one.

        Voila's own arguments are not used: they would pass the token in the kernel's environment.
        """
        handler = CallContext.get(CallContext.JUPYTER_HANDLER)
        # Voila's page ends its kernel with a request that repeats this cookie, but nothing else in Voila sets it.
        handler.xsrf_token  # noqa: B018
        browser = handler.current_user.username
        before = self._kernels_of.pop(browser, None)
        if before is None and len(self._kernels_of) >= BROWSERS:
            raise HTTPError(503, FULL.format(browsers=BROWSERS, memory=MEMORY_GB))
        spare, self._spare = self._spare, None
        kernel = self._kernels_of[browser] = spare or asyncio.get_running_loop().create_task(self._launch())
        if before is not None:
            self._soon(self._end_replaced(before))
        try:
            kernel_id = await kernel
        except Exception:
            self._kernels_of.pop(browser, None)
            raise
        if self._kernels_of.get(browser) is not kernel:
            raise HTTPError(409, "This page was loaded again in the meantime.")
        self._soon(self._end_unless_connected(kernel_id, LOADING_S))
        return kernel_id

    async def shutdown_kernel(self, kernel_id: str, now: bool = False, restart: bool = False) -> None:  # type: ignore[override]
        """End a kernel, and let its page say so; without that, clicks on the page would have no effect."""
        for page in list(ZMQChannelsWebsocketConnection._open_sockets):
            if page.kernel_id == kernel_id:
                with suppress(WebSocketClosedError):
                    page.on_kernel_restarted()
        await super().shutdown_kernel(kernel_id, now=now, restart=restart)

    def notify_disconnect(self, kernel_id: str) -> None:
        """Called when a page has closed its connection."""
        super().notify_disconnect(kernel_id)
        self._soon(self._end_unless_connected(kernel_id, LEFT_S))

    def remove_kernel(self, kernel_id: str):
        """Called when a kernel has ended: its browser has none from now on."""
        for browser, kernel in list(self._kernels_of.items()):
            if kernel.done() and not kernel.exception() and kernel.result() == kernel_id:
                del self._kernels_of[browser]
        return super().remove_kernel(kernel_id)

    async def _launch(self, imports: str = "") -> str:
        kernel_id = await super().start_kernel(kernel_name="python3", cwd=self.folder)
        if imports:
            client = self.get_kernel(kernel_id).client()
            client.start_channels()
            await client.execute(f"import {imports}", silent=True, reply=True)
            client.stop_channels()
        return kernel_id

    async def _end_unless_connected(self, kernel_id: str, after_s: float) -> None:
        await asyncio.sleep(after_s)
        if not self._kernel_connections.get(kernel_id):
            await self._end(kernel_id)

    async def _end_replaced(self, kernel: asyncio.Task[str]) -> None:
        await asyncio.wait([kernel])
        if not kernel.exception():
            await self._end(kernel.result())

    async def _end(self, kernel_id: str) -> None:
        if kernel_id in self:
            # Asked to stop while it starts, a kernel would print a traceback into the user's terminal.
            starting = getattr(self.get_kernel(kernel_id), "execution_state", None) == "starting"
            await self.shutdown_kernel(kernel_id, now=starting)

    def _soon(self, work) -> None:
        """Do this in the background; the set keeps the task alive."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
