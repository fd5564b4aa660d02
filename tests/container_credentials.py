"""What ECS and EKS offer to a container: credentials over HTTP, replaced now and then, or not to be had."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from aiohttp import web

from connector.sandbox.awsjson import Credential
from connector.sandbox.server import HttpServer, json_response


class ContainerCredentials(HttpServer):
    """An access key that expires when the next one is issued. Use as a context."""

    def __init__(self) -> None:
        super().__init__()
        self.number = 0
        self.lookups = 0
        """How often somebody was given credentials."""
        self.down = False
        """Every look-up is answered with a 500."""
        self.silent_s = 0.0
        """Every look-up is answered after so long."""
        self.on_caller: Callable[[], None] | None = None
        """Where given, each process has access keys of its own, and this is called when another one asks."""
        self._callers = {""}

    @property
    def environ(self) -> Mapping[str, str]:
        """Makes boto3 look here; empty keys, so that it goes on past the environment."""
        return {
            "AWS_ACCESS_KEY_ID": "",
            "AWS_SECRET_ACCESS_KEY": "",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": self.url,
        }

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if self.down:
            return web.Response(status=500)
        await asyncio.sleep(self.silent_s)
        self.lookups += 1
        caller = ""
        if (
            self.on_caller is not None
            and (caller := request.headers.get("Authorization", "")) not in self._callers
        ):
            self._callers.add(caller)
            self.on_caller()
        expiration = datetime.now(UTC) + timedelta(hours=1)
        return json_response(
            {
                "AccessKeyId": f"AKIDCONTAINER{self.number}{caller}",
                "SecretAccessKey": f"secret-{self.number}",
                "Token": f"token-{self.number}",
                "Expiration": expiration.strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
        )

    def known(self) -> dict[str, Credential]:
        """The current access key, and all before, expired: a bridge may have been away for more than one."""
        return {
            f"AKIDCONTAINER{key}{caller}": Credential(
                f"secret-{key}", f"token-{key}", expired=key != self.number, caller=caller
            )
            for key in range(self.number + 1)
            for caller in self._callers
        }
