# SPDX-License-Identifier: Apache-2.0
"""Servers that take a known time for each answer.

    slow.py HTTP_PORT DNS_PORT

GET /MILLISECONDS/ANYTHING takes so long; so does a query for MILLISECONDS.ANYTHING, whose answer is one
address.
"""

import http.server
import socketserver
import sys
import threading
import time


class Http(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # A response goes out in one piece: tshark's time is that of its end.
    wbufsize = -1

    def do_GET(self):
        time.sleep(int(self.path.split("/")[1]) / 1e3)
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"ok\n")

    def log_message(self, *_):
        pass


class Dns(socketserver.BaseRequestHandler):
    def handle(self):
        query, socket = self.request
        first = query[13 : 13 + query[12]]
        time.sleep(int(first) / 1e3)
        # The question ends with its type and class; what a client adds behind is left out.
        end = query.index(b"\0", 12) + 5
        header = query[:2] + bytes([0x84, 0, 0, 1, 0, 1, 0, 0, 0, 0])
        answer = bytes([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1])
        socket.sendto(header + query[12:end] + answer, self.client_address)


class Servers(socketserver.ThreadingMixIn):
    allow_reuse_address = True
    daemon_threads = True


class HttpServer(Servers, socketserver.TCPServer):
    pass


class DnsServer(Servers, socketserver.UDPServer):
    pass


if __name__ == "__main__":
    http_port, dns_port = map(int, sys.argv[1:])
    # Who reaches the first one finds the other one ready too.
    dns = DnsServer(("0.0.0.0", dns_port), Dns)
    threading.Thread(target=dns.serve_forever, daemon=True).start()
    HttpServer(("0.0.0.0", http_port), Http).serve_forever()
