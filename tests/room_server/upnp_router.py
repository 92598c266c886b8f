"""A home router that speaks UPnP and nothing else, for tests: SSDP and SOAP on one address of a network of the test's own.

python -m tests.room_server.upnp_router HOST PORT granted|refused      tells on standard output, a JSON object a line, what it is asked
"""

from __future__ import annotations

import json
import re
import socket
import struct
import sys
import threading
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer

GROUP = "239.255.255.250"
SERVICE = "urn:schemas-upnp-org:service:WANIPConnection:1"
DEVICE = "urn:schemas-upnp-org:device:InternetGatewayDevice:1"
DESCRIPTION = f"""<?xml version="1.0"?>
<root xmlns="urn:schemas-upnp-org:device-1-0"><specVersion><major>1</major><minor>0</minor></specVersion><device>
<deviceType>{DEVICE}</deviceType><friendlyName>router</friendlyName><UDN>uuid:1</UDN><deviceList><device>
<deviceType>urn:schemas-upnp-org:device:WANDevice:1</deviceType><UDN>uuid:2</UDN><serviceList><service>
<serviceType>urn:schemas-upnp-org:service:WANCommonInterfaceConfig:1</serviceType><serviceId>urn:upnp-org:serviceId:WANCommonIFC1</serviceId>
<controlURL>/common</controlURL><eventSubURL>/e</eventSubURL><SCPDURL>/s.xml</SCPDURL></service></serviceList><deviceList><device>
<deviceType>urn:schemas-upnp-org:device:WANConnectionDevice:1</deviceType><UDN>uuid:3</UDN><serviceList><service>
<serviceType>{SERVICE}</serviceType><serviceId>urn:upnp-org:serviceId:WANIPConn1</serviceId>
<controlURL>/control</controlURL><eventSubURL>/e</eventSubURL><SCPDURL>/s.xml</SCPDURL></service></serviceList></device></deviceList>
</device></deviceList></device></root>"""
FAULT = """<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault>
<faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring><detail><UPnPError xmlns="urn:schemas-upnp-org:control-1-0">
<errorCode>718</errorCode><errorDescription>ConflictInMappingEntry</errorDescription></UPnPError></detail></s:Fault></s:Body></s:Envelope>"""
REFUSES = sys.argv[-1] == "refused"
ANSWERS = {
    "GetStatusInfo": "<NewConnectionStatus>Connected</NewConnectionStatus><NewLastConnectionError>ERROR_NONE</NewLastConnectionError>"
    "<NewUptime>1</NewUptime>",
    "GetExternalIPAddress": "<NewExternalIPAddress>198.41.0.4</NewExternalIPAddress>",
}


def tell(event: dict[str, str]) -> None:
    """Give one event."""
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


class Soap(BaseHTTPRequestHandler):
    """Describes itself, and answers what it is asked."""

    def do_GET(self) -> None:
        self._answer(DESCRIPTION)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        action = self.headers["SOAPAction"].strip('"').rpartition("#")[2]
        arguments = dict(re.findall(r"<(New\w+)>([^<]*)</", body))
        tell({"action": action, **arguments})
        if REFUSES and action == "AddPortMapping":
            self._answer(FAULT, status=500)
            return
        self._answer(
            '<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>'
            f'<u:{action}Response xmlns:u="{SERVICE}">{ANSWERS.get(action, "")}</u:{action}Response></s:Body></s:Envelope>'
        )

    def _answer(self, text: str, status: int = 200) -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/xml")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_request(self, *args: object) -> None:
        """Standard error is for what goes wrong."""


def main(host: str, port: int) -> None:
    threading.Thread(target=TCPServer((host, port), Soap).serve_forever, daemon=True).start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ssdp:
        ssdp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        ssdp.bind(("", 1900))
        group = struct.pack("4s4s", socket.inet_aton(GROUP), socket.inet_aton(host))
        ssdp.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
        tell({"action": "ready"})
        while True:
            data, place = ssdp.recvfrom(2000)
            if data.startswith(b"M-SEARCH"):
                answer = (
                    f"HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=60\r\nST: {DEVICE}\r\nUSN: uuid:1::{DEVICE}\r\nEXT:\r\n"
                    f"SERVER: test\r\nLOCATION: http://{host}:{port}/desc.xml\r\n\r\n"
                )
                ssdp.sendto(answer.encode(), place)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
