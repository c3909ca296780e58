"""A Ray job server on this machine: its jobs end as they are told to, and it can break off while it sends a log."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

TOKEN = "the-cluster's-own-token"
CPU_NODE = {"CPU": 4.0, "memory": 1e9}


@dataclass
class FakeCluster:
    """What the server has and got.

    After ``breaks_after`` characters of a log the first connection ends; with ``goes`` nothing is answered after it.
    A job that is asked to stop saves for ``saves_s`` seconds, in the first ``silent_s`` of which nothing is answered.
    """

    token: str | None = TOKEN
    nodes: list[dict[str, float]] = field(default_factory=lambda: [dict(CPU_NODE)])
    log: str = "working\ndone\n"
    status: str = "SUCCEEDED"
    exit_code: int | None = 0
    breaks_after: int | None = None
    goes: bool = False
    gone: bool = False
    saves_s: float = 0.0
    silent_s: float = 0.0
    jobs: list[dict[str, Any]] = field(default_factory=list)
    packages: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)  # method, path, Authorization
    port: int = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def add(self, name: str, status: str, run: str | None = None) -> None:
        """A job that was submitted before."""
        ended = 2_000.0 if status != "RUNNING" else None
        metadata = {"job_name": run} if run else {}
        record = {"submission_id": name, "status": status, "entrypoint": "runner train", "metadata": metadata}
        self.jobs.append({**record, "start_time": 1_000.0 + len(self.jobs), "end_time": ended})

    @contextmanager
    def serving(self) -> Iterator["FakeCluster"]:
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        runner = asyncio.run_coroutine_threadsafe(self._started(), loop).result(10)
        try:
            yield self
        finally:
            asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(10)

    async def _started(self) -> web.AppRunner:
        app = web.Application(middlewares=[self._admitted], client_max_size=2**30)
        app.router.add_get("/api/version", self._version)
        app.router.add_get("/api/v0/nodes", self._nodes)
        app.router.add_get("/api/jobs/", self._list)
        app.router.add_post("/api/jobs/", self._submit)
        app.router.add_get("/api/jobs/{name}", self._one)
        app.router.add_get("/api/jobs/{name}/logs", self._logs)
        app.router.add_get("/api/jobs/{name}/logs/tail", self._tail)
        app.router.add_post("/api/jobs/{name}/stop", self._stop)
        app.router.add_get("/api/packages/gcs/{package}", self._package)
        app.router.add_put("/api/packages/gcs/{package}", self._put)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port)
        await site.start()
        self.port = runner.addresses[0][1]
        return runner

    @web.middleware
    async def _admitted(self, request: web.Request, handler: Any) -> web.StreamResponse:
        given = request.headers.get("Authorization", "")
        self.asked.append((request.method, request.path, given))
        if self.gone:
            _hang_up(request)
        if self.token is not None and given != f"Bearer {self.token}":
            return web.Response(status=403 if given else 401)
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _version(self, request: web.Request) -> web.Response:
        del request
        return web.json_response({"version": "4", "ray_version": "2.60.0"})

    async def _nodes(self, request: web.Request) -> web.Response:
        del request
        dead = {"state": "DEAD", "resources_total": {"CPU": 1000.0, "GPU": 1000.0}}
        alive = [{"state": "ALIVE", "resources_total": node} for node in self.nodes]
        return web.json_response({"data": {"result": {"result": [dead, *alive]}}})

    async def _list(self, request: web.Request) -> web.Response:
        del request
        driver = {"submission_id": None, "status": "RUNNING"}  # someone's own driver, never submitted
        return web.json_response([driver, *self.jobs])

    async def _submit(self, request: web.Request) -> web.Response:
        job = await request.json()
        self.jobs.append({**job, "status": "RUNNING", "start_time": 1_000.0 + len(self.jobs)})
        return web.json_response({"submission_id": job["submission_id"]})

    def _job(self, request: web.Request) -> dict[str, Any]:
        found = [job for job in self.jobs if job["submission_id"] == request.match_info["name"]]
        if not found:
            raise web.HTTPNotFound(text="Job does not exist")
        return found[0]

    async def _one(self, request: web.Request) -> web.Response:
        return web.json_response(self._job(request))

    async def _logs(self, request: web.Request) -> web.Response:
        self._job(request)
        return web.json_response({"logs": self.log})

    async def _tail(self, request: web.Request) -> web.WebSocketResponse:
        job = self._job(request)
        connection = web.WebSocketResponse()
        await connection.prepare(request)
        if self.breaks_after is not None:
            await connection.send_str(self.log[: self.breaks_after])
            self.breaks_after = None
            self.gone = self.goes
            _hang_up(request)
            return connection
        for line in self.log.splitlines(keepends=True):
            await connection.send_str(line)
        if job["status"] == "RUNNING":
            job.update(status=self.status, driver_exit_code=self.exit_code, end_time=3_000.0)
        return connection

    async def _stop(self, request: web.Request) -> web.Response:
        job, loop = self._job(request), asyncio.get_running_loop()
        self.gone = self.silent_s > 0
        loop.call_later(self.silent_s, setattr, self, "gone", False)
        loop.call_later(self.saves_s, job.update, {"status": "STOPPED", "end_time": 3_000.0})
        return web.json_response({"stopped": True})

    async def _package(self, request: web.Request) -> web.Response:
        return web.Response(status=200 if request.match_info["package"] in self.packages else 404)

    async def _put(self, request: web.Request) -> web.Response:
        self.packages[request.match_info["package"]] = await request.read()
        return web.Response()


def _hang_up(request: web.Request) -> None:
    assert request.transport is not None
    request.transport.abort()
