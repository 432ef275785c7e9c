"""The kernels of `lamae app` without a browser: started, replaced, refused and ended; and what its server logs."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from types import SimpleNamespace

import pytest
from jupyter_server import CallContext
from tornado.web import HTTPError

from lamae_toolkit.widgets.app import kernels as app_kernels
from lamae_toolkit.widgets.app.kernels import BrowserKernels
from lamae_toolkit.widgets.app.server import log_in_one_line


class Handler:
    """What a kernel manager sees of the request for a page."""

    def __init__(self, browser: str) -> None:
        self.current_user, self.cookies = SimpleNamespace(username=browser), []

    @property
    def xsrf_token(self) -> bytes:
        self.cookies.append("_xsrf")
        return b"token"


async def load(kernels: BrowserKernels, browser: str) -> str:
    """A browser loads the page; gives the id of its kernel."""
    handler = Handler(browser)
    CallContext.set(CallContext.JUPYTER_HANDLER, handler)
    kernel_id = await kernels.start_kernel(kernel_name="python3", env={"QUERY_STRING": "token=secret"})
    assert handler.cookies == ["_xsrf"]
    return kernel_id


async def until(reached: Callable[[], bool]) -> None:
    for _ in range(600):
        if reached():
            return
        await asyncio.sleep(0.1)
    raise AssertionError("not reached within a minute")


@pytest.fixture
def run(tmp_path) -> Callable[[Callable[[BrowserKernels], Awaitable[None]]], None]:
    """Runs a test with kernels that are ended after it."""

    def run(test: Callable[[BrowserKernels], Awaitable[None]]) -> None:
        async def complete() -> None:
            kernels = BrowserKernels(connection_dir=str(tmp_path), folder=str(tmp_path), imports="this")
            try:
                await test(kernels)
            finally:
                await kernels.shutdown_all(now=True)

        asyncio.run(complete())

    return run


def test_a_browser_has_one_kernel_and_their_number_is_limited(run, monkeypatch):
    monkeypatch.setattr(app_kernels, "BROWSERS", 1)

    async def test(kernels):
        kernels.prepare_first()
        prepared = await kernels._spare
        first = await load(kernels, "Elara")
        assert first == prepared and kernels.list_kernel_ids() == [first]
        second, third = await asyncio.gather(load(kernels, "Elara"), load(kernels, "Elara"), return_exceptions=True)
        assert isinstance(second, HTTPError) and second.status_code == 409  # the later page has taken over
        await until(lambda: kernels.list_kernel_ids() == [third])
        with pytest.raises(
            HTTPError, match=r"1 browsers have this app open.* of about 0\.6 GB; close it in one"
        ) as full:
            await load(kernels, "Io")
        assert full.value.status_code == 503 and kernels.list_kernel_ids() == [third]
        await kernels.shutdown_kernel(third, now=True)
        assert [await load(kernels, "Io")] == kernels.list_kernel_ids()

    run(test)


def test_a_kernel_without_a_page_is_ended(run, monkeypatch):
    monkeypatch.setattr(app_kernels, "LEFT_S", 0.2)
    monkeypatch.setattr(app_kernels, "LOADING_S", 1.0)

    async def test(kernels):
        opened = await load(kernels, "Elara")
        kernels.notify_connect(opened)
        never = await load(kernels, "Io")
        await until(lambda: kernels.list_kernel_ids() == [opened])
        # A connection that comes back in time keeps the kernel.
        kernels.notify_disconnect(opened)
        kernels.notify_connect(opened)
        await asyncio.sleep(0.5)
        assert opened in kernels and never not in kernels
        kernels.notify_disconnect(opened)
        await until(lambda: not kernels.list_kernel_ids())

    run(test)


def test_an_idle_kernel_is_ended_even_if_its_page_is_open(run):
    async def test(kernels):
        kernel_id = await load(kernels, "Elara")
        kernels.notify_connect(kernel_id)
        kernel = kernels.get_kernel(kernel_id)
        kernel.execution_state = "idle"
        await kernels.cull_kernel_if_idle(kernel_id)
        assert kernel_id in kernels
        kernel.last_activity -= timedelta(seconds=app_kernels.IDLE_S + 1)
        await kernels.cull_kernel_if_idle(kernel_id)
        assert kernel_id not in kernels and kernels._kernels_of == {}

    run(test)


def test_a_kernel_that_does_not_start_takes_no_seat(run, monkeypatch):
    async def fail(imports=""):
        raise RuntimeError("no process")

    async def test(kernels):
        with monkeypatch.context() as broken:
            broken.setattr(kernels, "_launch", fail)
            with pytest.raises(RuntimeError, match="no process"):
                await load(kernels, "Elara")
        assert kernels._kernels_of == {}
        assert await load(kernels, "Elara") in kernels

    run(test)


def test_server_errors_are_logged_in_one_line(monkeypatch, capsys):
    for name in ("asyncio", "tornado", "tornado.access"):
        for attribute in ("level", "handlers", "propagate"):
            monkeypatch.setattr(logging.getLogger(name), attribute, getattr(logging.getLogger(name), attribute))
    log_in_one_line()

    async def fail(message: str) -> None:
        raise RuntimeError(message)

    async def forget(message: str) -> None:
        task = asyncio.create_task(fail(message))
        await asyncio.wait([task])

    asyncio.run(forget("Kernel died before replying to kernel_info"))
    logging.getLogger("tornado.access").error("500 GET /")
    logging.getLogger("tornado.general").warning("404 GET /")
    assert capsys.readouterr().err == ""
    asyncio.run(forget("disk full"))
    assert capsys.readouterr().err == ("lamae app: Task exception was never retrieved: RuntimeError('disk full')\n")
