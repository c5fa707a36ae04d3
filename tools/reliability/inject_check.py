"""Checker of nth-fault and alice for qmail-queue with no server running (it writes into HOME/queue/drop).
  inject_check.py message ID       prints a message of some 9 KB that names ID
  inject_check.py DIR RC           nth-fault: RC 0 => the message is there; whatever RC is, no visible file is torn
  inject_check.py DIR ACKFILE      alice: every acknowledged id is there; no visible file is torn
Files with a leading dot are not finished and never taken in, so they may be anything."""
import os, re, sys


def message(token):
    lines = "".join(f"{token} {i:04d} {'x' * 60}\n" for i in range(120))
    return f"Subject: {token}\n\nBEGIN-{token}\n{lines}END-{token}\n".encode()


def main(home, ack):
    drop, seen = home + "/queue/drop", set()
    names = [n for n in os.listdir(drop) if not n.startswith(".")] if os.path.isdir(drop) else []
    for name in names:
        data = open(f"{drop}/{name}", "rb").read()
        token = re.search(rb"BEGIN-(ID\d+)\n", data)
        if not token or not data.endswith(message(token[1].decode())):
            sys.exit(f"torn {name}, {len(data)} bytes")
        seen.add(token[1].decode())
    wanted = (["ID1"] if ack == "0" else []) if ack.isdigit() else open(ack).read().split()
    for token in wanted:
        if token not in seen:
            sys.exit(f"acknowledged {token} is not there")


if __name__ == "__main__":
    if sys.argv[1] == "message":
        sys.stdout.buffer.write(message(sys.argv[2]))
    else:
        main(*sys.argv[1:3])
