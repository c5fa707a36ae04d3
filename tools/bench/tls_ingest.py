#!/usr/bin/env python3
"""tls_ingest.py HOST:PORT MAILDIR CGROUP [--count N] [--sessions N] [--size BYTES] [--per-conn N] [--users N] [--plain]
Ingest with STARTTLS (or --plain, for the same client without it): N processes send messages of random text until all are in the Maildirs
(MAILDIR holds {} for the three-digit user number; --users 1 makes one hot mailbox). Prints one JSON line. The client is Python and takes a good part of two cores, so compare
servers measured with it only with each other."""
import argparse, glob, json, multiprocessing as mp, os, random, smtplib, ssl, time
ap = argparse.ArgumentParser(usage=__doc__)
ap.add_argument('addr'); ap.add_argument('maildir'); ap.add_argument('cgroup'); ap.add_argument('--count', type=int, default=600); ap.add_argument('--sessions', type=int, default=10)
ap.add_argument('--size', type=int, default=10240); ap.add_argument('--per-conn', type=int, default=20); ap.add_argument('--users', type=int, default=100); ap.add_argument('--plain', action='store_true')
A = ap.parse_args(); host, port = A.addr.rsplit(':', 1)
def cpu(): return int(open(f'/sys/fs/cgroup/cpuacct/{A.cgroup}/cpuacct.usage').read()) / 1e9
def stored(): return sum(len(os.listdir(A.maildir.replace('{}', '%03d' % u) + '/new')) for u in range(A.users))
def worker(k, n, out):
    rnd = random.Random(k); c = ssl.create_default_context(); c.check_hostname = False; c.verify_mode = ssl.CERT_NONE; lat = []; s = None
    for i in range(n):
        if s is None:
            s = smtplib.SMTP(host, int(port), local_hostname='load.sender.test'); s.ehlo()
            if not A.plain: s.starttls(context=c); s.ehlo()
        body = f'Subject: t{k}-{i}\r\n\r\n' + '\r\n'.join(''.join(rnd.choices('abcdefghijklmnopqrstuvwxyz ', k=76)) for _ in range(A.size // 78)) + '\r\n'
        s.docmd('MAIL', 'FROM:<s@sender.test>'); s.docmd('RCPT', 'TO:<u%03d@example.test>' % rnd.randrange(A.users)); s.docmd('DATA')
        t = time.time(); s.send((body + '.\r\n').encode()); r = s.getreply(); lat.append(time.time() - t)
        if r[0] != 250: raise SystemExit(f'refused: {r}')
        if i % A.per_conn == A.per_conn - 1: s.quit(); s = None
    if s: s.quit()
    out.put(lat)
base, c0, t0, q = stored(), cpu(), time.time(), mp.Queue()
ps = [mp.Process(target=worker, args=(k, A.count // A.sessions, q)) for k in range(A.sessions)]; [p.start() for p in ps]
lat = sorted(x for _ in ps for x in q.get(timeout=300)); [p.join() for p in ps]; n = A.count // A.sessions * A.sessions
while stored() - base < n and time.time() - t0 < 120: time.sleep(0.01)
w = time.time() - t0
print(json.dumps({'fig': 'tls-ingest', 'tls': not A.plain, 'size': A.size, 'sessions': A.sessions, 'users': A.users, 'count': n, 'delivered': stored() - base, 'deliv_per_s': round(n / w, 1), 'cpu_s_per_1000': round((cpu() - c0) / n * 1000, 3), 'p50_ms': round(lat[len(lat) // 2] * 1e3, 2), 'p99_ms': round(lat[int(len(lat) * .99)] * 1e3, 2)}))
