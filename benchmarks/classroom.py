"""Memory and processor time of each student in a class on JupyterHub, all of whom run a notebook at once.

    .venv/bin/python -m pip install --constraint constraints.txt jupyterhub
    npm install --global configurable-http-proxy
    .venv/bin/python benchmarks/classroom.py --students 10 --notebook notebooks/00_start_here.ipynb

Starts a real hub with `docs/jupyterhub_config.py`, in which anyone may log in and each student has a server of their
own. Each opens a kernel and runs the notebook's cells, all at the same moment. Then, with the kernels still there:
memory (proportional set size: what is shared counts once), processor time and the time until the last cell. The
browsers run on the students' computers and are not counted. Linux only.
"""

import argparse
import asyncio
import json
import os
import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import nbformat
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.websocket import websocket_connect

ROOT = Path(__file__).resolve().parents[1]
OVERRIDES = """
c.JupyterHub.bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.hub_port = {port} + 1
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{proxy_port}"
c.JupyterHub.db_url = "sqlite:///{folder}/hub.sqlite"
c.JupyterHub.cookie_secret_file = "{folder}/cookie_secret"
c.ConfigurableHTTPProxy.pid_file = "{folder}/proxy.pid"
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.spawner_class = "simple"
c.Spawner.notebook_dir = "{notebooks}"
c.Spawner.args.append("--allow-root")
c.JupyterHub.services = [{{"name": "class", "api_token": "{token}", "admin": True}}]
c.JupyterHub.load_roles = [{{
    "name": "class", "services": ["class"],
    "scopes": ["admin:users", "admin:servers", "admin:server_state", "tokens", "access:servers"],
}}]
"""


class Hub:
    """A hub that is running, and what it is asked."""

    def __init__(self, port: int, token: str) -> None:
        self.url, self.header = f"http://127.0.0.1:{port}", {"Authorization": f"token {token}"}

    async def ask(self, method: str, path: str, body: dict | None = None) -> dict:
        data = json.dumps(body or {}) if method == "POST" else None
        request = HTTPRequest(self.url + path, method, self.header, data, request_timeout=300)
        answer = await AsyncHTTPClient().fetch(request)
        return json.loads(answer.body) if answer.body else {}

    async def wait(self, path: str, ready, limit_s: float = 300) -> dict:
        """What the hub answers, once it is ready."""
        end = time.monotonic() + limit_s
        while True:
            try:
                if ready(answer := await self.ask("GET", path)):
                    return answer
            except (OSError, HTTPClientError):
                pass  # the proxy or the hub does not listen yet
            if time.monotonic() > end:
                sys.exit(f"The hub was not ready within {limit_s:g} s: {path}.")
            await asyncio.sleep(0.5)


async def student(hub: Hub, name: str, cells: list[str], together: asyncio.Barrier) -> dict[str, float]:
    """One student, from logging in to the last cell: seconds, seconds of processor, memory in MB."""
    await hub.ask("POST", f"/hub/api/users/{name}")
    await hub.ask("POST", f"/hub/api/users/{name}/server")
    about = await hub.wait(f"/hub/api/users/{name}", lambda user: user["servers"].get("", {}).get("ready"))
    process = about["servers"][""]["state"]["pid"]
    idle_mb = memory_mb(tree(process))
    await together.wait()
    start = time.monotonic()
    kernel = await hub.ask("POST", f"/user/{name}/api/kernels", {"name": "python3"})
    channels = f"{hub.url.replace('http', 'ws', 1)}/user/{name}/api/kernels/{kernel['id']}/channels"
    socket = await websocket_connect(HTTPRequest(channels, headers=hub.header), max_message_size=1 << 30)
    for cell in cells:
        await execute(socket, cell)
    seconds = time.monotonic() - start
    await together.wait()  # all kernels are still there
    family = tree(process)
    measured = {"idle_mb": idle_mb, "mb": memory_mb(family), "cpu_s": processor_s(family), "seconds": seconds}
    await together.wait()
    socket.close()
    await hub.ask("DELETE", f"/hub/api/users/{name}/server")
    return measured


