"""A telnet for scripts: `dial.py PORT [HOST]` types standard input, one line an answer; `dial.py --banner PORT [HOST]` only waits for a greeting.

Between DATA and the lone dot lines are typed without waiting. Multi-line answers of POP3 are read when the command asks for one."""
import socket
import sys

args = sys.argv[1:]
banner_only = args[:1] == ["--banner"]
if banner_only:
    args = args[1:]
port, host = int(args[0]), args[1] if len(args) > 1 else "127.0.0.1"
peer = socket.create_connection((host, port), timeout=30)
stream = peer.makefile("rwb")


def answer(many=False):
    first = line = stream.readline()
    if not line:
        return False
    print(line.decode("latin-1").rstrip("\r\n"), flush=True)
    if many and first.startswith(b"+OK"):
        while line != b".\r\n":
            line = stream.readline()
            if not line:
                return False
            print(line.decode("latin-1").rstrip("\r\n"), flush=True)
    while line[3:4] == b"-" and line[:3].isdigit():
        line = stream.readline()
        print(line.decode("latin-1").rstrip("\r\n"), flush=True)
    return first


first = answer()
if not first:
    sys.exit(1)
if banner_only:
    sys.exit(0)
writing = False
for line in sys.stdin.buffer:
    line = line.rstrip(b"\n")
    stream.write(line + b"\r\n")
    stream.flush()
    if writing and line != b".":
        continue
    writing = False
    words = line.upper().split()
    verb = words[0] if words else b""
    many = (verb in (b"RETR", b"TOP") and len(words) > 1) or verb == b"CAPA" or (verb in (b"LIST", b"UIDL") and len(words) == 1)
    got = answer(many)
    if not got:
        break
    writing = verb == b"DATA" and got.startswith(b"354")
