"""The address of a running Ray cluster, asked within seconds whether a cluster is there and lets this user in.

Ray itself tries for minutes, and tells a wrong token from a wrong address only in its log.
"""

import os
import socket

from runner.distributed.token import ACCESS, Token, token_asked_for, token_refused
from runner.errors import UserError

CONNECT_S = 5.0
WHO_ARE_YOU = "/ray.rpc.NodeInfoGcsService/GetClusterId"  # what Ray's own clients ask first
CLIENT = "ray://"  # Ray Client's server speaks otherwise


def check_address(address: str) -> None:
    """``UserError`` unless a Ray cluster answers at ``address`` and takes this user's token, if it asks for one.

    A token that it asks for and takes is then used by Ray too, in this process and those that it starts.
    """
    where = f"cluster.address {address}"
    host, _, port = address.removeprefix(CLIENT).rpartition(":")
    if not (host and port.isdecimal() and len(port) <= 5 and int(port) < 2**16):
        raise UserError(
            f"the address of the Ray cluster is {address}, which is not HOST:PORT",
            "--address or the cluster file",
            "give the one that `ray start --head` tells, such as head:6379",
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()
    except (OSError, UnicodeError) as error:
        raise no_answer(address, str(error)) from error
    if address.startswith(CLIENT) or os.environ.get("RAY_USE_TLS") == "1":
        return
    if _asks_for_token(address, None):
        token = token_asked_for(where)
        if _asks_for_token(address, token):
            raise token_refused(where, token, "UNAUTHENTICATED")
        os.environ[ACCESS] = "token"


def no_answer(address: str, why: str) -> UserError:
    """The error for a cluster at ``address`` that cannot be joined, for the reason ``why``."""
    return UserError(
        f"no Ray cluster answers ({why})",
        f"cluster.address {address}",
        "start one with `ray start --head`, or leave address out to run on this machine",
    )


def _asks_for_token(address: str, token: Token | None) -> bool:
    """Whether the cluster at ``address`` does not let in who comes with ``token``."""
    import grpc

    metadata = [(key.lower(), value) for key, value in token.header.items()] if token else []
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        ask = channel.unary_unary(WHO_ARE_YOU, request_serializer=bytes, response_deserializer=bytes)
        try:
            ask(b"", timeout=CONNECT_S, metadata=metadata)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAUTHENTICATED:
                return True
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                raise no_answer(address, "something else listens there") from error
    return False  # also where this call is not known: Ray will say