async def execute(socket, code: str) -> None:
    """Run a cell in a kernel to its end; a cell that fails ends the benchmark."""
    number = uuid4().hex
    header = {"msg_id": number, "msg_type": "execute_request", "session": number, "username": "", "version": "5.3"}
    content = {"code": code, "silent": False, "store_history": True, "allow_stdin": False, "stop_on_error": True}
    message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
    await socket.write_message(json.dumps(message | {"buffers": []}))
    while True:
        answer = await socket.read_message()
        if answer is None:
            sys.exit("A kernel has ended; is there enough memory?")
        if isinstance(answer, bytes):
            continue  # a widget's arrays
        answer = json.loads(answer)
        if answer["parent_header"].get("msg_id") != number:
            continue
        if answer["msg_type"] == "error":
            sys.exit("\n".join(answer["content"]["traceback"]))
        if answer["msg_type"] == "status" and answer["content"]["execution_state"] == "idle":
            return


def tree(process: int) -> list[int]:
    """A process and all that it started."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [process] + [one for child in children for one in tree(int(child))]


def memory_mb(processes: list[int]) -> float:
    """Proportional set size of some processes."""
    lines = [Path(f"/proc/{process}/smaps_rollup").read_text().split("Pss:")[1] for process in processes]
    return sum(int(line.split()[0]) for line in lines) / 1024


def processor_s(processes: list[int]) -> float:
    """Processor time of some processes."""
    ticks = [Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[11:13] for process in processes]
    return sum(int(one) for pair in ticks for one in pair) / os.sysconf("SC_CLK_TCK")


async def measure(port: int, token: str, students: int, cells: list[str]) -> list[dict[str, float]]:
    """What each student takes."""
    AsyncHTTPClient.configure(None, max_clients=4 * students)
    hub, together = Hub(port, token), asyncio.Barrier(students)
    await hub.wait("/hub/api/", lambda answer: "version" in answer)
    return await asyncio.gather(*(student(hub, f"student{i}", cells, together) for i in range(students)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--students", type=int, default=10)
    parser.add_argument("--notebook", type=Path, default=ROOT / "notebooks" / "00_start_here.ipynb")
    parser.add_argument("--port", type=int, default=18000)
    chosen = parser.parse_args()
    cells = [cell.source for cell in nbformat.read(chosen.notebook, 4).cells if cell.cell_type == "code"]
    with tempfile.TemporaryDirectory() as folder:
        token = secrets.token_hex(16)
        names = {"port": chosen.port, "proxy_port": chosen.port + 2, "folder": folder, "token": token}
        settings = (ROOT / "docs" / "jupyterhub_config.py").read_text("utf-8")
        settings += OVERRIDES.format(**names, notebooks=chosen.notebook.resolve().parent)
        (Path(folder) / "config.py").write_text(settings, "utf-8")
        words = [sys.executable, "-m", "jupyterhub", "--config", f"{folder}/config.py"]
        with open(Path(folder) / "hub.log", "w", encoding="utf-8") as log:
            hub = subprocess.Popen(words, cwd=folder, stdout=log, stderr=log, start_new_session=True)
        try:
            measured = asyncio.run(measure(chosen.port, token, chosen.students, cells))
        except BaseException:
            print((Path(folder) / "hub.log").read_text("utf-8")[-3000:], file=sys.stderr)
            raise
        finally:
            hub.terminate()  # it ends servers and proxy, if it got so far
            hub.wait()
            with suppress(ProcessLookupError):
                os.killpg(hub.pid, signal.SIGKILL)
    print(f"{chosen.students} students at once, {chosen.notebook.name}, {os.cpu_count()} cores\n")
    print("| for each student | median | most |\n| --- | --- | --- |")
    rows = {
        "idle_mb": "memory of the server before the notebook, MB",
        "mb": "memory with the notebook, MB",
        "cpu_s": "processor time, s",
        "seconds": "time to the last cell, s",
    }
    for key, words in rows.items():
        values = [one[key] for one in measured]
        print(f"| {words} | {statistics.median(values):.0f} | {max(values):.0f} |")
    all_gb, all_s = sum(one["mb"] for one in measured) / 1024, sum(one["cpu_s"] for one in measured)
    print(f"\nTogether: {all_gb:.1f} GB, {all_s:.0f} s of processor time.")


if __name__ == "__main__":
    main()
