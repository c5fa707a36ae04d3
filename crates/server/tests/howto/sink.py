"""Another host's SMTP server: `sink.py ADDRESS PORT FILE` accepts everything and appends what it hears."""
import socketserver
import sys


class Session(socketserver.StreamRequestHandler):
    def handle(self):
        say = lambda text: self.wfile.write(text + b"\r\n")
        say(b"220 sink.test ESMTP")
        writing = False
        with open(sys.argv[3], "ab", buffering=0) as log:
            for line in self.rfile:
                log.write(line)
                if writing:
                    writing = line != b".\r\n"
                    if writing:
                        continue
                    say(b"250 ok 1 qp 1")
                elif line.upper().startswith(b"DATA"):
                    writing = True
                    say(b"354 go ahead")
                elif line.upper().startswith(b"QUIT"):
                    return say(b"221 sink.test")
                elif line.upper().startswith(b"EHLO"):
                    say(b"502 unimplemented")
                else:
                    say(b"250 ok")


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


with Server((sys.argv[1], int(sys.argv[2])), Session) as server:
    with open(sys.argv[3], "ab") as log:
        log.write(b"listening\n")
    server.serve_forever()
