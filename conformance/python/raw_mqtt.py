"""Just enough MQTT 3.1.1 to be a second connection of a device, over a chosen version of TLS."""

import base64
import hashlib
import hmac
import socket
import ssl
import struct
import time
from urllib.parse import quote

CONNECT, CONNACK = 0x10, 0x20
WAIT_SECONDS_MAX = 20


class Connection:
    """A CONNECTed socket: `tls` is the protocol agreed on, `code` and `session_present` are the hub's CONNACK."""

    def __init__(self, hub, device_id, key, maximum_tls=ssl.TLSVersion.MAXIMUM_SUPPORTED):
        context = ssl.create_default_context(cafile=str(hub.ca_file))
        context.maximum_version = maximum_tls
        plain = socket.create_connection((hub.address, 8883), WAIT_SECONDS_MAX)
        self.socket = context.wrap_socket(plain, server_hostname=hub.address)
        self.tls = self.socket.version()
        username = f"{hub.address}/{device_id}/?api-version=2021-04-12"
        self.socket.sendall(connect_packet(device_id, username, device_token(hub.address, device_id, key)))
        answer = self.socket.recv(4)
        if len(answer) != 4 or answer[0] != CONNACK:
            raise ConnectionError(f"no CONNACK but {answer!r}")
        self.session_present, self.code = answer[2] & 1, answer[3]

    def wait_closed(self):
        """Returns when the hub has closed the connection, whatever it sent before; raises after 20 s."""
        try:
            while self.socket.recv(4096):
                pass
        except ConnectionResetError:
            pass
        self.socket.close()

    def close(self):
        self.socket.close()


def evict(hub, device_id, key):
    """Cuts the device's live SDK connection from the hub's side (the newest connection of an identity wins) and
    returns when the SDK has come back, which in turn evicts this one."""
    intruder = Connection(hub, device_id, key)
    if intruder.code != 0:
        raise ConnectionError(f"CONNACK {intruder.code}")
    intruder.wait_closed()


def connect_packet(client_id, username, password):
    # Level 4, keep-alive 60 s, user name and password, CleanSession 0: the session stays the device's own.
    body = text("MQTT") + struct.pack("!BBH", 4, 0xC0, 60) + text(client_id) + text(username) + text(password)
    return bytes([CONNECT]) + remaining_length(len(body)) + body


def text(value):
    raw = value.encode()
    return struct.pack("!H", len(raw)) + raw


def remaining_length(length):
    encoded = bytearray()
    while True:
        length, low = divmod(length, 128)
        encoded.append(low | (0x80 if length else 0))
        if not length:
            return bytes(encoded)


def device_token(host, device_id, key, seconds=3600):
    resource = quote(f"{host}/devices/{device_id}", safe="")
    expiry = int(time.time()) + seconds
    digest = hmac.new(base64.b64decode(key), f"{resource}\n{expiry}".encode(), hashlib.sha256).digest()
    return f"SharedAccessSignature sr={resource}&sig={quote(base64.b64encode(digest), safe='')}&se={expiry}"
