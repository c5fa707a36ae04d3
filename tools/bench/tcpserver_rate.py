#!/usr/bin/env python3
"""tcpserver_rate.py OTHER OURS PROGRAM [ROUNDS]: connections a second that two tcpservers take, in turn, each starting PROGRAM (one that
ends at once, best linked statically) for 4,000 connections of ten client processes. On an idle machine, then with three busy loops beside."""
import os, socket, subprocess, sys, time

COUNT, CLIENTS = 4000, 10


def clients(port):
    for _ in range(CLIENTS):
        if os.fork() == 0:
            for _ in range(COUNT // CLIENTS):
                with socket.create_connection(("127.0.0.1", port)) as s:
                    while s.recv(64):
                        pass
            os._exit(0)
    for _ in range(CLIENTS):
        os.wait()


def rate(tcpserver, program):
    words = [tcpserver, "-q", "-1", "-H", "-R", "-l0", "-c100", "127.0.0.1", "0", program]
    server = subprocess.Popen(words, stdout=subprocess.PIPE)
    port = int(server.stdout.readline())
    began = time.time()
    clients(port)
    took = time.time() - began
    server.terminate()
    server.wait()
    return COUNT / took


def main():
    other, ours, program = sys.argv[1:4]
    rounds = int(sys.argv[4]) if len(sys.argv) > 4 else 3
    for name in ("idle", "busy"):
        loops = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(3 if name == "busy" else 0)]
        for _ in range(rounds):
            print(name, *(f"{label} {rate(path, program):.0f}/s" for label, path in (("other", other), ("ours", ours))), flush=True)
        for loop in loops:
            loop.kill()
            loop.wait()


main()
