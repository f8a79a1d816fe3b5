"""A name server on 127.0.0.1:53 that knows no name.  Creates the file argv[1]."""

import socket
import sys

server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
open(sys.argv[1], "w").close()
while True:
    query, client = server.recvfrom(4096)
    # The question again, as an answer with code 3 and without records.
    server.sendto(query[:2] + b"\x81\x83" + query[4:6] + 6 * b"\0" + query[12:], client)
