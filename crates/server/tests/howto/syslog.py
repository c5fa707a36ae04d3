"""A syslog daemon for one machine of a test: `syslog.py SOCKET FILE` appends each message without its priority."""
import os
import re
import socket
import sys

path, log = sys.argv[1:]
door = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
door.bind(path)
os.chmod(path, 0o666)
with open(log, "ab", buffering=0) as out:
    while True:
        out.write(re.sub(rb"^<\d+>", b"", door.recv(65536)).rstrip(b"\n\0") + b"\n")
